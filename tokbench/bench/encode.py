"""Images to tokens and back under a protocol: its precision, every image's noise from its own seed, and no algorithm chosen by speed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.conduct import blamed, check_images, check_tokens, check_unwritten, layout_of, name_of, values_of
from tokbench.granted import granted
from tokbench.layout import TokenLayout
from tokbench.records.protocol import Protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens, Tokens


def image_seed(run_seed: int, image_id: str, purpose: Literal["encode", "decode", "change"], *, noise: int = 0) -> int:
    """Seed of one image's noise: a stable hash of the run's seed, the image's id, what it is for, and the number of the pass."""
    again = f"\0{noise}" if noise else ""
    digest = hashlib.sha256(f"{run_seed}\0{image_id}\0{purpose}{again}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


Timed = Callable[[Callable[[], Any]], Any]


def untimed(action: Callable[[], Any]) -> Any:
    """Just do it."""
    return action()


@contextmanager
def reproducible() -> Iterator[None]:
    """Keep cuDNN from choosing algorithms by their speed, and all else from rounding otherwise than the protocol says, within.

    Products and convolutions stay in single precision whatever the program or a plug-in has allowed, and judges out of an autocast that is
    on around them.
    """
    cudnn: Any = torch.backends.cudnn
    with ExitStack() as stack:
        for name, value in {"enabled": True, "benchmark": False, "deterministic": True}.items():
            _within(stack, cudnn, name, value)
        operators = _operators()
        for operator in operators:
            _within(stack, operator, "fp32_precision", "ieee")
        if not operators:  # before torch 2.9, when one word was for all
            _within(stack, cudnn, "allow_tf32", False)
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _operators() -> list[Any]:
    """What torch can be told, one by one, to round to TF32 or bfloat16."""
    rooms: Any = (torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn)
    found = [getattr(room, name, None) for room in rooms for name in ("matmul", "conv", "rnn")]
    return [one for one in found if hasattr(one, "fp32_precision")]


def _within(stack: ExitStack, place: Any, name: str, value: object) -> None:
    """Set something until a stack is left."""
    stack.callback(setattr, place, name, getattr(place, name))
    setattr(place, name, value)


def encode(
    tokenizer: Tokenizer,
    images: Float[Tensor, "b 3 h w"],
    ids: Sequence[str],
    protocol: Protocol,
    *,
    layout: TokenLayout | None = None,
    timed: Timed = untimed,
    function: Callable[..., Any] | None = None,
) -> Tokens:
    """Encode a micro-batch, in the number format of the tokenizer's weights.

    Args:
        tokenizer: On its device.
        images: RGB in [-1, 1], on the same; those beyond ``ids`` are padding.
        ids: Ids of the images.
        protocol: Precision and seed.
        layout: What it announced for this size; None asks it.
        timed: Calls what it is given; whatever is checked is not within.
        function: What is called, if not the tokenizer's own ``encode``: the same compiled.

    Returns:
        The tokens, padding included.

    Raises:
        Misbehaved: If the tokenizer fails, or what it returns is not what it announced.
    """
    name = name_of(tokenizer)
    layout = layout_of(tokenizer, *images.shape[2:]) if layout is None else layout
    with blamed(name, "encode"):
        given = images.to(number_format(tokenizer))
        before, seeds = given.clone(), _seeds(ids, "encode", len(images), protocol)
        with autocast(tokenizer, protocol.precision):
            tokens = timed(lambda: (function or tokenizer.encode)(given, seeds=seeds))
    with blamed(name, "encode"):  # what it returns may be of a class that fails when it is looked at
        return _possible(check_tokens(tokens, layout, given, before, name, ids))


def decode(
    tokenizer: Tokenizer,
    tokens: Tokens,
    ids: Sequence[str],
    protocol: Protocol,
    *,
    timed: Timed = untimed,
    function: Callable[..., Any] | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """Decode a micro-batch.

    Args:
        tokenizer: On its device.
        tokens: On the same; those beyond ``ids`` are padding.
        ids: Ids of the images.
        protocol: Size, precision and seed.
        timed: Calls what it is given; whatever is checked is not within.
        function: What is called, if not the tokenizer's own ``decode``: the same compiled.

    Returns:
        RGB as float32, padding included.

    Raises:
        Misbehaved: If the tokenizer fails, or what it returns are no such images.
    """
    name, values = name_of(tokenizer), values_of(tokens)
    size = layout_of(tokenizer, *protocol.shape).cut_size
    with blamed(name, "decode"):
        tokens = tokens if size is None else replace(tokens, image_size=size)  # what was drawn or stored does not say it
        before, seeds = values.clone(), _seeds(ids, "decode", len(tokens), protocol)
        with autocast(tokenizer, protocol.precision):
            images = timed(lambda: (function or tokenizer.decode)(tokens, seeds=seeds))
    with blamed(name, "decode"):
        check_unwritten(tokens, before, name)
        return check_images(images, (len(tokens), 3, *protocol.shape), values.device, name, ids).float()


def _possible(tokens: Tokens) -> Tokens:
    """Tokens whose codes are in range whatever they are, while nobody asks: a device that looks up others fails for good."""
    if not granted() or not isinstance(tokens, DiscreteTokens):
        return tokens
    parts = [part.clamp(0, size - 1) for part, size in zip(tokens.codes.unbind(dim=2), tokens.codebook_sizes, strict=True)]
    return replace(tokens, codes=torch.stack(parts, dim=2))


def autocast(tokenizer: Tokenizer, precision: Literal["fp32", "bf16", "fp16"]) -> torch.autocast:
    """What a tokenizer runs in: ``bf16`` computes in bfloat16 what can be, ``fp16`` in float16, with the weights as they are."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(tokenizer.device.type, dtype, enabled=precision != "fp32")


def number_format(tokenizer: Tokenizer) -> torch.dtype:
    """Number format of images for a tokenizer: that of its first weight with a point, single precision if it has none."""
    tensors = (*tokenizer.parameters(), *tokenizer.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


def _seeds(ids: Sequence[str], purpose: Literal["encode", "decode"], count: int, protocol: Protocol) -> list[int]:
    seeds = [image_seed(protocol.seed, image, purpose, noise=protocol.noise) for image in ids]
    return seeds + [0] * (count - len(seeds))
