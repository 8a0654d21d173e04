"""The published DC-AE models: sizes, layouts, and the factors that diffusion models scale their latents by."""

from __future__ import annotations

import pytest
import torch

from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.diffusers.config import AutoencoderDCConfig

ROWS = [variant for variant in zoo.families()["dcae"].variants]
SCALES = {"f32c32-in-1.0": 0.3189, "f64c128-mix-1.0": 0.4538, "f128c512-in-1.0": 0.4883, "f32c32-sana-1.1": 0.41407, "1.5-f64c128": None}


@pytest.mark.parametrize("variant", ROWS, ids=lambda variant: variant.name)
def test_stride_and_channels_are_those_of_the_name(variant: zoo.Variant) -> None:
    layout = variant.config.layout(512, 256)
    stride, channels = 512 // layout.grid[0], layout.channels
    assert f"f{stride}c{channels}" in variant.name
    assert layout.grid == (512 // stride, 256 // stride)
    assert isinstance(variant.config, AutoencoderDCConfig)
    if variant.name in SCALES:
        found = variant.config.normalisation
        assert (None if found is None else found.scale) == SCALES[variant.name]


@pytest.mark.parametrize("variant", ROWS, ids=lambda variant: variant.name)
def test_every_row_builds_what_its_layout_says(variant: zoo.Variant) -> None:
    pytest.importorskip("diffusers")
    with torch.device("meta"):
        model = import_class(zoo.families()["dcae"].model)(variant.config)
    size = 2 * model.stride
    latents = model.network.encode(torch.zeros(1, 3, size, size, device="meta")).latent
    assert latents.shape == (1, variant.config.layout(size, size).channels, 2, 2)
    assert model.network.decode(latents).sample.shape == (1, 3, size, size)


def test_another_decoder_behind_the_same_encoder() -> None:
    pytest.importorskip("diffusers")
    counts = {}
    for name in ("f32c32-in-1.0", "f32c32-sana-1.0", "lite-f32c32-sana-1.1"):
        family, variant = zoo.resolve(f"dcae/{name}")
        with torch.device("meta"):
            network = import_class(family.model)(variant.config).network
        counts[name] = [sum(value.numel() for value in part.parameters()) for part in (network.encoder, network.decoder)]
    sana, lite = counts["f32c32-sana-1.0"], counts["lite-f32c32-sana-1.1"]
    assert sum(counts["f32c32-in-1.0"]) == 323_356_460
    assert sana[0] == lite[0]
    assert sana[1] != lite[1]
