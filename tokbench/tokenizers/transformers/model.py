"""Image tokenizers of transformers behind this package's interface.

Papers: Wang et al. 2024, "Emu3: Next-Token Prediction is All You Need". Chameleon Team 2024, "Chameleon: Mixed-Modal Early-Fusion
Foundation Models", whose tokenizer is that of Gafni et al. 2022, "Make-A-Scene". Wu et al. 2024, "Janus".

    images -> network.encode -> nearest of K codes -> network.decode, or for Chameleon post_quant_conv and a decoder of VQGAN -> images

The library's Janus compares vectors with codes as they are and decodes codes of length 1; that of its authors, ``janus/vq-16``, compares
directions.

A folder may be that of the whole language model: then only its tokenizer's tensors are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tokbench.configs import plain
from tokbench.errors import TokbenchError
from tokbench.nn.autoencoder import Decoder
from tokbench.tokenizers.library.config import LibraryConfig
from tokbench.tokenizers.library.model import Calls, Generators, LibraryTokenizer
from tokbench.tokenizers.transformers.config import ChameleonVQVAEConfig
from tokbench.weights.entries import find_entry
from tokbench.weights.weight_files import model_folder, open_weights

MODEL_TYPES = {"emu3_vqgan": "Emu3VQVAE", "chameleon_vqgan": "ChameleonVQVAE", "janus_vqgan": "JanusVQVAE"}
"""What a ``config.json`` calls the classes."""

LANGUAGE_MODELS = {"emu3": "Emu3VQVAE", "chameleon": "ChameleonVQVAE", "janus": "JanusVQVAE"}
"""What it calls language models that hold one; its settings are under ``vq_config``."""


def _emu3_codes(tokenizer: TransformersTokenizer, images: Tensor, generators: Generators) -> Tensor:
    sizes = torch.tensor([images.shape[2:]] * len(images))
    found = tokenizer.network.encode(images, sizes)
    return torch.stack(list(found if isinstance(found, list) else found.image_tokens))  # what it returns depends on its version


def _emu3_images(tokenizer: TransformersTokenizer, codes: Tensor, generators: Generators) -> Tensor:
    return tokenizer.network.decode(codes)


def _chameleon_codes(tokenizer: TransformersTokenizer, images: Tensor, generators: Generators) -> Tensor:
    found = tokenizer.network.encode(images)
    indices = found[2] if isinstance(found, tuple) else found.image_tokens
    return indices.reshape(len(images), *(side // tokenizer.stride for side in images.shape[2:]))


def _chameleon_images(tokenizer: TransformersTokenizer, codes: Tensor, generators: Generators) -> Tensor:
    if not tokenizer.config.decoder:
        raise TokbenchError(
            f"these weights of {tokenizer.name or 'ChameleonVQVAE'} have no decoder, so they only encode; "
            "give weights that have one, such as Chameleon's own vqgan.ckpt"
        )
    network = tokenizer.network
    return network.decoder(network.post_quant_conv(rearrange(network.quantize.embedding(codes), "b h w d -> b d h w")))


def _janus_codes(tokenizer: TransformersTokenizer, images: Tensor, generators: Generators) -> Tensor:
    indices = tokenizer.network.encode(images).image_tokens
    return indices.reshape(len(images), *(side // tokenizer.stride for side in images.shape[2:]))


def _janus_images(tokenizer: TransformersTokenizer, codes: Tensor, generators: Generators) -> Tensor:
    """As its ``decode`` does, which takes one number of codes alone."""
    network = tokenizer.network
    vectors = F.normalize(network.quantize.embedding(codes), dim=-1)
    return network.decoder(network.post_quant_conv(rearrange(vectors, "b h w d -> b d h w").contiguous()))


class TransformersTokenizer(LibraryTokenizer):
    """An image tokenizer of transformers, with one codebook and a 2D grid."""

    library: ClassVar[str] = "transformers"
    bundles: ClassVar[tuple[str, ...]] = ("vqmodel",)
    calls: ClassVar[Mapping[str, Calls]] = {
        "Emu3VQVAE": Calls(_emu3_codes, _emu3_images),
        "ChameleonVQVAE": Calls(_chameleon_codes, _chameleon_images),
        "JanusVQVAE": Calls(_janus_codes, _janus_images),
    }
    config: Any
    network: Any

    @classmethod
    def configured(cls, place: Path, config: LibraryConfig) -> LibraryConfig:
        """Take the settings that a folder has, and look whether its weights have a decoder of Chameleon."""
        config = super().configured(place, config)
        if not isinstance(config, ChameleonVQVAEConfig):
            return config
        weights = place if place.is_file() else model_folder(place, cls._is_read)
        names = list(find_entry(open_weights(weights, bundles=cls.bundles).content, origin=str(weights)))
        own = [name for name in names if "vqmodel" in name.split(".")] or names
        decoder = any("decoder" in name.split(".") for name in own)
        return replace(config, decoder=decoder)

    @classmethod
    def built(cls, library_class: Any, config: LibraryConfig) -> nn.Module:
        """Build the network from its settings, for Chameleon with a decoder beside the library's encoder."""
        network = library_class(library_class.config_class(**config.values))
        if isinstance(config, ChameleonVQVAEConfig) and config.decoder:
            network.decoder = Decoder(config.autoencoder)
        return network

    @classmethod
    def found(cls, values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Class and settings, those of a language model's ``vq_config`` if there is one."""
        kind = str(values.get("model_type") or values.get("_class_name") or "")
        if kind in LANGUAGE_MODELS:
            return LANGUAGE_MODELS[kind], values.get("vq_config") or {}
        return MODEL_TYPES.get(kind, kind), values

    @classmethod
    def completed(cls, library_class: Any, values: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that the row has too, with the library's defaults; those of every model, such as a data type, are left out."""
        default = library_class.config_class()
        return plain({key: values.get(key, getattr(default, key)) for key in row})

    def _embed(self, codes: Tensor) -> Tensor:
        rows = super()._embed(codes)
        return F.normalize(rows, dim=-1) if self.config.library_class == "JanusVQVAE" else rows
