"""Constrained decoding: a logits processor for ``transformers`` under which a model can only emit well-formed images."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.feed.grammar import ImageGrammar


class ConstrainedDecoding:
    """Gives -inf to every id that may not come next.

    Goes into ``model.generate(prompts, logits_processor=[ConstrainedDecoding(grammar)])``, which takes any callable of this form. It
    stands before processors that pick among what is likely (top-k, top-p). Behind them, all ids they leave may be forbidden.

    Where an image has come to the end of a row, one single id may follow. So leave out of ``generate`` what forbids ids that stood before
    or that come too early. It runs its own ``no_repeat_ngram_size``, ``bad_words_ids``, ``suppress_tokens``, ``min_length`` and
    ``min_new_tokens`` ahead of this one. Between them they may leave nothing, which is an error here. In a row that has ended only PAD
    may follow; if they forbid that too, sampling fails in torch with ``probability tensor contains either inf, nan or element < 0``.
    ``repetition_penalty`` forbids nothing, but makes codes that stood in the prompt or the image rarer.

    Args:
        grammar: What may come next.
    """

    def __init__(self, grammar: ImageGrammar) -> None:
        self.grammar = grammar

    def __call__(self, input_ids: Int64[Tensor, "b t"], scores: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        """Mask scores.

        Args:
            input_ids: Prompts and what was generated so far.
            scores: Logits of the next id; columns beyond the vocabulary, as padded embeddings have them, are forbidden.

        Returns:
            A copy with -inf where an id is forbidden.

        Raises:
            ValueError: If the model has fewer ids than the vocabulary.
            TokbenchError: If a prompt has an image that cannot be finished, or all that may follow was forbidden before.
        """
        vocabulary = self.grammar.vocabulary
        size = vocabulary.size
        if scores.shape[1] < size:
            raise ValueError(f"the model scores {scores.shape[1]} ids, the vocabulary has {size}; resize its embeddings")
        allowed = self.grammar.allowed(input_ids)
        masked = scores.masked_fill(~torch.nn.functional.pad(allowed, (0, scores.shape[1] - size)), -torch.inf)
        lost = (masked.amax(dim=1) == -torch.inf) & ~allowed[:, vocabulary.special.pad]  # what follows EOS does not matter
        if lost.any():
            row = int(lost.nonzero()[0])
            names = ", ".join(vocabulary.name(number) for number in allowed[row].nonzero()[:3, 0].tolist())
            more = ", ..." if int(allowed[row].sum()) > 3 else ""
            raise TokbenchError(
                f"row {row} may go on with {names}{more}, but all of that was forbidden before; leave out what forbids it "
                "(no_repeat_ngram_size, min_new_tokens, suppress_tokens)"
            )
        return masked
