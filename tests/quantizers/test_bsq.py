"""Binary spherical quantization: goldens of upstream, and entropies against all codes written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.quantizers.bsq import BinarySphericalQuantizer


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_golden(golden: Any) -> None:
    """zhaoyue-zephyrus/bsq-vit, the quantizer alone."""
    data = golden("bsq")
    config = data.config
    options = {
        "commitment_weight": config["beta"],
        "entropy_weight": config["zeta"],
        "sample_weight": config["gamma0"],
        "diversity_weight": config["gamma"],
        "temperature": 1 / config["inv_temperature"],
        "entropy_form": config["persample_entropy_compute"],
        "group_size": config["group_size"],
    }
    out = BinarySphericalQuantizer(config["embed_dim"], **options)(data.io["z"])
    assert torch.equal(out.codes.squeeze(-1), data.io["indices"])
    torch.testing.assert_close(out.vectors, data.io["quant"], atol=1e-6, rtol=0)
    torch.testing.assert_close(out.losses["entropy"] + out.losses["commitment"], data.io["loss"], atol=1e-5, rtol=0)

    grouped = BinarySphericalQuantizer(config["embed_dim"], codes_per_position=2, **options)
    assert torch.equal(grouped.codes(data.io["z"]), data.io["group_indices"])
    torch.testing.assert_close(grouped.entropies(data.io["z"])[1], data.io["codebook_entropy"], atol=1e-5, rtol=0)
    torch.testing.assert_close(grouped.lookup(data.io["group_indices"]), data.io["quant"], atol=1e-6, rtol=0)


def test_golden_of_the_tokenizer(golden: Any) -> None:
    data = golden("bsq_vit")
    quantizer = BinarySphericalQuantizer(12, entropy_form="analytical")
    out = quantizer(data.io["prequant"])
    assert torch.equal(out.codes.squeeze(-1), data.io["indices"])
    torch.testing.assert_close(out.vectors, data.io["quant"], atol=1e-6, rtol=0)
    torch.testing.assert_close(quantizer.lookup(out.codes), data.io["codes_exact"], atol=1e-6, rtol=0)
    certain, used = quantizer.entropies(data.io["prequant"])
    torch.testing.assert_close(certain, data.io["persample_entropy"], atol=1e-5, rtol=0)
    torch.testing.assert_close(used, data.io["codebook_entropy"], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.losses["entropy"] + out.losses["commitment"], data.io["loss"], atol=1e-5, rtol=0)
    single = BinarySphericalQuantizer(12, codes_per_position=12, entropy_form="analytical")
    assert torch.equal(single.codes(data.io["prequant"]), data.io["group_indices_upstream"])


def entropies_over_tables(vectors: Tensor, group: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Of every group of bits, the distribution of every vector over all its codes."""
    size = vectors.shape[-1] ** -0.5
    table = size * (2.0 * ((torch.arange(2**group)[:, None] >> torch.arange(group)) & 1) - 1).double()
    certain, used = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for part in vectors.double().flatten(0, 1).split(group, dim=1):
        p = (2 * part @ table.T / temperature).softmax(dim=1)
        certain = certain - (p * (p + 1e-8).log()).sum(dim=1).mean()
        used = used - (p.mean(dim=0) * (p.mean(dim=0) + 1e-8).log()).sum()
    return certain, used


@pytest.mark.parametrize("temperature", [1.0, 0.05])
@pytest.mark.parametrize(("form", "group"), [("group", 4), ("group", 12), ("analytical", 1)])
def test_entropies_and_their_gradients_equal_those_over_all_codes(form: str, group: int, temperature: float) -> None:
    quantizer = BinarySphericalQuantizer(12, entropy_form=form, group_size=group, temperature=temperature, normalize=False)  # type: ignore[arg-type]
    mine = F.normalize(randn(2, 5, 12), dim=-1).requires_grad_()
    reference = mine.detach().clone().requires_grad_()
    pair, expected = quantizer.entropies(mine), entropies_over_tables(reference, group, temperature)
    for value, other in zip(pair, expected, strict=True):
        torch.testing.assert_close(value.double(), other, atol=1e-5, rtol=0)
    (pair[0] - 1.7 * pair[1]).backward()
    (expected[0] - 1.7 * expected[1]).backward()
    torch.testing.assert_close(mine.grad, reference.grad, atol=1e-5, rtol=1e-4)


def test_the_first_channel_is_the_highest_bit() -> None:
    vectors = torch.tensor([[[0.1, -0.2, 0.0, 0.4, 0.5, -0.6]]])  # zero is negative
    assert BinarySphericalQuantizer(6, group_size=6).codes(vectors).tolist() == [[[0b100110]]]
    assert BinarySphericalQuantizer(6, group_size=6, codes_per_position=2).codes(vectors).tolist() == [[[0b100, 0b110]]]


def test_36_bits_are_exact() -> None:
    quantizer = BinarySphericalQuantizer(36, entropy_form="analytical")
    vectors = randn(2, 64, 36)
    codes = quantizer.codes(vectors)
    expected = [[int("".join("1" if x > 0 else "0" for x in vector), 2) for vector in image] for image in vectors.tolist()]
    assert codes.squeeze(-1).tolist() == expected
    assert torch.equal(quantizer.lookup(codes) > 0, vectors > 0)
    assert quantizer.codebook_sizes == (2**36,)


def test_codes_have_length_one_and_normalising_is_part_of_it() -> None:
    quantizer, vectors = BinarySphericalQuantizer(18), 7 * randn(2, 5, 18)
    out, same = quantizer(vectors), quantizer(F.normalize(vectors, dim=-1))
    torch.testing.assert_close(out.vectors.norm(dim=-1), torch.ones(2, 5))
    for name, loss in out.losses.items():
        torch.testing.assert_close(loss, same.losses[name])
    assert BinarySphericalQuantizer(18, unit_codes=False)(vectors).vectors.abs().sub(1).abs().max() < 1e-6


def test_the_gradient_is_scaled_as_the_codes_are() -> None:
    vectors, upstream = F.normalize(randn(2, 4, 9), dim=-1).requires_grad_(), randn(2, 4, 9, seed=1)
    BinarySphericalQuantizer(9, normalize=False)(vectors).vectors.backward(upstream)
    torch.testing.assert_close(vectors.grad, upstream / 3)


@pytest.mark.parametrize(
    ("bits", "options", "message"),
    [
        (0, {}, "0 bits cannot make 1"),
        (12, {"codes_per_position": 5}, "12 bits cannot make 5"),
        (63, {"entropy_form": "analytical"}, "1 to 62 bits"),
        (12, {"group_size": 9}, "12 bits cannot make groups of 9"),
        (9, {"temperature": 0}, "temperature must be positive"),
    ],
)
def test_impossible_settings_are_refused(bits: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BinarySphericalQuantizer(bits, **options)


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="group or analytical, got 'nce'"):
        BinarySphericalQuantizer(18, entropy_form="nce")  # type: ignore[arg-type]
