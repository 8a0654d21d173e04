"""What a training is at, as one file: written whole by the trainers of ``transformers`` and ``trl``, read without running anything of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.files import atomic_file
from tokbench.lm.clock import Clock
from tokbench.weights.torchfile.reader import read_torch_file
from tokbench.weights.torchfile.words import Unreadable

CHECKPOINT = "checkpoint.pt"

STATE = "trainer_state.json"
"""Where ``transformers`` looks for the step to go on from."""


@dataclass(frozen=True)
class Checkpoint:
    """What a training was at.

    Args:
        step: Optimiser steps done.
        settings: What it was started with, as text by name.
        weights: Those that are trained, by name.
        optimizer: State of the optimizer, by number of the weight.
        ranks: What each process keeps: state of its generators, what it has summed up since its last line in the log, and how long it has
            trained.
    """

    step: int
    settings: dict[str, str]
    weights: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    ranks: list[dict[str, Any]]

    def write(self, path: Path) -> None:
        """Write the file, atomically.

        Raises:
            TokbenchError: If it cannot be written.
        """
        with atomic_file(path) as file:
            torch.save(dict(vars(self)), file)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the file; nothing in it is run.

    Raises:
        TokbenchError: If it is missing, damaged, or none.
    """
    try:
        values, _ = read_torch_file(path)
        return _checked(values)
    except FileNotFoundError as error:
        raise TokbenchError(f"nothing to resume: no {path.name} in {path.parent}; leave --resume out to start there") from error
    except (Unreadable, OSError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: BaseException) -> TokbenchError:
    """Build the error for a checkpoint that cannot be gone on from, to be raised by the caller."""
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return TokbenchError(f"{path} is not a readable checkpoint ({why}); start again in another --out")


def _checked(values: Any) -> Checkpoint:
    """The checkpoint, if all its parts are of their kinds and its numbers are finite.

    Raises:
        ValueError: If not.
    """
    if not isinstance(values, dict) or type(values.get("step")) is not int or values["step"] < 0:
        raise ValueError("it has no number of steps")
    weights: Any = values.get("weights")
    optimizer: Any = values.get("optimizer")
    settings, ranks = values.get("settings"), values.get("ranks")
    if not isinstance(settings, dict) or not all(type(text) is str for pair in settings.items() for text in pair):
        raise ValueError("it has no settings")
    if not _tensors(weights) or not isinstance(optimizer, dict) or not all(_tensors(part) for part in optimizer.values()):
        raise ValueError("its weights or the state of its optimizer are no tensors")
    if not isinstance(ranks, list) or not ranks or not all(isinstance(part, dict) for part in ranks):
        raise ValueError("it has nothing of its processes")
    copies = {number: {name: tensor.clone() for name, tensor in part.items()} for number, part in optimizer.items()}
    kept = {name: tensor.clone() for name, tensor in weights.items()}
    if not all(bool(torch.isfinite(tensor).all()) for part in (kept, *copies.values()) for tensor in part.values()):
        raise ValueError("its weights or the state of its optimizer are not finite")
    return Checkpoint(values["step"], settings, kept, copies, ranks)


def _tensors(values: Any) -> bool:
    return isinstance(values, dict) and bool(values) and all(isinstance(value, Tensor) for value in values.values())


class Checkpointed:
    """Stands before a trainer class of ``transformers`` or ``trl``, and keeps its checkpoints in one file in place of folders.

    Attributes:
        out: Folder of the run.
        settings: What it was started with.
        resumed: What it goes on from, if anything.
        clock: How long this process has trained.
        parts: What each process kept last.
    """

    out: Path
    settings: Mapping[str, str]
    resumed: Checkpoint | None = None
    clock: Clock
    parts: list[dict[str, Any]]
    args: Any
    state: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any
    accelerator: Any

    def go_on(self, checkpoint: Checkpoint | None) -> None:
        """Train to the end, from the beginning or from a checkpoint of as many processes.

        Raises:
            TokbenchError: If the checkpoint is of other weights or processes.
        """
        trainer: Any = self
        self.clock, self.parts = Clock(), []
        if checkpoint is None:
            trainer.train()
            return
        world = self.accelerator.num_processes
        if len(checkpoint.ranks) != world:
            raise TokbenchError(
                f"{self.out} holds a run of {counted(len(checkpoint.ranks), 'process', 'processes')}, {world} were started; start as many, or choose another --out"
            )
        self.resumed, self.parts = checkpoint, checkpoint.ranks
        from transformers import TrainerState

        with tempfile.TemporaryDirectory() as folder:
            state = TrainerState(global_step=checkpoint.step, train_batch_size=self.args.train_batch_size)
            state.compute_steps(self.args, self.args.max_steps)  # the library compares them with its arguments
            state.save_to_json(str(Path(folder) / STATE))
            trainer.train(resume_from_checkpoint=folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        from accelerate.utils import gather_object

        trained = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        if not all(bool(torch.isfinite(weight).all()) for weight in trained.values()):
            raise TokbenchError(
                f"the weights are not finite after step {self.state.global_step}: training diverged; lower the learning rate "
                "(--set learning_rate=...). The last checkpoint is as it was"
            )
        self.parts = ranks = gather_object([self._own_part()])
        if self.accelerator.is_main_process:
            weights = {name: weight.detach().cpu() for name, weight in trained.items()}
            moments = {
                number: {name: value.cpu() for name, value in part.items()} for number, part in self.optimizer.state_dict()["state"].items()
            }
            Checkpoint(self.state.global_step, dict(self.settings), weights, moments, ranks).write(self.out / CHECKPOINT)
        self.accelerator.wait_for_everyone()

    def _own_part(self) -> dict[str, Any]:
        """What this process keeps."""
        trainer: Any = self
        metrics: Any = getattr(self, "_metrics", {"train": {}})
        sums = {name: list(map(float, values)) for name, values in metrics["train"].items()}
        part = {
            "generator": torch.get_rng_state(),
            "loss": float(trainer._tr_loss),
            "logged": trainer._globalstep_last_logged,
            "metrics": sums,
            "tokens": int(getattr(self, "_total_train_tokens", 0)),
            "clock": self.clock.part(),
        }
        return part | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Put the weights back."""
        assert self.resumed is not None
        own = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        if {name: weight.shape for name, weight in own.items()} != {name: tensor.shape for name, tensor in self.resumed.weights.items()}:
            raise damaged(self.out / CHECKPOINT, ValueError("its weights have other names or shapes than the model's"))
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(self.resumed.weights[name])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Put the moments back; rates follow from the step."""
        if checkpoint is None:
            return
        assert self.resumed is not None
        step, rates = self.resumed.step, self.lr_scheduler
        whole = self.optimizer.state_dict()
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for number, part in self.resumed.optimizer.items():
            if type(number) is not int or not 0 <= number < len(weights):
                raise damaged(self.out / CHECKPOINT, ValueError("its optimizer has other weights"))
            if any(value.ndim and value.shape != weights[number].shape for value in part.values()):
                raise damaged(self.out / CHECKPOINT, ValueError("the state of its optimizer has other shapes"))
        self.optimizer.load_state_dict(whole | {"state": self.resumed.optimizer})
        rates.last_epoch, rates._step_count = step, step + 1
        for group, base, rule in zip(self.optimizer.param_groups, rates.base_lrs, rates.lr_lambdas, strict=True):
            group["lr"] = base * rule(step)
        rates._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _load_scaler(self, checkpoint: str | None) -> None:
        """There is none: training is in single precision or bfloat16."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Put back what this process kept; called when all that comes before the first step has been set anew."""
        assert self.resumed is not None
        trainer: Any = self
        part = self.resumed.ranks[self.accelerator.process_index]
        try:
            torch.set_rng_state(part["generator"].clone())
            if "cuda" in part and torch.cuda.is_available():
                torch.cuda.set_rng_state(part["cuda"].clone())
            trainer._tr_loss = trainer._tr_loss + float(part["loss"])
            trainer._globalstep_last_logged = int(part["logged"])
            for name, values in part["metrics"].items():
                trainer._metrics["train"][name] = list(map(float, values))
            self.clock.go_on_from(part.get("clock"))
            if hasattr(self, "_total_train_tokens"):
                trainer._total_train_tokens = int(part["tokens"])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:  # whatever a part that does not fit leads to
            raise damaged(self.out / CHECKPOINT, error) from error
