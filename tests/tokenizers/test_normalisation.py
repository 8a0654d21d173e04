"""How diffusion models read latents: rows say it, settings of diffusers say it, and it is undone exactly enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tokbench
from tokbench.configs import with_overrides
from tokbench.feed.export import _normalisation as exported
from tokbench.tokenizers import zoo
from tokbench.tokenizers.library.config import LibraryConfig, settings_of
from tokbench.tokenizers.normalisation import Normalisation, from_settings
from tokbench.tokenizers.vae.model import VAE


def test_mean_scale_and_deviation_in_the_order_of_pipelines() -> None:
    latents = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    one = Normalisation(mean=(0.5, -1.0), std=(2.0, 4.0), scale=3.0)
    assert one.applied(latents).tolist() == [[0.75, -0.75], [0.0, 3.0]]
    torch.testing.assert_close(one.undone(one.applied(latents)), latents)
    assert one.fits(2)
    assert not one.fits(3)
    assert Normalisation(scale=0.5).fits(7)


@pytest.mark.parametrize(
    "given", [{"mean": (float("nan"),)}, {"std": (0.0,)}, {"scale": -1.0}, {"std": ()}, {"mean": (0.0,) * 2, "std": (1.0,) * 3}]
)
def test_what_is_none_is_refused(given: dict) -> None:
    with pytest.raises(ValueError, match="a normalisation has"):
        Normalisation(**given)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"scaling_factor": None, "shift_factor": None}, None),
        ({"scaling_factor": 0.18215}, Normalisation(scale=0.18215)),
        ({"scaling_factor": 0.3611, "shift_factor": 0.1159}, Normalisation((0.1159,), scale=0.3611)),
        ({"scaling_factor": 0.5, "latents_mean": [1, 2.5], "latents_std": [3.0, 4.0]}, Normalisation((1.0, 2.5), (3.0, 4.0), 0.5)),
        ({"latents_mean": [[[[1]], [[2.5]]]], "latents_std": [[[[3.0]], [[4.0]]]]}, Normalisation((1.0, 2.5), (3.0, 4.0))),
    ],
)
def test_settings_of_diffusers(values: dict, expected: Normalisation | None) -> None:
    assert from_settings(values) == expected


@pytest.mark.parametrize(
    "values",
    [{"scaling_factor": "1"}, {"scaling_factor": [1.0, 2.0]}, {"latents_mean": [True]}, {"latents_mean": [[1.0, 2.0], [3.0, 4.0]]}],
)
def test_settings_that_are_no_numbers_are_refused(values: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        from_settings(values)


@pytest.mark.parametrize(("mean", "expected"), [([0.5] * 4, Normalisation((0.5,) * 4)), ([0.5] * 3, None)])
def test_of_other_channels_than_the_settings_have(mean: list[float], expected: Normalisation | None) -> None:
    """Defaults of the library may be those of the published model alone."""
    config = zoo.resolve("diffusers/kl")[1].config
    assert isinstance(config, LibraryConfig)
    assert with_overrides(config, {"settings": settings_of(config.values | {"latents_mean": mean})}).normalisation == expected


def test_numbers_that_a_folder_gets_wrong_are_refused() -> None:
    config = zoo.resolve("diffusers/kl")[1].config
    assert isinstance(config, LibraryConfig)
    with pytest.raises(tokbench.TokbenchError, match="scaling_factor must be one number"):
        with_overrides(config, {"settings": settings_of(config.values | {"scaling_factor": [1.0, 2.0]})})


def test_every_row_of_continuous_latents_fits_its_own() -> None:
    found = {}
    for name in zoo.names():
        variant = zoo.resolve(name)[1]
        layout = variant.config.layout(variant.image_size, variant.image_size)
        if variant.normalisation is not None:
            assert not isinstance(variant.config, LibraryConfig), f"{name} says it in its settings"
            assert variant.normalisation.fits(layout.channels)
            found[name] = variant.normalisation
    assert found["vae/sd"] == Normalisation(scale=0.18215)
    assert found["vae/flux"] == Normalisation((0.1159,), scale=0.3611)
    assert found["vae/sd3"] == Normalisation((0.0609,), scale=1.5305)


def test_tokens_that_are_scaled_already_are_not_scaled_again() -> None:
    model = tokbench.load("vae/tiny")
    assert model.normalisation is None
    model.normalisation = Normalisation(scale=0.5)
    assert model.normalisation == Normalisation(scale=0.5)
    scaled = tokbench.load("vae/tiny", config={"latent_scale": 0.5})
    scaled.normalisation = Normalisation(scale=0.5)
    assert scaled.normalisation is None


KL: dict[str, Any] = {"block_out_channels": (32, 32), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 32}
KL |= {f"{way}_block_types": (f"{name}Block2D",) * 2 for way, name in (("down", "DownEncoder"), ("up", "UpDecoder"))}
KL_OURS = {"autoencoder.channels": 32, "autoencoder.channel_multipliers": (1, 1), "autoencoder.num_res_blocks": 1}
WAN: dict[str, Any] = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2], "num_res_blocks": 1, "temperal_downsample": [False]}
WAN_OURS = {"network.z_channels": 4, "network.channels": 8, "network.channel_multipliers": (1, 2), "network.num_res_blocks": 1}
WAN_OURS |= {"network.temporal": (False,)}
HUNYUAN: dict[str, Any] = {"block_out_channels": (32, 64), "layers_per_block": 1, "latent_channels": 8, "in_channels": 3, "out_channels": 3}
HUNYUAN |= {"spatial_compression_ratio": 2, "sample_size": 32}
HUNYUAN_OURS = {"network.z_channels": 8, "network.widths": (32, 64), "network.num_res_blocks": 1}
NUMBERS = {"latents_mean": [0.1, 0.2, -0.3, 0.4], "latents_std": [1.0, 2.0, 3.0, 4.0]}
TOLD: dict[str, tuple[str, dict[str, Any], str, str, dict[str, Any], Normalisation]] = {
    "kl": (
        "AutoencoderKL",
        KL | {"scaling_factor": 0.5, "shift_factor": 0.25},
        "vae/sd",
        "diffusers/kl",
        KL_OURS,
        Normalisation((0.25,), scale=0.5),
    ),
    "wan": ("AutoencoderKLWan", WAN | NUMBERS, "wan/2.1", "diffusers/wan", WAN_OURS, Normalisation((0.1, 0.2, -0.3, 0.4), (1, 2, 3, 4))),
    "qwen": (
        "AutoencoderKLQwenImage",
        WAN | NUMBERS,
        "qwen/e2e-image",
        "diffusers/qwen",
        WAN_OURS,
        Normalisation((0.1, 0.2, -0.3, 0.4), (1, 2, 3, 4)),
    ),
    "hunyuan": (
        "AutoencoderKLHunyuanImage",
        HUNYUAN | {"scaling_factor": 0.7},
        "hunyuan/image",
        "diffusers/hunyuan-image",
        HUNYUAN_OURS,
        Normalisation(scale=0.7),
    ),
}


@pytest.mark.parametrize("case", TOLD.values(), ids=TOLD)
def test_settings_beside_weights_come_before_the_row(case: tuple, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are of these weights, the row's numbers of others; the port says what the adapter says, also after it was saved."""
    library_class, theirs, name, adapter, ours, expected = case
    getattr(pytest.importorskip("diffusers"), library_class)(**theirs).save_pretrained(tmp_path / "given")
    ports = [
        tokbench.load(name, weights=place, config=ours)
        for place in (tmp_path / "given", tmp_path / "given" / "diffusion_pytorch_model.safetensors")
    ]
    folder = zoo.save_tokenizer(ports[0], tmp_path / "saved")
    library = tokbench.load(adapter, weights=tmp_path / "given")
    tokenizers = [*ports, library, tokbench.load(str(folder)), tokbench.load(str(folder / "model.safetensors"))]
    for tokenizer in tokenizers:
        assert tokenizer.normalisation == expected
        assert exported(tokenizer, tokenizer.layout(16, 16)) == expected
    again = zoo.save_tokenizer(library, tmp_path / "library")
    assert tokbench.load(str(again)).normalisation == expected
    assert not caplog.records

    (tmp_path / "given" / "config.json").write_text("{}")  # weights alone: nobody says whether the row's numbers are theirs
    alone = tokbench.load(name, weights=tmp_path / "given", config=ours)
    row = zoo.resolve(name)[1].normalisation
    assert alone.normalisation == row
    if row is not None and row.fits(alone.layout(16, 16).channels):
        exported(alone, alone.layout(16, 16))
        assert "see that it is also that of the weights given" in caplog.text


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("diffusers").AutoencoderKL(**KL).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"scaling_factor": -1}))
    with pytest.raises(tokbench.TokbenchError, match=r"config\.json does not do: a normalisation has finite means, positive deviations"):
        tokbench.load("vae/sd", weights=tmp_path, config=KL_OURS)


STATISTICS = {"mean": torch.tensor([0.1, 0.2, -0.3, 0.4]).view(1, 4, 1, 1), "std": torch.arange(1.0, 5.0).view(1, 4, 1, 1)}


def small(name: str, folder: Path) -> tokbench.Tokenizer:
    """A row of the family ``vae`` with few channels and random weights, read from a file in a folder."""
    ours = {**KL_OURS, "autoencoder.z_channels": 4, "embed_dim": 4, "autoencoder.attn_resolutions": ()}
    file = folder / "w.pt"
    if not file.exists():
        torch.save(VAE(with_overrides(zoo.resolve(name)[1].config, ours)).state_dict(), file)
    return tokbench.load(name, weights=file, config=ours)


def test_statistics_beside_weights_are_taken_where_the_row_says_nothing(tmp_path: Path) -> None:
    torch.save(STATISTICS, tmp_path / "latents_stats.pt")
    model = small("vae/va", tmp_path)
    found = exported(model, model.layout(16, 16))
    assert found == model.normalisation
    torch.testing.assert_close(torch.tensor([found.mean, found.std]), torch.stack([part.flatten() for part in STATISTICS.values()]))
    folder = zoo.save_tokenizer(model, tmp_path / "saved")
    assert tokbench.load(str(folder)).normalisation == found
    assert small("vae/sd", tmp_path).normalisation == zoo.resolve("vae/sd")[1].normalisation


def test_statistics_of_other_latents_are_left_and_what_is_none_is_refused(tmp_path: Path) -> None:
    torch.save({key: value[:, :3] for key, value in STATISTICS.items()}, tmp_path / "latents_stats.pt")
    model = small("vae/va", tmp_path)
    assert model.normalisation is None
    with pytest.raises(tokbench.TokbenchError, match="nothing is known of how to normalise latents of vae/va"):
        exported(model, model.layout(16, 16))
    torch.save({"mean": 1.0}, tmp_path / "latents_stats.pt")
    with pytest.raises(tokbench.TokbenchError, match=r"latents_stats\.pt does not do: it holds no tensors called mean and std"):
        small("vae/va", tmp_path)


@pytest.mark.parametrize(("name", "beside"), [("vae/va", "latents_stats.pt"), ("vae/e2e-sd", "config.json")])
def test_an_export_names_the_file_that_is_still_to_be_fetched(
    name: str, beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    model = small(name, tmp_path)
    model.own_weights = True  # as if these were its own
    with pytest.raises(
        tokbench.TokbenchError, match=rf"^{beside}, which says .* of {name}, is not here; run: tokbench weights get {name}$"
    ):
        exported(model, model.layout(16, 16))


@pytest.mark.parametrize(("name", "expected"), [("vae/e2e-sd", 1.0), ("vae/sd", 0.5)])
def test_the_scaling_factor_beside_statistics_is_of_pipelines_and_not_of_repa_e(name: str, expected: float, tmp_path: Path) -> None:
    """Its files keep the factor of the model they were tuned from, and its code divides by the deviations alone."""
    numbers = NUMBERS | {"scaling_factor": 0.5, "shift_factor": 0.25}
    pytest.importorskip("diffusers").AutoencoderKL(**KL, **numbers).save_pretrained(tmp_path / "given")
    model = tokbench.load(name, weights=tmp_path / "given", config=KL_OURS)
    assert model.normalisation == Normalisation((0.1, 0.2, -0.3, 0.4), (1, 2, 3, 4), expected)
    folder = zoo.save_tokenizer(model, tmp_path / "saved")
    assert tokbench.load(str(folder)).normalisation == model.normalisation


def test_a_scaling_factor_alone_counts_for_repa_e_too(tmp_path: Path) -> None:
    pytest.importorskip("diffusers").AutoencoderKL(**KL, scaling_factor=0.5).save_pretrained(tmp_path)
    assert tokbench.load("vae/e2e-sd", weights=tmp_path, config=KL_OURS).normalisation == Normalisation(scale=0.5)


def test_statistics_of_repa_e_beside_its_own_files(tmp_path: Path) -> None:
    """``NAME-400k.pt`` with ``NAME-latents-stats.pt``, whose scale is one over the deviation; those of another name are left."""
    ours = {**KL_OURS, "autoencoder.z_channels": 4, "embed_dim": 4, "autoencoder.attn_resolutions": ()}
    torch.save(VAE(with_overrides(zoo.resolve("vae/e2e-sd")[1].config, ours)).state_dict(), tmp_path / "e2e-sdvae-400k.pt")
    statistics = {"latents_bias": STATISTICS["mean"], "latents_scale": 1 / STATISTICS["std"]}
    torch.save({key: value + 1 for key, value in statistics.items()}, tmp_path / "e2e-invae-latents-stats.pt")
    torch.save(statistics, tmp_path / "e2e-sdvae-latents-stats.pt")
    found = tokbench.load("vae/e2e-sd", weights=tmp_path / "e2e-sdvae-400k.pt", config=ours).normalisation
    assert found is not None
    torch.testing.assert_close(torch.tensor(found.mean), STATISTICS["mean"].flatten())
    torch.testing.assert_close(torch.tensor(found.std), STATISTICS["std"].flatten())
    assert found.scale == 1
    (tmp_path / "e2e-sdvae-latents-stats.pt").unlink()
    assert tokbench.load("vae/e2e-sd", weights=tmp_path / "e2e-sdvae-400k.pt", config=ours).normalisation is None
