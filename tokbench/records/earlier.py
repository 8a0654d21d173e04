"""Configurations as earlier versions wrote them, in the words of this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FAMILIES = ("llamagen", "vqgan", "vqvae")
"""Whose quantizer was five to seven settings beside the network, and is one configuration now."""

_OWN = ("codebook_size", "embed_dim", "beta", "loss_form", "quantizer", "entropy_weight", "kl_weight")


def upgraded(tokenizer: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a tokenizer's configuration up to date.

    Args:
        tokenizer: ``family/variant``.
        config: As plain values, of any version.

    Returns:
        As this version writes it; what earlier versions computed with and did not write is filled in.
    """
    if tokenizer.partition("/")[0] not in FAMILIES or "codebook_size" not in config or isinstance(config.get("quantizer"), Mapping):
        return dict(config)
    kind = config.get("quantizer", "nearest")
    quantizer: dict[str, Any] = {"codebook_size": config["codebook_size"], "dim": config.get("embed_dim")}
    if kind == "gumbel":
        quantizer |= {"kl_weight": config.get("kl_weight", 5e-4), "temperature": 1.0, "kind": "gumbel"}
    else:
        quantizer |= {
            "beta": config.get("beta", 0.25),
            "loss_form": config.get("loss_form", "paper"),
            "cosine": kind == "cosine",
            "entropy_weight": config.get("entropy_weight", 0.0),
            "entropy_temperature": 0.01,
            "kind": "vq",
        }
    rest = {key: value for key, value in config.items() if key not in _OWN}
    first = {key: rest.pop(key) for key in ("autoencoder",) if key in rest}
    return first | {"quantizer": quantizer} | rest
