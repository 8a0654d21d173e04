"""Queues of work on a device, and tensors on their way to and from it: who asks for one waits for that alone.

A processor has no queues: there all of this is done at once, by the same code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tokbench.sending import moved, pinned


class Queue:
    """A second queue of a device, beside the one where work goes otherwise.

    Args:
        device: The device; on others than CUDA's there is no second queue, and work goes where it goes otherwise.
    """

    def __init__(self, device: torch.device) -> None:
        """Open it."""
        self.device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None

    @property
    def own(self) -> bool:
        """Whether work here may run beside other work."""
        return self._stream is not None

    @contextmanager
    def here(self) -> Iterator[None]:
        """Put the work within into this queue, in this thread alone."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield


class Sent:
    """A tensor on its way to a device.

    Args:
        tensor: On the processor; for CUDA in memory that ``pinned`` gave, or it is copied there.
        queue: By which queue.
    """

    def __init__(self, tensor: Tensor, queue: Queue) -> None:
        """Send it."""
        self._device = queue.device
        self._event: Any = None
        with queue.here():
            self._tensor = moved(tensor, queue.device)
            if queue.own:
                self._event = torch.cuda.Event()
                self._event.record(torch.cuda.current_stream(queue.device))

    def get(self) -> Tensor:
        """The tensor on its device, for the queue where work goes now; the processor does not wait."""
        if self._event is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(self._event)
            self._tensor.record_stream(stream)  # its memory goes to others only when that queue is done with it
        return self._tensor


class Arriving:
    """A tensor on its way to the processor, behind the work that is in its queue by now.

    Args:
        tensor: On any device.
    """

    def __init__(self, tensor: Tensor) -> None:
        """Send it."""
        self._tensor = tensor
        self._event: Any = None
        if tensor.device.type == "cuda":
            self._tensor = pinned(tensor.shape, tensor.dtype).copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(tensor.device))

    def get(self) -> Tensor:
        """The tensor, from CUDA on the processor; waits for it alone."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensor
