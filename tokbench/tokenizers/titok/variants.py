"""Variants of TiTok."""

from __future__ import annotations

from dataclasses import replace

from tokbench.nn.configs import ViTConfig
from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.maskgit.variants import MASKGIT_F16
from tokbench.tokenizers.titok.config import TiTokConfig
from tokbench.weights.training import UNKNOWN

SIZES = {"s": ViTConfig(512, depth=8, heads=8), "b": ViTConfig(768, depth=12, heads=12), "l": ViTConfig(1024, depth=24, heads=16)}
"""The transformers by the letters of the published names: encoder, then decoder where it is another; 16 px patches."""

TWO_STEPS = TiTokConfig(SIZES["l"], SIZES["l"], length=32, channels=12, codebook_size=4096, cosine=True, pixels=MASKGIT_F16)
"""The first models, whose pixels are made by MaskGIT's decoder."""

WORDS = (77, 768)
"""Positions and width of the text side of CLIP ViT-L/14."""

IMAGENET = ("data:imagenet/train", "convnext-small")


def _variant(name: str, config: TiTokConfig, summary: str, file: str, *, words: bool = False) -> Variant:
    sides, length = name.removeprefix("ta-").split("-")[:2]
    config = replace(config, encoder=SIZES[sides[0]], decoder=SIZES[sides[-1]], length=int(length), text=WORDS if words else None)
    return published_variant(
        "titok",
        name,
        config,
        f"{length} {summary}",
        source=f"bytedance/1d-tokenizer, {file.removeprefix('hf:')}",
        licence="Apache-2.0 (repository)",
        trained_with=(UNKNOWN,) if words else IMAGENET,
        file=file,
    )


def _two_steps(name: str) -> Variant:
    summary = "codes of 4096, pixels by MaskGIT's decoder, published for ImageNet at 256 px"
    return _variant(name, TWO_STEPS, summary, f"hf:fun-research/TiTok/tokenizer_titok_{name.replace('-', '')}.bin")


def _codes(name: str) -> Variant:
    config = replace(TWO_STEPS, channels=64, codebook_size=8192, cosine=False, pixels=None)
    file = f"hf:fun-research/TiTok/tokenizer_titok_{name.replace('-', '')}_vq8k.bin"
    return _variant(f"{name}-vq", config, "codes of 8192, published for ImageNet at 256 px", file)


def _latents(name: str) -> Variant:
    config = replace(TWO_STEPS, channels=16, codebook_size=None, cosine=False, pixels=None)
    file = f"hf:fun-research/TiTok/titok_{name.replace('-', '')}_vae_c16.bin"
    return _variant(f"{name}-vae", config, "latents of 16 values, published for ImageNet at 256 px", file)


def _beside_words(name: str, kind: str) -> Variant:
    like = (_codes if kind == "vq" else _latents)(name)
    assert isinstance(like.config, TiTokConfig)
    what = "codes of 8192" if kind == "vq" else "latents of 16 values"
    file = f"hf:turkeyju/tokenizer_tatitok_{name.replace('-', '')}_{kind}/model.safetensors"
    summary = f"{what}, encodes alone and decodes beside CLIP features of words; name of its file unverified"
    return _variant(f"ta-{name}-{kind}", like.config, summary, file, words=True)


FAMILY = Family(
    name="titok",
    summary="TiTok and TA-TiTok (Yu et al. 2024, Kim et al. 2025): transformers around a short sequence of tokens",
    model="tokbench.tokenizers.titok.model:TiTok",
    default="l-32",
    variants=(
        *(_two_steps(name) for name in ("l-32", "b-64", "s-128")),
        *(_codes(name) for name in ("bl-64", "bl-128", "sl-256")),
        *(_latents(name) for name in ("ll-32", "bl-64", "bl-128")),
        *(_beside_words(name, "vq") for name in ("bl-32", "bl-64", "bl-128")),
        *(_beside_words(name, "vae") for name in ("bl-32", "bl-64", "sl-128")),
    ),
)
