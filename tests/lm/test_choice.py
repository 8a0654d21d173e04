"""One id of several: its share of the draws is its probability, within what top-k and top-p leave."""

from __future__ import annotations

import pytest
import torch

from tokbench.lm.choice import choose
from tokbench.lm.options import SamplingOptions

SCORES = torch.tensor([0.0, 2.0, -1.0, 1.0, 0.5]).double()


def shares(options: SamplingOptions, count: int = 20_000) -> torch.Tensor:
    """How often each id is chosen over draws that lie evenly between 0 and 1."""
    draws = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    chosen = choose(SCORES.expand(count, -1), draws, options)
    return torch.bincount(chosen, minlength=len(SCORES)).double() / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_ids_come_as_often_as_they_are_likely(temperature: float) -> None:
    expected = (SCORES / temperature).softmax(dim=0)
    assert torch.allclose(shares(SamplingOptions(temperature=temperature)), expected, atol=1e-4)


def test_temperature_0_takes_the_likeliest() -> None:
    assert shares(SamplingOptions(temperature=0, top_k=3, top_p=0.1)).tolist() == [0, 1, 0, 0, 0]


def test_top_k_keeps_the_likeliest_in_proportion() -> None:
    kept = torch.tensor([-torch.inf, 2.0, -torch.inf, 1.0, -torch.inf]).double().softmax(dim=0)
    assert torch.allclose(shares(SamplingOptions(top_k=2)), kept, atol=1e-4)
    assert torch.equal(shares(SamplingOptions(top_k=99)), shares(SamplingOptions()))


def test_top_p_keeps_the_fewest_that_hold_the_share() -> None:
    likeliest = SCORES.softmax(dim=0).sort(descending=True).values
    assert (shares(SamplingOptions(top_p=float(likeliest[0]) - 1e-6)) > 0).sum() == 1
    assert (shares(SamplingOptions(top_p=float(likeliest[0]) + 1e-6)) > 0).sum() == 2
    assert (shares(SamplingOptions(top_p=float(likeliest[:3].sum()) + 1e-6)) > 0).sum() == 4
    assert (shares(SamplingOptions(top_p=1e-9)) > 0).sum() == 1


def test_top_p_counts_within_top_k() -> None:
    two = shares(SamplingOptions(top_k=2))
    assert (shares(SamplingOptions(top_k=2, top_p=float(two.max()) + 1e-3)) > 0).sum() == 2
    assert (shares(SamplingOptions(top_k=2, top_p=float(two.max()) - 1e-3)) > 0).sum() == 1


def test_an_id_without_a_share_is_never_chosen() -> None:
    scores = torch.tensor([[1.0, 0.0, -1e9], [-1e9, 1.0, -1e9]]).double()
    draws = torch.tensor([1 - 2**-53, 1 - 2**-53]).double()
    assert choose(scores, draws, SamplingOptions()).tolist() == [1, 1]
    assert choose(scores, torch.zeros(2).double(), SamplingOptions()).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0 or more, got -0.1"),
        ({"temperature": float("nan")}, "temperature must be 0 or more, got nan"),
        ({"temperature": float("inf")}, "temperature must be 0 or more, got inf"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
        ({"guidance": float("inf")}, "guidance must be a finite number, got inf"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_options_out_of_range(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingOptions(**values)


def test_what_nobody_chose_is_as_it_is_told() -> None:
    assert SamplingOptions().of(3.0) == SamplingOptions(temperature=1.0, guidance=3.0)
    assert SamplingOptions(guidance=1.0).of(3.0, 0.5) == SamplingOptions(temperature=0.5, guidance=1.0)
    assert SamplingOptions(temperature=0.0).of(2.0, 0.5) == SamplingOptions(temperature=0.0, guidance=2.0)
