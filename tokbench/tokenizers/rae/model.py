"""RAE. Paper: Zheng et al., "Diffusion Transformers with Representation Autoencoders", 2025.

    images -> resized to the encoder's size -> DINOv2, SigLIP2 or MAE -> features, normalised -> latents -> ViT -> images

The network is ``AutoencoderRAE`` of diffusers, whose encoders are those of transformers. Its images are in [0, 1].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tokbench.tokenizers.diffusers.model import DiffusersTokenizer
from tokbench.tokenizers.library.config import LibraryConfig
from tokbench.tokenizers.library.model import NETWORK, Calls, Generators
from tokbench.tokenizers.rae.config import STATISTICS, RAEConfig
from tokbench.weights.weight_files import CONFIG, model_folder, read_json

POSITIONS = "decoder.decoder_pos_embed"
"""Sines and cosines of places, which the files hold and the network makes."""

OLDER = ((r"attention\.attention\.(q|k|v)[a-z]+\.", r"attention.\1_proj."), (r"attention\.output\.dense\.", "attention.o_proj."))
OLDER_MAE = ((r"^encoder\.encoder\.layer\.", "encoder.layers."), (r"intermediate\.dense\.", "mlp.fc1."), (r"output\.dense\.", "mlp.fc2."))
"""Patterns of names that transformers 4 gave to layers of encoders, as the published files have them, and today's. MAE has more of them."""


def _latents(tokenizer: RAE, images: Tensor, generators: Generators) -> Tensor:
    return tokenizer.network.encode((images + 1) / 2).latent


def _drawn(tokenizer: RAE, latents: Tensor, generators: Generators) -> Tensor:
    return 2 * tokenizer.network.decode(latents).sample - 1


class RAE(DiffusersTokenizer):
    """Features of a frozen encoder as continuous latents on a 2D grid, for images of one size."""

    tileable = False
    calls: ClassVar[Mapping[str, Calls]] = {"AutoencoderRAE": Calls(_latents, _drawn)}

    @classmethod
    def built(cls, library_class: Any, config: LibraryConfig) -> nn.Module:
        """Build the network, with room for statistics of every latent where its weights have them."""
        assert isinstance(config, RAEConfig)
        with _siglip_as_before():
            network = library_class(**config.values)
        if config.statistics:
            shape = (config.channels, config.side, config.side)
            for key, values in zip(STATISTICS, (torch.zeros(shape), torch.ones(shape)), strict=True):
                network.register_buffer(f"_{key}", values)
        return network

    @classmethod
    def configured(cls, place: Path, config: LibraryConfig) -> LibraryConfig:
        """As the ``config.json`` says; statistics are left to the weights, and only noted."""
        found, path = super().configured(place, config), model_folder(place, cls._is_read) / CONFIG
        name, values = cls.found(read_json(path)) if path.is_file() else ("", {})
        if name != config.library_class:  # beside a lone file it may be of anything
            return found
        assert isinstance(found, RAEConfig)
        return replace(found, statistics=any(values.get(key) is not None for key in STATISTICS))

    @classmethod
    def completed(cls, library_class: Any, values: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with the library's defaults, without statistics."""
        return super().completed(library_class, {**values, **dict.fromkeys(STATISTICS)}, row)

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of the library, under ``network.``; a mean or deviation that a file has but once is one of every latent."""
        plain = {key.removeprefix(NETWORK): value for key, value in state.items()}
        named = super().own_names(of_today({key: value for key, value in plain.items() if key != POSITIONS}))
        mean, std = (named.get(f"{NETWORK}_{key}") for key in STATISTICS)
        if mean is not None and std is not None and mean.ndim != std.ndim:
            named |= {f"{NETWORK}_{key}": value for key, value in zip(STATISTICS, torch.broadcast_tensors(mean, std), strict=True)}
        return named


@contextmanager
def _siglip_as_before() -> Iterator[None]:
    """Let diffusers find SigLIP's layers where it looks for them, a level below where transformers has had them since."""
    import transformers

    siglip: Any = transformers.SiglipVisionModel
    if missing := not hasattr(siglip, "vision_model"):
        siglip.vision_model = property(lambda model: model)
    try:
        yield
    finally:
        if missing:
            del siglip.vision_model


def of_today(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn names that transformers 4 gave to layers of encoders into those of today.

    Args:
        state: Tensors of the network by older names, today's, or any others.

    Returns:
        The same tensors in the same order; what is not of the encoder keeps its name.
    """
    encoder = [key for key in state if key.startswith("encoder.")]
    patterns = OLDER + (OLDER_MAE if any(".layernorm_before." in key for key in encoder) else ())
    renamed = {key: key.replace("encoder.vision_model.", "encoder.", 1) for key in encoder}
    for pattern, replacement in patterns:
        renamed = {key: re.sub(pattern, replacement, name) for key, name in renamed.items()}
    return {renamed.get(key, key): value for key, value in state.items()}
