"""Files of ``torch.save`` read as data: nothing of theirs runs, what they claim is checked, what torch reads is read the same."""

from __future__ import annotations

import argparse
import collections
import contextlib
import copyreg
import importlib.util
import io
import pickle
import random
import struct
import sys
import types
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.weights.checkpoints import read_state
from tokbench.weights.torchfile import machine
from tokbench.weights.torchfile.machine import read_pickle
from tokbench.weights.torchfile.plain import MAX_SIZE, read_plain_pickle
from tokbench.weights.torchfile.reader import read_torch_file
from tokbench.weights.torchfile.tensors import detach
from tokbench.weights.torchfile.words import Global, Inert, Unreadable, printable
from tokbench.weights.weight_files import open_file

FORMATS = ("zip", "legacy")


def save(content: object, path: Path, kind: str, protocol: int = 2) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=kind == "zip", pickle_protocol=protocol)
    return path


def write_zip(path: Path, records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in records.items():
            file.writestr(name, data)
    return path


def write_pickle(path: Path, kind: str, content: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """A file of ``torch.save`` around a pickle made by hand."""
    if kind == "zip":
        return write_zip(path, {"a/data.pkl": content} | {f"a/data/{key}": data for key, data in (storages or {}).items()})
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    keys = pickle.dumps(list(storages or {}), protocol=2)
    data = b"".join(struct.pack("<q", len(value) // 4) + value for value in (storages or {}).values())
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head) + content + keys + data)
    return path


def plain(content: bytes) -> Any:
    return read_pickle(content, 0, len(content))[0]


def refusal(path: Path) -> str:
    with pytest.raises(TokbenchError) as error:
        read_state(path)
    text = str(error.value)
    if not text.startswith(f"{path} holds no weights: it is "):
        assert text.startswith(f"{path} is not a readable PyTorch file of plain tensors (")
        assert text.endswith("); convert it to safetensors")
    assert text.isprintable()
    return text


# ---- nothing runs


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module ``trap_module`` that leaves a file behind when it is imported and whenever one of its classes is used."""
    target = tmp_path / "gotcha"
    (tmp_path / "trap_module.py").write_text(f"""
import pathlib
from collections import OrderedDict
def spring(*args, **kwargs):
    pathlib.Path({str(target)!r}).touch()
    return args[0] if args and isinstance(args[0], type) else {{}}
spring()
class Trap(dict):
    def __new__(cls, *args, **kwargs):
        spring()
        return dict.__new__(cls)
    __init__ = __setitem__ = __setstate__ = __call__ = __hash__ = append = extend = add = update = spring
class Ordered(OrderedDict):
    __setitem__ = __setstate__ = spring
""")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield target
    sys.modules.pop("trap_module", None)


def name(text: str) -> bytes:
    module, _, rest = text.rpartition(".")
    return b"c" + module.encode() + b"\n" + rest.encode() + b"\n"


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def attacks(target: Path) -> dict[str, bytes]:
    touch = f"open({str(target)!r}, 'w')"
    shell = word(f"touch {target}")
    trap = name("trap_module.Trap")
    return {
        "os.system": name("os.system") + shell + b"\x85R",
        "posix.system": name("posix.system") + shell + b"\x85R",
        "python 2 name": name("__builtin__.eval") + word(touch) + b"\x85R",
        "eval": name("builtins.eval") + word(touch) + b"\x85R",
        "exec": name("builtins.exec") + word(touch) + b"\x85R",
        "getattr": name("builtins.getattr") + name("shutil.os") + word("system") + b"\x86R" + shell + b"\x85R",
        "getattr of a builtin": (
            name("builtins.getattr") + name("builtins.getattr") + word("__self__") + b"\x86R"
            b"q\x010" + name("builtins.getattr") + b"h\x01" + word("eval") + b"\x86R" + word(touch) + b"\x85R"
        ),
        "dotted name": b"\x80\x04" + word("pathlib") + word("os.system") + b"\x93" + shell + b"\x85R",
        "partial": name("functools.partial") + name("builtins.eval") + word(touch) + b"\x86R)R",
        "map": name("builtins.list") + name("builtins.map") + name("builtins.eval") + b"]" + word(touch) + b"a\x86R\x85R",
        "import": name("trap_module.nothing"),
        "call": trap + b")R",
        "new": trap + b")\x81",
        "new with names": b"\x80\x04" + trap + b")}" + word("a") + b"K\x01s\x92",
        "instance": b"(itrap_module\nTrap\n",
        "object": b"(" + trap + b"o",
        "build": trap + b")\x81}" + word("a") + b"K\x01sb",
        "build on a class": trap + b"}" + word("a") + b"K\x01sb",
        "slots": trap + b")\x81N}" + word("a") + b"K\x01s\x86b",
        "append": trap + b")\x81K\x01a",
        "appends": trap + b")\x81(K\x01K\x02e",
        "item": trap + b")\x81K\x01K\x02s",
        "items": trap + b")\x81(K\x01K\x02u",
        "add": b"\x80\x04" + trap + b")\x81(K\x01\x90",
        "key": b"}" + trap + b")\x81K\x01s",
        "member": b"\x80\x04\x8f(" + trap + b")\x81\x90",
        "reconstructor": name("copyreg._reconstructor") + trap + name("builtins.dict") + b"}\x87R",
        "newobj": name("copyreg.__newobj__") + trap + b"\x85R",
        "ordered": name("trap_module.Ordered") + b")RK\x01K\x02s",
        "default factory": name("collections.defaultdict") + name("trap_module.spring") + b"\x85R",
        "rebuild": name("torch._utils._rebuild_from_type_v2") + trap + b")\x86R",
        "tensor of a type": b"(".join([name("torch._tensor._rebuild_from_type_v2"), name("trap_module.spring") + trap + b"))tR"]),
        "extension": b"\x82\xf0)R",
        "extension of two bytes": b"\x83\xf0\x00)R",
        "extension of four bytes": b"\x84\xf0\x00\x00\x00)R",
    }


@pytest.mark.parametrize("kind", [*FORMATS, "bare"])
@pytest.mark.parametrize("attack", list(attacks(Path("x"))))
def test_nothing_of_a_file_runs(attack: str, kind: str, trap: Path, tmp_path: Path) -> None:
    copyreg.add_extension("trap_module", "Trap", 0xF0)
    try:
        code = attacks(trap)[attack]
        content = b"\x80\x02}" + word("bad") + code + b"s."
        path = write_pickle(tmp_path / "model.pt", kind, content) if kind in FORMATS else tmp_path / "model.pt"
        if kind == "bare":
            path.write_bytes(content)
        with pytest.raises(TokbenchError):
            read_state(path)
        assert not trap.exists()
        assert "trap_module" not in sys.modules
        if kind == "bare" and attack not in ("rebuild", "tensor of a type"):
            with contextlib.suppress(Exception):  # some attacks fail after the fact
                pickle.loads(content)
            assert trap.exists()  # the pickle was indeed armed
    finally:
        copyreg.remove_extension("trap_module", "Trap", 0xF0)
        copyreg.clear_extension_cache()


@pytest.mark.parametrize("text", ["os.system", "posix.system", "nt.system", "subprocess.Popen", "builtins.eval", "builtins.__import__"])
def test_a_file_that_only_an_attack_explains_is_refused(text: str, tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "model.pt", "zip", b"\x80\x02}" + word("a") + name(text) + b"s.")
    assert f"it names {text}, which has no place in a weights file" in refusal(path)


@pytest.mark.parametrize("text", ["ossuary.system", "os", "builtins.getattr", "builtins.evaluate", "posixpath.join", "pathlib.PosixPath"])
def test_names_that_are_merely_unknown_are_inert(text: str) -> None:
    found = plain(b"\x80\x02" + (name(text) if "." in text else name("a." + text)) + b".")
    assert isinstance(found, Global)


# ---- other packages need not be there


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package that is there while a file is saved."""
    module = types.ModuleType("gone_package")

    class Callback:
        def __init__(self) -> None:
            self.best = torch.ones(2)

    class Settings(dict):
        pass

    for value in (Callback, Settings):
        value.__module__, value.__qualname__ = "gone_package", value.__name__
        setattr(module, value.__name__, value)
    monkeypatch.setitem(sys.modules, "gone_package", module)
    return module


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_lightning_checkpoint_without_lightning(gone: Any, kind: str, protocol: int, tmp_path: Path) -> None:
    state = collections.OrderedDict(w=torch.randn(3, 2), b=torch.randn(3))
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": state,
        "callbacks": {gone.Callback: {"monitor": "val/loss", "best_model_score": torch.tensor(0.5)}, "other": gone.Callback()},
        "optimizer_states": [{"state": {0: {"step": 7, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4, "params": [0, 1]}]}],
        "hyper_parameters": gone.Settings(lr=1.0),
        "args": argparse.Namespace(lr=1e-4, path=Path("a"), betas=(0.9, 0.99)),
        "generator": collections.defaultdict(list, a=[1]),
    }
    path = save(content, tmp_path / "last.ckpt", kind, protocol)
    del sys.modules["gone_package"]
    assert open_file(path).format == kind
    read = read_state(path)[0]
    assert read.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in read.items())

    found, _ = read_torch_file(path)
    assert [getattr(key, "name", key) for key in found["callbacks"]] == ["gone_package.Callback", "other"]
    assert found["callbacks"]["other"].kind == "gone_package.Callback"
    assert torch.equal(found["callbacks"]["other"].state["best"], torch.ones(2))
    assert found["args"].kind == "argparse.Namespace"
    assert found["args"].state["lr"] == 1e-4
    assert isinstance(found["args"].state["path"], Inert)
    assert (found["epoch"], found["generator"]) == (3, {"a": [1]})


# ---- what torch reads is read the same


LEGACY_DTYPES = set(torch.storage._dtype_to_storage_type_map())  # torch itself cannot read others from a stream


def dtypes() -> list[torch.dtype]:
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex128 complex64 complex32"
    names += " float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu"
    return [getattr(torch, text) for text in names.split() if hasattr(torch, text)]


CASES = (
    *("dtypes", "views", "tied", "empty", "scalars", "expanded", "bits", "channels last", "parameters", "state dict", "plain"),
    *("a tensor alone", "attributes"),
)


def with_attribute(value: Tensor) -> Tensor:
    value.note = ["of its own"]  # type: ignore[attr-defined]
    return value


def contents(kind: str) -> dict[str, Any]:
    table = torch.arange(24.0).reshape(4, 6)
    values, others = (torch.complex(torch.randn(3), torch.randn(3)) for _ in range(2))
    return {
        "dtypes": {str(dtype): torch.tensor([1, 0, 1, 0, 1]).to(dtype) for dtype in dtypes() if kind == "zip" or dtype in LEGACY_DTYPES},
        "views": {"t": table.T, "column": table[:, 1], "steps": table[1::2, ::3], "row": table[2], "whole": table},
        "tied": {"a": table, "b": table, "c": table.view(6, 4)},
        "empty": {"a": torch.zeros(0), "b": torch.zeros(3, 0, 2), "c": table[4:], "d": table[:, 6:]},
        "scalars": {"a": torch.tensor(3), "b": torch.tensor(2.5), "c": table[1, 2]},
        "expanded": {"a": torch.ones(1).expand(1000, 100), "b": torch.arange(4).expand(3, 4)},
        "bits": {"conj": values.conj(), "neg": torch._neg_view(torch.randn(3)), "imag": others.conj().imag},
        "channels last": {"a": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)},
        "parameters": {"a": nn.Parameter(torch.randn(2)), "b": nn.Parameter(torch.ones(2), requires_grad=False)},
        "a tensor alone": table,
        "attributes": {"a": with_attribute(torch.randn(2)), "b": with_attribute(nn.Parameter(torch.randn(2)))},
        "state dict": nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4)).state_dict(),
        "plain": {
            "none": None,
            "numbers": [True, False, 0, -1, 255, 65536, -(2**31), 2**62, -(2**70), 1.5, float("inf")],
            "texts": ("", "a", "ü" * 300, "x" * 70000),
            "nested": {"a": [{"b": (1, (2, [3]))}], 1: {2: 3}, None: 4, 2.5: 5},
            "sets": {1, "a"},
            "ordered": collections.OrderedDict(b=1, a=2),
            "counter": collections.Counter("aab"),
            "size": torch.Size([2, 3]),
            "dtype": torch.float16,
            "device": torch.device("cpu"),
        },
    }


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, Tensor):
        return (
            type(ours) is Tensor
            and (ours.dtype, ours.shape, ours.stride()) == (theirs.dtype, theirs.shape, theirs.stride())
            and (ours.is_conj(), ours.is_neg()) == (theirs.is_conj(), theirs.is_neg())
            and bytes_of(ours) == bytes_of(theirs)
        )
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], value) for key, value in theirs.items())
    if isinstance(theirs, list | tuple) and not isinstance(theirs, torch.Size):
        return type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


def bytes_of(value: Tensor) -> bytes:
    return value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_the_same_as_torch_load(case: str, kind: str, protocol: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = save(contents(kind)[case], tmp_path / "a.pt", kind, protocol)
    ours, found_kind = read_torch_file(path)
    assert found_kind == kind
    assert same(ours, torch.load(path, weights_only=False))
    if isinstance(ours, dict) and all(isinstance(value, Tensor) for value in ours.values()):
        assert same(detach(ours), ours)


def test_files_of_2018_are_read_the_same() -> None:
    """Weights that another package has shipped since then."""
    spec = importlib.util.find_spec("lpips")
    assert spec is not None
    assert spec.origin is not None
    paths = sorted((Path(spec.origin).parent / "weights").glob("*/*.pth"))
    assert paths
    for path in paths:
        ours, kind = read_torch_file(path)
        assert kind == "legacy"
        assert same(ours, dict(torch.load(path, map_location="cpu", weights_only=True)))


def test_same_can_fail() -> None:
    assert not same({"a": torch.zeros(2)}, {"a": torch.ones(2)})
    assert not same({"a": torch.zeros(2, 2).T}, {"a": torch.zeros(2, 2)})
    assert not same((1, 2), [1, 2])


@pytest.mark.parametrize("kind", FORMATS)
def test_tied_tensors_stay_tied_and_leave_the_file(kind: str, tmp_path: Path) -> None:
    table = torch.randn(4, 6)
    path = save({"whole": table, "row": table[1], "other": torch.zeros(2)}, tmp_path / "a.pt", kind)
    data = path.read_bytes()
    state, _ = read_state(path)
    assert state["whole"].untyped_storage().data_ptr() == state["row"].untyped_storage().data_ptr()
    state["row"].zero_()
    assert torch.equal(state["whole"][1], torch.zeros(6))
    assert torch.equal(state["whole"][2], table[2])
    assert path.read_bytes() == data
    path.write_bytes(b"")  # pages of a file that was cut short may not be touched again
    assert torch.equal(state["whole"][3], table[3])


def test_files_without_checksums_and_without_alignment(tmp_path: Path) -> None:
    state = {"a": torch.randn(5), "b": torch.arange(3)}
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read_torch_file(tmp_path / "a.pt")[0], state)
    data = (tmp_path / "a.pt").read_bytes()
    records = {}
    with zipfile.ZipFile(tmp_path / "a.pt") as file:
        for info in file.infolist():  # ZipFile.read wants a checksum
            start = info.header_offset + 30 + sum(struct.unpack_from("<2H", data, info.header_offset + 26))
            records[info.filename] = data[start : start + info.file_size]
    assert same(read_torch_file(write_zip(tmp_path / "b.pt", records))[0], state)
    assert same(read_torch_file(write_zip(tmp_path / "b.pt", {"a/odd": b"x"} | records))[0], state)


def test_an_archive_beyond_4_gigabytes(tmp_path: Path) -> None:
    """A hole in front moves the records to where their places need 64 bits."""
    torch.save({"a": torch.arange(7)}, tmp_path / "small.pt")
    path = tmp_path / "large.pt"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(2**32 + 5)
    with zipfile.ZipFile(tmp_path / "small.pt") as small, zipfile.ZipFile(path, "a") as large:
        for info in small.infolist():
            large.writestr(info.filename, small.read(info))
    assert read_torch_file(path)[0]["a"].tolist() == list(range(7))


# ---- what a file claims


def claim(
    count: object, size: object, stride: object, offset: object = 0, *, kind: str = "zip", storage: str = "FloatStorage", key: object = "0"
) -> bytes:
    """A state dict of one tensor, as protocol 2 writes it."""
    identity = ("storage", getattr(torch, storage), key, "cpu", count, *([None] if kind == "legacy" else []))

    class Claim:
        def __reduce__(self) -> tuple:
            return torch._utils._rebuild_tensor_v2, (identity, offset, size, stride, False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return (*identity,) if value is identity else None

    out = io.BytesIO()
    Pickler(out, protocol=2).dump({"w": Claim()})
    return out.getvalue()


def claimed_file(path: Path, kind: str, *args: Any, data: bytes = bytes(48)) -> Path:
    return write_pickle(path, kind, claim(*args, kind=kind), {"0": data})


HONEST = (12, (3, 4), (4, 1))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_honest_claim_is_read(kind: str, tmp_path: Path) -> None:
    data = torch.arange(12.0).numpy().tobytes()
    state, _ = read_state(claimed_file(tmp_path / "a.pt", kind, *HONEST, data=data))
    assert torch.equal(state["w"], torch.arange(12.0).reshape(3, 4))


LIES: dict[str, tuple[tuple[Any, ...], str]] = {
    "10 GB of storage": ((2_500_000_000, (3, 4), (4, 1)), "storage 0 claims 10000000000 bytes, the file holds "),
    "more than can be counted": ((2**70, (3, 4), (4, 1)), "out of range"),
    "less than nothing": ((-1, (3, 4), (4, 1)), "out of range"),
    "a text for a number": (("12", (3, 4), (4, 1)), "out of range"),
    "a truth for a number": ((True, (1,), (1,)), "out of range"),
    "10 GB of tensor": ((12, (50_000, 50_000), (50_000, 1)), "reaches beyond its storage of 12 values"),
    "10 GB by stride 0": ((12, (50_000, 50_000), (0, 0)), r"claims the shape \(50000, 50000\), its storage holds 12 values"),
    "no tensor of a huge shape": ((12, (0, 2**39, 2**39), (1, 1, 1)), "claims the shape"),
    "strides beyond": ((12, (3, 4), (5, 1)), "reaches beyond"),
    "offset beyond": ((12, (3, 4), (4, 1), 1), "reaches beyond"),
    "offset of nothing beyond": ((12, (0,), (1,), 14), "reaches beyond"),
    "negative offset": ((12, (3,), (1,), -1), "out of range"),
    "negative stride": ((12, (3,), (-1,), 4), "out of range"),
    "negative size": ((12, (-3,), (1,)), "out of range"),
    "too few strides": ((12, (3, 4), (1,)), "different length"),
    "sizes that overflow": ((12, (2**63, 2), (0, 0)), "out of range"),
    "1000 axes": ((12, (1,) * 1000, (1,) * 1000), "out of range"),
    "a shape that is no shape": ((12, 3, 1), "out of range"),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("lie", list(LIES))
def test_claims_are_held_against_the_file(lie: str, kind: str, tmp_path: Path) -> None:
    values, reason = LIES[lie]
    with pytest.raises(TokbenchError, match=rf"not a readable PyTorch file of plain tensors \(.*{reason}"):
        read_state(claimed_file(tmp_path / "a.pt", kind, *values))


@pytest.mark.parametrize("kind", FORMATS)
def test_truth_values_are_0_or_1(kind: str, tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pt", "zip", claim(4, (4,), (1,), storage="BoolStorage"), {"0": b"\x00\x01\x02\x01"})
    if kind == "legacy":
        data = save({"w": torch.tensor([False, True, True, True])}, path, kind).read_bytes()
        assert data.endswith(b"\x00\x01\x01\x01")
        path.write_bytes(data[:-1] + b"\x07")
    assert "truth values other than 0 and 1" in refusal(path)


@pytest.mark.parametrize(
    "identity",
    [b"X\x01\x00\x00\x000", b"K\x00", b")", b"N", b"(X\x07\x00\x00\x00storaget", b"](K\x01e", name("torch.FloatStorage")],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_persistent_ids_are_storages(identity: bytes, kind: str, tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pt", kind, b"\x80\x02}" + word("w") + identity + b"Qs.", {})
    assert "it refers to something that is no storage" in refusal(path)


def test_a_storage_under_another_key_or_path(tmp_path: Path) -> None:
    for key in ("1", "../data.pkl", "0\x1b[2J"):
        text = refusal(write_pickle(tmp_path / "a.pt", "zip", claim(*HONEST, key=key), {"0": bytes(48)}))
        assert "a/data/" in text
        assert "is missing" in text


# ---- the archive


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save(
        {"state_dict": {"w": torch.randn(30, 20), "b": torch.randn(30), "n": torch.tensor(3)}, "epoch": 3}, tmp_path / "a.pt", "zip"
    )


def records(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def test_a_truncated_archive(saved: Path) -> None:
    data = saved.read_bytes()
    for length in (*range(0, 40, 3), *range(40, len(data) - 40, 97), *range(len(data) - 40, len(data))):
        saved.write_bytes(data[:length])
        refusal(saved)


def test_a_truncated_stream(saved: Path) -> None:
    data = save(torch.load(saved), saved, "legacy").read_bytes()
    for length in (*range(0, 200), *range(200, len(data), 53), len(data) - 1):
        saved.write_bytes(data[:length])
        refusal(saved)


def test_compressed_records_are_refused(saved: Path) -> None:
    bomb = records(saved) | {"a/zeros": bytes(10_000_000)}
    assert "is compressed or encrypted" in refusal(write_zip(saved, bomb, zipfile.ZIP_DEFLATED))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_program_is_refused(saved: Path) -> None:
    plain_records = records(saved)
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(saved)
    assert "TorchScript archive, which is a program" in refusal(saved)
    for extra in ("a/constants.pkl", "a/code/__torch__.py"):
        assert "TorchScript archive, which is a program" in refusal(write_zip(saved, plain_records | {extra: b""}))


def test_archives_that_are_none_of_torch_save(saved: Path, tmp_path: Path) -> None:
    inner = saved.read_bytes()
    for content in ({}, {"x/model.pt": inner}, {"a/b/data.pkl": b"N."}, {"data.pkl": b"N."}):
        text = refusal(write_zip(tmp_path / "b.pt", content))
        assert "data.pkl" in text or "it is a zip archive of other files" in text or "it is an empty zip archive" in text
    assert "has 2 records data.pkl" in refusal(write_zip(tmp_path / "b.pt", {"a/data.pkl": b"N.", "b/data.pkl": b"N."}))


def test_other_byte_orders_are_refused(saved: Path) -> None:
    content = {("a/" + key.split("/", 1)[1]): value for key, value in records(saved).items()}
    for order in (b"big", b"", b"little-ish"):
        assert "byte order is not little-endian" in refusal(write_zip(saved, content | {"a/byteorder": order}))
    del content["a/byteorder"]  # of versions before there was a record of it
    assert read_state(write_zip(saved, content))[0]["n"].item() == 3
    stream = save({"w": torch.zeros(1)}, saved, "legacy").read_bytes()
    saved.write_bytes(stream.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
    assert saved.read_bytes() != stream
    assert "byte order not little-endian" in refusal(saved)


def test_a_record_twice(saved: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(saved, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr("a/data.pkl", b"N.")
    assert "a/data.pkl twice" in refusal(saved)


def test_a_damaged_record_and_a_damaged_directory(saved: Path) -> None:
    data = saved.read_bytes()
    place = data.index(records(saved)["a/data/0"])
    saved.write_bytes(data[: place + 7] + bytes([data[place + 7] ^ 1]) + data[place + 8 :])
    assert "record a/data/0 is damaged, the checksum differs" in refusal(saved)
    place = data.rindex(b"PK\x01\x02")
    saved.write_bytes(data[: place + 42] + b"\x10" + data[place + 43 :])  # where the last record begins
    assert read_state(saved)[0].keys() == {"w", "b", "n"}  # nobody needs it
    place = data.index(b"PK\x01\x02")
    saved.write_bytes(data[: place + 42] + b"\x10" + data[place + 43 :])
    assert "record a/data.pkl is not where the directory says" in refusal(saved)


def local_header(text: str, size: int) -> bytes:
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, size, size, len(text), 0) + text.encode()


def test_records_that_lie_on_top_of_each_other(tmp_path: Path) -> None:
    """Each record holds all the following: a small file that would become a large state."""
    names = [f"a/data/{key}" for key in range(9)]
    claims = b"".join(claim(250, (250,), (1,), key=str(key))[2:-1] for key in range(9))
    content = b"\x80\x02](" + claims + b"e."
    body, places = bytes(1000), {}
    for text in reversed(names):
        body = local_header(text, len(body)) + body
        places[text] = len(body)
    rows = [(text, len(body) - places[text], places[text] - len(local_header(text, 0))) for text in names]
    rows.append(("a/data.pkl", len(body), len(content)))
    data = body + local_header("a/data.pkl", len(content)) + content
    directory = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, size, size, len(text), 0, 0, 0, 0, 0, place) + text.encode()
        for text, place, size in rows
    )
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(rows), len(rows), len(directory), len(data), 0)
    (tmp_path / "a.pt").write_bytes(data + directory + end)
    assert "its storages lie on top of each other" in refusal(tmp_path / "a.pt")


def test_files_of_another_kind_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps({"a": 1}))
    assert "it is a pickle, but none of torch.save" in refusal(path)


# ---- the machine


def test_an_endless_pickle_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MAX_STEPS", 1000)
    assert plain(b"\x80\x02" + b"N0" * 400 + b"N.") is None
    with pytest.raises(Unreadable, match="its pickle has more than 1000 instructions"):
        plain(b"\x80\x02" + b"N0" * 600 + b"N.")
    for huge in (b"X" + struct.pack("<I", 500) + b"x" * 500, b"(" + b"N" * 500 + b"t"):
        with pytest.raises(Unreadable, match=r"a set of what is no list|more than 1000 instructions"):
            plain(b"\x80\x02" + huge + b"q\x000" + (name("builtins.set") + b"h\x00\x85R0") * 3 + b"N.")
    many = b"\x80\x02(" + b"N" * 500 + b"tq\x000" + name("builtins.set") + b"h\x00R."
    assert isinstance(plain(many), Inert)
    doubling = b"\x80\x02]q\x00" + b"(" + b"N" * 100 + b"e" + (name("builtins.set") + b"h\x00\x85R0") * 20 + b"."
    with pytest.raises(Unreadable, match="more than 1000 instructions"):
        plain(doubling)


@pytest.mark.parametrize("deep", [b")" + b"\x85" * 20_000, b"N" + b"\x85" * 20_000, b"]" * 10_000 + b"a" * 9_999])
def test_depth_costs_nothing(deep: bytes) -> None:
    """As a value, and where Python would hash it: as a key and as a member of a set."""
    key, added, member = b"}h\x00K\x01s", b"\x8f(h\x00\x90", name("builtins.set") + b"](h\x00e\x85R"
    value, *others = plain(b"\x80\x04(" + deep + b"\x94" + key + added + member + b"t.")
    assert value
    for other in others:
        assert [type(item) for item in other] == [Inert]


def test_inert_objects_may_be_deep_and_contain_themselves() -> None:
    made = name("a.b") + b")\x81"
    assert plain(b"\x80\x02" + made * 5_000 + b"b" * 4_999 + b".").kind == "a.b"
    found = plain(b"\x80\x02" + made + b"q\x00h\x00b.")
    assert found.state is found


def test_shared_tuples_as_keys_are_not_hashed() -> None:
    """Sixty pairs of pairs: 2**60 leaves."""
    bomb = b"N" + b"q\x00h\x00\x86" * 60
    assert isinstance(next(iter(plain(b"\x80\x02}" + bomb + b"Ns."))), Inert)


def test_numbers_that_could_collide_are_no_keys() -> None:
    keys = list(plain(b"\x80\x02" + pickle.dumps({2**61 - 1: 0, 2**200: 1, -(2**63): 2}, 2)[2:]))
    assert keys[0] == 2**61 - 1
    assert isinstance(keys[1], Inert)
    assert keys[2] == -(2**63)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends early"),
        (b"\x80", "ends early"),
        (b"\x80\x06N.", "a protocol above 5"),
        (b".", "damaged"),
        (b"N", "ends early"),
        (b"0.", "damaged"),
        (b"\x85.", "takes more than it has"),
        (b"N\x86.", "takes more than it has"),
        (b"R.", "takes more than it has"),
        (b"b.", "damaged"),
        (b"t.", "damaged"),
        (b"h\x05.", "damaged"),
        (b"j\xff\xff\xff\xff.", "damaged"),
        (b"X\xff\xff\xff\xffabc.", "ends early"),
        (b"\x8d" + b"\xff" * 8 + b"abc.", "ends early"),
        (b"\x8e" + b"\xff" * 8 + b"abc.", "ends early"),
        (b"\x8b\xff\xff\xff\x7f1.", "ends early"),
        (b"\x95" + b"\xff" * 7, "ends early"),
        (b"cos", "ends early"),
        (b"NNs.", "damaged|fills"),
        (b"NNNs.", "fills a NoneType as a dict"),
        (b"NNa.", "fills a NoneType as a list"),
        (b"}(NNNu.", "damaged"),
        (b"}N\x85a.", "fills a dict as a list"),
        (b"\x8c\x01a]\x93.", "a name that is no text"),
        (b"X\x02\x00\x00\x00\xff\xfe.", "damaged"),
        (b"P0\n.", r"an instruction \(0x50\) that weights do not need"),
        (b"\x97.", r"\(0x97\)"),
        (b"\x82\x01.", r"\(0x82\)"),
        (b"ccollections\nOrderedDict\nK\x01K\x02\x86R.", "damaged"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "."),
    ],
)
def test_damaged_pickles(content: bytes, reason: str) -> None:
    if content.startswith(b"ctorch"):
        assert plain(content) is not None  # inert outside of torch's vocabulary
        return
    with pytest.raises(Unreadable, match=reason):
        plain(content)


def test_text_of_a_file_is_fit_for_a_terminal(tmp_path: Path) -> None:
    assert printable("encoder.ü") == "encoder.ü"
    assert printable("a\x1b[2Jb\n") == r"'a\x1b[2Jb\n'"
    assert len(printable("x" * 10_000)) == 100
    path = write_pickle(tmp_path / "a.pt", "zip", b"\x80\x02}" + name("os.\x1b[2J") + b"Ns.")
    assert "\x1b" not in refusal(path)


# ---- noise


def outcome(path: Path) -> dict[str, Tensor] | None:
    """Tensors or None; anything but a TokbenchError is a failure of the test."""
    try:
        return read_state(path)[0]
    except TokbenchError:
        return None


def noisy(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 5))):
        place = random_.randrange(len(changed))
        action = random_.randrange(4)
        if action == 0:
            changed[place] ^= 1 << random_.randrange(8)
        elif action == 1:
            changed[place] = random_.randrange(256)
        elif action == 2:
            del changed[place : place + random_.randrange(1, 9)]
        else:
            other = random_.randrange(len(data))
            changed[place:place] = data[other : other + random_.randrange(1, 9)]
    return bytes(changed)


def test_noise_in_an_archive_is_noticed_or_harmless(saved: Path) -> None:
    data, expected = saved.read_bytes(), read_state(saved)[0]
    kept = 0
    for seed in range(300):
        saved.write_bytes(noisy(data, random.Random(seed)))
        found = outcome(saved)
        if found is not None:
            kept += 1
            assert found.keys() == expected.keys()
            assert all(torch.equal(value, expected[key]) for key, value in found.items())
    assert 0 < kept < 300


@pytest.mark.parametrize("kind", FORMATS)
def test_noise_in_the_pickle_is_noticed_or_harmless(kind: str, tmp_path: Path) -> None:
    """With the right checksum, so that the machine has to bear it."""
    path = save({"state_dict": nn.Linear(5, 3).state_dict(), "o": {"e": [1.5, "a", {3}]}}, tmp_path / "a.pt", "zip")
    content = records(path)
    data = content["a/data.pkl"]
    if kind == "legacy":
        stream = save(torch.load(path), path, kind).read_bytes()
    kept = 0
    for seed in range(400):
        if kind == "zip":
            write_zip(path, content | {"a/data.pkl": noisy(data, random.Random(seed))})
        else:
            path.write_bytes(noisy(stream, random.Random(seed)))
        found = outcome(path)
        kept += found is not None
        for value in (found or {}).values():
            value.double().sum()  # every value can be touched
    assert 0 < kept < 400


def test_noise_of_instructions() -> None:
    """Programs of valid instructions in any order."""
    steps = list(machine._STEPS)
    for seed in range(400):
        random_ = random.Random(seed)
        words = [b"K\x01", b"]", b"}", b")", b"(", b"N", word("a"), name("a.b"), name("builtins.set"), name("collections.OrderedDict")]
        program = b"".join(random_.choice(words) if random_.random() < 0.6 else bytes([random_.choice(steps)]) for _ in range(60))
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Unreadable):
            patch.setattr(machine, "MAX_STEPS", 10_000)
            plain(program + b".")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_pickles_of_python_hold_tensors(protocol: int, dtype: torch.dtype, tmp_path: Path) -> None:
    """Each storage is a file of ``torch.save`` in bytes; views share one, as they do for torch."""
    whole = torch.arange(12).to(dtype)
    content = {"a": (whole, whole[2:8].view(2, 3).T), "b": [torch.tensor(3.5).to(dtype), "words", None, True]}
    path = tmp_path / "stats.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read: Any = read_plain_pickle(path)
    assert torch.equal(read["a"][0], content["a"][0])
    assert torch.equal(read["a"][1], content["a"][1])
    assert torch.equal(read["b"][0], content["b"][0])
    assert read["b"][1:] == content["b"][1:]
    assert read["a"][0].dtype == dtype


class _Bytes:
    """What a tensor's storage is pickled as, with other bytes."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.held,)


def nested() -> bytes:
    """A file of ``torch.save`` whose content asks for another to be read."""
    buffer = io.BytesIO()
    torch.save([_Bytes(b"x")], buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (pickle.dumps(_Bytes(b"no file")), "neither a zip archive nor a stream of torch.save"),
        (pickle.dumps(_Bytes(b"")), "neither a zip archive nor a stream of torch.save"),
        (pickle.dumps(_Bytes(7)), "its tensors are no bytes"),
        (b"\x80\x02cposix\nsystem\n(U\x04truetR.", "posix.system"),
        (pickle.dumps([1.0])[:-3], "ends early|damaged"),
        (bytes(MAX_SIZE + 1), f"it has {MAX_SIZE + 1} bytes"),
    ],
)
def test_hostile_pickles_of_python_are_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "stats.pkl"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=problem):
        read_plain_pickle(path)


def test_a_file_within_a_pickle_opens_no_other(tmp_path: Path) -> None:
    path = tmp_path / "stats.pkl"
    path.write_bytes(pickle.dumps(_Bytes(nested())))
    assert type(read_plain_pickle(path)) is Inert
