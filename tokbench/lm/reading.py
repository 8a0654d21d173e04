"""A network that keeps what it has read, so that every id goes through it once."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Reader:
    """A network and the keys and values of what it has read.

    Args:
        network: A causal model of ``transformers``.
        rows: What to read first, as many ids in every row.
    """

    def __init__(self, network: PreTrainedModel, rows: Sequence[Sequence[int]]) -> None:
        self._network, self._unread = network, torch.tensor([list(row) for row in rows])
        self._kept: Any = None
        # Its name depends on the version of transformers.
        self._name = "cache" if "cache" in inspect.signature(network.forward).parameters else "past_key_values"

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
        ids = self._unread.to(self._network.device)
        out = self._network(input_ids=ids, **{self._name: self._kept}, use_cache=True, logits_to_keep=1)
        self._kept, self._unread = out[self._name], self._unread[:, :0]
        scores: Tensor = out.logits[:, -1].double().cpu()
        if not torch.isfinite(scores).all():
            raise TokbenchError("the model scores ids with values that are not finite; use --precision fp32, or another model")
        return scores
