"""Configurations of earlier versions, as committed records, saved folders and exports hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tokbench
from tokbench.configs import plain
from tokbench.feed.job import TokenizerIdentity
from tokbench.records.earlier import upgraded
from tokbench.records.record import TokenizerInfo, read_record
from tokbench.tokenizers import zoo

EARLIER = Path(__file__).parent / "earlier"
"""Records that version 0.1 wrote."""

NETWORK = {"z_channels": 16}
OLD = {"autoencoder": NETWORK, "codebook_size": 64, "embed_dim": 16, "beta": 0.5, "loss_form": "taming"}
VQ = {
    "codebook_size": 64,
    "dim": 16,
    "beta": 0.5,
    "loss_form": "taming",
    "cosine": False,
    "entropy_weight": 0.0,
    "entropy_temperature": 0.01,
}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, VQ | {"kind": "vq"}),
        (
            OLD | {"quantizer": "cosine", "entropy_weight": 0.1, "kl_weight": 5e-4},
            VQ | {"cosine": True, "entropy_weight": 0.1, "kind": "vq"},
        ),
        (
            OLD | {"quantizer": "gumbel", "kl_weight": 1e-8},
            {"codebook_size": 64, "dim": 16, "kl_weight": 1e-8, "temperature": 1.0, "kind": "gumbel"},
        ),
    ],
)
def test_the_quantizer_was_settings_beside_the_network(old: dict[str, Any], new: dict[str, Any]) -> None:
    expected = {"autoencoder": NETWORK, "quantizer": new, "changed": {"a": 1}}
    assert upgraded("vqgan/tiny", old | {"changed": {"a": 1}}) == expected
    assert upgraded("vqgan/tiny", expected) == expected
    assert TokenizerInfo("vqgan/tiny", old | {"changed": {"a": 1}}, None, 1).config == expected
    assert TokenizerIdentity("vqgan/tiny", old | {"changed": {"a": 1}}, None).config == expected
    assert upgraded("mine/one", old) == old


@pytest.mark.parametrize("name", ["vqgan/tiny", "vqvae/tiny"])
def test_earlier_records_have_the_configuration_of_today(name: str) -> None:
    path = EARLIER / f"{name.replace('/', '-')}.json"
    assert "codebook_size" in json.loads(path.read_text())["tokenizer"]["config"]
    record = read_record(path)
    assert record.tokenizer.config == plain(zoo.resolve(name)[1].config)
    assert (record.protocol.version, record.tokenizer.name) == (1, name)


def test_saved_tokenizers_of_earlier_versions_load(tmp_path: Path) -> None:
    tokenizer = tokbench.load("vqvae/tiny")
    folder = zoo.save_tokenizer(tokenizer, tmp_path / "saved")
    values = json.loads((folder / "config.json").read_text())
    quantizer = values["config"].pop("quantizer")
    values["config"] |= {
        "codebook_size": quantizer["codebook_size"],
        "embed_dim": quantizer["dim"],
        "beta": 0.25,
        "loss_form": "commitment",
    }
    (folder / "config.json").write_text(json.dumps(values))
    assert tokbench.load(str(folder)).config == tokenizer.config
