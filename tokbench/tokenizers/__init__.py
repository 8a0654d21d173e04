"""The zoo: one folder a family. ``load`` builds any of them; the classes are here by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer
    from tokbench.tokenizers.bsq.model import BSQViT
    from tokbench.tokenizers.emu3.model import Emu3
    from tokbench.tokenizers.family import Family, Variant
    from tokbench.tokenizers.flowmo.model import FlowMo
    from tokbench.tokenizers.infinity.model import Infinity
    from tokbench.tokenizers.llamagen.model import LlamaGen
    from tokbench.tokenizers.patch.model import PatchKMeans
    from tokbench.tokenizers.pixel.model import PixelPalette, PixelRGB
    from tokbench.tokenizers.vae.model import VAE
    from tokbench.tokenizers.var.model import VAR
    from tokbench.tokenizers.vqgan.model import VQGAN
    from tokbench.tokenizers.vqvae.model import VQVAE
    from tokbench.tokenizers.zoo import families, load, names

__all__ = [
    "VAE",
    "VAR",
    "VQGAN",
    "VQVAE",
    "BSQViT",
    "Emu3",
    "Family",
    "FlowMo",
    "Infinity",
    "LlamaGen",
    "PatchKMeans",
    "PixelPalette",
    "PixelRGB",
    "Tokenizer",
    "Variant",
    "families",
    "load",
    "names",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "VAE": "tokbench.tokenizers.vae.model",
        "VAR": "tokbench.tokenizers.var.model",
        "VQGAN": "tokbench.tokenizers.vqgan.model",
        "VQVAE": "tokbench.tokenizers.vqvae.model",
        "BSQViT": "tokbench.tokenizers.bsq.model",
        "Emu3": "tokbench.tokenizers.emu3.model",
        "Family": "tokbench.tokenizers.family",
        "FlowMo": "tokbench.tokenizers.flowmo.model",
        "Infinity": "tokbench.tokenizers.infinity.model",
        "LlamaGen": "tokbench.tokenizers.llamagen.model",
        "PatchKMeans": "tokbench.tokenizers.patch.model",
        "PixelPalette": "tokbench.tokenizers.pixel.model",
        "PixelRGB": "tokbench.tokenizers.pixel.model",
        "Tokenizer": "tokbench.tokenizers.base",
        "Variant": "tokbench.tokenizers.family",
        "families": "tokbench.tokenizers.zoo",
        "load": "tokbench.tokenizers.zoo",
        "names": "tokbench.tokenizers.zoo",
    },
)
