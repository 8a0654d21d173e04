"""DISTS, distance of structure and texture. Paper: Ding et al. 2020, "Unifying Structure and Texture Similarity"."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.observation import Observation, Subject
from tokbench.errors import TokbenchError
from tokbench.nn.dists import Dists, build_dists, dists_rows
from tokbench.nn.packed import packed
from tokbench.records.figures import figures_of
from tokbench.weights.checkpoints import read_state, sha256
from tokbench.weights.judges import read_judge

LEARNED = "functional/image/dists_models/weights.pt"
"""Where torchmetrics keeps the learned weights of channels, which are those of the paper's authors (MIT)."""

LEARNED_SHA256 = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"

MIN_SIZE = 32
"""The last map of such an image is two positions wide."""


class DISTS(PerImageMetric):
    """Mean DISTS between originals and reconstructions, input in [0, 1] at native size, on the VGG16 of LPIPS.

    Args:
        module: The network, from ``build_dists``.
        weights_sha256: Digest of the file of VGG16.
        micro_batch: Images a network pass.
    """

    name = "dists"
    figures = figures_of(name)

    def __init__(self, module: Dists, weights_sha256: str, *, micro_batch: int) -> None:
        super().__init__()
        self.module, self.weights_sha256, self.micro_batch = [module], weights_sha256, micro_batch

    @classmethod
    def create(cls, context: MetricContext) -> DISTS:
        """Build it with the VGG16 fetched and the weights that torchmetrics carries.

        Raises:
            TokbenchError: If either is not here, or is another file.
        """
        vgg, digest = read_judge("lpips-vgg")
        learned = read_learned()
        module = build_dists(vgg, learned["alpha"], learned["beta"]).to(context.device)
        packed(module.convolutions)
        return cls(module, digest, micro_batch=context.micro_batch)

    @property
    def settings(self) -> dict[str, Any]:
        """Network, range and weights."""
        return {
            "network": "VGG16 with L2 pooling",
            "input": "[0, 1], native size",
            "weights_sha256": self.weights_sha256,
            "learned_sha256": LEARNED_SHA256,
            "micro_batch": self.micro_batch,
        }

    def not_applicable(self, subject: Subject) -> str | None:
        """The last map needs some positions."""
        if min(subject.image_size) < MIN_SIZE:
            return f"images are smaller than {MIN_SIZE} px"
        return None

    def per_image(self, observation: Observation) -> Tensor:
        """Distance of each pair."""
        pairs = torch.stack([observation.reference, observation.reconstruction], dim=1)
        return in_micro_batches(lambda both: self._distances(both.float() / 255), pairs, size=self.micro_batch)

    def _distances(self, both: Tensor) -> Tensor:
        return dists_rows(self.module[0], both[:, 0], both[:, 1])


def read_learned() -> dict[str, Tensor]:
    """Read the learned weights of channels, ``alpha`` and ``beta``, from the installed torchmetrics; nothing in the file is run.

    Raises:
        TokbenchError: If they are not there, or are others.
    """
    path = _learned_path()
    if not path.is_file():
        raise TokbenchError("the torchmetrics installed carries no weights of DISTS; run: pip install --upgrade torchmetrics")
    if (digest := sha256(path)) != LEARNED_SHA256:
        raise TokbenchError(
            f"the weights of DISTS that torchmetrics carries have SHA-256 {digest[:12]}, expected {LEARNED_SHA256[:12]}; reinstall torchmetrics"
        )
    return read_state(path)[0]


def _learned_path() -> Path:
    spec = find_spec("torchmetrics")
    assert spec is not None  # it is imported above
    assert spec.origin is not None
    return Path(spec.origin).parent / LEARNED
