"""Quantizers as configuration: what they say of themselves is what they build, and text and JSON name them by their kind."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
import torch

from tokbench.configs import build, flat, plain, with_overrides
from tokbench.errors import TokbenchError
from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.quantizers.configs import BSQ, FSQ, LFQ, VQ, AnyQuantizer, QuantizerConfig, ResidualVQ, SimVQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig

KINDS: tuple[type[QuantizerConfig], ...] = get_args(AnyQuantizer)
OTHERS = (
    VQ(32, 5, cosine=True, entropy_weight=0.1),
    FSQ((7, 5), codebooks=3, preserve_symmetry=True),
    LFQ(4, codebooks=2, bit_order="high", entropy_form="clamped"),
    BSQ(12, codes_per_position=2, entropy_form="analytical"),
    SimVQ(32, 5, frozen_dim=3, rotation_trick=False),
    ResidualVQ((16, 8), 5, loss_form="taming"),
)


@pytest.mark.parametrize("config", [*(kind() for kind in KINDS), *OTHERS], ids=str)
def test_a_configuration_says_what_it_builds(config: Any) -> None:
    torch.manual_seed(0)
    quantizer = config.build()
    vectors = torch.randn(2, 6, config.channels)
    codes = quantizer.codes(vectors)
    assert quantizer.codebook_sizes == config.codebook_sizes
    assert codes.shape == (2, 6, len(config.codebook_sizes))
    assert quantizer.lookup(codes).shape == vectors.shape
    assert build(AnyQuantizer, json.loads(json.dumps(plain(config)))) == config


@pytest.mark.parametrize("kind", KINDS)
def test_settings_and_defaults_are_those_of_the_quantizer(kind: type[QuantizerConfig]) -> None:
    parameters = inspect.signature(import_class(kind.QUANTIZER)).parameters
    own: dict[str, Any] = {field.name: field.default for field in fields(kind) if field.name != "kind"}  # type: ignore[arg-type]
    assert own.keys() <= parameters.keys()
    assert parameters.keys() - own.keys() <= {"transform"}  # a module is no configuration
    given = {name: parameter.default for name, parameter in parameters.items() if parameter.default is not parameter.empty}
    assert {name: own[name] for name in given if name in own} == {name: value for name, value in given.items() if name in own}


def test_kinds_are_chosen_by_name_and_keep_what_is_not_changed() -> None:
    config = ConvVQConfig(AutoencoderConfig(16), VQ(64, 8, beta=0.5))
    changed = with_overrides(config, {"quantizer": "fsq", "quantizer.levels": "4,4,4"})
    assert changed == replace(config, quantizer=FSQ((4, 4, 4)))
    assert changed.layout(64, 32).codebook_sizes == (64,)
    assert with_overrides(config, {"quantizer": "vq", "quantizer.dim": 4}).quantizer == VQ(64, 4, beta=0.5)
    assert with_overrides(config, {"quantizer": FSQ((5, 5))}).quantizer == FSQ((5, 5))
    assert with_overrides(config, {"quantizer": "residual"}).layout(32, 32).codebook_sizes == (256,) * 4
    for kind in KINDS:
        if kind.__name__ != "Gumbel":  # which needs as many values as the network has
            whole = ConvVQConfig(config.autoencoder, kind())  # type: ignore[arg-type]
            assert with_overrides(config, flat(plain(whole))) == whole
    with pytest.raises(TokbenchError, match=r"unknown setting 'quantizer\.levels'"):
        with_overrides(config, {"quantizer.levels": "8,5"})


@pytest.mark.parametrize(
    "value", [{"kind": "fsk"}, {}, {"kind": 3}, {"kind": "fsq", "levels": "8"}, {"kind": "vq", "codebook_size": -1, "dim": 2}, []]
)
def test_json_of_no_quantizer_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="quantizer"):
        build(AnyQuantizer, value, "quantizer")


def test_they_need_no_torch() -> None:
    code = "import sys, tokbench.quantizers.configs; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
