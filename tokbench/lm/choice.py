"""One of several ids by its score, a number between 0 and 1, and the options of sampling."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from tokbench.lm.options import SamplingOptions

COLDEST = 1e-100
"""Temperatures below are divided by after the largest score has been taken from all."""


def choose(scores: Float[Tensor, "b n"], draws: Float64[Tensor, " b"], options: SamplingOptions) -> Int64[Tensor, " b"]:
    """Choose one of n ids in every row.

    Args:
        scores: Logits.
        draws: One number in [0, 1) a row, uniform.
        options: Temperature, top-k and top-p, applied in this order.

    Returns:
        Where the sum of probabilities, in the order of ids, passes the row's number.
    """
    if options.temperature == 0:
        return scores.argmax(dim=1)
    temperature = 1.0 if options.temperature is None else options.temperature
    if temperature < COLDEST:  # which divides to infinity
        scores = scores - scores.amax(dim=1, keepdim=True)
    scores = scores.double() / temperature
    if options.top_k is not None and options.top_k < scores.shape[1]:
        least = scores.topk(options.top_k, dim=1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    shares = scores.softmax(dim=1)
    if options.top_p < 1:
        ordered, places = shares.sort(dim=1, descending=True, stable=True)
        before = ordered.cumsum(dim=1) - ordered
        shares = shares.scatter(1, places, ordered.masked_fill(before >= options.top_p, 0))
    sums = shares.cumsum(dim=1)
    last = shares.shape[1] - 1 - shares.flip(1).gt(0).long().argmax(dim=1)  # no id without a share, however sums are rounded
    return torch.searchsorted(sums, draws[:, None] * sums[:, -1:], right=True)[:, 0].minimum(last)
