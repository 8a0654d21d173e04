"""Weights files that mean harm, given to ``load`` as a user would: nothing runs, little is allocated, one line says why.

Unlike the hand-made pickles of the tests of ``torchfile``, these files are written by Python's own pickler and ``torch.save``.
"""

from __future__ import annotations

import argparse
import builtins
import collections
import io
import itertools
import operator
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import tokbench
from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokens import DiscreteTokens

NAME = "vqgan/imagenet-f16-1024"
SMALL: dict[str, Any] = {
    "autoencoder.channels": 4,
    "autoencoder.channel_multipliers": (1, 2),
    "autoencoder.num_res_blocks": 1,
    "autoencoder.z_channels": 2,
    "autoencoder.attn_resolutions": (),
    "autoencoder.norm_groups": 2,
    "quantizer.codebook_size": 5,
    "quantizer.dim": 3,
}
GOLDEN: dict[str, Any] = {
    "autoencoder.channels": 32,
    "autoencoder.channel_multipliers": (2, 1, 1),
    "autoencoder.num_res_blocks": 1,
    "autoencoder.resolution": 32,
    "autoencoder.z_channels": 16,
    "autoencoder.attn_resolutions": (8,),
    "quantizer.codebook_size": 64,
    "quantizer.dim": 16,
}


class Call:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments

    def __call__(self) -> None:
        """The pickler wants functions to be callable, also those that another call returns."""


class Setter:
    """Unpickling it makes a text, and has its state set by ``eval``."""

    def __init__(self, python: str) -> None:
        self.python = python

    def __reduce__(self) -> tuple:
        return str, (self.python,), {"a": 1}, None, None, eval


def in_archive(content: object) -> bytes:
    data = io.BytesIO()
    torch.save(content, data)
    return data.getvalue()


def armed(target: Path) -> dict[str, object]:
    """What does something as soon as it is unpickled: it leaves a file behind."""
    python = f"open({str(target)!r}, 'w').close()"
    touch = Call(eval, python)
    return {
        "os.system": Call(os.system, f"touch {target}"),
        "subprocess": Call(subprocess.check_call, ["touch", str(target)]),
        "builtins.eval": touch,
        "builtins.exec": Call(exec, python),
        "open": Call(open, str(target), "w"),
        "import and getattr": Call(Call(getattr, Call(__import__, "os"), "system"), f"touch {target}"),
        "a method of a path": Call(Path.touch, target),
        "setting a state": Setter(python),
        "as a key": {Call(operator.not_, touch): 1},
        "among arguments": Call(dict, [("a", Call(tuple, [touch]))]),
        "a default factory": collections.defaultdict(None, a=touch),
        "a nested archive, loaded": Call(torch.storage._load_from_bytes, in_archive({"w": touch})),
        "a nested pickle, loaded": Call(pickle.loads, pickle.dumps(touch)),
    }


def oversized() -> dict[str, object]:
    """What takes minutes or gigabytes if it is done."""
    doubled = Call(operator.mul, b"x" * 1000, 1000)
    for _ in range(5):
        doubled = Call(operator.mul, doubled, 1000)
    tangle: list[object] = [1]
    for _ in range(60):
        tangle = [tangle, tangle]
    pairs: object = ()
    for _ in range(60):
        pairs = (pairs, pairs)
    return {
        "a product": doubled,
        "a power": Call(pow, 10, 10**10),
        "bytes": Call(bytearray, 10**11),
        "a list": Call(list, Call(range, 10**12)),
        "digits": Call(int, "9" * 10_000_000),
        "lists of lists": tangle,
        "a key of pairs of pairs": Call(dict, [(pairs, 1)]),
        "a huge tensor made": Call(torch.zeros, 50_000, 50_000),
    }


KINDS = ("zip", "legacy")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    family, variant = zoo.resolve(NAME)
    config = with_overrides(variant.config, SMALL)
    return import_class(family.model)(config).state_dict()


@pytest.fixture(scope="module", autouse=True)
def warm(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What loading as such imports and evaluates is not a file's doing; nor is it to be compared with the whole zoo."""
    family, variant = zoo.resolve(NAME)
    path = tmp_path_factory.mktemp("warm") / "weights.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a check for every instruction would be most of the time
        patch.setattr(zoo, "families", lambda: {family.name: replace(family, variants=(variant,), default=variant.name)})
        for kind in (*KINDS, *KINDS):
            with watched() as events:
                torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=kind == "zip")
                load(path)
                torch.save({"state_dict": state | {"a": torch.zeros(1)}}, path, _use_new_zipfile_serialization=kind == "zip")
                with pytest.raises(TokbenchError, match="1 unknown: a"):
                    load(path)
        _usual.update(events)
        yield


def load(path: Path, config: dict[str, Any] = SMALL) -> Any:
    return tokbench.load(NAME, weights=path, config=config)


WATCHED = ("os.", "subprocess.", "exec", "compile", "import", "pickle.", "marshal.", "socket.", "ctypes.", "shutil.", "code.__new__")
HARMLESS = ("os.listdir", "os.scandir", "os.walk")
_usual: set[str] = set()
_watching: list[list[str]] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple) -> None:
    if not _watching:
        return
    opened = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if opened or (event.startswith(WATCHED) and event not in HARMLESS):
        _watching[-1].append(re.sub(r"0x\w+", "", f"{event} {arguments}"))


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect what the interpreter reports of calls, imports, processes and files that are written."""
    if not _hooked:
        sys.addaudithook(_hook)  # for good: it costs a look at an empty list
        _hooked.append(True)
    events: list[str] = []
    _watching.append(events)
    try:
        yield events
    finally:
        _watching.pop()


@contextmanager
def closely_watched(headroom: int = 2**30) -> Iterator[list[str]]:
    """Collect what is not usual; where the system can, limit memory meanwhile."""
    unusual: list[str] = []
    with limited_memory(headroom), watched() as events:
        try:
            yield unusual
        finally:
            unusual += [event for event in events if event not in _usual]


@contextmanager
def limited_memory(headroom: int) -> Iterator[None]:
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + headroom, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refusal(path: Path) -> str:
    """What the user reads: one line that names the file, and no error of Python's or the allocator's."""
    with closely_watched() as events, pytest.raises(TokbenchError) as error:
        load(path)
    text = str(error.value)
    assert events == []
    assert text.isprintable()
    assert path.name in text
    assert len(text) < 1000
    assert not any(word in text for word in ("MemoryError", "RuntimeError", "RecursionError", "Traceback", "alloc"))
    return text


def test_the_watch_sees(tmp_path: Path) -> None:
    """Each of the ways that files try, taken by Python itself."""
    for kind, content in armed(tmp_path / "gotcha").items():
        data = pickle.dumps(content)
        with closely_watched() as events, suppress(Exception):
            pickle.loads(data)
        assert (tmp_path / "gotcha").exists(), kind
        assert any(event.startswith(("exec", "os.", "open", "subprocess")) for event in events), kind
        (tmp_path / "gotcha").unlink()
    with closely_watched(), pytest.raises((MemoryError, RuntimeError)):
        torch.zeros(50_000, 50_000)


PLACES = ("beside the weights", "among the weights", "instead of weights")


@pytest.mark.parametrize(("kind", "place"), [*itertools.product(KINDS, PLACES), ("bare", "instead of weights")])
@pytest.mark.parametrize("attack", armed(Path("x")))
def test_nothing_runs(state: dict[str, Tensor], attack: str, kind: str, place: str, tmp_path: Path) -> None:
    path, target = tmp_path / "weights.pt", tmp_path / "gotcha"
    bad = armed(target)[attack]
    content = dict(zip(PLACES, ({"state_dict": state, "args": bad}, {"state_dict": state | {"encoder.bad": bad}}, bad), strict=True))[place]
    if kind == "bare":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    loads = place == "beside the weights" and not named(attack)
    if loads:
        with closely_watched() as events:
            load(path)  # what is beside the weights is data, and nobody asks for it
        assert events == []
    else:
        text = refusal(path)
        if named(attack) and kind != "bare":
            assert "which has no place in a weights file); convert it to safetensors" in text
    assert not target.exists()
    with suppress(Exception):  # some attacks fail after the fact
        pickle.loads(path.read_bytes()) if kind == "bare" else torch.load(path, weights_only=False)
    assert target.exists()  # the file was indeed armed


def named(attack: str) -> bool:
    """Whether the file says a name that only an attack would."""
    return attack not in ("a method of a path", "a nested archive, loaded", "a nested pickle, loaded")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bomb", oversized())
def test_a_bomb_beside_the_weights_is_not_lit(state: dict[str, Tensor], bomb: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": state, "hyper_parameters": oversized()[bomb]}, path, _use_new_zipfile_serialization=kind == "zip")
    with closely_watched() as events:
        model = load(path)
    assert events == []
    assert torch.equal(model.quantize.embedding.weight, state["quantize.embedding.weight"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bomb", oversized())
def test_a_bomb_among_the_weights_is_no_tensor(state: dict[str, Tensor], bomb: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": state | {"encoder.bad": oversized()[bomb]}}, path, _use_new_zipfile_serialization=kind == "zip")
    assert (
        "1 unknown: encoder.bad. Nothing is missing: if these are no part of the tokenizer, leave them out with --drop encoder.bad"
        in refusal(path)
    )


# ---- archives in archives, claims, files cut short


def rewritten(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The archive with its records changed; checksums are right again."""
    with zipfile.ZipFile(path) as file:
        records = {info.filename: change(info.filename, file.read(info)) for info in file.infolist()}
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in records.items():
            file.writestr(name, data)
    return path


def test_an_archive_within_an_archive(state: dict[str, Tensor], tmp_path: Path) -> None:
    """As a value it is bytes; as a record nobody asks for it; in the place of the pickle it is damage; alone in a zip it is not seen."""
    path, target = tmp_path / "weights.pt", tmp_path / "gotcha"
    inner = in_archive({"state_dict": armed(target)["builtins.eval"]})
    torch.save({"state_dict": state, "more": inner}, path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("weights/inner/data.pkl", inner)
        file.writestr("weights/inner.pt", inner)
    with closely_watched() as events:
        load(path)
    assert events == []

    assert "its pickle" in refusal(rewritten(path, lambda name, data: inner if name.endswith("/data.pkl") else data))
    torch.save({"state_dict": {"encoder.bad": inner}}, path)
    assert "no tensors: state_dict.encoder.bad" in refusal(path)
    for name in ("model.pt", "weights/model.pt", "a/b/data.pkl"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, inner)
        words = (
            "has no records data.pkl, so it is none of torch.save"
            if name.endswith("data.pkl")
            else f"a zip archive of other files ({name})"
        )
        assert words in refusal(path)
    assert not target.exists()


TEN_GB = 2_500_000_000
COUNT = b"\x8a\x05" + TEN_GB.to_bytes(5, "little")
"""As a pickle has the number."""


@pytest.mark.parametrize("claim", ["storage", "shape", "both", "stride 0"])
@pytest.mark.parametrize("kind", KINDS)
def test_ten_gigabytes_that_are_not_there(state: dict[str, Tensor], kind: str, claim: str, tmp_path: Path) -> None:
    """A tensor of twelve values that says it has 2.5 billion."""
    path = tmp_path / "weights.pt"
    value = torch.zeros(1).expand(TEN_GB) if claim == "stride 0" else torch.zeros(12)
    torch.save({"state_dict": state | {"encoder.bad": value}}, path, _use_new_zipfile_serialization=kind == "zip")
    count, shape = (b"K\x0ct", b"K\x0c\x85") if kind == "zip" else (b"K\x0cNt", b"K\x0c\x85")

    def change(name: str, data: bytes) -> bytes:
        for old, part in ((count, "storage"), (shape, "shape")):
            if claim in (part, "both"):
                assert data.count(old) == 1 or not name.endswith("data.pkl")
                data = data.replace(old, COUNT + old[2:])
        return data

    if kind == "legacy":
        path.write_bytes(change("data.pkl", path.read_bytes()))
    else:
        rewritten(path, lambda name, data: change(name, data) if name.endswith("data.pkl") else data)
    reasons = {
        "storage": "claims 10000000000 bytes, the file holds ",
        "both": "claims 10000000000 bytes, the file holds ",
        "shape": f"a tensor of shape ({TEN_GB},) reaches beyond its storage of 12 values",
        "stride 0": f"a tensor claims the shape ({TEN_GB},), its storage holds 1 values",
    }
    assert reasons[claim] in refusal(path)


@pytest.mark.parametrize(
    ("claim", "size"),
    [
        (b'{"a":{"dtype":"F32","shape":[50000,50000],"data_offsets":[0,10000000000]}}', None),
        (b'{"a":{"dtype":"F32","shape":[50000,50000],"data_offsets":[0,4]}}', None),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 10**13),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_ten_gigabytes_in_a_safetensors_file(claim: bytes, size: int | None, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes((size or len(claim)).to_bytes(8, "little") + claim + bytes(4))
    assert "is not a readable" in refusal(path)


@pytest.mark.parametrize("kind", [*KINDS, "safetensors"])
def test_a_file_cut_short(state: dict[str, Tensor], kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    for length in (0, 1, 7, 30, 1000, len(data) // 2, len(data) - 1000, len(data) - 22, len(data) - 1):
        path.write_bytes(data[:length])
        text = refusal(path)
        if kind == "zip" and length >= 1000:
            assert "cut short); convert it to safetensors" in text


def test_a_compressed_bomb(state: dict[str, Tensor], tmp_path: Path) -> None:
    """A few bytes could stand for terabytes, so none of it is unpacked."""
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": state | {"encoder.bad": torch.zeros(1_000_000)}}, path)
    rewritten(path, lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert "is compressed or encrypted, as torch.save never does" in refusal(path)


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_would_write_on_the_terminal(state: dict[str, Tensor], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    bad = ("encoder.\n\rrm -rf", "\x1b]0;owned\x07", "\u202egnol", "x" * 100_000)
    torch.save({"state_dict": state | {name: torch.zeros(1) for name in bad}}, path, _use_new_zipfile_serialization=kind == "zip")
    assert r"4 unknown: '\x1b]0;owned\x07', 'encoder.\n\rrm -rf', xxx" in refusal(path)


def test_the_command_prints_the_line_and_fails(state: dict[str, Tensor], tmp_path: Path, tokbench_cli: Any) -> None:
    path, target = tmp_path / "weights.pt", tmp_path / "gotcha"
    torch.save({"state_dict": state, "args": armed(target)["os.system"]}, path)
    status, out, err = tokbench_cli("run", "-t", "vqgan", "--weights", path)
    assert (status, out) == (2, "")
    (line,) = err.strip().splitlines()
    assert f"{path} is not a readable PyTorch file of plain tensors (it names " in line
    assert line.endswith("which has no place in a weights file); convert it to safetensors")
    assert not target.exists()


# ---- what is only untidy loads


class Callback:
    """As a training framework keeps beside the weights."""

    def __init__(self) -> None:
        self.best = {"score": torch.tensor(0.5), "paths": [Path("last.ckpt")]}
        self.decide = builtins.max


@pytest.mark.parametrize("kind", KINDS)
def test_a_lightning_checkpoint_is_one_load(goldens: Path, kind: str, tmp_path: Path) -> None:
    """Callbacks by class, argparse.Namespace, optimizers, a scheduler, loops: beside the weights, and in no one's way."""
    optimizer = torch.optim.Adam(nn.Linear(2, 2).parameters())
    path = tmp_path / "last.ckpt"
    content = {
        "epoch": 3,
        "global_step": 1000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": collections.OrderedDict(load_file(goldens / "taming" / "state_dict.safetensors")),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 4}}}},
        "callbacks": {Callback: {"monitor": "val/rec_loss", "best_model_score": torch.tensor(0.1)}, "last": Callback()},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict()],
        "hparams_name": "args",
        "hyper_parameters": argparse.Namespace(lr=4.5e-6, betas=(0.5, 0.9), out=Path("logs"), dtype=torch.float32, log=io.BytesIO(b"a")),
    }
    torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with closely_watched() as events:
        model = load(path, GOLDEN)
    assert events == []
    io_ = load_file(goldens / "taming" / "io.safetensors")
    tokens = model.encode(io_["image"])
    assert isinstance(tokens, DiscreteTokens)
    assert torch.equal(tokens.codes.flatten(), io_["indices"])
    torch.testing.assert_close(model.decode(tokens), io_["recon"], atol=1e-4, rtol=0)
