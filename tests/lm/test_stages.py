"""The three stages on the trainers of transformers and trl: stopped and gone on with exactly, nothing cut, and what is refused."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.lm.painted_rows import Rows, rows_of
from tokbench.bench.environment import processor_name
from tokbench.configs import plain
from tokbench.errors import TokbenchError
from tokbench.lm.build import LoraOptions
from tokbench.lm.checkpoint import CHECKPOINT, read_checkpoint
from tokbench.lm.clock import Clock, trained
from tokbench.lm.model import ABOUT, LanguageModel
from tokbench.lm.recipes import StageRecipe, adjusted, get_recipe
from tokbench.lm.stages import LOG, StageOptions, check, dealt, train_stage
from tokbench.lm.tasks import example_of
from tokbench.lm.trainers import as_told

pytest.importorskip("trl")
AcceleratorState = pytest.importorskip("accelerate.state").AcceleratorState

ABOUT_ROWS = {"data": "painted"}
STAGES = ["pretrain", "quality", "dpo"]


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def rows(painted: Path, tiny: LanguageModel) -> dict[str, Rows]:
    """Rows of each stage out of one export."""
    return rows_of(painted, tiny.vocabulary)


def recipe_of(stage: str, **changes: object) -> StageRecipe:
    return adjusted(get_recipe(stage), {"warmup": 2, "learning_rate": 1e-3, **changes}, steps=5, batch_size=4)


@pytest.fixture
def fresh(tiny: LanguageModel, tmp_path: Path) -> Callable[[], LanguageModel]:
    """Gives the model as it was before anything was trained."""
    tiny.save(tmp_path / "start")
    return lambda: LanguageModel.load(tmp_path / "start")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(LanguageModel.load(folder).network.state_dict())


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def run(
    stage: str, fresh: Any, rows: dict[str, Rows], out: Path, *, progress: Any = None, recipe: StageRecipe | None = None, **options: Any
) -> Any:
    settings = StageOptions(out, **({"log_every": 2, "save_every": 3} | options))
    given = {"progress": progress} if progress else {}
    reference = fresh().network if stage == "dpo" and settings.lora is None else None
    return train_stage(recipe or recipe_of(stage), fresh(), rows[stage], settings, about=ABOUT_ROWS, reference=reference, **given)


@pytest.mark.parametrize(
    ("stage", "optimizer"),
    [*((stage, "adamw") for stage in STAGES), ("pretrain", "muon"), pytest.param("dpo", "muon", marks=pytest.mark.slow)],
)  # the checkpoint holds an optimizer's state alike in every stage
def test_a_killed_stage_goes_on_to_the_losses_of_an_uninterrupted_one(
    stage: str, optimizer: str, fresh: Any, rows: dict[str, Rows], tmp_path: Path
) -> None:
    recipe = recipe_of(stage, optimizer=optimizer)
    whole = run(stage, fresh, rows, tmp_path / "whole", recipe=recipe)
    assert (whole.steps, whole.finished, whole.signal) == (5, True, None)

    def kill(done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        run(stage, fresh, rows, tmp_path / "killed", recipe=recipe, progress=kill)
    assert not (tmp_path / "killed" / ABOUT).exists()
    with (tmp_path / "killed" / LOG).open("a") as log:
        log.write('{"step": 5, "lo')  # a line that the kill cut
    resumed = run(stage, fresh, rows, tmp_path / "killed", recipe=recipe, resume=True)
    assert resumed.finished
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], before) for name, before in fresh().network.state_dict().items())
    done = LanguageModel.load(tmp_path / "killed").recipe["stages"][-1]
    assert (done["name"], done["steps"], done["data"]) == (stage, 5, "painted")


def test_a_stage_says_how_long_it_trained_over_all_that_it_was_gone_on_with(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = run("pretrain", fresh, rows, out)
    taken = first.trained
    assert (taken.sequences, taken.processes, taken.device, taken.processor) == (20, 1, "cpu", processor_name())
    assert taken.seconds > 0
    assert taken.processor_seconds > 0
    assert LanguageModel.load(out).recipe["stages"][-1]["trained"] == plain(taken)
    longer = replace(recipe_of("pretrain"), steps=7)
    second = run("pretrain", fresh, rows, out, recipe=longer, resume=True).trained
    assert (second.sequences, second.device) == (28, "cpu")
    assert second.seconds > taken.seconds
    assert second.processor_seconds > taken.processor_seconds
    assert run("pretrain", fresh, rows, out, recipe=longer, resume=True).trained == second, "nothing was left to do"


def test_checkpoints_of_before_are_gone_on_from_and_leave_the_time_unsaid(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    def kill(done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        run("pretrain", fresh, rows, tmp_path, progress=kill)
    checkpoint = read_checkpoint(tmp_path / CHECKPOINT)
    for part in checkpoint.ranks:
        assert part.pop("clock")["seconds"] > 0
    checkpoint.write(tmp_path / CHECKPOINT)
    done = run("pretrain", fresh, rows, tmp_path, resume=True)
    assert (done.finished, done.trained) == (True, None)
    assert "trained" not in LanguageModel.load(tmp_path).recipe["stages"][-1]


def test_a_checkpoint_whose_time_is_damaged_is_refused(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    recipe = replace(recipe_of("pretrain"), steps=1)
    run("pretrain", fresh, rows, tmp_path, recipe=recipe)
    checkpoint = read_checkpoint(tmp_path / CHECKPOINT)
    checkpoint.ranks[0]["clock"] = {"seconds": "long", "processor_seconds": 1.0, "places": []}
    checkpoint.write(tmp_path / CHECKPOINT)
    with pytest.raises(TokbenchError, match="is not a readable checkpoint"):
        run("pretrain", fresh, rows, tmp_path, resume=True)


def test_a_clock_counts_on_top_of_what_was_counted_elsewhere() -> None:
    clock = Clock()
    assert clock.part() is None, "nothing has begun"
    clock.start(torch.device("cpu"))
    clock.go_on_from({"seconds": 100.0, "processor_seconds": 50.0, "places": [("cuda", "some GPU")]})
    part = clock.part()
    done = trained([part, {**part, "seconds": 300.0}], 64)
    assert (done.sequences, done.seconds, done.processes) == (64, 300.0, 2)
    assert done.processor_seconds == pytest.approx(100, abs=10)
    assert (done.device, done.processor) == ("cuda, cpu", f"some GPU, {processor_name()}")
    assert trained([part, None], 64) is trained([], 64) is trained([{"seconds": math.nan}], 64) is None


@pytest.mark.parametrize(("there", "used"), [(0, 0), (1, 1), (8, 1)])
def test_a_process_trains_on_one_of_several_devices(there: int, used: int) -> None:
    assert as_told(SimpleNamespace(n_gpu=there), "fp32")._n_gpu == used


def test_a_stage_has_the_precision_of_its_recipe_whatever_accelerate_is_configured_for(
    fresh: Any, rows: dict[str, Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(recipe_of("pretrain"), steps=1)
    run("pretrain", fresh, rows, tmp_path / "plain", recipe=recipe, log_every=1)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    run("pretrain", fresh, rows, tmp_path / "configured", recipe=recipe, log_every=1)
    assert log_of(tmp_path / "configured") == log_of(tmp_path / "plain")


@pytest.mark.parametrize("name", ["DEEPSPEED", "FSDP"])
def test_processes_that_share_a_model_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(TokbenchError, match=r"accelerate is configured for .*, and processes here share steps but not the model; launch"):
        check(recipe_of("pretrain"), StageOptions(tmp_path / "run"))


def test_a_signal_ends_a_stage_with_a_checkpoint(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    def interrupt(done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = run("pretrain", fresh, rows, tmp_path / "run", progress=interrupt, log_every=1)
    assert (stopped.finished, stopped.signal) == (False, signal.SIGTERM)
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT).step == stopped.steps == 3
    assert not (tmp_path / "run" / ABOUT).exists()
    run("pretrain", fresh, rows, tmp_path / "run", resume=True, log_every=1)
    run("pretrain", fresh, rows, tmp_path / "whole", log_every=1)
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")


def test_parts_of_a_batch_learn_what_the_batch_does(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    run("quality", fresh, rows, tmp_path / "whole", log_every=1)
    run("quality", fresh, rows, tmp_path / "parts", log_every=1, micro_batch=1)
    for one, other in zip(log_of(tmp_path / "whole"), log_of(tmp_path / "parts"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_the_better_image_is_imitated_as_much_as_is_asked(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    plain, both = ({"preferences.imitation": weight} for weight in (0.0, 0.5))
    for name, changes in (("plain", plain), ("both", both)):
        run("dpo", fresh, rows, tmp_path / name, recipe=recipe_of("dpo", **changes), log_every=1)
    (first, *_), (second, *_) = log_of(tmp_path / "plain"), log_of(tmp_path / "both")
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)  # before the first step the model is its reference
    chosen = [len(rows["dpo"](number)["chosen_ids"]) for number in range(4)]
    assert second["loss"] - first["loss"] == pytest.approx(-0.5 * second["logps/chosen"] * 4 / sum(chosen), rel=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_long_sequences_are_not_cut(stage: str, fresh: Any, tmp_path: Path) -> None:
    model = fresh()
    model.network.config.max_position_embeddings = 4096
    long = example_of("text", model.vocabulary, text="".join(chr(97 + place * place % 26) for place in range(1500)))
    start = fresh().network
    with torch.no_grad():
        labels = torch.tensor([[-100] * 1400 + long.labels[1400:]])
        expected = float(start(torch.tensor([long.input_ids]), labels=labels).loss)
    answer = long.input_ids[1400:]
    all_rows: dict[str, Mapping[str, list[int]]] = {
        "pretrain": {"input_ids": long.input_ids, "labels": labels[0].tolist()},
        "dpo": {"prompt_ids": long.input_ids[:1400], "chosen_ids": answer, "rejected_ids": answer[::-1]},
    }
    all_rows["quality"] = all_rows["pretrain"]
    recipe = replace(recipe_of(stage), steps=1, batch_size=1)
    given = {"reference": fresh().network} if stage == "dpo" else {}
    options = StageOptions(tmp_path / "run", log_every=1)
    train_stage(recipe, model, lambda number: all_rows[stage], options, about={}, **given)
    (line,) = log_of(tmp_path / "run")
    found = -line["logps/chosen"] / len(answer) if stage == "dpo" else line["loss"]
    assert found == pytest.approx(expected, rel=1e-4)
    if stage != "pretrain":
        assert line["num_tokens"] == len(long) * (2 if stage == "dpo" else 1)


@pytest.mark.parametrize("stage", [pytest.param("quality", marks=pytest.mark.slow), "dpo"])
def test_adapters_go_on_too_and_end_in_a_plain_model(stage: str, fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    lora = LoraOptions(rank=2, dropout=0.2)
    run(stage, fresh, rows, tmp_path / "whole", lora=lora)

    def kill(done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        run(stage, fresh, rows, tmp_path / "killed", lora=lora, progress=kill)
    assert all("lora" in name for name in read_checkpoint(tmp_path / "killed" / CHECKPOINT).weights)
    run(stage, fresh, rows, tmp_path / "killed", lora=lora, resume=True)
    before, first, second = fresh().network.state_dict(), weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert before.keys() == first.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {name.split(".")[-2] for name in first if not torch.equal(first[name], before[name])} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }


@pytest.mark.parametrize("stage", ["pretrain", "dpo"])
def test_nothing_is_said_of_later_versions_of_libraries(
    stage: str, fresh: Any, rows: dict[str, Rows], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    run(stage, fresh, rows, tmp_path, lora=LoraOptions(rank=2), recipe=replace(recipe_of(stage), steps=1))
    assert not [warning for warning in recwarn if issubclass(warning.category, FutureWarning)]


def test_what_a_run_goes_on_with(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(TokbenchError, match=r"nothing to resume: no checkpoint.pt in .*; leave --resume out to start there"):
        run("pretrain", fresh, rows, out, resume=True)
    assert not out.exists()
    run("pretrain", fresh, rows, out)
    with pytest.raises(TokbenchError, match=r"already holds a run; add --resume to go on with a run, or choose another --out"):
        run("pretrain", fresh, rows, out)
    with pytest.raises(TokbenchError, match=r"holds a run with recipe.learning_rate 0.001, not 0.01; repeat the options"):
        run("pretrain", fresh, rows, out, resume=True, recipe=recipe_of("pretrain", learning_rate=0.01))
    with pytest.raises(TokbenchError, match=r"holds a run of 5 steps already; give --steps of at least that"):
        run("pretrain", fresh, rows, out, resume=True, recipe=replace(recipe_of("pretrain"), steps=4))
    before = (out / LOG).read_text()
    assert run("pretrain", fresh, rows, out, resume=True).steps == 5  # nothing is left to do
    assert (out / LOG).read_text() == before
    longer = run("pretrain", fresh, rows, out, resume=True, recipe=replace(recipe_of("pretrain"), steps=7))
    assert (longer.steps, [line["step"] for line in log_of(out)]) == (7, [2, 4, 6])


def test_checkpoints_of_others_are_refused_and_never_run(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    out = tmp_path / "run"
    run("pretrain", fresh, rows, out)
    path, whole = out / CHECKPOINT, torch.load(out / CHECKPOINT, weights_only=True)  # it is of plain parts

    def refused(content: object, why: str) -> None:
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(TokbenchError, match=rf"checkpoint.pt is not a readable checkpoint \(.*{why}.*\); start again in another --out"):
            run("pretrain", fresh, rows, out, resume=True)

    class Attack:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'run-by-attack'}",)

    refused(b"", "it is empty")
    refused(pickle.dumps(Attack()), "")
    refused(whole | {"ranks": Attack()}, "system")
    assert not (tmp_path / "run-by-attack").exists()
    refused([1, 2], "no number of steps")
    refused(whole | {"step": -1}, "no number of steps")
    refused(whole | {"weights": {}}, "no tensors")
    refused(whole | {"settings": {"a": 1}}, "no settings")
    refused(whole | {"ranks": []}, "nothing of its processes")
    name, weight = next(iter(whole["weights"].items()))
    refused(whole | {"weights": whole["weights"] | {name: weight * float("nan")}}, "not finite")
    refused(whole | {"weights": whole["weights"] | {name: weight[:3]}}, "other names or shapes")
    short = {
        number: {key: value[:1] if value.ndim else value for key, value in part.items()} for number, part in whole["optimizer"].items()
    }
    torch.save(whole | {"step": 3, "optimizer": short}, path)
    with pytest.raises(TokbenchError, match="the state of its optimizer has other shapes"):
        run("pretrain", fresh, rows, out, resume=True)
    torch.save(whole | {"step": 3, "ranks": [{}]}, path)
    with pytest.raises(TokbenchError, match="is not a readable checkpoint"):
        run("pretrain", fresh, rows, out, resume=True)
    torch.save(whole | {"ranks": whole["ranks"] * 2}, path)
    with pytest.raises(TokbenchError, match=r"holds a run of 2 processes, 1 were started; start as many"):
        run("pretrain", fresh, rows, out, resume=True)


def test_training_that_diverges_says_so(fresh: Any, rows: dict[str, Rows], tmp_path: Path) -> None:
    recipe = recipe_of("pretrain", learning_rate=1e30, warmup=0)
    with pytest.raises(TokbenchError, match=r"training diverged; lower the learning rate \(--set learning_rate=...\)"):
        run("pretrain", fresh, rows, tmp_path / "run", recipe=recipe, log_every=1)
    assert not (tmp_path / "run" / ABOUT).exists()


@pytest.mark.parametrize("micro_batch", [3, 8])
def test_batches_that_do_not_divide(fresh: Any, rows: dict[str, Rows], tmp_path: Path, micro_batch: int) -> None:
    message = f"a step of 4 rows does not divide into parts of {micro_batch} on 1 process; change --batch-size or --micro-batch"
    with pytest.raises(TokbenchError, match=re.escape(message)):
        run("pretrain", fresh, rows, tmp_path / "run", micro_batch=micro_batch)


def test_two_processes_learn_what_one_does(
    fresh: Any, rows: dict[str, Rows], painted: Path, in_processes: Callable[..., list[int]], tmp_path: Path
) -> None:
    def work(rank: int) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # by what ran here before, there is one process
        for stage, own in rows_of(painted, fresh().vocabulary).items():
            run(stage, fresh, {stage: own}, tmp_path / "two" / stage)

    assert in_processes(2, work) == [0, 0]
    for stage in STAGES:
        run(stage, fresh, rows, tmp_path / stage)
        for one, other in zip(log_of(tmp_path / stage), log_of(tmp_path / "two" / stage), strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-5), stage
        first, second = weights(tmp_path / stage), weights(tmp_path / "two" / stage)
        assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first), stage
        assert len(read_checkpoint(tmp_path / "two" / stage / CHECKPOINT).ranks) == 2
        took = LanguageModel.load(tmp_path / "two" / stage).recipe["stages"][-1]["trained"]
        assert (took["processes"], took["sequences"]) == (2, 20), stage


@pytest.mark.parametrize(("batch_size", "micro", "processes"), [(32, 8, 2), (24, 4, 3), (8, 8, 1), (12, 2, 2), (6, 3, 2), (32, 16, 2)])
def test_processes_share_long_and_short_rows_of_a_step(batch_size: int, micro: int, processes: int) -> None:
    step = [dealt(place, batch_size, micro, processes) for place in range(2 * batch_size, 3 * batch_size)]
    assert sorted(step) == list(range(2 * batch_size, 3 * batch_size))
    parts = [step[start : start + micro] for start in range(0, len(step), micro)]
    owned = [[row for part in parts[rank::processes] for row in part] for rank in range(processes)]
    assert all(rows == sorted(rows) for rows in owned)  # rows of like length meet in a part
    work = [sum(rows) for rows in owned]  # where a row is as long as its number
    assert max(work) - min(work) < processes
    if batch_size % (2 * processes) == 0:
        assert len(set(work)) == 1
