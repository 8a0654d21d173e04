"""All images of a prediction with their tokens: read and encoded once, for every study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.encode import image_seed
from tokbench.bench.identity import trained_on, training_of_tokenizer
from tokbench.bench.loader import LoadReport, choose, load_batches
from tokbench.bench.microbatch import padded
from tokbench.conduct import layout_of
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.encoding import decode_batch, encode_batch
from tokbench.feed.label_rules import Annotations, LabelRule
from tokbench.feed.probe.parts import merged
from tokbench.image_size import as_size, size_text
from tokbench.layout import TokenLayout
from tokbench.records.protocol import Protocol
from tokbench.records.record import DataInfo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens

MOST = 5000
"""Images at most, unless a number is given: all of them, and their tokens, are held in memory."""

Progress = Callable[[int, int], None]
"""Takes images done and in all."""


@dataclass(frozen=True)
class Encoded:
    """Images and their tokens, in the order in which the images were read.

    Args:
        tokenizer: What encoded them.
        protocol: How they were read and encoded.
        layout: Layout of the tokens of one.
        pixels: The images, on the CPU.
        tokens: Their tokens, on the CPU.
        ids: One per image, all different.
        groups: What each image is a sample of; groups with an image in common are one.
        labels: Class of each, None of one that has none; empty if the source has no classes.
        data: What the record says of them.
        trained_on: Whether the tokenizer was trained on some of them; None if that is not known.
    """

    tokenizer: Tokenizer
    protocol: Protocol
    layout: TokenLayout
    pixels: UInt8[Tensor, "b 3 h w"]
    tokens: Tokens
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: tuple[int | None, ...]
    data: DataInfo
    trained_on: bool | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def chance(self, image: int) -> np.random.Generator:
        """Randomness of one image, which depends on nothing but the seed and its id."""
        return np.random.Generator(np.random.PCG64(image_seed(self.protocol.seed, self.ids[image], "change")))


def read_and_encode_all(
    tokenizer: Tokenizer,
    source: ImageSource,
    protocol: Protocol,
    *,
    labels: LabelRule = "source",
    progress: Progress = lambda done, total: None,
) -> Encoded:
    """Read and encode every image of a source, or as many as the protocol says.

    Args:
        tokenizer: On its device.
        source: Images; one that cannot be read is left out, and named in the record.
        protocol: How.
        labels: Where classes come from.
        progress: Called after every micro-batch.

    Raises:
        Misbehaved: If the tokenizer fails, or breaks its contract.
        TokbenchError: If it does not take images of this size, or no image can be read.
    """
    layout = layout_of(tokenizer, *protocol.shape)
    annotations = Annotations(source, labels)
    indices, report = choose(source, protocol), LoadReport()
    place_of = {source.ids[index]: index for index in indices}
    pixels, parts, ids, groups, keys = list[Tensor](), list[Tokens](), list[str](), list[str](), list[bytes]()
    for batch in load_batches(source, indices, protocol, report, read_ahead=64, strict=False):
        parts.append(encode_batch(tokenizer, batch.images, batch.ids, protocol).to("cpu"))
        pixels.append(batch.images)
        ids += batch.ids
        groups += batch.groups
        keys += batch.keys
        progress(len(ids), len(indices))
    info = DataInfo(
        name=source.name,
        digest=report.digest(),
        pixels_digest=report.pixels_digest(),
        requested=report.requested,
        count=len(ids),
        groups=len(report.groups),
        enlarged=report.enlarged,
        skipped=tuple(report.skipped),
        passed_over=len(source.passed_over),
    )
    found = tuple(annotations.label(place_of[name]) for name in ids) if annotations.has_labels else ()
    among = trained_on(training_of_tokenizer(tokenizer), source, report.raw.values())
    whole, tokens, samples = torch.cat(pixels), joined(parts), tuple(merged(groups, keys))
    return Encoded(tokenizer, protocol, layout, whole, tokens, tuple(ids), samples, found, info, among)


def encode_all(tokenizer: Tokenizer, images: UInt8[Tensor, "b 3 h w"], ids: tuple[str, ...], protocol: Protocol) -> Tokens:
    """Encode images that are there already; their tokens on the CPU."""
    size = protocol.micro_batch
    return joined(
        [
            encode_batch(tokenizer, images[start : start + size], ids[start : start + size], protocol).to("cpu")
            for start in range(0, len(ids), size)
        ]
    )


def decoded(tokenizer: Tokenizer, tokens: Tokens, ids: tuple[str, ...], protocol: Protocol) -> Iterator[UInt8[Tensor, "b 3 h w"]]:
    """Decode tokens, micro-batch by micro-batch, each padded to its full size so that no image depends on the others.

    Args:
        tokenizer: On its device.
        tokens: On the CPU.
        ids: Ids of the images, from which stochastic tokenizers have their noise.
        protocol: Size, micro-batch, precision and seed.

    Yields:
        Pixels on the CPU.
    """
    for start in range(0, len(ids), protocol.micro_batch):
        part = ids[start : start + protocol.micro_batch]
        whole = filled(tokens[start : start + len(part)], protocol.micro_batch)
        yield decode_batch(tokenizer, whole.to(tokenizer.device), part, protocol)[: len(part)]


def joined(parts: list[Tokens]) -> Tokens:
    """One batch of the tokens of several."""
    first = parts[0]
    if isinstance(first, DiscreteTokens):
        return replace(first, codes=torch.cat([part.codes for part in parts if isinstance(part, DiscreteTokens)]))
    return replace(first, latents=torch.cat([part.latents for part in parts if isinstance(part, ContinuousTokens)]))


def filled(tokens: Tokens, size: int) -> Tokens:
    """Repeat the tokens of the last image until there are ``size``."""
    if isinstance(tokens, DiscreteTokens):
        return replace(tokens, codes=padded(tokens.codes, size))
    return replace(tokens, latents=padded(tokens.latents, size))


def on_another_size(protocol: Protocol, height: int, width: int) -> Protocol:
    """A protocol of images of another size.

    Raises:
        TokbenchError: If there are no images so small.
    """
    if min(height, width) < 1:
        raise TokbenchError(f"there are no images of {size_text(as_size(height, width))} px; choose another --size")
    return replace(protocol, size=as_size(height, width))
