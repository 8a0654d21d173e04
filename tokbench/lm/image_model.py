"""A language model with its image tokenizer: words and pixels in, pixels and words out.

::

    words ----------------+                                        +--> codes --> tokenizer.decode --> pixels
                          +--> prompt --> model --> answer --------+
    pixels --> codes -----+                                        +--> words
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.microbatch import padded
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.feed.encoding import decode_batch, encode_batch
from tokbench.feed.origin import check_same_tokenizer, tokenizer_called
from tokbench.lm.asking import image_of, request_of, text_of
from tokbench.lm.halves import hide_lower
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import EDIT_TEMPERATURE, SamplingOptions
from tokbench.lm.sampling import LONGEST_TEXT, Request, sample
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

Pixels = UInt8[Tensor, "b 3 h w"]
Progress = Callable[[int, int], None]

LIKELIEST = SamplingOptions(temperature=0.0, guidance=1.0)
"""How images are described unless it is told."""

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Number formats of the networks, by what ``--precision`` calls them."""


def _silent(done: int, total: int) -> None:
    """Show nothing."""


def _check_texts(texts: Sequence[str], count: int) -> None:
    """Refuse a text in place of several, whose letters would be taken for texts, and counts of nothing.

    Raises:
        ValueError: If one is given.
    """
    if isinstance(texts, str):
        raise ValueError(f"one text is given where several are taken; write [{texts[:80]!r}]")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"texts are of type str, got {type(text).__name__}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")


def _check_pixels(images: object) -> None:
    """Refuse what is no batch of pictures.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        given = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images are bytes of RGB, torch.uint8 [B, 3, H, W], got {given}")


class ImageModel:
    """Draws, edits, completes and describes images.

    What comes out depends on the words, the images and the seed of a call alone, not on what else is in it.

    Args:
        model: The language model.
        tokenizer: The tokenizer that its codes are of, on the device where it shall run.
        precision: Number format that the tokenizer runs in, ``fp32`` or ``bf16``.

    Raises:
        TokbenchError: If the model was trained on codes of another tokenizer.
        ValueError: If the model's images are not of the grid that the tokenizer gives them, or its vocabulary has other codebooks.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, *, precision: str = "fp32") -> None:
        check_same_tokenizer(tokenizer, model.identity)
        height, width = model.image_size
        layout, sizes = tokenizer.layout(height, width), model.vocabulary.codebook_sizes
        if layout.grid != model.grid:
            raise ValueError(f"{tokenizer.name} makes no images of grid {model.grid} at {height}x{width} px")
        if layout.codebook_sizes != sizes:
            raise ValueError(f"the vocabulary is of codebooks of {sizes} codes, those of {tokenizer.name} have {layout.codebook_sizes}")
        self.model, self.tokenizer, self.precision = model, tokenizer, precision
        self._protocol = get_protocol(changes={"size": model.size, "precision": precision})

    @classmethod
    def load(cls, folder: str | Path, *, tokenizer: Tokenizer | None = None, device: str = "cpu", precision: str = "fp32") -> ImageModel:
        """Read a model with its tokenizer.

        Args:
            folder: What ``LanguageModel.save`` wrote.
            tokenizer: The tokenizer of its codes; None loads the one of that name from the zoo.
            device: Where both shall run.
            precision: Number format of both, ``fp32`` or ``bf16``.

        Raises:
            TokbenchError: If the folder holds no model, the tokenizer is another one or not of the zoo, or there is no such device or
                number format.
        """
        if precision not in FORMATS:
            raise TokbenchError(f"precision is {' or '.join(FORMATS)}, got {precision!r}")
        model = LanguageModel.load(folder, device=device, dtype=FORMATS[precision])
        if tokenizer is None:
            try:
                tokenizer = tokenizer_called(model.identity, device=device)
            except TokbenchError as error:
                raise TokbenchError(f"the tokenizer of {folder} is not at hand: {error}; give it with -t (tokenizer=)") from error
        try:
            return cls(model, tokenizer, precision=precision)
        except TokbenchError as error:
            raise TokbenchError(f"{folder} does not go with the tokenizer: {error}; give the one it was trained with") from error
        except ValueError as error:
            raise TokbenchError(f"{folder} holds files that do not fit together: {error}; save the model again") from error

    def generate(
        self,
        texts: Sequence[str],
        *,
        count: int = 1,
        times: Sequence[int] | None = None,
        seed: int = 0,
        options: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Pixels:
        """Draw images from words.

        Args:
            texts: What to draw; an empty text draws anything.
            count: Images of each text.
            times: How often each text was drawn before, whose images are then others; None is never, and equal texts have equal images.
            seed: Seed of all of them.
            options: How they are sampled.
            progress: Called with the images done and all of them.

        Returns:
            RGB, the images of the first text first.

        Raises:
            TokbenchError: If the text tokenizer cannot hold a text, or one is too long.
            ValueError: If one text is given in place of several, ``count`` is not positive, or there are not as many times as texts.
        """
        _check_texts(texts, count)
        if times is not None and len(times) != len(texts):
            raise ValueError(f"times are one a text, got {len(times)} for {len(texts)}")
        asked = [
            request_of(self.model, "generate", text=text, seed=seed, number=time * count + i)
            for text, time in zip(texts, times or [0] * len(texts), strict=True)
            for i in range(count)
        ]
        return self._drawn(asked, (options or SamplingOptions()).of(self.model.guidance), progress)

    def edit(
        self,
        images: Pixels,
        instructions: Sequence[str],
        *,
        first: Pixels | None = None,
        count: int = 1,
        seed: int = 0,
        options: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Pixels:
        """Change images as words say.

        Args:
            images: The images to change, of the model's size.
            instructions: What to do, one an image.
            first: Images that are shown before them, for instructions that speak of the first image.
            count: Edits of each image.
            seed: Seed of all of them.
            options: How they are sampled.
            progress: Called with the edits done and all of them.

        Returns:
            RGB, the edits of the first image first.

        Raises:
            TokbenchError: If images are of another size than the model's, there are not as many of them as of instructions, or the text
                tokenizer cannot hold an instruction.
            ValueError: As ``generate``, or if images are no bytes ``[B, 3, H, W]``.
        """
        _check_texts(instructions, count)
        shown = [self.encode(part) for part in ([] if first is None else [first]) + [images]]
        self._check_counts(instructions, *shown)
        asked = [
            request_of(self.model, "edit", text=text, images=[part[place] for part in shown], seed=seed, number=i)
            for place, text in enumerate(instructions)
            for i in range(count)
        ]
        return self._drawn(asked, (options or SamplingOptions()).of(1.0, EDIT_TEMPERATURE), progress)

    def complete(
        self,
        images: Pixels,
        *,
        texts: Sequence[str] | None = None,
        count: int = 1,
        seed: int = 0,
        options: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Pixels:
        """Draw the lower half of images from the upper one.

        Args:
            images: Whole images, of the model's size. The lower half is hidden before they are encoded, see ``tokbench.lm.halves``.
            texts: What is in them, one an image; None says nothing.
            count: Completions of each image.
            seed: Seed of all of them.
            options: How they are sampled.
            progress: Called with the completions done and all of them.

        Returns:
            RGB, the completions of the first image first. What is kept looks as the tokenizer decodes it.

        Raises:
            TokbenchError: As ``edit``.
            ValueError: As ``edit``.
        """
        _check_texts(texts or (), count)
        _check_pixels(images)
        shown, words = self.encode(hide_lower(images, self.model.grid)), [""] * len(images) if texts is None else texts
        self._check_counts(words, shown)
        asked = [
            request_of(self.model, "complete", text=text, images=[shown[place]], seed=seed, number=i)
            for place, text in enumerate(words)
            for i in range(count)
        ]
        return self._drawn(asked, options, progress)

    def describe(
        self,
        images: Pixels,
        *,
        seed: int = 0,
        options: SamplingOptions | None = None,
        longest: int = LONGEST_TEXT,
        progress: Progress = _silent,
    ) -> list[str]:
        """Say in words what is in images.

        Args:
            images: Images of the model's size.
            seed: Seed of all descriptions.
            options: How they are sampled; None takes the likeliest words.
            longest: Ids of a description at most, its end included.
            progress: Called with the descriptions done and all of them.

        Returns:
            One description an image.

        Raises:
            TokbenchError: If images are of another size than the model's.
            ValueError: If they are no bytes ``[B, 3, H, W]``.
        """
        shown = self.encode(images)
        asked = [request_of(self.model, "describe", images=[shown[place]], seed=seed) for place in range(len(shown))]
        answers = sample(self.model, asked, (options or LIKELIEST).of(1.0, 0.0), longest_text=longest, progress=progress)
        return [text_of(self.model, answer) for answer in answers]

    def encode(self, images: Pixels) -> DiscreteTokens:
        """Turn pixels into the model's codes, on the CPU; the noise of a stochastic tokenizer follows from the pixels.

        Raises:
            TokbenchError: If images are of another size than the model's.
            ValueError: If they are no bytes ``[B, 3, H, W]``.
        """
        _check_pixels(images)
        size, own = tuple(images.shape[2:]), self.model.image_size
        if size != own:
            raise TokbenchError(f"images of {size[0]}x{size[1]} px are given, the model was trained on {own[0]}x{own[1]}; resize them")
        names = [hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest() for image in images]
        codes = [torch.empty(0, *self._shape, dtype=torch.int64)]
        for start in range(0, len(images), self._protocol.micro_batch):
            some = slice(start, start + self._protocol.micro_batch)
            tokens = encode_batch(self.tokenizer, images[some], names[some], self._protocol)
            assert isinstance(tokens, DiscreteTokens)
            codes.append(tokens.codes.cpu())
        return DiscreteTokens(torch.cat(codes), self.model.grid, self.model.vocabulary.codebook_sizes)

    def decode(self, tokens: DiscreteTokens, seeds: Sequence[int]) -> Pixels:
        """Turn the model's codes into pixels, on the CPU.

        Args:
            tokens: Images on the model's grid.
            seeds: One an image, of the noise of a stochastic tokenizer.
        """
        size, height, width = self._protocol.micro_batch, *self.model.image_size
        found = [torch.empty(0, 3, height, width, dtype=torch.uint8)]
        for start in range(0, len(tokens), size):
            codes, names = tokens.codes[start : start + size], [str(seed) for seed in seeds[start : start + size]]
            some = DiscreteTokens(padded(codes, size).to(self.tokenizer.device), tokens.grid, tokens.codebook_sizes)
            found.append(decode_batch(self.tokenizer, some, names, self._protocol)[: len(codes)])
        return torch.cat(found)

    def _drawn(self, asked: Sequence[Request], options: SamplingOptions | None, progress: Progress) -> Pixels:
        answers = sample(self.model, asked, options, progress=progress)
        images = [image_of(self.model, *pair).codes for pair in zip(asked, answers, strict=True)]
        codes = torch.cat([torch.empty(0, *self._shape, dtype=torch.int64), *images])
        tokens = DiscreteTokens(codes, self.model.grid, self.model.vocabulary.codebook_sizes)
        return self.decode(tokens, [request.seed for request in asked])

    @property
    def _shape(self) -> tuple[int, int]:
        """Positions and codebooks of an image."""
        layout = self.tokenizer.layout(*self.model.image_size)
        return layout.positions, len(layout.codebook_sizes)

    def _check_counts(self, texts: Sequence[str], *shown: DiscreteTokens) -> None:
        for tokens in shown:
            if len(tokens) != len(texts):
                raise TokbenchError(
                    f"there {'is' if len(texts) == 1 else 'are'} {counted(len(texts), 'text')} for {counted(len(tokens), 'image')}; give one an image"
                )
