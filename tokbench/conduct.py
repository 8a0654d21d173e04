"""What a tokenizer promises, held against what it does: whoever breaks the contract, or fails, is named in one line.

Tokenizers of other packages are code of others. Whatever it raises, ``SystemExit`` included, becomes ``Misbehaved``, so that a run of
several goes on with the others. An interrupt stays one, and so does running out of memory, which may not be the tokenizer's fault.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tokbench.counting import counted
from tokbench.errors import TokbenchError, brief, out_of_memory
from tokbench.escapes import visible
from tokbench.granted import require
from tokbench.layout import TokenLayout
from tokbench.signals import Ended
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer

_ROOTS = (Path(__file__).parent, Path(torch.__file__).parent)


class Misbehaved(TokbenchError):
    """A tokenizer that breaks its contract, or whose code fails."""


@contextmanager
def blamed(name: str, what: str, *, may_refuse: bool = False) -> Iterator[None]:
    """Turn whatever the code of a tokenizer raises within into one line that names it.

    Args:
        name: Name of the tokenizer.
        what: What it was asked for, such as ``encode``.
        may_refuse: Whether a ``TokbenchError`` of its own says that what was asked for cannot be had, and is the user's.

    Raises:
        Misbehaved: Instead of anything but an interrupt and running out of memory.
    """
    try:
        yield
    except (KeyboardInterrupt, Ended, MemoryError, torch.OutOfMemoryError, Misbehaved):
        raise
    except TokbenchError as error:
        if may_refuse:
            raise
        raise Misbehaved(str(error) if name in str(error) else f"{name}: {error}") from error
    except BaseException as error:  # SystemExit, and whatever else code of others raises
        if out_of_memory(error):
            raise
        raise Misbehaved(f"{name} fails in {what} ({brief(error)}{_place(error)}); mend it there") from error


def name_of(tokenizer: Tokenizer) -> str:
    """What to call a tokenizer: its name, or that of its class if it has none that can be printed."""
    try:
        name = tokenizer.name
    except KeyboardInterrupt:
        raise
    except BaseException:  # a property of others
        name = ""
    return name if isinstance(name, str) and name and name == visible(name) else type(tokenizer).__name__


def layout_of(tokenizer: Tokenizer, height: int, width: int) -> TokenLayout:
    """Ask a tokenizer for its layout, of the positions that it keeps.

    Args:
        tokenizer: Any tokenizer.
        height: In pixels.
        width: In pixels.

    Raises:
        Misbehaved: If it fails, or what it returns is no layout of such an image.
        TokbenchError: If the tokenizer says that it cannot take this size, or no image can be decoded from what it keeps.
    """
    name = name_of(tokenizer)
    with blamed(name, "layout", may_refuse=True):
        layout: Any = tokenizer.layout(height, width)
    if not isinstance(layout, TokenLayout):
        raise Misbehaved(f"layout of {name} returns {_kind(layout)}, not a TokenLayout; mend it there")
    numbers = (
        *layout.image_size,
        *layout.grid,
        *layout.codebook_sizes,
        layout.channels,
        *layout.scales,
        *layout.widths,
        *layout.lengths,
        *layout.padding,
    )
    if not all(type(number) is int for number in numbers) or not isinstance(layout.grid, tuple):
        raise Misbehaved(f"layout of {name} holds {visible(str(numbers))[:200]}; all its numbers must be ints, in tuples")
    if tuple(layout.image_size) != (height, width):
        raise Misbehaved(f"layout of {name} is of an image of {layout.image_size}, asked for {(height, width)}; mend it there")
    if tokenizer.kept_length is None:
        return layout
    try:
        return layout.prefix(tokenizer.kept_length)
    except TokbenchError as error:
        raise TokbenchError(f"{name}: {error}") from error


def check_tokens(tokens: Any, layout: TokenLayout, images: Tensor, before: Tensor, name: str, ids: Sequence[str] = ()) -> Tokens:
    """Hold what encode returned against the layout announced.

    Args:
        tokens: What it returned.
        layout: Layout of one image.
        images: What it was given.
        before: A copy of that from before.
        name: Name of the tokenizer.
        ids: What to call the images; those beyond are padding.

    Raises:
        Misbehaved: If they are no such tokens, one for every image and all there, or the images were written to. Within ``granting`` what
            depends on values is asked later.
    """
    if not isinstance(tokens, DiscreteTokens | ContinuousTokens):
        raise Misbehaved(f"encode of {name} returns {_kind(tokens)}, not DiscreteTokens or ContinuousTokens; mend it there")
    if type(tokens) is not (DiscreteTokens if layout.discrete else ContinuousTokens):
        announced = "codes" if layout.discrete else "latents"
        raise Misbehaved(f"encode of {name} returns {type(tokens).__name__}, its layout announces {announced}; mend one of them")
    with blamed(name, "encode"):
        values = tokens.codes if isinstance(tokens, DiscreteTokens) else tokens.latents
        _check_tensor(values, images.device, f"encode of {name}")
        if isinstance(tokens, DiscreteTokens):
            DiscreteTokens(tokens.codes, tokens.grid, tokens.codebook_sizes)  # it may have been written to since its birth
        else:
            ContinuousTokens(tokens.latents, tokens.grid)
    sizes, channels = (tokens.codebook_sizes, 0) if isinstance(tokens, DiscreteTokens) else ((), tokens.latents.shape[2])
    if (tokens.grid, tuple(sizes), channels) != (layout.grid, layout.codebook_sizes, layout.channels):
        raise Misbehaved(
            f"{name} encoded a grid {tokens.grid} with codebooks {tuple(sizes)} and {channels} channels, its layout announces "
            f"{layout.grid}, {layout.codebook_sizes} and {layout.channels}; mend one of them"
        )
    if len(tokens) != len(images):
        raise Misbehaved(f"encode of {name} returns tokens of {counted(len(tokens), 'image')} for {len(images)}; it must encode every one")
    if isinstance(tokens, ContinuousTokens):
        latents = tokens.latents
        require(torch.isfinite(latents).all(), lambda: _not_finite(f"{name} encoded latents that are not finite", latents, ids))
    _check_same(images, before, f"encode of {name} writes into the images it is given; let it work on a copy")
    return tokens


def check_images(images: Any, shape: tuple[int, int, int, int], device: torch.device, name: str, ids: Sequence[str] = ()) -> Tensor:
    """Hold what decode returned against what it must return.

    Args:
        images: What it returned.
        shape: ``[B, 3, H, W]`` of it.
        device: Device of the tokens it was given.
        name: Name of the tokenizer.
        ids: What to call the images; those beyond are padding.

    Raises:
        Misbehaved: If they are no such images, or pixels are not finite; those far out of [-1, 1] are allowed, and clamped later. Within
            ``granting`` what depends on values is asked later.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise Misbehaved(f"decode of {name} returns {_kind(images)}, not float images in [-1, 1]; mend it there")
    if tuple(images.shape) != shape:
        raise Misbehaved(f"{name} decoded {tuple(images.shape)}, expected {shape}: its decode does not undo its encode")
    _check_tensor(images, device, f"decode of {name}")

    def not_finite() -> Misbehaved:
        wrong = "NaN" if bool(torch.isnan(images).any()) else "infinite"
        return _not_finite(f"{name} decoded {wrong} pixels", images, ids)

    require(torch.isfinite(images).all(), not_finite)
    return images


def check_unwritten(tokens: Tokens, before: Tensor, name: str) -> None:
    """See that decode left the tokens as they were.

    Args:
        tokens: What it was given.
        before: A copy of their codes or latents from before.
        name: Name of the tokenizer.

    Raises:
        Misbehaved: If it did not.
    """
    _check_same(values_of(tokens), before, f"decode of {name} writes into the tokens it is given; let it work on a copy")


def _check_same(values: Tensor, before: Tensor, otherwise: str) -> None:
    if values.shape != before.shape:
        raise Misbehaved(otherwise)
    require((values == before).all(), lambda: Misbehaved(otherwise))


def _not_finite(what: str, values: Tensor, ids: Sequence[str]) -> Misbehaved:
    """The error for values of images that are not finite, which names the first of them."""
    row = int(values.flatten(1).isfinite().all(dim=1).logical_not().nonzero()[0])
    where = f" of image {visible(ids[row])}" if row < len(ids) else ""
    return Misbehaved(f"{what}{where}; its weights are damaged, or it needs another precision")


def values_of(tokens: Tokens) -> Tensor:
    """The codes or latents."""
    return tokens.codes if isinstance(tokens, DiscreteTokens) else tokens.latents


def _check_tensor(values: Tensor, device: torch.device, where: str) -> None:
    if values.device != device:
        raise Misbehaved(f"{where} returns a tensor on {values.device}, what it was given is on {device}; mend it there")
    if values.dtype == torch.float64:  # images come in single precision, and code of others easily slips into double
        raise Misbehaved(f"{where} returns float64, what it was given is computed in float32; convert it there")
    if values.requires_grad:
        raise Misbehaved(f"{where} returns a tensor that requires gradients; leave gradients off, or detach it")


def _kind(value: object) -> str:
    """What something is, in a few words."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _place(error: BaseException) -> str:
    """The last line of an error that is neither in this package nor in torch."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if frame.lineno is not None and path.is_file() and not any(path.is_relative_to(root) for root in _ROOTS):
            return f", {visible(path.name)} line {frame.lineno}"
    return ""
