"""Images drawn from the probe: ``generate`` of ``transformers`` under the grammar of the vocabulary, each image from a seed of its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tokbench.feed.constrain import ConstrainedDecoding
from tokbench.feed.encoding import decode_batch
from tokbench.feed.grammar import ImageGrammar
from tokbench.feed.parsing import parse
from tokbench.feed.probe.options import SampleOptions
from tokbench.feed.sequence import build, prompt
from tokbench.feed.vocabulary import Vocabulary
from tokbench.records.protocol import Protocol
from tokbench.records.sheets import Sheet
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

if TYPE_CHECKING:
    from PIL import Image
    from transformers import LlamaForCausalLM


class Draw:
    """A logits processor whose largest score is a draw from the distribution: top-k, temperature, and Gumbel noise of each row's own.

    With it ``generate`` runs greedily, and no row depends on which others are in its batch.

    Args:
        seeds: One a row.
        top_k: As in ``SampleOptions``.
        temperature: As in ``SampleOptions``.
    """

    def __init__(self, seeds: Sequence[int], *, top_k: int | None, temperature: float) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._top_k, self._temperature = top_k, temperature

    def __call__(self, input_ids: Int64[Tensor, "b t"], scores: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        """Add noise to scores.

        Args:
            input_ids: Not looked at.
            scores: Logits; -inf for what may not come.
        """
        if self._top_k is not None and self._top_k < scores.shape[1]:
            least = scores.topk(self._top_k, dim=1).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        drawn = [torch.empty(scores.shape[1], dtype=torch.float64).exponential_(generator=generator) for generator in self._generators]
        return scores.double() / self._temperature - torch.stack(drawn).log().to(scores.device)


@torch.no_grad()
def sample(
    model: LlamaForCausalLM,
    vocabulary: Vocabulary,
    grid: tuple[int, ...],
    options: SampleOptions | None = None,
    *,
    texts: Sequence[str] = (),
) -> DiscreteTokens:
    """Draw images.

    Args:
        model: A probe.
        vocabulary: Vocabulary of its ids.
        grid: Grid of the images, in positions.
        options: How many and how.
        texts: What stands before them, in turns; none without.

    Returns:
        Their tokens, on the CPU.
    """
    options, grid = options or SampleOptions(), tuple(grid)
    asked = [texts[number % len(texts)] if texts else "" for number in range(options.count)]
    prompts = [prompt([text] if text else [], vocabulary, grid=grid).ids for text in asked]
    grammar, found = ImageGrammar(vocabulary, [grid]), []
    for start in range(0, options.count, options.batch_size):
        numbers = range(start, min(start + options.batch_size, options.count))
        length = max(len(prompts[number]) for number in numbers)
        ids = torch.full((len(numbers), length), vocabulary.special.pad)
        for row, number in enumerate(numbers):
            ids[row, length - len(prompts[number]) :] = prompts[number]
        seeds = [_seed(options.seed, number) for number in numbers]
        draw = Draw(seeds, top_k=options.top_k, temperature=options.temperature)
        rows = model.generate(
            ids.to(model.device),
            attention_mask=(ids != vocabulary.special.pad).long().to(model.device),
            logits_processor=[ConstrainedDecoding(grammar), draw],
            do_sample=False,
            max_new_tokens=_length(grid, vocabulary),
        )
        for row in rows:
            image = parse(row, vocabulary)[-1]
            assert isinstance(image, DiscreteTokens)
            found.append(image.codes)
    return DiscreteTokens(torch.cat(found), grid, vocabulary.codebook_sizes)


def _seed(seed: int, number: int) -> int:
    """Seed of one image: a stable hash, so that more images leave the first ones as they are."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0sample\0{number}".encode()).digest()[:8], "big") >> 1


def _length(grid: tuple[int, ...], vocabulary: Vocabulary) -> int:
    """Ids behind the prompt: the codes, the ends of rows, EOF, EOI and EOS."""
    blank = DiscreteTokens(torch.zeros(1, math.prod(grid), vocabulary.codebooks, dtype=torch.int64), grid, vocabulary.codebook_sizes)
    return len(build([blank], vocabulary)) - len(prompt([], vocabulary, grid=grid))


def decode_samples(tokenizer: Tokenizer, tokens: DiscreteTokens, protocol: Protocol) -> UInt8[Tensor, "b 3 h w"]:
    """Decode drawn tokens, micro-batch by micro-batch, each image with noise of its own."""
    parts = []
    for start in range(0, len(tokens), protocol.micro_batch):
        codes = tokens.codes[start : start + protocol.micro_batch]
        names = [f"sample {start + i}" for i in range(len(codes))]
        filled = torch.cat([codes, codes[-1:].expand(protocol.micro_batch - len(codes), -1, -1)])
        some = DiscreteTokens(filled.to(tokenizer.device), tokens.grid, tokens.codebook_sizes)
        parts.append(decode_batch(tokenizer, some, names, protocol)[: len(codes)])
    return torch.cat(parts)


def draw_samples(images: UInt8[Tensor, "b 3 h w"], *, columns: int = 8, enlarge: int = 2, gap: int = 4) -> Image.Image:
    """Put images side by side.

    Args:
        images: At least one.
        columns: In a row.
        enlarge: Pixels of the picture a pixel becomes.
        gap: White pixels between.

    Returns:
        An RGB picture.
    """
    from PIL import Image

    return Image.fromarray(Sheet(columns, enlarge, gap).draw(list(images.permute(0, 2, 3, 1).numpy())))
