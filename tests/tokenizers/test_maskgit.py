"""MaskGIT's network and its descendants against outputs of both ports under random weights, and against the names of published files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.nn import autoencoder, strips
from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.quantizers.configs import LFQ, VQ
from tokbench.tokenizers import zoo
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.maskbit.model import MaskBit
from tokbench.tokenizers.maskgit.model import MaskGIT
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly
from tokbench.weights.fitting.fit import fit
from tokbench.weights.fitting.wanted import Wanted
from tokbench.weights.key_maps.maskgit import TABLES

OWN = Path(__file__).parents[1] / "goldens"
SHARED = Path(__file__).parents[3] / "shared"
KINDS = ("maskgit_vqgan", "maskbit", "maskbit_legacy_decoder", "vqgan_plus")

MANIFESTS = {
    "maskgit_vqgan_imagenet_f16_256": "maskgit/imagenet-f16",
    "maskbit_repo_maskgit_tokenizer": "maskgit/imagenet-f16",
    "maskbit_tokenizer_10bit": "maskbit/10bit",
    "maskbit_tokenizer_12bit": "maskbit/12bit",
    "maskbit_tokenizer_16bit": "maskbit/16bit",
    "maskbit_tokenizer_18bit": "maskbit/18bit",
    "vqgan_plus_10bit": "maskbit/vqgan-plus-10bit",
}


def golden_sets() -> list[Path]:
    """The package's own, and further ones where they are."""
    own = [OWN / kind for kind in KINDS if (OWN / kind).is_dir()]
    further = sorted(path for kind in KINDS for path in (SHARED / "goldens2" / kind).glob("*") if (path / "io.safetensors").is_file())
    return own + [path for path in further if not (path.name == "a" and OWN / path.parent.name in own)]


def shape(settings: dict) -> ConvVQConfig:
    """A golden's settings, in the words of either port."""
    network = settings["config"]
    z, cost = network.get("z_channels") or network["token_size"], network.get("commitment_cost", settings.get("commitment_cost"))
    config = AutoencoderConfig(
        z,
        channels=network["hidden_channels"],
        channel_multipliers=tuple(network["channel_mult"]),
        num_res_blocks=network["num_res_blocks"],
        attn_resolutions=(),
        mid_attention=False,
        norm_groups=settings["group_norm"]["groups"],
        design="maskgit",
        pooled=not network.get("sample_with_conv"),
    )
    if network.get("quantizer_type") == "lookup-free":
        quantizer: VQ | LFQ = LFQ(
            z,
            entropy_weight=network["entropy_loss_weight"],
            commitment_weight=cost,
            temperature=network["entropy_loss_temperature"],
            entropy_form="clamped",
        )
    else:
        size = network.get("codebook_size") or settings["num_embeddings"]
        quantizer = VQ(size, z, beta=cost, loss_form="paper" if "codebook_size" in network else "taming")
    return ConvVQConfig(config, quantizer, quant_convs=False, unit_range=True)


def built(folder: Path) -> MaskGIT | MaskBit:
    """Read from the file as a user's would be."""
    model = (MaskGIT if folder.parent.name == "maskgit_vqgan" else MaskBit)(shape(json.loads((folder / "config.json").read_text())))
    load_strictly(model, model.read_weights(folder / "state_dict.safetensors").tensors, origin=folder.name)
    return model.eval()


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("folder", golden_sets(), ids=lambda path: f"{path.parent.name}-{path.name}")
@torch.no_grad()
def test_goldens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, io = built(folder), load_file(folder / "io.safetensors")
    images = 2 * io["image"] - 1
    tokens = model.encode(images)
    assert isinstance(tokens, DiscreteTokens)
    assert tokens.grid == tuple(io["prequant"].shape[2:])
    assert torch.equal(tokens.codes.flatten(), io["indices"].flatten().long())
    decoded = model.decode(tokens)
    close((decoded + 1) / 2, io.get("recon_from_tokens", io["recon"]), 1e-4)

    out = model(images)
    close(rearrange(out.vectors, "b (h w) d -> b d h w", h=tokens.grid[0]), io["prequant"], 1e-5)
    exact = rearrange(io.get("codes_exact", io["quant"]), "b d h w -> b (h w) d")
    close(model.embed(tokens), exact, 0)
    losses, kind = out.quantized.losses, model.config.quantizer.kind
    loss = io["eval_commitment_loss"] if kind == "lfq" else io.get("eval_quantizer_loss", io.get("vq_loss"))
    assert loss is not None
    close(losses["commitment" if kind == "lfq" else "codebook"], loss, 1e-5)

    monkeypatch.setattr(autoencoder, "STRIP", 0)  # from here on by strips, of fewer values than a map has
    monkeypatch.setattr(strips, "STRIP", 3000)
    close(model.encoder(io["image"]), io["prequant"], 1e-5)
    close(model.decode(tokens), decoded, 1e-4)


@pytest.mark.parametrize(("name", "variant"), MANIFESTS.items())
def test_manifests(name: str, variant: str) -> None:
    path = SHARED / "facts" / "keys2" / f"{name}.json"
    if not path.is_file():
        pytest.skip("the manifests are not here")
    listed = json.loads(path.read_text())
    tensors = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, (shape, dtype) in listed["tensors"].items()}
    family, row = zoo.resolve(variant)
    with torch.device("meta"):
        model = import_class(family.model)(row.config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    found = fit(tensors, Wanted(variant, shapes, frozenset(shapes), model.own_names), dict, origin=name)
    assert (found.fits, found.unknown) == (True, {})
    model.load_state_dict(found.tensors, strict=True, assign=True)
    tables = sum(value.numel() for key, value in tensors.items() if key in TABLES)
    assert sum(value.numel() for value in model.state_dict().values()) == listed["n_elements"] - tables


@pytest.mark.parametrize("bits", [10, 12, 14, 16, 18])
def test_bits(bits: int) -> None:
    config = zoo.resolve(f"maskbit/{bits}bit")[1].config
    assert config.layout(256, 256).bits_per_image == 256 * bits
    assert config.layout(512, 256).grid == (32, 16)


@pytest.mark.usefixtures("unchecked_types")
def test_impossible_settings_and_files_of_other_networks_are_refused() -> None:
    model = built(OWN / "maskbit_legacy_decoder")
    network = shape(json.loads((OWN / "maskbit_legacy_decoder" / "config.json").read_text())).autoencoder
    with pytest.raises(
        ValueError, match=r"without quant_convs the quantizer's values \(5\) must be as many as autoencoder.z_channels \(12\)"
    ):
        ConvVQConfig(network, LFQ(5), quant_convs=False)
    with pytest.raises(ValueError, match=r"design is taming or maskgit.*got 'magvit'"):
        AutoencoderConfig(6, design="magvit")  # type: ignore[arg-type]
    other = MaskBit(ConvVQConfig(AutoencoderConfig(12, channels=32, channel_multipliers=(1, 2, 1)), VQ(64, 12)))
    with pytest.raises(TokbenchError, match="missing"):
        load_strictly(other, model.state_dict(), origin="maskbit")
