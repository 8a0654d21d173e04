"""A CUDA device where there is none: tensors without values, whose kernels nobody runs, and queues that write down what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tokbench import images
from tokbench.bench import queues
from tokbench.bench.metrics import ssim
from tokbench.granted import Granted
from tokbench.quantizers import nearest

CUDA = torch.device("cuda", 0)

WAITING = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "item"}
"""Operations whose answer the processor waits for."""

KEPT = (images._levels, nearest._odd, ssim.window_band)
"""What is made once for each device, and must not stay behind without values."""


class Waits(TorchDispatchMode):
    """Writes down for what the processor would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        tensors = [value for value in args if isinstance(value, Tensor)]
        result = function(*args, **kwargs)
        here = {tensor.device.type for tensor in tensors}
        if name in WAITING and "cuda" in here:
            self.found.append(name)
        if name == "_to_copy" and here != {result.device.type} and not kwargs.get("non_blocking"):
            self.found.append(f"{name} to {result.device.type}")
        if name == "copy_" and here == {"cpu", "cuda"} and not (len(args) > 2 and args[2]):
            self.found.append(name)
        return result


class Stream:
    """A queue that has no device behind it."""

    def __init__(self, name: str, log: list[tuple[str, str, str]]) -> None:
        self.name, self.log = name, log

    def wait_event(self, event: Event) -> None:
        self.log.append((self.name, "waits for", event.stream))


class Event:
    """A mark in such a queue."""

    def __init__(self, *, enable_timing: bool = False) -> None:
        self.enable_timing, self.stream = enable_timing, ""

    def record(self, stream: Stream) -> None:
        self.stream, self.log = stream.name, stream.log

    def synchronize(self) -> None:
        self.log.append(("processor", "waits for", self.stream))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Put queues in the place of CUDA's; gives what is asked of them."""
    entries: list[tuple[str, str, str]] = []
    stack = [Stream("ordinary", entries)]

    @contextmanager
    def within(stream: Stream) -> Iterator[None]:
        stack.append(stream)
        yield
        stack.pop()

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("sending", entries))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: stack[-1])
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: entries.append(("memory", "is kept for", stream.name)))
    return entries


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, log: list[tuple[str, str, str]]) -> Iterator[list[torch.device]]:
    """Put these in the place of CUDA, and let all that is taken for granted hold; yields the devices that were asked whether it does."""
    devices: list[torch.device] = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: False)
    verdict = Granted.verdict
    monkeypatch.setattr(Granted, "verdict", lambda self, device: (devices.append(device), verdict(self, device))[1])
    monkeypatch.setattr(queues.Arriving, "get", lambda self: self._event.synchronize() or True)
    for kept in KEPT:
        kept.cache_clear()
    yield devices
    for kept in KEPT:
        kept.cache_clear()


@contextmanager
def without_values() -> Iterator[tuple[FakeTensorMode, Waits]]:
    """Let tensors have shapes, kinds and devices within, but no values."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, Waits() as waits:
        yield mode, waits


def put_on_cuda(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace the tensors of a module by such without values, on CUDA."""
    for part in module.modules():
        for name, value in part._parameters.items():
            part._parameters[name] = None if value is None else nn.Parameter(_on_cuda(value, mode), requires_grad=False)
        for name, value in part._buffers.items():
            part._buffers[name] = None if value is None else _on_cuda(value, mode)


def _on_cuda(value: Tensor, mode: FakeTensorMode) -> Tensor:
    return mode.from_tensor(value.detach()).to(CUDA, non_blocking=True)
