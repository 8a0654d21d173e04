"""Mutated and armed files of weights through every way in: loaded as they were, or refused; nothing of them runs."""

from __future__ import annotations

import collections
import io
import operator
import os
import pickle
import random
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tokbench
from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.rfid import RFID
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.reference_opening import open_reference
from tokbench.configs import with_overrides
from tokbench.data.folder import FolderSource
from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.quantizers.configs import VQ
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers import zoo
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.zoo import save_tokenizer
from tokbench.train import loop
from tokbench.train.loop import train
from tokbench.train.options import TrainOptions
from tokbench.train.recipes import get_recipe
from tokbench.weights import likeness
from tokbench.weights.assets import asset_path
from tokbench.weights.judges import read_judge

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


class Call:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, self.arguments

    def __call__(self) -> None:
        """The pickler wants functions to be callable, also those that another call returns."""


class Builds:
    """Unpickling it makes a text whose state is set by ``eval``, which is to say that it is run."""

    def __init__(self, python: str) -> None:
        self.python = python

    def __reduce__(self) -> tuple[object, ...]:
        return str, (self.python,), {"a": 1}, None, None, eval


def _arms(canary: Path) -> list[object]:
    """Objects whose unpickling writes the canary."""
    python = f"open({str(canary)!r}, 'w').close()"
    run = Call(exec, python)
    return [
        Call(os.system, f"touch {canary}"),
        Call(subprocess.call, ["touch", str(canary)]),
        Call(eval, python),
        run,
        Call(open, str(canary), "w"),
        Call(Path.touch, canary),
        Call(Path.write_bytes, canary, b"x"),
        Call(Call(getattr, Call(__import__, "os"), "system"), f"touch {canary}"),
        Call(shutil.copy, "/dev/null", canary),
        Call(np.save, str(canary), np.zeros(1)),
        Call(torch.save, 1, str(canary)),
        Call(operator.call, os.system, f"touch {canary}"),
        Builds(python),
        {Call(operator.not_, run): 1},
        collections.OrderedDict([("a", Call(tuple, [run]))]),
        collections.defaultdict(None, a=run),
        Call(pickle.loads, pickle.dumps(run)),
        Call(torch.storage._load_from_bytes, _zip({"w": run})),
    ]


def _by_hand(canary: Path, chance: random.Random) -> bytes:
    """Pickles no pickler writes: opcodes of old protocols, names on the stack, calls hidden behind memos and marks."""
    command = f"touch {canary}".encode()
    call = chance.choice(
        [
            b"cos\nsystem\n(S'" + command + b"'\ntR",
            b"(S'" + command + b"'\nios\nsystem\n",
            b"(cos\nsystem\nS'" + command + b"'\no",
            b"\x8c\x02os\x8c\x06system\x93(\x8c" + bytes([len(command)]) + command + b"tR",
            b"cposix\nsystem\np0\n0g0\n(S'" + command + b"'\ntR",
            b"c__builtin__\nexec\n(S'open(\"" + str(canary).encode() + b'","w")\'\ntR',
            b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR(S'" + command + b"'\ntR",
            b"ctorch\n_utils._rebuild_tensor_v2.__globals__\n.",
            b"cnumpy.core.multiarray\n_reconstruct.__globals__\n",
            b"}(S'x'\ncos\nsystem\n(S'" + command + b"'\ntRu",
        ]
    )
    return chance.choice([b"", b"\x80\x02", b"\x80\x04", b"(((", b"N0"]) + call + chance.choice([b".", b"0N.", b"b.", b""])


def _zip(value: object) -> bytes:
    data = io.BytesIO()
    torch.save(value, data)
    return data.getvalue()


def _legacy(value: object) -> bytes:
    data = io.BytesIO()
    torch.save(value, data, _use_new_zipfile_serialization=False)
    return data.getvalue()


def _npy(value: object) -> bytes:
    data = io.BytesIO()
    np.save(data, np.array([value], dtype=object), allow_pickle=True)
    return data.getvalue()


def _npz(value: object) -> bytes:
    data = io.BytesIO()
    np.savez(data, arr_0=np.array([value], dtype=object))
    return data.getvalue()


def _armed_file(canary: Path, state: dict[str, Any], chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        raw = _by_hand(canary, chance)
        if chance.random() < 0.5:
            return raw
        data = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(_zip(state))) as old, zipfile.ZipFile(data, "w") as new:
            for info in old.infolist():
                new.writestr(info, raw if info.filename.endswith("data.pkl") else old.read(info))
        return data.getvalue()
    arm = chance.choice(_arms(canary))
    value: object = chance.choice([arm, {"state_dict": state, "args": arm}, {"state_dict": {**state, "encoder.bad": arm}}, [arm]])
    form = chance.choice([_zip, _legacy, pickle.dumps, lambda v: pickle.dumps(v, 0), _npy, _npz])
    return form(value)


@dataclass(frozen=True)
class Way:
    """One way in: files as they should be, which of them to damage, and what reads them."""

    name: str
    files: dict[str, bytes]
    targets: tuple[str, ...]
    read: Callable[[Path], Any]
    equal: bool = False
    """Whether what comes out is held against the undamaged: its checksum must have shown any difference."""


def _small_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    family, variant = zoo.resolve(NAME)
    config = with_overrides(variant.config, SMALL)
    return import_class(family.model)(config).state_dict()


def _load(path: Path) -> dict[str, torch.Tensor]:
    return tokbench.load(NAME, weights=path, config=SMALL).state_dict()


TINY = AutoencoderConfig(z_channels=4, channels=32, channel_multipliers=(1, 1), num_res_blocks=1, attn_resolutions=())


def _tiny_resolve(name: str) -> Any:
    family, variant = zoo.resolve(name)
    return family, replace(variant, config=ConvVQConfig(TINY, VQ(16, 4, loss_form="commitment")), image_size=16)


class Crash(Exception):
    """Training ends in between."""


def _resume(source: FolderSource, *, crash_after: int | None = None) -> Callable[[Path], Any]:
    recipe = get_recipe("vqvae-tiny")

    def report(done: int, total: int, figures: dict[str, float]) -> None:
        if done == crash_after:
            raise Crash

    def run(folder: Path) -> None:
        short = replace(recipe, steps=3, batch_size=2, warmup=3, losses=replace(recipe.losses, perceptual_weight=0.0))
        options = TrainOptions(out=folder, resume=crash_after is None, log_every=1, save_every=2)
        train(short, source, options, progress=report)

    return run


def _network() -> FeatureNetwork:
    return FeatureNetwork("n", 2, {}, lambda images: images)


def _cached(folder: Path) -> None:
    cache = FeatureCache(folder, _network())
    for path in folder.glob("seg.safetensors"):
        cache.folder.mkdir(parents=True)
        shutil.move(path, cache.folder)
    FeatureCache(folder, _network()).get(b"0" * 32)


def _asset(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        place = asset_path(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "w", place)
        return RFID.create(MetricContext(torch.device("cpu"), 4)) if name == "inception" else read_judge(name)

    return read


def _diffusers(folder: Path) -> dict[str, bytes] | None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
    diffusers.AutoencoderKL(**blocks, block_out_channels=(8,), norm_num_groups=4, latent_channels=2).save_pretrained(folder)
    return _files(folder)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> list[Way]:
    root = tmp_path_factory.mktemp("ways")
    state = _small_state()
    save_file(state, root / "a.safetensors")
    palette, statistics, segment = io.BytesIO(), io.BytesIO(), root / "seg.safetensors"
    np.savez(statistics, mu=np.zeros(6), sigma=np.eye(6), mu_s=np.zeros(2), sigma_s=np.eye(2))
    np.save(palette, np.zeros((512, 3), np.uint8))
    save_file({"keys": torch.zeros(3, 32, dtype=torch.uint8), "features": torch.zeros(3, 2)}, segment)
    mine = save_tokenizer(tokbench.load("patch"), root / "mine")
    (root / "pictures").mkdir()
    for number in range(3):
        Image.effect_noise((24, 24), 60 + number).convert("RGB").save(root / "pictures" / f"{number}.png")
    source = FolderSource(root / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "resolve", _tiny_resolve)
        with pytest.raises(Crash):
            _resume(source, crash_after=2)(root / "train")
    trained = {name: data for name, data in _files(root / "train").items() if not name.startswith(".")}
    (checkpoint,) = [name for name in trained if name.endswith((".pt", ".pth", ".ckpt"))]
    return [
        Way(
            "safetensors",
            {"w.safetensors": (root / "a.safetensors").read_bytes()},
            ("w.safetensors",),
            lambda f: _load(f / "w.safetensors"),
        ),
        Way("torch zip", {"w.pt": _zip({"state_dict": state})}, ("w.pt",), lambda f: _load(f / "w.pt"), equal=True),
        Way("legacy", {"w.ckpt": _legacy({"state_dict": state})}, ("w.ckpt",), lambda f: _load(f / "w.ckpt")),
        Way("npz", {"w.npz": b""}, ("w.npz",), lambda f: _load(f / "w.npz")),
        Way("palette", {"w.npy": palette.getvalue()}, ("w.npy",), lambda f: tokbench.load("pixel/palette-512", weights=f / "w.npy")),
        Way("statistics", {"s.npz": statistics.getvalue()}, ("s.npz",), lambda f: open_reference(f / "s.npz", get_protocol(), images=3)),
        Way("saved folder", _files(mine), ("config.json", "model.safetensors"), lambda f: tokbench.load(str(f))),
        Way(
            "diffusers folder",
            _diffusers(root / "kl"),
            ("config.json", "diffusion_pytorch_model.safetensors"),
            lambda f: tokbench.load("diffusers/kl", weights=f),
        ),
        Way("resume", trained, (checkpoint, checkpoint, "log.jsonl"), _resume(source)),
        Way("features", {"seg.safetensors": segment.read_bytes()}, ("seg.safetensors",), _cached),
        Way("feature weights", {"w": b""}, ("w",), lambda f: RFID.create(MetricContext(torch.device("cpu"), 4, feature_weights=f / "w"))),
        Way("inception", {"w": b""}, ("w",), _asset("inception")),
        Way("lpips-vgg", {"w": b""}, ("w",), _asset("lpips-vgg")),
        Way("resnet50", {"w": b""}, ("w",), _asset("resnet50")),
    ]


def _damaged(
    way: Way, target: str, canary: Path, state: dict[str, Any], chance: random.Random, mutate: Callable, text: Callable
) -> tuple[str, bytes]:
    data = way.files[target]
    if not data or chance.random() < 0.3:
        return "armed", _armed_file(canary, state, chance)
    if target.endswith(".json"):
        return text(data.decode(), chance)
    draw = chance.random()
    if target.endswith(".safetensors") and draw < 0.5:
        return _forged_safetensors(data, chance, text)
    if data[:2] == b"PK" and draw < 0.5:
        return _forged_zip(data, chance, mutate)
    return mutate(data, chance)


def _forged_safetensors(data: bytes, chance: random.Random, text: Callable) -> tuple[str, bytes]:
    size = int.from_bytes(data[:8], "little")
    what, header = text(data[8 : 8 + size].decode(), chance)
    lie = chance.choice([len(header)] * 4 + [2**63, 0, size * 1000])
    return f"header {what}", lie.to_bytes(8, "little") + header + data[8 + size :]


def _forged_zip(data: bytes, chance: random.Random, mutate: Callable) -> tuple[str, bytes]:
    """A record changed, its checksum right again; or lost, doubled, renamed, compressed."""
    kind = chance.choice(["pickle", "record", "lost", "doubled", "renamed", "compressed", "up"])
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if kind == "compressed" else 0) as new:
        infos = old.infolist()
        chosen = chance.choice(infos)
        for info in infos:
            content, name = old.read(info), info.filename
            if kind == "pickle" and name.endswith("data.pkl"):
                content = mutate(content, chance)[1]
            if info is chosen:
                if kind == "lost":
                    continue
                content = mutate(content or b"0", chance)[1] if kind == "record" else content
                name = {"renamed": "other/" + name, "up": "../../" + name}.get(kind, name)
            new.writestr(name, content)
            if kind == "doubled" and info is chosen:
                new.writestr(name, content[::-1])
    return f"zip {kind}", out.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_mutated_and_armed_weights_load_or_are_refused(
    trial: Callable, ways: list[Way], mutate: Callable, mutate_text: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = trial("checkpoints")
    state = _small_state()
    monkeypatch.setattr(loop, "resolve", _tiny_resolve)
    told = likeness.looks_like
    for number, chance in attack:
        monkeypatch.setattr(likeness, "looks_like", told if chance.random() < 0.03 else lambda *_, **__: "")  # it takes a second
        way = chance.choice(ways)
        target = chance.choice(way.targets)
        folder = attack.inside / "files"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(attack.inside / "home", ignore_errors=True)
        folder.mkdir()
        what, bad = _damaged(way, target, attack.canary, state, chance, mutate, mutate_text)
        for name, data in way.files.items():
            (folder / name).write_bytes(bad if name == target else data)
        with attack.case(f"{number} {way.name} {target} {what[:60]!r}"):
            found = way.read(folder)
            if way.equal and not what.startswith(("zip", "armed")):
                assert all(torch.equal(found[key], value) for key, value in state.items()), "silently different"
    attack.finish()


@pytest.mark.filterwarnings("ignore")
def test_undamaged_files_load(ways: list[Way], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack on readers that refuse everything would show nothing."""
    monkeypatch.setattr(loop, "resolve", _tiny_resolve)
    for way in ways:
        if all(way.files.values()):
            folder = tmp_path / way.name
            folder.mkdir()
            for name, data in way.files.items():
                (folder / name).write_bytes(data)
            way.read(folder)


def test_the_arms_are_sharp(tmp_path: Path) -> None:
    """Python itself runs what the files hold."""
    canary = tmp_path / "canary"
    for arm in _arms(canary):
        data = pickle.dumps(arm)
        with suppress(Exception):  # some fail after the fact
            pickle.loads(data)
        assert canary.exists() or Path(f"{canary}.npy").exists(), arm
        canary.unlink(missing_ok=True)
        Path(f"{canary}.npy").unlink(missing_ok=True)
    sharp = 0
    for seed in range(60):
        with suppress(Exception):
            pickle.loads(_by_hand(canary, random.Random(seed)))
        sharp += canary.exists()
        canary.unlink(missing_ok=True)
    assert sharp > 20
