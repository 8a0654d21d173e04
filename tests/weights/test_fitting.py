"""Weights are found in whatever they are wrapped in by the model's own names and shapes: every wrapper, every key map, every choice."""

from __future__ import annotations

import itertools
import random
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import tokbench
from tests.weights.test_layouts_of_weights import as_diffusers, as_llamagen
from tokbench.errors import TokbenchError
from tokbench.tokenizers.vqvae.model import VQVAE
from tokbench.weights.checkpoints import DoesNotFit, read_fitting
from tokbench.weights.choice import Choice
from tokbench.weights.key_maps.taming import to_taming
from tokbench.weights.weight_files import Opened

State = dict[str, Tensor]


class Toy(nn.Module):
    """Names and shapes of a tokenizer, with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.quantize = nn.Embedding(5, 4)
        self.decoder = nn.Conv2d(4, 3, 1)


def toy(seed: int) -> State:
    torch.manual_seed(seed)
    return {name: torch.randn(value.shape) if value.is_floating_point() else value + seed for name, value in Toy().state_dict().items()}


MODEL, OTHER = toy(1), toy(2)
PARAMETERS = {name for name, _ in Toy().named_parameters()}


def read(content: object, *, drop: tuple[str, ...] = (), averages: bool | None = None) -> Any:
    opened = Opened(content, "legacy", (Path(__file__),))
    return read_fitting(Toy(), opened, origin="file.pt", choice=Choice(drop, averages)).found


def takes(content: object, expected: State, **chosen: Any) -> str:
    found = read(content, **chosen)
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.tensors.items())
    return str(found.how)


def refuses(content: object, match: str, **chosen: Any) -> None:
    with pytest.raises(TokbenchError, match=match) as error:
        read(content, **chosen)
    assert "\n" not in str(error.value)


def under(prefix: str, state: State = MODEL) -> State:
    return {prefix + name: value for name, value in state.items()}


def extra(*names: str) -> State:
    return {name: torch.zeros(1) for name in names}


# ---- wrappers


PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "generator._forward_module.", "tokenizer.vq_model.", "x.y.z.", "loss.", "a1.")
ENTRIES: tuple[tuple[str, ...], ...] = ((), ("state_dict",), ("model",), ("weights", "of", "mine"), ("module",))


def test_any_prefix_in_any_entry_is_taken_off_and_recorded() -> None:
    """405 forms: pairs of prefixes in five entries."""
    prefixes = ["", *PREFIXES]
    for (first, second), entry in itertools.product(itertools.product(prefixes, prefixes[1:]), ENTRIES):
        content: Any = under(first + second)
        for name in reversed(entry):
            content = {name: content, "epoch": 3, "optimizer_states": [{"state": {0: torch.zeros(2)}}]}
        how = takes(content, MODEL)
        assert f"without the prefix {first}{second}" in how
        assert (f"entry {'.'.join(entry)};" in how) == bool(entry)


def test_wrappers_of_parts_and_within_names() -> None:
    """40 random ways to wrap modules at any depth."""
    marks = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
    for seed in range(40):
        choice = random.Random(seed)
        wrapped = {name: choice.choice(marks) for name in ("encoder.", "decoder.", "quantize.", "encoder.0.", "encoder.1.")}
        state = {}
        for name, value in MODEL.items():
            for part, mark in sorted(wrapped.items(), reverse=True):
                name = name.replace(part, part + mark, 1) if name.startswith(part) else name
            state[choice.choice(("",)) + name] = value
        assert "without the prefix" in takes({"state_dict": state}, MODEL)
    parts: dict[str, State] = {}
    for name, value in MODEL.items():
        parts.setdefault(name.partition(".")[0], {})[f"module.{name.partition('.')[2]}"] = value
    takes({**parts, "optimizer": {"state": extra("encoder.0.weight")}, "step": 3}, MODEL)


def test_what_training_leaves_is_left_out_and_counted() -> None:
    how = takes(
        {"state_dict": under("model.") | extra("loss.a", "loss.b", "lpips.c", "model.discriminator.w"), "args": Namespace(a=1)}, MODEL
    )
    assert "left out: 2 loss., 1 lpips, 1 discriminator." in how
    networks = under("first_stage_model.") | extra("model.diffusion_model.w", "cond_stage_model.w", "betas")
    assert "left out: 3 outside first_stage_model." in takes({"state_dict": networks}, MODEL)
    takes({**MODEL, "epoch": 3, "optimizer": {"a": 1}, "lr_schedulers": []}, MODEL)
    moments = {"optimizer": {"exp_avg": OTHER, "exp_avg_sq": OTHER}, "model": MODEL}
    takes(moments, MODEL)


def test_the_same_name_twice() -> None:
    refuses(
        MODEL | {f"_orig_mod.{name}": value for name, value in OTHER.items()},
        "file.pt has encoder.0.weight twice, with and without a prefix",
    )


def test_names_of_this_packages_own_models_are_left_alone() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module, self.loss = nn.Linear(2, 2), nn.Linear(2, 2)

    state = {name: value.clone() for name, value in Odd().state_dict().items()}
    found = read_fitting(Odd(), Opened(under("model.", state), "legacy", (Path(__file__),)), origin="x").found
    assert found.tensors.keys() == state.keys()


MAPS = {
    "taming": to_taming,
    "diffusers": as_diffusers,
    "old diffusers": lambda state: as_diffusers(state, old=True),
    "llamagen": as_llamagen,
}


@pytest.mark.parametrize("names", MAPS)
def test_key_maps_work_behind_prefixes(names: str, small_vqvae: VQVAE, tmp_path: Path) -> None:
    """36 forms of real names, through files."""
    own = {name: value.clone() for name, value in small_vqvae.state_dict().items()}
    state = MAPS[names](own)
    for prefix in ("", *PREFIXES[:7]):
        torch.save({"state_dict": under(prefix, state) | extra("loss.a")}, tmp_path / "a.ckpt")
        found = VQVAE(small_vqvae.config).read_weights(tmp_path / "a.ckpt")
        assert found.tensors.keys() == own.keys()
        assert all(torch.equal(value, own[name]) for name, value in found.tensors.items())
        assert found.how.endswith("left out: 1 loss.")
    save_file({name: value.contiguous() for name, value in under("vq.", state).items()}, tmp_path / "a.safetensors")
    assert VQVAE(small_vqvae.config).read_weights(tmp_path / "a.safetensors").tensors.keys() == own.keys()


# ---- what is left over


def test_leftovers_are_named_with_the_option_that_drops_them() -> None:
    content = {"state_dict": under("model.") | extra("foundation_model.a.b", "foundation_model.c", "model.encoder.2.w", "proj")}
    refuses(
        content,
        r"does not fit Toy: 4 unknown: encoder.2.w, foundation_model.a.b, .*Nothing is missing: .* leave them out with "
        r"--drop foundation_model. --drop encoder.2. --drop proj",
    )
    how = takes(content, MODEL, drop=("foundation_model.", "encoder.2.", "proj"))
    assert "left out: 2 foundation_model., 1 encoder.2., 1 proj" in how
    takes(content, MODEL, drop=("foundation", "model.encoder.2", "state_dict.proj"))


def test_drops_that_cannot_be_right() -> None:
    refuses(MODEL, "--drop encoder. would leave out 7 tensors of file.pt that Toy needs: encoder.0.bias, ", drop=("encoder.",))
    refuses(MODEL, "--drop e would leave out 7 tensors", drop=("e",))
    refuses(MODEL, "--drop teacher. is the beginning of no name in file.pt; names there begin with encoder, quantize", drop=("teacher.",))
    refuses(MODEL, "--drop '' is the beginning of no name", drop=("",))


def test_sets_that_nothing_tells_apart() -> None:
    content = {"student": MODEL, "teacher": OTHER}
    refuses(content, "holds several sets of weights that fit Toy: student, teacher; leave all but one out, as with --drop teacher.")
    takes(content, MODEL, drop=("teacher.",))
    takes(content, OTHER, drop=("student.",))
    refuses(content, "--drop", drop=("student.", "teacher."))
    assert "the same of b" in takes(under("a.") | under("b."), MODEL)
    refuses({"ema_0.9": MODEL, "ema_0.99": OTHER}, "several sets of averages that fit Toy")


def test_nothing_fits() -> None:
    refuses({}, "holds no plain mapping of names to tensors")
    refuses({"a": 1, "b": {"c": "d"}}, "holds no plain mapping of names to tensors; no tensors: a, b.c")
    refuses({"state_dict": extra("a", "b")}, "does not fit Toy: 10 missing: decoder.bias, .*; 2 unknown: a, b")
    part = {name: value for name, value in MODEL.items() if name != "decoder.bias"}
    refuses({"model": under("net.", part)}, "does not fit Toy: 1 missing: decoder.bias. Is it")
    refuses({"model": under("net.", MODEL | {"decoder.bias": torch.zeros(7)})}, "does not fit Toy: 1 of another shape: decoder.bias. Is it")
    adapter = extra("encoder.0.lora_A.weight", "encoder.0.lora_B.weight")
    refuses(adapter, "is an adapter .LoRA: encoder.0.lora_A.weight., which changes a model")
    loop: dict[str, object] = {}
    loop["state_dict"] = loop
    refuses(loop, "holds no plain mapping|contains itself")
    wide = {str(index): loop for index in range(600)}
    loop |= wide
    refuses(wide, "contains itself")


def test_a_model_without_weights_takes_none(tmp_path: Path) -> None:
    torch.save(MODEL, tmp_path / "a.pt")
    with pytest.raises(TokbenchError, match="PixelRGB has no weights, so it takes none; leave --weights out"):
        tokbench.load("pixel/rgb", weights=tmp_path / "a.pt")
    with pytest.raises(TokbenchError, match="choose among weights, and here are none"):
        tokbench.load("pixel/rgb", drop=("a",))


# ---- averages


def undotted(state: State) -> State:
    return {f"model_ema.{name.replace('.', '')}": value for name, value in state.items() if name in PARAMETERS}


def mixed(averages: State, raw: State) -> State:
    """Averages of the parameters, and the raw buffers."""
    return {name: averages[name] if name in PARAMETERS else value for name, value in raw.items()}


LIT = {"model_ema.decay": torch.tensor(0.99), "model_ema.num_updates": torch.tensor(3)}
SHADOW = {"decay": 0.99, "num_updates": 3, "shadow_params": [value for name, value in MODEL.items() if name in PARAMETERS]}
WITH_AVERAGES: dict[str, tuple[Any, State]] = {
    "entries": ({"model": OTHER, "ema": MODEL, "optimizer": {}}, MODEL),
    "ema_state_dict": ({"state_dict": OTHER, "ema_state_dict": MODEL}, MODEL),
    "timm": ({"state_dict": OTHER, "state_dict_ema": MODEL}, MODEL),
    "flowmo": ({"model_state_dict": OTHER, "model_ema_state_dict": MODEL, "total_steps": 3}, MODEL),
    "basicsr": ({"params": OTHER, "params_ema": MODEL}, MODEL),
    "nested": ({"models": {"net": OTHER, "netG_EMA": MODEL}}, MODEL),
    "latent diffusion": ({"state_dict": OTHER | undotted(MODEL) | LIT}, mixed(MODEL, OTHER)),
    "latent diffusion, parallel": ({"state_dict": under("module.", OTHER | undotted(MODEL) | LIT)}, mixed(MODEL, OTHER)),
    "a lightning module": ({"state_dict": under("model.", OTHER) | under("model_ema.module.", MODEL)}, MODEL),
    "ema-pytorch": ({"state_dict": under("ema.online_model.", OTHER) | under("ema.ema_model.", MODEL) | extra("ema.initted")}, MODEL),
    "callbacks": ({"state_dict": OTHER, "callbacks": {"EMACallback": {"ema_weights": MODEL}}}, MODEL),
    "weight averaging": ({"state_dict": MODEL, "current_model_state": OTHER, "averaging_state": extra("n_averaged")}, MODEL),
    "swa": ({"model": OTHER, "averaged": under("module.") | extra("n_averaged")}, MODEL),
    "a list": ({"state_dict": OTHER, "ema": SHADOW}, mixed(MODEL, OTHER)),
}


@pytest.mark.parametrize("form", WITH_AVERAGES)
def test_averages_are_taken_unless_raw_weights_are_asked_for(form: str) -> None:
    content, averages = WITH_AVERAGES[form]
    for asked in (None, True):
        how = takes(content, averages, averages=asked)
        assert "averages of " in how
        assert ", not the raw weights of " in how
    how = takes(content, OTHER, averages=False)
    assert "raw weights of " in how
    assert ", not the averages of " in how


def test_only_one_kind() -> None:
    refuses(MODEL, r"file.pt holds no complete averages of Toy; leave out --averages yes \(averages=True\)", averages=True)
    assert "averages" not in takes(MODEL, MODEL, averages=False)
    for only in ({"ema": MODEL}, under("model_ema."), under("module.") | extra("n_averaged")):
        assert "; averages" in takes(only, MODEL)
        refuses(only, r"holds only averages, in .*, no raw weights; leave out --averages no \(averages=False\)", averages=False)
    refuses(SHADOW, r"holds averages as a list without names \(shadow_params\)")
    sequential = nn.Sequential(nn.Linear(2, 2))
    names = {f"model_ema.{name.replace('.', '')}": value for name, value in sequential.state_dict().items()}
    found = read_fitting(sequential, Opened(names, "legacy", (Path(__file__),)), origin="x").found
    assert found.tensors.keys() == sequential.state_dict().keys()


def test_averages_that_are_not_complete_are_not_taken() -> None:
    part = {name: value for name, value in undotted(MODEL).items() if "encoder" not in name}
    content = {"state_dict": OTHER | part | LIT}
    takes(content, OTHER)
    refuses(content, "holds no complete averages", averages=True)
    takes({"model": OTHER, "ema": {name: value for name, value in MODEL.items() if "encoder" in name}}, OTHER)


def test_the_list_of_codes_that_taming_renumbers_by(tmp_path: Path) -> None:
    """It renumbers ids for a transformer; quantizing and decoding do not look at it."""
    state = tokbench.load("vqgan").state_dict()
    torch.save({"state_dict": {**state, "quantize.used": torch.arange(0, 1024, 2)}}, tmp_path / "used.ckpt")
    tokenizer = tokbench.load("vqgan", weights=tmp_path / "used.ckpt")
    assert (tokenizer.weights_how or "").endswith("left out: 1 quantize.used (codes are those of the whole codebook)")
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(tokenizer.encode(images).codes, tokbench.load("vqgan").encode(images).codes)


# ---- what torch.save writes


class Weird(torch.Tensor):
    """A subclass of another package."""


@pytest.mark.parametrize("legacy", [False, True])
def test_forms_of_torch_save(legacy: bool, small_vqvae: VQVAE, tmp_path: Path) -> None:
    """14 forms, in both formats."""
    model = small_vqvae
    own = model.state_dict()
    table = torch.cat([value.flatten() for value in own.values()])
    views, position = {}, 0
    for name, value in own.items():
        views[name] = table[position : position + value.numel()].view(value.shape)
        position += value.numel()
    forms: dict[str, tuple[Any, float]] = {
        "state": (dict(own), 0),
        "ordered": (OrderedDict(own), 0),
        "parameters": ({name: nn.Parameter(value) for name, value in own.items()}, 0),
        "shared storage": (views, 0),
        "half": ({name: value.half() for name, value in own.items()}, 1e-2),
        "bfloat16": ({name: value.bfloat16() for name, value in own.items()}, 5e-2),
        "double": ({name: value.double() for name, value in own.items()}, 1e-6),
        "channels last": (
            {name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value for name, value in own.items()},
            0,
        ),
        "module": (model, 0),
        "lightning": ({"state_dict": own, "pytorch-lightning_version": "2", "callbacks": {}, "hyper_parameters": Namespace(a=1)}, 0),
        "deepspeed": ({"module": own, "optimizer": None, "ds_config": {}}, 0),
        "subclass": ({name: value.as_subclass(Weird) for name, value in own.items()}, 0),
        "parallel": (nn.Sequential(model), 0),
        "negative": ({name: torch._neg_view(-value) if value.ndim == 4 else value for name, value in own.items()}, 0),
    }
    for form, (content, tolerance) in forms.items():
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        try:
            loaded = model.read_weights(tmp_path / "a.pt").tensors
        except TokbenchError as error:
            raise AssertionError(form) from error
        for name, value in own.items():
            torch.testing.assert_close(loaded[name].to(value.dtype), value, atol=tolerance, rtol=tolerance)


def test_kinds_of_tensors_that_are_refused_in_words(small_vqvae: VQVAE, tmp_path: Path) -> None:
    own = small_vqvae.state_dict()
    name = "encoder.conv_in.weight"
    quantized = torch.quantize_per_tensor(own[name], 0.1, 0, torch.qint8)
    for value in (own[name].to_sparse(), quantized, own[name].numpy(), own[name].to("meta")):
        torch.save(own | {name: value}, tmp_path / "a.pt")
        with pytest.raises(
            TokbenchError, match=r"a.pt holds 1 values that are no plain tensors \(.*\), such as encoder.conv_in.weight; save plain"
        ):
            small_vqvae.read_weights(tmp_path / "a.pt")


def test_variants_of_other_families_are_named_for_files_behind_prefixes(tmp_path: Path) -> None:
    torch.save({"net": under("vq.", dict(tokbench.load("vqgan").state_dict()))}, tmp_path / "a.pt")
    with pytest.raises(DoesNotFit, match="It looks like vqgan/tiny or vqvae/tiny"):
        tokbench.load("vae", weights=tmp_path / "a.pt")
