"""Names to tokenizers: defaults, nearest names, overrides, devices, and what it costs to ask."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.tokenizers import zoo
from tokbench.tokenizers.family import Family
from tokbench.tokenizers.plugin import import_class
from tokbench.weights.checkpoints import save_weights
from tokbench.weights.obtain import weights_path


def weights_for(name: str, folder: Path, **overrides: object) -> Path:
    """Random weights for a variant whose configuration was changed."""
    family, variant = zoo.resolve(name)
    model = import_class(family.model)(zoo.with_overrides(variant.config, overrides))
    save_weights(model.state_dict(), folder / "weights.safetensors", about={})
    return folder / "weights.safetensors"


def test_names_are_family_and_variant() -> None:
    assert {"pixel/rgb", "vae/tiny", "vqvae/tiny", "vqgan/tiny"} <= set(zoo.names())
    assert len(set(zoo.names())) == len(zoo.names())
    for name in zoo.names():
        family, variant = zoo.resolve(name)
        assert name == f"{family.name}/{variant.name}"


@pytest.mark.parametrize("family", zoo.families().values(), ids=lambda family: family.name)
def test_a_bare_family_means_its_default(family: Family) -> None:
    assert zoo.resolve(family.name)[1].name == family.default
    works = {variant.name for variant in family.variants if variant.weights is not None or not variant.needs_weights}
    assert family.default in works or not works


@pytest.mark.parametrize("name", zoo.names())
def test_rows_are_complete(name: str) -> None:
    variant = zoo.resolve(name)[1]
    assert variant.summary
    assert variant.source
    assert variant.licence
    path = weights_path(variant)
    assert path is None or path.is_file()


def test_asking_for_names_and_layouts_does_not_import_torch() -> None:
    script = """
import sys
from tokbench.tokenizers import zoo
assert zoo.names() == [f"{f.name}/{v.name}" for f in zoo.families().values() for v in f.variants]
for name in zoo.names():
    _, variant = zoo.resolve(name)
    assert variant.config.layout(variant.image_size, variant.image_size).positions > 0
import tokbench, tokbench.layout, tokbench.errors, tokbench.configs, tokbench.images, tokbench.train.recipes
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("vqgan/tinny", "did you mean vqgan/tiny"),
        ("vqgam", "did you mean vqgan"),
        ("vqgan/tiny/x", "did you mean vqgan/tiny"),
        ("VQVAE/tiny", "vqvae/tiny"),
        ("", "See: tokbench list"),
    ],
)
def test_an_unknown_name_gives_the_nearest(name: str, advice: str) -> None:
    with pytest.raises(TokbenchError, match=advice) as error:
        zoo.load(name)
    assert f"unknown tokenizer {name!r}" in str(error.value)
    assert str(error.value).endswith("See: tokbench list")


def test_load_sets_name_weights_and_mode(tmp_path: Path) -> None:
    path = weights_for("vqgan/tiny", tmp_path)
    tokenizer = zoo.load("vqgan", weights=str(path))
    assert tokenizer.name == "vqgan/tiny"
    assert tokenizer.weights_sha256 == zoo.load("vqgan/tiny", weights=path).weights_sha256 != ""
    assert not tokenizer.training


def test_overrides_reach_nested_fields(tmp_path: Path) -> None:
    path = weights_for("vae/tiny", tmp_path, **{"autoencoder.channels": 64})
    tokenizer = zoo.load("vae/tiny", weights=path, config={"autoencoder.channels": 64})
    assert tokenizer.config.autoencoder.channels == 64
    assert zoo.resolve("vae/tiny")[1].config.autoencoder.channels == 32


@pytest.mark.usefixtures("uncompared")
def test_overrides_that_the_weights_do_not_fit_are_named(tmp_path: Path) -> None:
    path = weights_for("vae/tiny", tmp_path)
    with pytest.raises(TokbenchError, match=r"weights.safetensors does not fit VAE: \d+ of another shape: decoder.conv_in.bias"):
        zoo.load("vae/tiny", weights=path, config={"autoencoder.channels": 64})


def test_posterior_sample_makes_encoding_stochastic(tmp_path: Path) -> None:
    path = weights_for("vae/tiny", tmp_path)
    tokenizer = zoo.load("vae/tiny", weights=path, config={"posterior": "sample"})
    images = torch.zeros(2, 3, 16, 16)
    with pytest.raises(TokbenchError, match=r"vae/tiny draws noise: pass seeds=\[...\], one integer per image \(2 here\)"):
        tokenizer.encode(images)
    first = tokenizer.encode(images, seeds=[1, 2]).latents
    assert torch.equal(first, tokenizer.encode(images, seeds=[1, 2]).latents)
    torch.testing.assert_close(first[1:], tokenizer.encode(images[:1], seeds=[2]).latents, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"posteriour": "sample"}, "unknown setting 'posteriour'; did you mean posterior?"),
        ({"autoencoder.chanels": 64}, "unknown setting 'autoencoder.chanels'; did you mean autoencoder.channels?"),
        ({"posterior": "mode"}, "posterior is one of mean, sample; got 'mode'"),
        ({"embed_dim": "four"}, "embed_dim takes a value of type int, got 'four'"),
        ({"autoencoder.channels": 33}, r"autoencoder.channels=33 is refused: .*multiple of norm_groups=4, got"),
        ({"autoencoder.double_z": False}, r"autoencoder.double_z=False is refused: .*double_z=True"),
        ({"quant_convs": False}, r"quant_convs=False is refused: without quant_convs"),
        ({"autoencoder": 3}, r"autoencoder cannot be set as a whole; set its fields, e.g. autoencoder.field=value"),
    ],
)
def test_overrides_that_do_not_fit(overrides: dict[str, object], reason: str) -> None:
    with pytest.raises(TokbenchError, match=reason):
        zoo.load("vae/tiny", config=overrides)


@pytest.mark.parametrize(("device", "named"), [("tpu5", "'tpu5'"), ("cuda:99", "'cuda:99'"), (torch.device("cuda:98"), "'cuda:98'")])
def test_a_device_that_is_not_there(device: str | torch.device, named: str) -> None:
    with pytest.raises(TokbenchError, match=rf"device {named} cannot be used here \(.+\); allowed: cpu, cuda, cuda:0, mps"):
        zoo.load("pixel/rgb", device=device)


def test_a_weights_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"no weights file at .*nowhere.safetensors; give a .safetensors or .pt file"):
        zoo.load("vqvae/tiny", weights=tmp_path / "nowhere.safetensors")


@pytest.fixture
def variant_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    family, variant = zoo.resolve("vqvae/tiny")
    bare = replace(family, name="bare", variants=(replace(variant, name="big", weights=None),), default="big")
    monkeypatch.setattr(zoo, "families", lambda: {"bare": bare})


@pytest.mark.usefixtures("variant_without_weights")
def test_a_variant_that_ships_without_weights_says_how_to_give_them() -> None:
    with pytest.raises(TokbenchError, match=r"bare/big ships without weights; pass weights=PATH \(command line: --weights PATH\)"):
        zoo.load("bare")


PLUGIN = '''
from dataclasses import dataclass
import torch
from tokbench.layout import TokenLayout
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens

class Mean(Tokenizer):
    """One latent an image: its mean colour."""

    @dataclass(frozen=True)
    class Config:
        gain: float = 1.0

    def __init__(self, config):
        super().__init__()
        self.config = config

    def layout(self, height, width):
        return TokenLayout((height, width), (1, 1), channels=3)

    def _encode(self, images, seeds):
        return ContinuousTokens(images.mean(dim=(2, 3))[:, None] * self.config.gain, (1, 1))

    def _decode(self, tokens, seeds):
        return tokens.latents.transpose(1, 2)[..., None]

class Plain(Mean):
    Config = None

    def __init__(self):
        super().__init__(None)

class NoTokenizer:
    pass
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_mean_plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    yield "my_mean_plugin"
    sys.modules.pop("my_mean_plugin", None)


def test_a_class_of_ones_own(plugin: str) -> None:
    path = list(sys.path)
    tokenizer = zoo.load(f"{plugin}:Mean", config={"gain": "0.5"})
    assert sys.path == path
    assert tokenizer.name == f"{plugin}:Mean"
    assert tokenizer.encode(torch.ones(2, 3, 4, 4)).latents.tolist() == [[[0.5, 0.5, 0.5]]] * 2
    assert zoo.load(f"{plugin}:Plain").config is None


@pytest.mark.parametrize(
    ("reference", "overrides", "reason"),
    [
        ("my_mean_plugin:Mode", {}, "module 'my_mean_plugin' has no 'Mode'; give package.module:Class"),
        ("my_mean_plugin:NoTokenizer", {}, "'my_mean_plugin:NoTokenizer' is not a subclass of tokbench.tokenizers.Tokenizer"),
        ("my_mean_plugin:Plain", {"gain": 2}, "has no Config, so nothing can be set; given: gain"),
        ("my_mean_plugin:Mean", {"gian": 2}, "unknown setting 'gian'; did you mean gain?"),
        ("not_here_at_all:Mean", {}, "cannot import 'not_here_at_all' for 'not_here_at_all:Mean'"),
    ],
)
def test_a_class_that_will_not_do(plugin: str, reference: str, overrides: dict[str, object], reason: str) -> None:
    with pytest.raises(TokbenchError, match=reason):
        zoo.load(reference, config=overrides)
