"""Every place that reads a file which could hold code: listed, and tried with a pickle that writes a file."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tokbench
from tokbench.arrays import BadArray, open_array
from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.rfid import RFID
from tokbench.bench.networks import FeatureNetwork
from tokbench.errors import TokbenchError
from tokbench.feed import ByteText, Vocabulary, identify
from tokbench.feed.probe.saved import load_probe, save_probe
from tokbench.tokenizers.zoo import families
from tokbench.weights.assets import asset_path
from tokbench.weights.judges import read_judge
from tokbench.weights.places import locate

PACKAGE = Path(tokbench.__file__).parent

SITES = {
    "bench/cache.py: safe_open": "safetensors",
    "bench/cache.py: safetensors.numpy.load": "safetensors, which cannot hold code",
    "bench/chunk_files.py: safetensors.torch.load": "safetensors, which cannot hold code",
    "data/shard_index.py: safetensors.numpy.load": "safetensors, which cannot hold code",
    "bench/fetch.py: Unpickler": "its digest is checked first, and it builds arrays alone",
    "lm/network.py: from_pretrained": "with a configuration and tensors that this package has read, and no name of a place",
    "weights/saved.py: safe_open": "safetensors",
    "weights/weight_files.py: safe_open": "safetensors",
}
"""Calls that read tensors, arrays or objects, and why they run nothing. Any other file goes through these or ``torchfile``."""

MODULES = {"pickle", "joblib", "shelve", "marshal", "dill", "cloudpickle", "yaml", "torch.hub", "torch.jit"}
NAMES = {"Unpickler", "load_file", "safe_open", "load_state_dict_from_url", "from_pretrained", "fromfile"}
CALLS = {
    "safetensors.numpy.load",
    "safetensors.torch.load",
    "pd.read_pickle",
    "torch.load",
    "np.load",
    "numpy.load",
    "exec",
    "eval",
    "__import__",
}
HARMLESS = {"torch.hub.get_dir", "pickle.UnpicklingError", "pickle.decode_long", "torch.jit.is_tracing", "torch.jit.is_scripting"}


def readers(source: str) -> set[str]:
    """What a module calls or subclasses that may read objects."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        uses = [node.func] if isinstance(node, ast.Call) else node.bases if isinstance(node, ast.ClassDef) else []
        for name in map(ast.unparse, uses):
            module, _, last = name.rpartition(".")
            if name not in HARMLESS and (name in CALLS or last in NAMES or module in MODULES):
                found.add(last if last in NAMES else name)
    return found


def test_every_reader_of_objects_is_on_the_list() -> None:
    assert readers("torch.load(p); class_ = x.from_pretrained(p)\nclass A(pickle.Unpickler): ...") == {
        "torch.load",
        "from_pretrained",
        "Unpickler",
    }
    files = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert {f"{where}: {name}" for where, source in files.items() for name in readers(source)} == set(SITES)


class Armed:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"echo ran > '{self.canary}'",)


class ArmedByBuiltin(Armed):
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.canary)!r}, 'w').write('ran')",)


class ArmedByPath(Armed):
    def __reduce__(self) -> tuple[object, tuple[Path, bytes]]:  # no name that a list of dangerous ones would hold
        return Path.write_bytes, (self.canary, b"ran")


def forms(value: object) -> dict[str, bytes]:
    """The ways in which a pickle may lie in a file."""
    new, old, array = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(2)}, "x": value}, new)
    torch.save({"state_dict": {"a": torch.zeros(2)}, "x": value}, old, _use_new_zipfile_serialization=False)
    np.save(array, np.array([value], dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    np.savez(archive, arr_0=np.array([value], dtype=object))
    return {
        "torch": new.getvalue(),
        "legacy": old.getvalue(),
        "plain": pickle.dumps(value),
        "protocol0": pickle.dumps(value, protocol=0),
        "npy": array.getvalue(),
        "npz": archive.getvalue(),
    }


ARMS = (Armed, ArmedByBuiltin, ArmedByPath)
FORMS = ("torch", "legacy", "plain", "protocol0", "npy", "npz")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture(params=[f"{arm.__name__}-{form}" for arm in ARMS for form in FORMS])
def armed(request: pytest.FixtureRequest, tmp_path: Path, canary: Path) -> Path:
    """A file that writes the canary when it is unpickled."""
    name, _, form = request.param.partition("-")
    arm = next(arm for arm in ARMS if arm.__name__ == name)
    path = tmp_path / "armed.pth"
    path.write_bytes(forms(arm(canary))[form])
    return path


def test_the_files_are_armed(tmp_path: Path, canary: Path) -> None:
    for arm in ARMS:
        data = forms(arm(canary))
        for form, load in {
            "torch": lambda b: torch.load(io.BytesIO(b), weights_only=False),
            "legacy": lambda b: torch.load(io.BytesIO(b), weights_only=False),
            "plain": pickle.loads,
            "protocol0": pickle.loads,
            "npy": lambda b: np.load(io.BytesIO(b), allow_pickle=True),
            "npz": lambda b: np.load(io.BytesIO(b), allow_pickle=True)["arr_0"],
        }.items():
            load(data[form])
            assert canary.exists(), (arm, form)
            canary.unlink()


def _network() -> FeatureNetwork:
    return FeatureNetwork("n", 2, {}, lambda images: images)


@pytest.fixture(scope="session")
def probe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    tokenizer = tokbench.load("patch")
    vocabulary = Vocabulary.over(ByteText(), tokenizer.layout(64, 64), identify(tokenizer))
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(vocab_size=vocabulary.size, max_position_embeddings=64, **sizes)
    folder = tmp_path_factory.mktemp("probe")
    save_probe(transformers.LlamaForCausalLM(config), vocabulary, folder)
    return folder


def _place(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _in_the_cache(name: str) -> Callable[[Path, Path], object]:
    def load(armed: Path, home: Path) -> object:
        _place(asset_path(name), armed.read_bytes())
        return RFID.create(MetricContext(torch.device("cpu"), 4)) if name == "inception" else read_judge(name)

    return load


def _in_the_hub_cache(file: str) -> Callable[[Path, Path], object]:
    def load(armed: Path, home: Path) -> object:
        _place(home / "hub" / "checkpoints" / file, armed.read_bytes())
        if file.startswith("vgg16"):
            from tokbench.bench.fetch import _vgg_from_torchvision

            return _vgg_from_torchvision(home, lambda done, total: None)
        return RFID.create(MetricContext(torch.device("cpu"), 4))

    return load


def _resume(armed: Path, home: Path) -> object:
    from tokbench.train.beginning import _read_checkpoint

    return _read_checkpoint(armed)


def _features(armed: Path, home: Path) -> object:
    cache = FeatureCache(home, _network())
    data = armed.read_bytes()
    _place(cache.folder / f"{cache._name(data)}.safetensors", data)
    assert not FeatureCache(home, _network())._known  # it is computed again
    raise TokbenchError("not read")


def _named(suffix: str) -> Callable[[Path, Path], object]:
    return lambda armed, home: tokbench.load("vqgan", weights=_place(home / f"w{suffix}", armed.read_bytes()))


def _palette(armed: Path, home: Path) -> object:
    return tokbench.load("pixel/palette-512", weights=_place(home / "w.npy", armed.read_bytes()))


def _library(file: str) -> Callable[[Path, Path], object]:
    def load(armed: Path, home: Path) -> object:
        _place(home / "d" / "config.json", b'{"_class_name": "AutoencoderKL"}')
        _place(home / "d" / file, armed.read_bytes())
        return tokbench.load("diffusers/kl", weights=home / "d")

    return load


LOADERS: dict[str, Callable[[Path, Path], object]] = {
    "feature weights": lambda armed, home: RFID.create(MetricContext(torch.device("cpu"), 4, feature_weights=armed)),
    **{f"{name} in the cache": _in_the_cache(name) for name in ("inception", "lpips-vgg", "resnet50")},
    **{
        f"{file} in the hub's cache": _in_the_hub_cache(file)
        for file in ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth", "vgg16-397923af.pth")
    },
    "resume": _resume,
    "features": _features,
    **{f"weights as {suffix}": _named(suffix) for suffix in (".pt", ".ckpt", ".bin", ".safetensors", ".npz", "")},
    "palette": _palette,
    "torchscript": lambda armed, home: locate(f"torchscript:{armed}"),
    **{
        f"diffusers folder with {file}": _library(file)
        for file in ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.bin")
    },
}


@pytest.mark.usefixtures("uncompared")
@pytest.mark.parametrize("loader", LOADERS)
def test_nothing_in_a_file_is_run(loader: str, armed: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKBENCH_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    with pytest.raises(TokbenchError) as caught:
        LOADERS[loader](armed, tmp_path / "home")
    assert not canary.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_nothing_in_a_probe_is_run(probe_folder: Path, file: str, armed: Path, canary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "probe"
    folder.mkdir()
    for part in ("config.json", "vocabulary.json"):
        (folder / part).write_bytes((probe_folder / part).read_bytes())
    (folder / file).write_bytes(armed.read_bytes())
    with pytest.raises(TokbenchError):
        load_probe(folder)
    assert not canary.exists()


STRANGE = [
    *({name: "someone/kernel"} for name in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")),
    *({name: "someone/kernel"} for name in ("_experts_implementation", "quantization_config", "_commit_hash", "attribute_map")),
    *({"auto_map": {"AutoModel": "someone/code--model.Model"}}, {"num_labels": 10**9}, {"dtype": "system"}, {"pruned_heads": {"0": [0]}}),
]


@pytest.mark.parametrize("settings", STRANGE, ids=lambda settings: next(iter(settings)))
def test_a_probe_is_built_from_its_sizes_alone(probe_folder: Path, settings: dict, tmp_path: Path) -> None:
    folder = tmp_path / "probe"
    shutil.copytree(probe_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    assert "someone" not in repr(vars(load_probe(folder)[0].config))


@pytest.mark.parametrize(
    "settings", [{"pad_token_id": 10**9}, {"head_dim": 0}, {"hidden_act": "someone/kernel"}, {"num_key_value_heads": 0}]
)
def test_a_probe_of_settings_that_make_no_network_is_refused(probe_folder: Path, settings: dict, tmp_path: Path) -> None:
    folder = tmp_path / "probe"
    shutil.copytree(probe_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(TokbenchError, match="holds no probe"):
        load_probe(folder)


@pytest.mark.parametrize(
    "name", ["attn_implementation", "_attn_implementation", "_experts_implementation", "_attn_implementation_internal"]
)
@pytest.mark.parametrize("family", ["transformers", "diffusers"])
def test_settings_of_a_library_name_no_code(family: str, name: str) -> None:
    for variant in families()[family].variants:
        settings = json.loads(variant.config.settings) | {name: "someone/kernel"}
        with pytest.raises(ValueError, match=rf"name an {name}, which its library may fetch and run"):
            replace(variant.config, settings=json.dumps(settings))


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadArray, match="it holds object, not plain numbers"):
        open_array(tmp_path / "a.npy")


@pytest.mark.parametrize("seed", range(60))
def test_arrays_are_read_as_they_were_written_or_not_at_all(seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    dtype = draw.choice(["u1", "<i2", ">f4", "<f8", "?", "<f2"])
    shape = tuple(int(n) for n in draw.integers(0, 5, draw.integers(0, 4)))
    values = np.asarray(draw.integers(0, 2, shape).astype(dtype), order=draw.choice(["C", "F"]))
    path = tmp_path / "a.npy"
    np.save(path, values)
    assert np.array_equal(open_array(path), values)
    data = bytearray(path.read_bytes())
    cut = bytes(data[: draw.integers(0, len(data))])
    flipped = bytearray(data)
    flipped[draw.integers(0, 128)] ^= 1 << int(draw.integers(0, 8))
    for damaged in (cut, bytes(flipped), bytes(data) + b"more"):
        path.write_bytes(damaged)
        try:
            found = open_array(path)
        except BadArray:
            continue
        assert found.nbytes <= len(damaged)  # another shape or type that fits is no array of objects, and no larger than the file


def test_a_zip_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npy", "w") as archive:
        archive.writestr("arr_0.npy", b"")
    with pytest.raises(BadArray, match=r"it is no \.npy file"):
        open_array(tmp_path / "a.npy")
