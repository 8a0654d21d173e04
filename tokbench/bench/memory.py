"""The most memory that work holds: of the process, as Linux counts it, and of CUDA's allocator."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch

from tokbench.allocator import give_back
from tokbench.records.speed_record import PeakMemory

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

_RESET_PEAK = "5"
"""What sets the peak of a process back to what is resident now; Source: proc(5), since Linux 4.0."""


def peak_memory(device: torch.device, work: Callable[[], object], *, weights: int = 0) -> PeakMemory:
    """Call once, and say how much memory was held at most meanwhile.

    Args:
        device: Where the work is done.
        work: What to do; what it returns is let go of.
        weights: Bytes of the weights that it works with, which lie on the device before.
    """
    cuda = device.type == "cuda"
    _settle()
    held = 0
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    before = _resident() if _reset_peak() else None
    work()
    peak = _peak() if before is not None else None
    added = None if peak is None or before is None else max(0, peak - before)
    if not cuda:
        return PeakMemory(peak, added)
    torch.cuda.synchronize(device)
    on_device = torch.cuda.max_memory_allocated(device) - held
    return PeakMemory(peak, added, weights + on_device, on_device)


def let_go(device: torch.device) -> None:
    """Let go of what work before has left, so that other work is not short of memory for its sake."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _settle() -> None:
    """Give back what nobody uses: kept by the allocator, it would hide how much the work asks for."""
    gc.collect()
    give_back()


def _reset_peak() -> bool:
    """Whether the peak of this process now counts anew."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _resident() -> int | None:
    return _kilobytes("VmRSS")


def _peak() -> int | None:
    return _kilobytes("VmHWM")


def _kilobytes(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), flags=re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
