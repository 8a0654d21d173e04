"""A network that keeps what it has read, so that every id goes through it once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def evaluating(network: PreTrainedModel) -> Iterator[None]:
    """Have a network drop nothing out, as one that was made or trained a moment ago still does, so that answers follow from their seeds."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


KEEPING = ("cache", "past_key_values")
"""What networks call the keys and values that they keep; the name depends on the version of ``transformers``."""


class Reader:
    """A network and the keys and values of what it has read. One that keeps none, as GPT and RWKV, reads everything anew each time.

    Args:
        network: A causal model of ``transformers``.
        rows: What to read first, as many ids in every row.
    """

    def __init__(self, network: PreTrainedModel, rows: Sequence[Sequence[int]]) -> None:
        self._network, self._unread = network, torch.tensor([list(row) for row in rows])
        self._kept: Any = None
        taken = inspect.signature(network.forward).parameters
        self._name = next((name for name in KEEPING if name in taken), None)
        self._told: dict[str, int] = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self._told |= {"use_cache": self._name is not None} if "use_cache" in taken else {}

    def add(self, ids: Int64[Tensor, "b t"]) -> None:
        """Put ids behind those that are there; they are read when scores are asked for."""
        self._unread = torch.cat([self._unread, ids], dim=1)

    def scores(self) -> Float64[Tensor, "b v"]:
        """Read what has not been read.

        Returns:
            Scores of the next id, on the CPU.

        Raises:
            TokbenchError: If they are not finite.
        """
        unread = self._unread.to(self._network.device)
        # Mamba forgets a little of what it keeps where several ids follow at once.
        singly = self._kept is not None and getattr(self._network.config, "num_attention_heads", None) is None
        for ids in unread.split(1, dim=1) if singly else [unread]:
            out = self._network(input_ids=ids, **self._told, **({} if self._name is None else {self._name: self._kept}))
            self._kept = None if self._name is None else out.get(self._name)
        if self._kept is not None:  # some take it and give none back
            self._unread = self._unread[:, :0]
        scores: Tensor = out.logits[:, -1].double().cpu()
        if not torch.isfinite(scores).all():
            raise TokbenchError("the model scores ids with values that are not finite; use --precision fp32, or another model")
        return scores
