"""The trainers of ``transformers`` and ``trl`` as the stages use them: rows by number, in order, nothing cut, nothing sent anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokbench.errors import missing_extra
from tokbench.feed.vocabulary import Vocabulary
from tokbench.lm.checkpoint import Checkpointed
from tokbench.lm.recipes import StageRecipe
from tokbench.ranks import ranks_from_environment
from tokbench.train.muon import MuonAdamW

Row = Mapping[str, list[int]]
"""``input_ids`` and ``labels``; or ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``."""

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def make_trainer(
    recipe: StageRecipe,
    model: Any,
    rows: Callable[[int], Row],
    vocabulary: Vocabulary,
    *,
    reference: Any = None,
    out: Path,
    on_cpu: bool,
    micro_batch: int,
    accumulate: int,
    log_every: int,
    save_every: int,
) -> Checkpointed:
    """Make the trainer of a stage.

    Args:
        recipe: Says which stage, and how it is trained.
        model: What is trained: a network of ``transformers``, or one wrapped by ``peft``.
        rows: Gives each row by its number.
        vocabulary: Gives the id that batches are padded with.
        reference: The frozen network of ``dpo``; None where adapters are trained, without which the model is its own reference.
        out: Folder of the run.
        on_cpu: Whether to keep off other devices.
        micro_batch: Rows that one process sees at once.
        accumulate: Times it does so a step.
        log_every: Steps between lines of the log.
        save_every: Steps between checkpoints.

    Raises:
        TokbenchError: If ``trl`` is not installed.
    """
    try:
        from datasets import Dataset
        from transformers import PrinterCallback
    except ImportError as error:
        raise missing_extra("datasets", "lm", "training a language model") from error
    if recipe.stage != "pretrain" and find_spec("trl") is None:
        raise missing_extra("trl", "lm", f"the stage {recipe.stage}")

    numbers = Dataset.from_dict({"number": np.arange(recipe.steps * recipe.batch_size)})
    # Rows are made when they are asked for: trl takes a data set with a transform, as long as it prepares nothing itself.
    data = numbers.with_transform(_Rows(rows))
    settings: dict[str, Any] = {
        "output_dir": str(out),
        "max_steps": recipe.steps,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": recipe.learning_rate,
        "warmup_steps": recipe.warmup,
        "lr_scheduler_type": SCHEDULES[recipe.schedule],
        "optim": "adamw_torch",
        "weight_decay": recipe.weight_decay,
        "adam_beta1": recipe.betas[0],
        "adam_beta2": recipe.betas[1],
        "max_grad_norm": recipe.grad_clip,
        "bf16": recipe.precision == "bf16",
        "seed": recipe.seed,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "gradient_checkpointing": False,
        "logging_steps": log_every,
        "logging_nan_inf_filter": False,
        "save_steps": save_every,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
    }
    optimizer = _muon(recipe, model) if recipe.optimizer == "muon" else None
    trainer = _made(recipe, model, reference, data, vocabulary, settings, (optimizer, None))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _muon(recipe: StageRecipe, model: Any) -> MuonAdamW:
    """Muon for the matrices of blocks, AdamW for embedding, head and vectors."""
    ends = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part is not None}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    hidden = [weight for weight in trained if weight.ndim > 1 and id(weight) not in ends]
    matrices = [weight for weight in trained if weight.ndim > 1 and id(weight) in ends]
    vectors = [weight for weight in trained if weight.ndim < 2]
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    decay, shared = recipe.weight_decay, ranks_from_environment().world_size > 1
    return MuonAdamW(hidden, matrices, vectors, recipe.learning_rate, betas=recipe.betas, weight_decay=decay, dtype=dtype, shared=shared)


def _made(
    recipe: StageRecipe,
    model: Any,
    reference: Any,
    data: Any,
    vocabulary: Vocabulary,
    settings: Mapping[str, Any],
    optimizers: tuple[Any, None],
) -> Any:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    if recipe.stage == "pretrain":  # without trl, which takes seconds to import
        return type("PretrainTrainer", (Checkpointed, Trainer), {})(
            model,
            args=as_told(TrainingArguments(**settings), recipe.precision),
            train_dataset=data,
            data_collator=DataCollatorForSeq2Seq(_ids_alone(vocabulary)),
            optimizers=optimizers,
        )
    import trl

    if recipe.stage == "dpo":
        weights = {"sigmoid": 1.0, "sft": recipe.preferences.imitation}
        losses = [name for name, weight in weights.items() if weight > 0]
        return _preferring(trl)(
            model,
            reference,
            args=as_told(
                trl.DPOConfig(
                    beta=recipe.preferences.beta,
                    loss_type=losses,
                    loss_weights=[weights[name] for name in losses],
                    max_length=None,
                    **settings,
                ),
                recipe.precision,
            ),
            train_dataset=data,
            processing_class=_ids_alone(vocabulary),
            optimizers=optimizers,
        )
    return type("QualityTrainer", (Checkpointed, trl.SFTTrainer), {})(
        model,
        args=as_told(trl.SFTConfig(max_length=None, dataset_kwargs={"skip_prepare_dataset": True}, **settings), recipe.precision),
        train_dataset=data,
        processing_class=_ids_alone(vocabulary),
        optimizers=optimizers,
    )


def as_told(settings: Any, precision: str) -> Any:
    """Keep a process to its own device, and to the recipe's number format.

    Alone on a machine of several devices, the library would copy the model to all and give each a whole part. And it would take the format
    that ``accelerate`` is configured for, in the environment.

    Args:
        settings: Arguments of a trainer, changed in place.
        precision: ``fp32`` or ``bf16``.
    """
    settings._n_gpu = min(settings.n_gpu, 1)
    settings.mixed_precision = "bf16" if precision == "bf16" else "no"
    return settings


class _Rows:
    """Makes rows of their numbers, as columns."""

    def __init__(self, rows: Callable[[int], Row]) -> None:
        self._rows = rows

    def __call__(self, batch: Mapping[str, list[int]]) -> dict[str, list[list[int]]]:
        made = [self._rows(int(number)) for number in batch["number"]]
        return {name: [list(row[name]) for row in made] for name in made[0]}

    def __reduce__(self) -> tuple[type, tuple[str]]:
        """Give ``datasets`` a fingerprint at once: it would take one of all that the rows are made from, for a cache that is never used."""
        return str, ("rows by number",)


def _preferring(trl: Any) -> type:
    """The class of ``dpo``: its rows are ids already, so there is nothing to prepare."""

    class PreferenceTrainer(Checkpointed, trl.DPOTrainer):
        """DPO on rows of ids."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    return PreferenceTrainer


def _ids_alone(vocabulary: Vocabulary) -> Any:
    """What ``trl`` asks for the ids of padding and ends; it knows no text, and is never given any."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    special = vocabulary.special
    names = {"BOS": special.bos, "EOS": special.eos, "PAD": special.pad}
    known = Tokenizer(models.WordLevel(names, unk_token="PAD"))
    return PreTrainedTokenizerFast(tokenizer_object=known, bos_token="BOS", eos_token="EOS", pad_token="PAD")
