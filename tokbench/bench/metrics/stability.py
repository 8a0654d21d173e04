"""Stability: the share of codes that survive a round trip through pixels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.observation import Again, Observation, Subject
from tokbench.bench.psnr import doubles
from tokbench.records.figures import figures_of
from tokbench.tokens import DiscreteTokens, Tokens


class Stability(PerImageMetric):
    """Share of codes that ``encode(decode(codes))`` returns unchanged, the pixels having been bytes in between.

    Whether the tokenizer did right is asked when the next micro-batch is here, so that a device has work while the processor waits.
    """

    name = "stability"
    figures = figures_of(name)
    _asked: tuple[Again, Tensor] | None = None
    """Of the last micro-batch, whose values stand at the end of the rows; None if nothing is to be asked."""

    def not_applicable(self, subject: Subject) -> str | None:
        """Only codes can be equal."""
        if subject.layout is None:
            return "a codec, or images alone, without tokens"
        return None if subject.layout.discrete else "continuous latents have no codes to compare"

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in, and ask what came of the one before."""
        again = observation.again
        if again.likely is None or observation.bytes_are:
            self.settle()
            super().update(observation)
            return
        before = _codes(observation.tokens)
        values = _shares(before, again.likely)  # before anything writes over them
        self.settle()
        self.values.append(values)
        self.note(observation)
        self._asked = again, before.clone()  # the tokenizer may write over its own

    def settle(self) -> None:
        """Ask what came of the last micro-batch."""
        if self._asked is not None:
            (again, before), self._asked = self._asked, None
            after = again.sure()
            if after is not again.likely:
                self.values[-1] = _shares(before, after)

    def per_image(self, observation: Observation) -> Tensor:
        """Share of each image."""
        return _shares(_codes(observation.tokens), observation.tokens_again)

    def all_rows(self, name: str) -> Tensor:
        """One tensor of all rows, once the last are sure."""
        self.settle()
        return super().all_rows(name)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the states of all processes, once the last rows are sure."""
        self.settle()
        super().sync(*args, **kwargs)

    def reset(self) -> None:
        """Forget all images."""
        self._asked = None
        super().reset()

    def __getstate__(self) -> dict[str, Any]:
        """What travels, once the last rows are sure."""
        self.settle()
        return super().__getstate__()


def _codes(tokens: Tokens | None) -> Tensor:
    if not isinstance(tokens, DiscreteTokens):
        raise ValueError("stability needs discrete tokens")
    return tokens.codes


def _shares(before: Tensor, after: Tokens) -> Tensor:
    return doubles(before == _codes(after)).mean(dim=(1, 2))
