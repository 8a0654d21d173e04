"""What all tests share: annotations checked at run time, few threads, the golden files."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import jaxtyping
import pytest

CONTRACTS = ("tokenizers", "conduct", "images", "layout", "rgb", "tokens", "tracing")
"""Rooms and files whose annotations are always checked: what others call with tensors of their own."""

CHECKED = (*CONTRACTS, *("nn", "quantizers", "train", "bench", "feed", "lm", "arrays") * (os.environ.get("TOKBENCH_CHECKED") == "all"))
"""Those that are checked now. The insides take a third of the time of all tests, so they are checked when ``TOKBENCH_CHECKED=all``."""

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts, and for the processes that tests start
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # tests of several threads would turn in circles while others work

# Before anything imports the package. The tower lets an int stand for a float, as type checkers do.
jaxtyping.install_import_hook(
    [f"tokbench.{name}" for name in CHECKED], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402
from PIL import Image  # noqa: E402

from tokbench.data.photos import PhotoCrops  # noqa: E402
from tokbench.nn.configs import AutoencoderConfig  # noqa: E402
from tokbench.quantizers.configs import VQ  # noqa: E402
from tokbench.tokenizers import VAE, VQVAE  # noqa: E402
from tokbench.tokenizers.conv_vq.config import ConvVQConfig  # noqa: E402
from tokbench.tokenizers.vae.variants import VAEConfig  # noqa: E402

settings.register_profile("tokbench", deadline=None, max_examples=60)
settings.load_profile("tokbench")

torch.set_num_threads(1)  # the networks are small: more threads wait for each other, the longer the busier the machine

SMALL = AutoencoderConfig(z_channels=4, channels=32, channel_multipliers=(1, 1), num_res_blocks=1, attn_resolutions=())


def pytest_collection_finish() -> None:
    """Spare the garbage collector all that stays to the end, tests and modules: it would look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of golden files."""
    return Path(__file__).parent / "goldens"


def call_in_processes(count: int, work: Callable[[int], object]) -> list[int]:
    """Call a function in so many processes, forked off this one, that meet as those of torchrun do.

    Args:
        count: How many.
        work: What each does; it is given its rank.

    Returns:
        How each ended: its status, or minus the number of a signal, which comes after ten minutes.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    pids = []
    for rank in range(count):
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                signal.alarm(600)
                os.environ.update(place, RANK=str(rank), LOCAL_RANK=str(rank))
                work(rank)
                status = 0
            except SystemExit as stop:
                status = int(stop.code or 0)
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(status)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


@pytest.fixture(scope="session")
def in_processes() -> Callable[[int, Callable[[int], object]], list[int]]:
    """``call_in_processes``, for tests to call."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    return call_in_processes


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Loads a script of docs/ or benchmarks/ by its path from the root, as it stands."""

    def load(place: str) -> ModuleType:
        path = Path(__file__).parents[1] / place
        spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where its dataclasses look for what annotations name
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def uncompared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that do not fit are not compared with the whole zoo to say what they look like, which takes seconds."""
    monkeypatch.setattr("tokbench.weights.likeness.looks_like", lambda *_, **__: "")


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Switch the run-time check of annotations off, to reach the package's own validation of what callers pass."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def tokbench_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run a command in-process; returns exit status, stdout and stderr."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    for name, module in list(sys.modules.items()):  # what a user of another test wrote: this one writes under the same name
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path.parent)):
            monkeypatch.delitem(sys.modules, name)
    from rich.console import Console

    from tokbench import cli
    from tokbench.commands import console

    out, err = Console(width=200), Console(stderr=True, width=200)
    for module in [console, *(module for name, module in sys.modules.items() if name.startswith("tokbench.commands."))]:
        if hasattr(module, "out"):
            monkeypatch.setattr(module, "out", out)
    monkeypatch.setattr(console, "err", err, raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tokbench", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def crops() -> torch.Tensor:
    """24 test crops at 64 px, uint8 [24, 3, 64, 64], from several photos."""
    source = PhotoCrops("test", 64)
    indices = range(0, len(source), len(source) // 24)
    pixels = np.stack([np.asarray(source.read(i)) for i in list(indices)[:24]])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def folder(tmp_path: Path, crops: torch.Tensor) -> Path:
    """A folder of 12 pictures, named so that their order by name is not their order by content."""
    root = tmp_path / "pictures"
    root.mkdir()
    for i, pixels in enumerate(crops[:12].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(pixels).save(root / f"{(i * 7) % 12:02d}.png")
    return root


@pytest.fixture
def small_vqvae() -> VQVAE:
    """Stride 2, 16 codes, random weights."""
    torch.manual_seed(0)
    return VQVAE(ConvVQConfig(SMALL, VQ(16, 4))).eval()


@pytest.fixture
def small_vae() -> VAE:
    """Stride 2, 3 latent channels, random weights."""
    torch.manual_seed(0)
    return VAE(VAEConfig(replace(SMALL, double_z=True), embed_dim=3)).eval()


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing has been fetched."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "empty"))
