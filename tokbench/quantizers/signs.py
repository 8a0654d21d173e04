"""Signs of channels to the bits of a code and back."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.quantizers.configs import BitOrder


def pack_signs(vectors: Float[Tensor, "*b g"], order: BitOrder) -> Int64[Tensor, "*b"]:
    """Make one code of g channels: a bit is on where its channel is above zero, so zero counts as negative."""
    return ((vectors > 0).long() << _places(vectors.shape[-1], order, vectors.device)).sum(dim=-1)


def unpack_signs(codes: Int64[Tensor, "*b"], bits: int, order: BitOrder) -> Float[Tensor, "*b g"]:
    """Return the signs that codes stand for, exactly -1 or 1."""
    return 2.0 * ((codes[..., None] >> _places(bits, order, codes.device)) & 1).float() - 1.0


def sign_table(bits: int, order: BitOrder, device: torch.device) -> Float[Tensor, "k g"]:
    """Return the signs of all ``2 ** bits`` codes."""
    return unpack_signs(torch.arange(2**bits, device=device), bits, order)


def _places(bits: int, order: BitOrder, device: torch.device) -> Tensor:
    places = torch.arange(bits, device=device)
    return places if order == "low" else places.flip(0)
