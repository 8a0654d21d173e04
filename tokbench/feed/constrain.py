"""Constrained decoding: a logits processor for ``transformers`` under which a model can only emit well-formed images."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.feed.grammar import ImageGrammar


class ConstrainedDecoding:
    """Gives -inf to every id that may not come next.

    Goes into ``model.generate(prompts, logits_processor=[ConstrainedDecoding(grammar)])``, which takes any callable of this form, before
    processors that pick among what is likely (top-k, top-p); behind them, all ids they leave may be forbidden.

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
            TokbenchError: If a prompt has an image that cannot be finished.
        """
        size = self.grammar.vocabulary.size
        if scores.shape[1] < size:
            raise ValueError(f"the model scores {scores.shape[1]} ids, the vocabulary has {size}; resize its embeddings")
        masked = torch.full_like(scores, -torch.inf)
        masked[:, :size] = scores[:, :size].masked_fill(~self.grammar.allowed(input_ids), -torch.inf)
        return masked
