"""Lists of names and shapes of published files of convolutional networks: a variant takes them strictly, averages before raw weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.quantizers.configs import IBQ
from tokbench.tokenizers import zoo
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.ibq.model import IBQTokenizer
from tokbench.tokens import DiscreteTokens
from tokbench.weights.fitting.fit import fit
from tokbench.weights.fitting.wanted import Wanted

FOLDER = Path(__file__).parents[3] / "shared" / "facts" / "keys2"

VARIANTS = {
    "openmagvit2_imagenet_128_L": "magvit2/imagenet-128",
    "openmagvit2_pretrain_256_16384": "magvit2/pretrain-16384",
    "openmagvit2_pretrain_256_262144": "magvit2/pretrain-262144",
    "ibq_imagenet_1024": "ibq/imagenet-1024",
    "ibq_imagenet_8192": "ibq/imagenet-8192",
    "ibq_imagenet_16384": "ibq/imagenet-16384",
    "ibq_imagenet_262144": "ibq/imagenet-262144",
    "ibq_pretrain_262144": "ibq/pretrain-262144",
    "cosmos_ci8x8": "cosmos/ci8x8",
    "cosmos_di8x8": "cosmos/di8x8",
    "cosmos_di16x16": "cosmos/di16x16",
}

MILLIONS = {
    "magvit2/imagenet-256": 115.1,
    "ibq/imagenet-16384": 111.0,
    "janus/vq-16": 71.9,
    "cosmos/ci8x8": 76.8,
    "cosmos/ci16x16": 81.5,
    "cosmos/di8x8": 79.0,
    "cosmos/di16x16": 83.7,
    "dalle/dvae": 97.6,
}
"""Parameters of upstream's networks, counted there, also of files without a manifest."""


def built(name: str) -> Any:
    family, variant = zoo.resolve(name)
    with torch.device("meta"):
        return import_class(family.model)(variant.config)


def listed(manifest: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = FOLDER / f"{manifest}.json"
    if not path.is_file():
        pytest.skip("the manifests are not here")
    values = json.loads(path.read_text())
    kinds = values["tensors"].items()
    return values, {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, (shape, dtype) in kinds}


def elements(tensors: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in tensors.values())


@pytest.mark.parametrize(("manifest", "name"), VARIANTS.items())
def test_it_loads_strictly_with_as_many_parameters(manifest: str, name: str) -> None:
    values, tensors = listed(manifest)
    assert (len(tensors), elements(tensors)) == (values["n_keys"], values["n_elements"])
    model = built(name)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    found = fit({"state_dict": tensors}, Wanted(name, shapes, frozenset(shapes), model.own_names), dict, origin=manifest)
    assert (found.fits, found.unknown) == (True, {})
    averages = [key for key in tensors if key.startswith("model_ema.")]
    assert all(key.startswith("state_dict.model_ema.") for key in found.names) == bool(averages)
    model.load_state_dict(found.tensors, strict=True, assign=True)
    counted = {"decay", "num_updates"}
    taken = sum(tensors[key].numel() for key in averages if key.removeprefix("model_ema.") not in counted)
    assert elements(model.state_dict()) == (taken or values["n_elements"])


def test_the_decoder_of_dalle() -> None:
    """Its pickle names nothing by the half that it is."""
    _, tensors = listed("dalle_decoder")
    model = built("dalle/dvae")
    renamed = model.own_names({f"decoder.{key}": value for key, value in tensors.items()})
    own = {key: value.shape for key, value in model.state_dict().items() if key.startswith("decoder.")}
    assert {key: value.shape for key, value in renamed.items()} == own


@pytest.mark.parametrize(("name", "millions"), MILLIONS.items())
def test_sizes(name: str, millions: float) -> None:
    assert elements(built(name).state_dict()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_emu3_5_has_the_encoder_of_transformers() -> None:
    """Of the library's class for its encoder: the same shapes."""
    apertus = pytest.importorskip("transformers.models.apertus1p5.modeling_apertus1p5")
    with torch.device("meta"):
        theirs = apertus.Apertus1p5VisionTokenizerModel(apertus.Apertus1p5VisionTokenizerConfig())
    ours = {key: value.shape for key, value in built("ibq/emu3.5").state_dict().items()}
    assert {shape for key, shape in ours.items() if key.startswith("quantize.")} == {theirs.quantize.embedding.weight.shape}
    shapes = [tuple(value.shape) for key, value in theirs.state_dict().items() if key.startswith(("encoder.", "quant_conv."))]
    assert sorted(shapes) == sorted(tuple(shape) for key, shape in ours.items() if key.startswith(("encoder.", "quant_conv.")))


def by_taming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of transformers' encoder of Emu3.5 as those of taming-transformers."""
    renamed = {}
    for key, value in state.items():
        name = re.sub(r"stages\.(\d+)\.layers\.(\d+)\.resnet\.", r"down.\1.block.\2.", key)
        name = re.sub(r"stages\.(\d+)\.layers\.(\d+)\.attention\.", r"down.\1.attn.\2.", name)
        renamed[re.sub(r"stages\.(\d+)\.", r"down.\1.", name)] = value
    return renamed


@pytest.mark.parametrize("attended", [(), (64,), (256, 64)])
@torch.no_grad()
def test_emu3_5_gives_the_ids_of_transformers(attended: tuple[int, ...]) -> None:
    apertus = pytest.importorskip("transformers.models.apertus1p5.modeling_apertus1p5")
    torch.manual_seed(0)
    shape = {"base_channels": 32, "channel_multiplier": (1, 2, 2), "num_res_blocks": 2, "attn_resolutions": attended}
    config = apertus.Apertus1p5VisionTokenizerConfig(codebook_size=50, embed_dim=12, latent_channels=10, **shape)
    theirs = apertus.Apertus1p5VisionTokenizerModel(config).eval()
    for value in theirs.parameters():
        value += 0.05 * torch.randn_like(value)
    network = AutoencoderConfig(10, channels=32, channel_multipliers=(1, 2, 2), num_res_blocks=2, attn_resolutions=attended)
    ours = IBQTokenizer(ConvVQConfig(network, IBQ(50, 12))).eval()
    left = ours.load_state_dict(by_taming(theirs.state_dict()), strict=False)
    assert not left.unexpected_keys
    assert all(key.startswith(("decoder.", "post_quant_conv.")) for key in left.missing_keys)
    images = torch.rand(2, 3, 24, 36, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens, ids = ours.encode(images), theirs.encode(images).image_tokens
    assert isinstance(tokens, DiscreteTokens)
    assert tokens.grid == tuple(ids.shape[1:])
    assert torch.equal(tokens.codes.flatten(), ids.flatten())
    assert len(ids.unique()) > 10
