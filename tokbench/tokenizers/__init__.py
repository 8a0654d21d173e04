"""The zoo: one folder a family. ``load`` builds any of them; the classes are here by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer
    from tokbench.tokenizers.bsq.model import BSQViT
    from tokbench.tokenizers.cosmos.model import CosmosCI, CosmosDI
    from tokbench.tokenizers.dalle.model import DalleVAE
    from tokbench.tokenizers.detok.model import DeTok
    from tokbench.tokenizers.emu3.model import Emu3
    from tokbench.tokenizers.family import Family, Variant
    from tokbench.tokenizers.flowmo.model import FlowMo
    from tokbench.tokenizers.flux.model import Flux2
    from tokbench.tokenizers.hunyuan.model import Hunyuan
    from tokbench.tokenizers.ibq.model import IBQTokenizer
    from tokbench.tokenizers.infinity.model import Infinity
    from tokbench.tokenizers.janus.model import Janus
    from tokbench.tokenizers.llamagen.model import LlamaGen
    from tokbench.tokenizers.maetok.model import MAETok
    from tokbench.tokenizers.magvit2.model import MAGVIT2
    from tokbench.tokenizers.maskbit.model import MaskBit
    from tokbench.tokenizers.maskgit.model import MaskGIT
    from tokbench.tokenizers.patch.model import PatchKMeans
    from tokbench.tokenizers.pixel.model import PixelPalette, PixelRGB
    from tokbench.tokenizers.softvq.model import SoftVQ
    from tokbench.tokenizers.taesd.model import TAESD
    from tokbench.tokenizers.titok.model import TiTok
    from tokbench.tokenizers.vae.model import VAE
    from tokbench.tokenizers.var.model import VAR
    from tokbench.tokenizers.vqgan.model import VQGAN
    from tokbench.tokenizers.vqvae.model import VQVAE
    from tokbench.tokenizers.vtp.model import VTP
    from tokbench.tokenizers.wan.model import Wan
    from tokbench.tokenizers.zoo import families, load, names

__all__ = [
    "MAGVIT2",
    "TAESD",
    "VAE",
    "VAR",
    "VQGAN",
    "VQVAE",
    "VTP",
    "BSQViT",
    "CosmosCI",
    "CosmosDI",
    "DalleVAE",
    "DeTok",
    "Emu3",
    "Family",
    "FlowMo",
    "Flux2",
    "Hunyuan",
    "IBQTokenizer",
    "Infinity",
    "Janus",
    "LlamaGen",
    "MAETok",
    "MaskBit",
    "MaskGIT",
    "PatchKMeans",
    "PixelPalette",
    "PixelRGB",
    "SoftVQ",
    "TiTok",
    "Tokenizer",
    "Variant",
    "Wan",
    "families",
    "load",
    "names",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "MAGVIT2": "tokbench.tokenizers.magvit2.model",
        "TAESD": "tokbench.tokenizers.taesd.model",
        "VAE": "tokbench.tokenizers.vae.model",
        "VAR": "tokbench.tokenizers.var.model",
        "VQGAN": "tokbench.tokenizers.vqgan.model",
        "VQVAE": "tokbench.tokenizers.vqvae.model",
        "VTP": "tokbench.tokenizers.vtp.model",
        "BSQViT": "tokbench.tokenizers.bsq.model",
        "CosmosCI": "tokbench.tokenizers.cosmos.model",
        "CosmosDI": "tokbench.tokenizers.cosmos.model",
        "DalleVAE": "tokbench.tokenizers.dalle.model",
        "DeTok": "tokbench.tokenizers.detok.model",
        "Emu3": "tokbench.tokenizers.emu3.model",
        "Family": "tokbench.tokenizers.family",
        "FlowMo": "tokbench.tokenizers.flowmo.model",
        "Flux2": "tokbench.tokenizers.flux.model",
        "Hunyuan": "tokbench.tokenizers.hunyuan.model",
        "IBQTokenizer": "tokbench.tokenizers.ibq.model",
        "Infinity": "tokbench.tokenizers.infinity.model",
        "Janus": "tokbench.tokenizers.janus.model",
        "LlamaGen": "tokbench.tokenizers.llamagen.model",
        "MAETok": "tokbench.tokenizers.maetok.model",
        "MaskBit": "tokbench.tokenizers.maskbit.model",
        "MaskGIT": "tokbench.tokenizers.maskgit.model",
        "PatchKMeans": "tokbench.tokenizers.patch.model",
        "PixelPalette": "tokbench.tokenizers.pixel.model",
        "PixelRGB": "tokbench.tokenizers.pixel.model",
        "SoftVQ": "tokbench.tokenizers.softvq.model",
        "TiTok": "tokbench.tokenizers.titok.model",
        "Tokenizer": "tokbench.tokenizers.base",
        "Variant": "tokbench.tokenizers.family",
        "Wan": "tokbench.tokenizers.wan.model",
        "families": "tokbench.tokenizers.zoo",
        "load": "tokbench.tokenizers.zoo",
        "names": "tokbench.tokenizers.zoo",
    },
)
