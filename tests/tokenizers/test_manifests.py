"""Every list of names and shapes of a published file that is here: a variant takes all of it, strictly, and nothing more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.emu3.keys import transformers_layout
from tokbench.weights.fitting.fit import fit
from tokbench.weights.fitting.wanted import Wanted
from tokbench.weights.key_maps.taming import to_taming

FOLDER = Path(__file__).parents[3] / "shared" / "facts" / "keys"

VARIANTS: dict[str, tuple[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]]] = {
    "taming_vqgan_imagenet_f16_1024": ("vqgan/imagenet-f16-1024", to_taming),
    "taming_vqgan_gumbel_f8_8192": ("vqgan/gumbel-f8", to_taming),
    "ldm_vq_f4_8192_taming_layout": ("vqgan/ldm-f4", to_taming),
    "ldm_vq_f8_16384_taming_layout": ("vqgan/ldm-f8", to_taming),
    "llamagen_vq16": ("llamagen/vq-16", to_taming),
    "sd_vae_ldm": ("vae/sd", to_taming),
    "sd_vae_diffusers": ("vae/sd", to_taming),
    "emu3_vqvae_transformers": ("emu3/vision", transformers_layout),
    "flowmo_lo": ("flowmo/lo", dict),
}
"""Variant and renaming of each; a published variant is the same row whatever the layout of its file."""


def manifests() -> list[Any]:
    found = sorted(FOLDER.glob("*.json"))
    return found or [pytest.param(FOLDER, marks=pytest.mark.skip(reason="the manifests are not here"))]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda path: path.stem)
def test_it_loads_strictly_with_as_many_parameters(manifest: Path) -> None:
    """As a whole file is read: what training left is dropped by rule, the rest renamed; on the meta device, without values."""
    name, renamed = VARIANTS[manifest.stem]
    listed = json.loads(manifest.read_text())
    tensors = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, (shape, dtype) in listed["tensors"].items()}
    assert len(tensors) == listed["n_keys"]
    assert elements(tensors) == listed["n_elements"]
    left_out = {key: value for key, value in tensors.items() if key.startswith(("loss.", "quantize.codebook_used"))}
    family, variant = zoo.resolve(name)
    with torch.device("meta"):
        model = import_class(family.model)(variant.config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    found = fit({"state_dict": tensors}, Wanted(name, shapes, frozenset(shapes), renamed), dict, origin=manifest.name)
    assert (found.fits, found.unknown) == (True, {})
    assert sum(count for _, count in found.dropped) == len(left_out)
    own = {key: value.dtype for key, value in model.state_dict().items()}
    state = found.tensors
    model.load_state_dict(state, strict=True, assign=True)
    assert {key: value.dtype for key, value in state.items()} == own
    assert elements(model.state_dict()) == listed["n_elements"] - elements(left_out)


def elements(tensors: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in tensors.values())


def test_a_manifest_of_another_variant_is_refused() -> None:
    """Strict loading on the meta device can fail."""
    with torch.device("meta"):
        models = [import_class(family.model)(variant.config) for family, variant in map(zoo.resolve, ("vqgan/ldm-f4", "vqgan/ldm-f8"))]
    with pytest.raises(RuntimeError, match="size mismatch for quantize"):
        models[0].load_state_dict(models[1].state_dict(), strict=True, assign=True)
