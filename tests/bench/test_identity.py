"""Who a tokenizer is when something is measured: whatever changes it after it was loaded shows, and nothing else does."""

import copy
import dataclasses
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tokbench
from tokbench import Tokenizer, TokenLayout
from tokbench.bench.identity import config_of, identity_of, source_digest, weights_digest
from tokbench.quantizers.fsq import FiniteScalarQuantizer
from tokbench.quantizers.vq import VectorQuantizer
from tokbench.tokenizers import zoo

EMBEDDED = [
    f"{family.name}/{variant.name}"
    for family in zoo.families().values()
    for variant in family.variants
    if variant.weights is not None or not variant.needs_weights
]


@pytest.fixture(scope="module")
def vqvae():
    return tokbench.load("vqvae/tiny")


@pytest.mark.parametrize("name", EMBEDDED)
def test_nothing_of_the_zoo_is_changed_by_loading_it(name):
    one, other = identity_of(tokbench.load(name)), identity_of(tokbench.load(name))
    assert one == other
    assert "changed" not in one.config
    assert one.settings == {}
    assert one.source_sha256 is None
    assert (one.state_sha256 is None) == (name == "pixel/rgb")


@given(st.data())
def test_every_single_value_counts(vqvae, data):
    before = weights_digest(vqvae)
    name, tensor = data.draw(st.sampled_from(sorted(dict(vqvae.named_parameters()).items())))
    place = data.draw(st.integers(0, tensor.numel() - 1))
    with torch.no_grad():
        kept = tensor.view(-1)[place].clone()
        tensor.view(-1)[place] = torch.nextafter(kept, kept + 1)
        changed = weights_digest(vqvae)
        tensor.view(-1)[place] = kept
    assert changed != before, name
    assert weights_digest(vqvae) == before


def test_names_shapes_types_and_buffers_count_and_memory_does_not():
    class Module(torch.nn.Module):
        def __init__(self, **tensors):
            super().__init__()
            for name, (tensor, saved) in tensors.items():
                self.register_buffer(name, tensor, persistent=saved)

    base = torch.arange(6.0).reshape(2, 3)
    same = [
        Module(a=(base, True), b=(base, True)),
        Module(b=(base.clone(), True), a=(base, True)),
        Module(a=(base.T.contiguous().T, True), b=(base, False)),
    ]
    others = [
        Module(a=(base, True)),
        Module(a=(base, True), c=(base, True)),
        Module(a=(base.reshape(3, 2), True), b=(base, True)),
        Module(a=(base.half(), True), b=(base, True)),
        Module(a=(base.long(), True), b=(base, True)),
        Module(a=(base, True), b=(base + 1, False)),
        Module(a=(base.bfloat16(), True), b=(base, True)),
        Module(a=(base != 0, True), b=(base, True)),
        Module(a=(base * 1j, True), b=(base, True)),
        Module(a=(base[:0], True), b=(base, True)),
        Module(a=(base[0, 0], True), b=(base, True)),
    ]
    assert len({weights_digest(module) for module in same}) == 1
    assert len({weights_digest(module) for module in (*same, *others)}) == 1 + len(others)
    assert weights_digest(Module()) is None


def _swap(model):
    model.quantize = VectorQuantizer(1024, 16, cosine=True)


def _switch(model):
    model.quantize.cosine = True


def _foreign(model):
    class Other(torch.nn.Module):
        codebook_sizes = (1024,)

        def codes(self, vectors):
            return torch.zeros(*vectors.shape[:2], 1, dtype=torch.int64)

        def lookup(self, codes):
            return torch.zeros(*codes.shape[:2], 16)

    model.quantize = Other()


def _activation(model):
    model.decoder.conv_out = torch.nn.Sequential(model.decoder.conv_out, torch.nn.ReLU())


def _remove(model):
    model.encoder.mid.attn_1 = torch.nn.Identity()


def _config(model):
    model.config = dataclasses.replace(model.config, quantizer=dataclasses.replace(model.config.quantizer, beta=0.5))


def _codebook(model):
    with torch.no_grad():
        model.quantize.embedding.weight[3] *= 1.5


CHANGES = {
    "another quantizer": _swap,
    "another setting of it": _switch,
    "a quantizer of others": _foreign,
    "FSQ": lambda model: setattr(model, "quantize", FiniteScalarQuantizer([8, 8, 16])),
    "one more module": _activation,
    "a module less": _remove,
    "another configuration": _config,
    "the codebook alone": _codebook,
    "half precision": lambda model: model.half(),
    "bfloat16": lambda model: model.bfloat16(),
    "double precision": lambda model: model.double(),
    "one weight of another type": lambda model: setattr(model.quant_conv, "bias", torch.nn.Parameter(model.quant_conv.bias.double())),
}


def test_whatever_is_changed_after_loading_shows(vqvae):
    before = identity_of(vqvae)
    found = {}
    for kind, change in CHANGES.items():
        model = copy.deepcopy(vqvae)
        change(model)
        found[kind] = identity_of(model)
        assert (found[kind].config, found[kind].state_sha256) != (before.config, before.state_sha256), kind
        assert found[kind].weights_sha256 == before.weights_sha256
    assert len({repr((one.config, one.state_sha256)) for one in found.values()}) == len(CHANGES)
    quantizer = found["another quantizer"].config["changed"]["quantize"]
    assert (quantizer["class"], quantizer["cosine"], quantizer["codebook_sizes"]) == ("VectorQuantizer", True, [1024])
    assert found["a quantizer of others"].config["changed"]["quantize"]["class"].endswith("_foreign.<locals>.Other")
    assert found["another quantizer"].settings == {"quantize": "VectorQuantizer"}
    assert found["another configuration"].settings == {
        "quantizer.beta": "0.5",
        "quantize": "VectorQuantizer",
    }  # which still has the old one


def test_moving_training_mode_and_gradients_change_nothing(vqvae):
    model = copy.deepcopy(vqvae).train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
        parameter.requires_grad_(False)
    assert weights_digest(model) == weights_digest(vqvae)


def test_settings_and_weights_that_are_not_those_of_the_name_are_said(tmp_path):
    from tokbench.weights.obtain import weights_path

    own = weights_path(zoo.resolve("vqvae/tiny")[1])
    (tmp_path / "copy.safetensors").write_bytes(own.read_bytes())
    copied = tokbench.load("vqvae/tiny", weights=tmp_path / "copy.safetensors")
    assert (copied.own_weights, identity_of(copied).settings) == (True, {})
    state = {key: value.float() for key, value in copied.state_dict().items()}
    torch.save(state, tmp_path / "same.pt")
    again = tokbench.load("vqvae/tiny", weights=tmp_path / "same.pt")
    assert identity_of(again).settings == {"weights": identity_of(copied).state_sha256[:8]}
    assert identity_of(tokbench.load("flowmo", config={"steps": 3})).settings == {"steps": "3"}


SOURCE = """
import torch
from dataclasses import dataclass
from tokbench import DiscreteTokens, TokenLayout, Tokenizer
from {helper} import Base

@dataclass(frozen=True)
class Config:
    levels: int = 2

class Mine(Base):
    Config = Config
    trained_with = ()
    def __init__(self, config):
        super().__init__()
        self.config = config
    def layout(self, h, w): return TokenLayout((h, w), (h, w), (2, 2, 2))
    def _encode(self, images, seeds):
        return DiscreteTokens((images > 0).long().flatten(2).transpose(1, 2).contiguous(), tuple(images.shape[2:]), (2, 2, 2))
    def _decode(self, tokens, seeds): return (tokens.codes.float() * 2 - 1).transpose(1, 2).unflatten(2, tokens.grid)
"""


def test_the_source_of_a_plugin_and_of_its_bases_counts_and_its_place_does_not(tmp_path, monkeypatch):
    def digest(place, source, base):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "mine_source.py").write_text(source.format(helper="mine_base"))
        (folder / "mine_base.py").write_text(base)
        monkeypatch.chdir(folder)
        for module in ("mine_source", "mine_base"):
            sys.modules.pop(module, None)
        return source_digest(tokbench.load("mine_source:Mine"))

    base = "from tokbench import Tokenizer\nclass Base(Tokenizer): pass\n"
    first = digest("a", SOURCE, base)
    assert len(first) == 64
    assert digest("b", SOURCE, base) == first
    assert digest("c", SOURCE + "# more", base) != first
    assert digest("d", SOURCE, base + "# more") != first
    assert config_of(tokbench.load("mine_source:Mine", config={"levels": 4})) == {"levels": 4}
    assert identity_of(tokbench.load("mine_source:Mine", config={"levels": 4})).settings == {"levels": "4"}


class Bare(Tokenizer):
    """Nothing to set, and nothing to learn."""

    trained_with = ()

    def layout(self, height: int, width: int) -> TokenLayout:
        return TokenLayout((height, width), (height, width), channels=3)

    def _encode(self, images, seeds):
        raise NotImplementedError

    def _decode(self, tokens, seeds):
        raise NotImplementedError


def test_a_class_that_has_nothing_to_set_has_an_empty_configuration():
    info = identity_of(Bare())
    assert (info.config, info.settings) == ({}, {})
