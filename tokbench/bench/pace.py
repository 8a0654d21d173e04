"""Work that a tokenizer has been given, and that is asked for later: its device need not wait for the next one then.

begun      the tokenizer is called, and what its values must be is taken for granted; nobody waits
ended      the device is asked whether all of it holds, when the next work has begun there; on a processor at once
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Generic, TypeVar

import torch

from tokbench.bench.queues import Arriving
from tokbench.conduct import Misbehaved, blamed
from tokbench.granted import Granted, granting

Made = TypeVar("Made")


class Underway(Generic[Made]):
    """Something that a tokenizer makes; its device may still have to do all of it.

    Args:
        name: Name of the tokenizer.
        make: Calls it, and is told whether that counts for the time taken.
        device: Where it runs.
        grants: Whether values are taken for granted until the end; otherwise each is asked for at once.
    """

    def __init__(self, name: str, make: Callable[[bool], Made], device: torch.device, *, grants: bool) -> None:
        """Begin it."""
        self._name, self._make = name, make
        self._made: Made | None = None
        self._failed: Misbehaved | None = None
        with granting() if grants else nullcontext(Granted()) as self._taken:
            try:
                self._made = make(True)
            except Misbehaved as error:  # perhaps for what was taken for granted
                self._failed = error
        self._holds = Arriving(self._taken.verdict(device)) if grants and self._failed is None else None

    @property
    def likely(self) -> Made | None:
        """What is being made, as long as nothing is wrong; None if something failed by now."""
        return self._made

    def end(self) -> tuple[Made, bool]:
        """Ask what came of it.

        Where values are not what they must be, all is made again and each is asked for at once. A mistake is then named where it is made,
        and what is unusual is gone about so.

        Returns:
            What was made, and whether it was by what was taken for granted.

        Raises:
            Misbehaved: If the tokenizer broke its contract, this time or the first.
        """
        if self._made is not None and (self._holds is None or bool(self._holds.get())):
            return self._made, True
        broken, wrong = self._taken.broken()
        if self._failed is not None and not broken:
            raise self._failed
        made = self._make(False)
        if self._failed is not None:
            raise self._failed
        if wrong is not None:  # a tokenizer that does not do the same twice
            with blamed(self._name, "encode or decode"):
                raise wrong
        return made, False
