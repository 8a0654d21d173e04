"""What may differ between two runs of one recipe, and how a run ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokbench.image_size import Size, check_size
from tokbench.weights.saved import TRAINED

CHECKPOINT, LOG, SAMPLES, WEIGHTS = "checkpoint.pt", "log.jsonl", "samples", TRAINED


@dataclass(frozen=True)
class TrainOptions:
    """What may differ between two runs of one recipe.

    Args:
        out: Folder of the run.
        size: Side of the crops, or height and width; None takes the variant's own.
        device: Where to train.
        resume: Go on from the checkpoint in ``out``.
        init_weights: File to start from instead of ``init_from``'s own weights.
        log_every: Steps between two log lines.
        save_every: Steps between two checkpoints and sample grids.
        micro_batch: Images that the networks of one process see at once, see ``tokbench.train.parts``; losses do not depend on it. None
            takes the process's whole share of a batch. Quantizer and discriminator always see that.
        compiled: Whether the networks are compiled by ``torch.compile``.
        workers: Threads that read; None takes as many as there are cores. Nothing else depends on it.

    Raises:
        ValueError: If a number is not positive, or there is no such size.
    """

    out: Path
    size: Size | None = None
    device: str = "cpu"
    resume: bool = False
    init_weights: Path | None = None
    log_every: int = 20
    save_every: int = 500
    micro_batch: int | None = None
    compiled: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size(self.size)
        positive = (self.log_every, self.save_every, *(one for one in (self.micro_batch, self.workers) if one is not None))
        if min(positive) < 1:
            raise ValueError(f"log_every, save_every, micro_batch and workers must be positive, got {self}")


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps done, whether all were, the averaged weights' file, and the number of the signal that stopped it."""

    steps: int
    finished: bool
    weights: Path
    signal: int | None = None
