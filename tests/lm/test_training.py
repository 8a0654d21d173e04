"""Stages from what a user names: exports and images, filters, pairs given and made, and a line for every mistake."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tokbench
from tokbench.data.open import open_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.views import Viewed
from tokbench.lm.beginning import encoder, tokenizer_of
from tokbench.lm.checkpoint import CHECKPOINT, read_checkpoint
from tokbench.lm.filtering import Kept, judge, keep_rows, read_rows
from tokbench.lm.model import ABOUT, LanguageModel
from tokbench.lm.preferences import PAIRS, Pairs, prepare, read_pairs
from tokbench.lm.ranking import merge, rank
from tokbench.lm.recipes import RECIPES, Filter, Preferences, StageRecipe, adjusted, get_recipe
from tokbench.lm.reward import get_reward, judge_of
from tokbench.lm.stages import LATER, StageOptions
from tokbench.lm.tasks import example_of, prompt_of
from tokbench.lm.training import Inputs, run_stage
from tokbench.ranks import Ranks
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import save_tokenizer
from tokbench.tokens import DiscreteTokens

pytest.importorskip("trl")

SMALL = {"network.layers": 1, "network.hidden_size": 16, "network.heads": 2, "network.intermediate_size": 16, "network.positions": 512}


def redness(words: str, pixels: Any) -> float:
    return float(pixels[..., 0].mean() - pixels[..., 1].mean())


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rewards are imported from the folder of a user."""
    lines = "def redness(words, pixels):\n    return float(pixels[..., 0].mean() - pixels[..., 1].mean())\n"
    lines += "def broken(words, pixels):\n    raise RuntimeError('no such network')\n"
    lines += "def lost(words, pixels):\n    return float('nan')\nNOTHING = 3\n"
    lines += "def ending(words, pixels):\n    raise SystemExit(3)\ndef silent(words, pixels):\n    pass\n"
    lines += "def spread(words, pixels):\n    return pixels[..., 0]\ndef worded(words, pixels):\n    return '1.5'\n"
    lines += "def writing(words, pixels):\n    pixels[:] = 0\n    return 0\ndef lowest(words, pixels):\n    return -1.7e308\n"
    (tmp_path / "judges.py").write_text(lines)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "judges", raising=False)


def recipe_of(stage: str, **changes: object) -> StageRecipe:
    small = {"warmup": 1, **(SMALL if stage == "pretrain" else {}), **changes}
    return adjusted(get_recipe(stage), small, steps=2, batch_size=4)


@pytest.fixture(scope="module")
def pretrained(painted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pretrain"
    run_stage(recipe_of("pretrain"), Inputs(str(painted), edits=painted / "edits.jsonl"), StageOptions(out, log_every=1))
    return out


def test_three_stages_one_after_the_other(painted: Path, pretrained: Path, tmp_path: Path) -> None:
    model = LanguageModel.load(pretrained)
    assert (model.image_size, model.grid, model.identity) == ((16, 16), (4, 4), TokenDataset(painted).job.tokenizer)
    good = Inputs(str(painted), str(pretrained), edits=painted / "edits.jsonl", reward="judges:redness")
    run_stage(recipe_of("quality", **{"keep.score": -300.0, "keep.psnr": 5.0}), good, StageOptions(tmp_path / "quality"))
    liked = Inputs(str(painted), str(tmp_path / "quality"), reward="judges:redness")
    dpo = recipe_of("dpo", **{"preferences.prompts": 6, "preferences.samples": 3})
    run_stage(dpo, liked, StageOptions(tmp_path / "dpo"))
    stages = LanguageModel.load(tmp_path / "dpo").recipe["stages"]
    assert [stage["stage"] for stage in stages] == ["pretrain", "quality", "dpo"]
    assert (stages[1]["measured"]["of"], stages[2]["measured"]["prompts"]) == (60, 6)
    assert 0 < stages[1]["measured"]["kept"] <= 60
    assert 0 < stages[2]["measured"]["pairs"] <= 6
    for pair in read_pairs(tmp_path / "dpo" / PAIRS):
        assert pair.chosen_score is not None
        assert pair.rejected_score is not None
        assert pair.chosen_score > pair.rejected_score


def test_images_are_encoded_once(patch_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    for number in range(6):
        (folder / f"class-{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 24), (40 * number, 90, 30)).save(folder / f"class-{number % 2}" / f"{number}.png")
    recipe = recipe_of("pretrain", **{"tasks.edit": 0})
    inputs = Inputs(str(folder), tokenizer=patch_tokenizer, labels="folder", size=16)
    run_stage(recipe, inputs, StageOptions(tmp_path / "run"))
    data = TokenDataset(tmp_path / "run" / "tokens")
    assert (len(data), data.label_names) == (6, ("class-0", "class-1"))
    monkeypatch.setattr(type(patch_tokenizer), "_encode", None)  # would fail
    run_stage(replace(recipe, steps=3), inputs, StageOptions(tmp_path / "run", resume=True))
    assert LanguageModel.load(tmp_path / "run").recipe["stages"][0]["steps"] == 3


def test_images_need_not_be_square(tokbench_cli: Any, tmp_path: Path) -> None:
    """A model of wide images is trained, goes on, draws, reads and is evaluated."""
    folder = tmp_path / "mine"
    for number in range(6):
        (folder / f"class-{number % 2}").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(256, size=(8, 12, 3), dtype=np.uint8).repeat(2, axis=0).repeat(2, axis=1)
        Image.fromarray(pixels).save(folder / f"class-{number % 2}" / f"{number}.png")
    words = [word for key, value in (SMALL | {"tasks.edit": 0, "warmup": 1}).items() for word in ("--set", f"{key}={value}")]
    own = ("--data", folder, "--labels", "folder", "--steps", 1, "--batch-size", 2)
    status, _, log = tokbench_cli("lm", "train", "pretrain", "-t", "patch", *own, "--size", "16x24", *words, "--out", "wide")
    assert status == 0, log
    model = LanguageModel.load(tmp_path / "wide")
    assert (model.image_size, model.size, model.grid) == ((16, 24), (16, 24), (4, 6))
    again = ("lm", "train", "quality", *own, "--model", "wide", "--set", "tasks.edit=0", "--set", "keep=none", "--out", "more")
    status, _, log = tokbench_cli(*again, "--size", "24x16")
    assert (status, log) == (2, "tokbench: wide reads images of 16x24 px, and --size 24x16 was given; leave --size out\n")
    status, _, log = tokbench_cli(*again)
    assert status == 0, log
    picture = folder / "class-0" / "0.png"
    for asked, size in (
        (("generate", "class-0"), (24, 16)),
        (("complete", picture), (4 + 24 + 4 + 24 + 4, 4 + 16 + 4)),  # what was given, and what was drawn
        (("edit", picture, "make it red"), (4 + 24 + 4 + 24 + 4, 4 + 16 + 4)),
    ):
        status, _, log = tokbench_cli("lm", *asked, "--model", "more", "-o", "out.png", "--enlarge", 1)
        assert status == 0, log
        with Image.open(tmp_path / "out.png") as drawn:
            assert drawn.size == size
    assert tokbench_cli("lm", "describe", picture, "--model", "more")[0] == 0
    real = ("lm", "evaluate", "more", "--data", folder, "--labels", "folder", "--prompts", 3, "--task", "complete", "--json")
    status, out, log = tokbench_cli(*real)
    assert status == 0, log
    assert json.loads(out)["protocol"]["size"] == [16, 24]
    status, _, log = tokbench_cli("lm", "evaluate", "more", "--prompts", 2)
    assert (status, log.count("\n")) == (2, 1)
    assert "scenes come in sizes 32, 64, 128, 256 px, and the model reads images of 16x24 px; give it others with --data" in log
    status, _, log = tokbench_cli("lm", "train", "pretrain", "-t", "patch", "--data", "scenes", "--size", "32x64", "--out", "scenes")
    assert (status, log) == (2, "tokbench: scenes come square, got 32x64; give --size one number, such as 32\n")


def test_a_text_model_learns_images_by_adapters(painted: Path, tmp_path: Path) -> None:
    import tokenizers
    import transformers

    words = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={chr(code): code - 32 for code in range(32, 127)}, merges=[]))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    words.decoder = tokenizers.decoders.Fuse()
    (tmp_path / "base").mkdir()
    words.save(str(tmp_path / "base" / "tokenizer.json"))
    config = transformers.LlamaConfig(vocab_size=95, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    from tokbench.lm.build import LoraOptions

    recipe = recipe_of("pretrain", **{"tasks.edit": 0})
    options = StageOptions(tmp_path / "run", lora=LoraOptions(rank=2))
    run_stage(recipe, Inputs(str(painted), str(tmp_path / "base")), options)
    model = LanguageModel.load(tmp_path / "run")
    assert model.vocabulary.text.encode("red") == [ord(letter) - 32 for letter in "red"]
    assert model.vocabulary.size == 95 + 8 + 1024


def test_pairs_are_read_as_codes_and_as_images(pretrained: Path, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = LanguageModel.load(pretrained)
    for name, colour in (("better", (250, 0, 0)), ("worse", (0, 0, 250))):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{name}.png")
    codes = {name: [number] * 16 for number, name in enumerate(("chosen", "rejected"))}
    lines = [{"prompt": "red", "chosen": "better.png", "rejected": "worse.png"}, {"prompt": "a", **codes}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n\n" for line in lines))
    options = StageOptions(tmp_path / "run", log_every=1)
    run_stage(recipe_of("dpo"), Inputs(model=str(pretrained), pairs=tmp_path / "pairs.jsonl"), options)
    images, given = read_pairs(tmp_path / "run" / PAIRS)
    assert (given.chosen, given.rejected) == (codes["chosen"], codes["rejected"])
    red = torch.full((1, 3, 16, 16), -1.0)
    red[:, 0] = 250 / 127.5 - 1
    assert images.chosen == patch_tokenizer.encode(red).codes.flatten().tolist()
    rows = [Pairs(tmp_path / "run" / PAIRS, model, seed=0).row(number) for number in range(2)]
    for row in rows:
        text = "red" if row["prompt_ids"] == prompt_of("generate", model.vocabulary, text="red", grid=model.grid) else "a"
        pair = images if text == "red" else given
        for side, name in ((pair.chosen, "chosen_ids"), (pair.rejected, "rejected_ids")):
            image = DiscreteTokens(torch.tensor(side)[None, :, None], model.grid, model.vocabulary.codebook_sizes)
            assert row["prompt_ids"] + row[name] == example_of("generate", model.vocabulary, text=text, images=[image]).input_ids
    assert rows[0] != rows[1]


CODES = list(range(16))


def test_pairs_that_are_one_image_to_the_tokenizer_are_left_out_and_counted(
    tiny: LanguageModel, patch_tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, shade in (("a", 100), ("b", 101), ("c", 240)):
        Image.new("RGB", (16, 16), (shade, shade, shade)).save(tmp_path / f"{name}.png")
    pairs = [{"prompt": "grey", "chosen": f"{one}.png", "rejected": f"{other}.png"} for one, other in ("ab", "ac")]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    assert prepare(tmp_path / "pairs.jsonl", tmp_path / "out.jsonl", tiny, encoder(tiny, patch_tokenizer, "cpu")) == 1
    assert "1 pair of" in caplog.text
    assert "left out: both images are the same to the tokenizer" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "holds no pair of different images; write a line for each"),
        ("nonsense", "line 1: Expecting value"),
        (
            json.dumps({"prompt": "a", "chosen": CODES}),
            "line 1: it has no rejected image, and one side alone says nothing of what is better",
        ),
        (json.dumps({"prompt": "a", "rejected": CODES, "chosen": None}), "line 1: it has no chosen image"),
        (json.dumps({"chosen": CODES, "rejected": CODES[::-1]}), "line 1: it has no prompt"),
        (json.dumps({"prompt": "a", "chosen": CODES, "rejected": CODES}), "line 1: its chosen and rejected image are the same"),
        (
            json.dumps({"prompt": "a", "chosen": CODES, "rejected": CODES[:4]}),
            "line 1: it has an image of 4 codes, those of the model have 16",
        ),
        (
            json.dumps({"prompt": "a", "chosen": CODES, "rejected": [5000] * 16}),
            "codes of codebook 0 range over 5000..5000, allowed is 0..1023",
        ),
        (json.dumps({"prompt": "a", "chosen": CODES, "rejected": [-1] * 16}), "line 1: it has a code that no codebook has"),
        (
            json.dumps({"prompt": "a", "chosen": CODES, "rejected": []}),
            "line 1: its rejected is neither a list of codes nor the name of a file",
        ),
        (json.dumps({"prompt": "a", "chosen": CODES, "rejected": [1.5] * 16}), "line 1: its rejected is neither"),
        (json.dumps({"prompt": "a", "chosen": CODES, "rejected": "none.png"}), "none.png is not a readable image"),
        ('{"prompt": "\\ud800", "chosen": ' + str(CODES) + ', "rejected": ' + str(CODES[::-1]) + "}", "line 1: 'utf-8' codec can't encode"),
        ("[1, 2]", "line 1: it is a list, not an object"),
        (
            "\n".join(json.dumps({"prompt": "red" * times, "chosen": CODES, "rejected": CODES[::-1]}) for times in (1, 200)),
            "line 2: 'redred",
        ),
    ],
)
def test_files_that_are_no_pairs(pretrained: Path, tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "pairs.jsonl").write_text(line)
    with pytest.raises(TokbenchError) as caught:
        run_stage(recipe_of("dpo"), Inputs(model=str(pretrained), pairs=tmp_path / "pairs.jsonl"), StageOptions(tmp_path / "run"))
    assert message in str(caught.value)
    assert str(tmp_path / "pairs.jsonl") in str(caught.value)
    assert not (tmp_path / "run").exists()  # no empty folder either


def test_rewards_see_drawn_images_without_what_was_padded(
    patch_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is of images of 50 px, which the tokenizer pads."""
    layout = patch_tokenizer.layout(50, 50)
    assert any(layout.padding)
    image = DiscreteTokens(torch.zeros(1, layout.positions, 1, dtype=torch.int64), layout.grid, layout.codebook_sizes)
    monkeypatch.setattr("tokbench.lm.ranking.draw", lambda model, asked, *rest, **others: [[image, image] for _ in asked])
    model: Any = SimpleNamespace(image_size=(50, 50), network=torch.nn.Linear(1, 1))
    seen = []

    def reward(words: str, pixels: np.ndarray) -> float:
        seen.append(pixels.shape)
        return 0.0

    rank(model, patch_tokenizer, ["a circle"], Preferences(prompts=1, samples=2), reward, tmp_path, seed=0, ranks=Ranks())
    assert seen == [(50, 50, 3)] * 2


def test_ranking_keeps_what_differs_whatever_the_number_of_processes(pretrained: Path, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model, prompts = LanguageModel.load(pretrained), [f"picture {number}" for number in range(7)]
    how, reward = Preferences(prompts=7, samples=3), get_reward("judges:redness")
    for name, world in (("one", 1), ("three", 3)):
        (tmp_path / name).mkdir()
        for number in range(world):
            rank(model, patch_tokenizer, prompts, how, reward, tmp_path / name, seed=0, ranks=Ranks(number, world))
        count, mean = merge(tmp_path / name, Ranks(0, world))
        assert count == len(list(read_pairs(tmp_path / name / PAIRS))) > 0
        assert -255 <= mean <= 255
    assert (tmp_path / "one" / PAIRS).read_bytes() == (tmp_path / "three" / PAIRS).read_bytes()
    assert [path.name for path in (tmp_path / "three").iterdir()] == [PAIRS]
    (tmp_path / "led").mkdir()
    rank(model, patch_tokenizer, prompts, replace(how, guidance=4.0), reward, tmp_path / "led", seed=0, ranks=Ranks())
    merge(tmp_path / "led", Ranks())
    assert (tmp_path / "led" / PAIRS).read_bytes() != (tmp_path / "one" / PAIRS).read_bytes()
    (tmp_path / "far").mkdir()
    rank(model, patch_tokenizer, prompts, replace(how, margin=600.0), reward, tmp_path / "far", seed=0, ranks=Ranks())
    assert merge(tmp_path / "far", Ranks())[0] == 0
    with pytest.raises(TokbenchError, match=r"holds no pairs; draw more images \(--set preferences.samples=N\), lower preferences.margin"):
        Pairs(tmp_path / "far" / PAIRS, model, seed=0)


def test_what_was_ranked_before_a_kill_is_not_drawn_again(
    pretrained: Path, patch_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokbench.lm.ranking.AT_ONCE", 2)
    model, prompts = LanguageModel.load(pretrained), [f"picture {number}" for number in range(5)]
    how, asked = Preferences(prompts=5, samples=2), list[str]()

    def ranked(name: str, *, judge: str = "redness", killed_after: int | None = None) -> tuple[bytes, list[str]]:
        def reward(words: str, pixels: Any) -> float:
            if len(asked) == killed_after:
                raise KeyboardInterrupt
            asked.append(words)
            return redness(words, pixels)

        asked.clear()
        (tmp_path / name).mkdir(exist_ok=True)
        rank(model, patch_tokenizer, prompts, how, reward, tmp_path / name, judge=judge, seed=0, ranks=Ranks())
        merge(tmp_path / name, Ranks())
        assert [path.name for path in (tmp_path / name).iterdir()] == [PAIRS]
        return (tmp_path / name / PAIRS).read_bytes(), sorted(set(asked))

    for name in ("killed", "other"):
        with pytest.raises(KeyboardInterrupt):
            ranked(name, killed_after=6)
    expected = ranked("whole")
    assert expected[1] == prompts
    assert ranked("killed") == (expected[0], prompts[2:]), "two prompts had been ranked"
    assert ranked("other", judge="another")[1] == prompts


def test_pairs_are_not_drawn_again_where_training_was_killed_before_its_first_checkpoint(
    painted: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of("dpo", **{"preferences.prompts": 3, "preferences.samples": 2})
    inputs, options = Inputs(painted, pretrained, reward="judges:redness"), StageOptions(tmp_path / "run", log_every=1)

    def kill(done: int, total: int, figures: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(recipe, inputs, options, progress=kill)
    before = (tmp_path / "run" / PAIRS).read_bytes()
    with monkeypatch.context() as context:
        context.setattr("tokbench.lm.ranking.draw", None)  # would fail
        assert run_stage(recipe, inputs, options).finished
    assert (tmp_path / "run" / PAIRS).read_bytes() == before
    assert LanguageModel.load(tmp_path / "run").recipe["stages"][-1]["measured"]["prompts"] == 3
    other = replace(options, out=tmp_path / "other")
    with pytest.raises(KeyboardInterrupt):
        run_stage(recipe, inputs, other, progress=kill)
    run_stage(replace(recipe, seed=1), inputs, other)
    assert (tmp_path / "other" / PAIRS).read_bytes() != before


def test_which_reward_a_name_stands_for_follows_its_file(tmp_path: Path) -> None:
    assert judge_of("scenes") == "scenes scene-reader-1"
    before = judge_of("judges:redness")
    assert before.startswith("judges:redness ")
    (tmp_path / "judges.py").write_text((tmp_path / "judges.py").read_text() + "# mended\n")
    assert judge_of("judges:redness") != before


def test_a_filter_keeps_what_its_measures_say(
    painted: Path, painted_source: ImageSource, patch_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    data = TokenDataset(painted)
    judged: list[tuple[str, float]] = []

    def kept(keep: Filter, world: int = 1, **measures: Any) -> Kept:
        for number in range(world):
            judge(data, patch_tokenizer, tmp_path, ranks=Ranks(number, world), **({"reward": None, "originals": None} | measures))
        return keep_rows(tmp_path, data, keep, Ranks(0, world))

    whole = kept(Filter(psnr=8.0), originals=painted_source)
    assert whole.score is None
    assert whole.psnr is not None
    assert 0 < len(whole.rows) <= 60
    assert whole.psnr > 8

    def noted(words: str, pixels: Any) -> float:
        judged.append((words, redness(words, pixels)))
        return judged[-1][1]

    scored = kept(Filter(score=0.0), reward=noted)
    values = dict(judged)
    expected = [row for row in range(len(data)) if values.get(data[row]["caption"], 0.0) >= 0]
    assert scored.rows.tolist() == expected
    assert scored.psnr is None
    assert scored.score == pytest.approx(np.mean([value for _, value in judged]))
    for world in (2, 3, 7):  # more processes than batches, too
        shared = kept(Filter(score=0.0, psnr=8.0), world, reward=redness, originals=painted_source)
        alone = kept(Filter(score=0.0, psnr=8.0), reward=redness, originals=painted_source)
        assert (shared.rows.tolist(), shared.score, shared.psnr) == (alone.rows.tolist(), alone.score, alone.psnr)
    assert not list(tmp_path.glob(".judged*"))
    with pytest.raises(
        TokbenchError,
        match=r"none of the 60 images of .* is good enough \(mean score not taken, mean PSNR .*\); lower keep.score or keep.psnr",
    ):
        kept(Filter(psnr=1e6), originals=painted_source)


@pytest.mark.parametrize("views", ["flip", "ten-crop"])
def test_views_are_judged_beside_the_same_views_of_their_images(views: Any, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)
        Image.fromarray(pixels).save(tmp_path / "mine" / f"{number}.png")
    source, protocol = open_source(str(tmp_path / "mine"), size=16), get_protocol(changes={"size": 16})
    export(patch_tokenizer, source, tmp_path / "views", protocol=protocol, options=ExportOptions(views=views))
    data, tokens = TokenDataset(tmp_path / "views"), patch_tokenizer
    judge(data, tokens, tmp_path, reward=None, originals=source, ranks=Ranks())
    measured = np.load(tmp_path / ".judged.0.npy")[:, 1]
    assert len(measured) == len(data) == 2 * data.job.views
    viewed = Viewed(source, range(2), views, protocol)
    for row, psnr in enumerate(measured):
        codes = DiscreteTokens(data[row]["codes"][None], data.grid, data.codebook_sizes)
        made = tokbench.to_uint8(tokens.decode(codes))[0].permute(1, 2, 0).numpy().astype(float)
        error = ((np.asarray(viewed.read(row), dtype=float) - made) ** 2).mean()
        assert psnr == pytest.approx(10 * np.log10(255**2 / error))
    with pytest.raises(TokbenchError, match=r"none of the .* images of .* is good enough"):
        keep_rows(tmp_path, data, Filter(psnr=99.0), Ranks())


def test_images_of_which_nothing_could_be_judged_are_not_kept_in_silence(painted: Path, tmp_path: Path) -> None:
    data = TokenDataset(painted)
    np.save(tmp_path / ".judged.0.npy", np.full((len(data), 2), np.nan))
    with pytest.raises(TokbenchError, match=r"none of the 60 images of .* could be judged: .*; keep all with --set keep=none"):
        keep_rows(tmp_path, data, Filter(psnr=8.0), Ranks())


def test_a_part_of_what_was_judged_that_is_missing_is_named(
    painted: Path, painted_source: ImageSource, patch_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    data = TokenDataset(painted)
    judge(data, patch_tokenizer, tmp_path, reward=None, originals=painted_source, ranks=Ranks(0, 2))
    with pytest.raises(TokbenchError, match=r".judged.1.npy is damaged \(.*\); start again in another --out"):
        keep_rows(tmp_path, data, Filter(psnr=8.0), Ranks(0, 2))


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_rows_that_are_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "kept.npy"
    path.write_bytes(content) if content is not None else np.save(path, np.array([3, 2]))
    with pytest.raises(TokbenchError, match=r"kept.npy is damaged \(.*\); start again in another --out"):
        read_rows(path, 60)


def test_the_tokenizer_of_a_model_is_found_or_named(tiny: LanguageModel) -> None:
    assert tokenizer_of(tiny.identity, None, "cpu").name == "patch/kmeans-1024"
    with pytest.raises(TokbenchError, match="tests:Mine is no tokenizer of the zoo; give theirs with -t"):
        tokenizer_of(replace(tiny.identity, name="tests:Mine"), None, "cpu")
    with pytest.raises(TokbenchError, match=r"is another tokenizer: state_sha256 is 0000000000000000\.\.\. there .*; give theirs with -t"):
        tokenizer_of(replace(tiny.identity, state_sha256="0" * 64), None, "cpu")


def test_a_stage_takes_the_same_tokenizer_by_any_name(pretrained: Path, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(patch_tokenizer, tmp_path / "patch")
    saved = tokbench.load(str(tmp_path / "patch"))
    (tmp_path / "mine" / "red").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (16, 16), (60 * number, 0, 0)).save(tmp_path / "mine" / "red" / f"{number}.png")
    recipe = recipe_of("quality", **{"tasks.edit": 0, "keep.score": -300.0, "keep.psnr": 0.0})
    inputs = Inputs(str(tmp_path / "mine"), str(pretrained), tokenizer=saved, labels="folder", reward="judges:redness")
    assert run_stage(replace(recipe, steps=1), inputs, StageOptions(tmp_path / "run")).finished
    assert TokenDataset(tmp_path / "run" / "tokens").job.tokenizer != LanguageModel.load(pretrained).identity  # another file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("beauty", "unknown reward 'beauty'; give scenes, or module:function of your own"),
        ("judges:NOTHING", "'judges:NOTHING' is of type int, not a function that takes words and pixels"),
        ("judges:missing", "module 'judges' has no 'missing'; give package.module:function"),
        ("judges:rednes", "module 'judges' has no 'rednes'; did you mean judges:redness?"),
        ("no_judges:redness", "give package.module:function, importable from here"),
    ],
)
def test_rewards_that_are_none(name: str, message: str) -> None:
    with pytest.raises(TokbenchError, match=re.escape(message)):
        get_reward(name)


def test_rewards_that_fail() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(TokbenchError, match=r"the reward judges:broken failed for 'red' \(RuntimeError: no such network\); mend it"):
        get_reward("judges:broken")("red", pixels)
    with pytest.raises(TokbenchError, match=r"the reward judges:lost is nan for 'red'; it must be a finite number"):
        get_reward("judges:lost")("red", pixels)
    with pytest.raises(TokbenchError, match=r"the reward judges:lowest is -1.7e\+308 for 'red'; it must be within 1e\+100"):
        get_reward("judges:lowest")("red", pixels)
    with pytest.raises(TokbenchError, match=r"the reward judges:ending failed for 'red' \(SystemExit: 3\); mend it"):
        get_reward("judges:ending")("red", pixels)
    for name, what in (("spread", "of type ndarray and shape [4, 4]"), ("silent", "of type NoneType"), ("worded", "of type str")):
        with pytest.raises(TokbenchError, match=re.escape(f"the reward judges:{name} is {what} for 'red'; it must be a finite number")):
            get_reward(f"judges:{name}")("red", pixels)


def test_a_reward_may_write_into_what_it_is_given() -> None:
    pixels = np.full((4, 4, 3), 7, np.uint8)
    assert get_reward("judges:writing")("red", pixels) == 0
    assert (pixels == 7).all()


def test_what_is_missing_or_too_much_is_said(painted: Path, pretrained: Path, tmp_path: Path, tokbench_cli: Any) -> None:
    out = tmp_path / "run"

    def said(*arguments: object) -> str:
        status, printed, line = tokbench_cli("lm", "train", *arguments, "--out", out)
        assert (status, printed) == (2, "")
        assert line.count("\n") == 1
        assert not (out / ABOUT).exists()
        return line

    model = ("--model", pretrained)
    assert "unknown stage 'pretrian'; did you mean pretrain?" in said("pretrian")
    assert "pretrain learns from images; give --data EXPORT, a folder of images, or scenes" in said("pretrain")
    assert "quality goes on from a model; give --model FOLDER of one that pretrain made" in said("quality", "--data", painted)
    assert "dpo goes on from a model; give --model FOLDER" in said("dpo", "--data", painted)
    assert "dpo takes --data, whose words are drawn and ranked, or --preferences FILE of pairs; neither was given" in said("dpo", *model)
    assert "; both were given" in said("dpo", *model, "--data", painted, "--preferences", painted / "edits.jsonl")
    assert "pairs are learned from by dpo, not by quality" in said("quality", *model, "--preferences", painted / "edits.jsonl")
    assert "there is no reward for" in said("dpo", *model, "--data", painted)
    assert "holds images; give -t TOKENIZER to encode them, or make an export of them first" in said("pretrain", "--data", "photos")
    assert "is encoded already, with its own size and labels" in said("pretrain", "--data", painted, "--size", 32)
    assert "give --edits FILE, or leave them out: --set tasks.edit=0" in said("pretrain", "--data", painted)
    assert "has its own text tokenizer; leave --text out" in said("quality", *model, "--data", painted, "--text", "tokenizer.json")
    (tmp_path / "alone").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "alone" / "black.png")
    for name, size in (("other", 16), ("larger", 32)):  # of other codes, and of other images
        protocol = get_protocol(changes={"size": size})
        export(tokbench.load("pixel" if name == "other" else "patch"), str(tmp_path / "alone"), tmp_path / name, protocol=protocol)
    mixed = ("--set", "tasks.edit=0", "--set", "tasks.describe=0", "--set", "tasks.text=0")
    assert "holds codes of pixel/palette-512, the model reads those of patch/kmeans-1024" in said(
        "quality", *model, "--data", tmp_path / "other", *mixed
    )
    assert "holds images of 32x32 px" in said("quality", *model, "--data", tmp_path / "larger", *mixed)
    small = ("--set", "tasks.edit=0", "--halves", tmp_path / "larger")
    assert "give the halves that belong to it" in said("quality", *model, "--data", painted, *small, "--reward", "judges:broken")
    own = ("--data", "photos", "-t", "patch", "--set", "tasks.edit=0")
    assert "give --edits FILE, or leave them out: --set tasks.edit=0" in said("pretrain", *own[:4])
    assert "tokenizer.json" in said("pretrain", *own, "--text", "tokenizer.json")
    assert "module 'judges' has no 'missing'" in said("quality", *model, *own, "--reward", "judges:missing")
    assert "has its own text tokenizer; leave --text out" in said("quality", *model, *own, "--text", "words")
    assert "reads images of 16 px, and --size 32 was given; leave --size out" in said("quality", *model, *own, "--size", 32)
    for started in (("pretrain",), ("quality", *model)):
        other = said(*started, "--data", painted, "--edits", painted / "edits.jsonl", "-t", "pixel")
        assert "the codes are those of patch/kmeans-1024, and pixel/palette-512 is another tokenizer" in other
    other = said("quality", *model, "--data", "photos", "-t", "vqvae", "--set", "tasks.edit=0")
    assert "the codes are those of patch/kmeans-1024, and vqvae/tiny is another tokenizer" in other
    assert "give theirs with -t" in other
    small = ("--data", "photos", "-t", "vqvae/scenes", "--set", "tasks.edit=0", "--size", 8)
    assert "images of 1*1 codes have no upper half to be completed from; take larger images, or leave completions" in said(
        "pretrain", *small
    )
    (tmp_path / "bare").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "bare" / "black.png")
    line = said("pretrain", "--data", tmp_path / "bare", "-t", "patch", "--set", "tasks.edit=0")
    assert "describe has a share of the tasks, and" in line
    assert "bare has neither captions nor labels; give images with captions or --labels folder, or leave the task out" in line
    assert "nowhere holds no language model, it has no config.json" in said("pretrain", *own, "--model", "nowhere")
    assert "bare holds no model that has learned images" in said("quality", *own, "--model", tmp_path / "bare")
    with_edits = ("--data", "photos", "-t", "patch", "--edits", "edits.jsonl")
    assert "edits.jsonl cannot be read" in said("pretrain", *with_edits)
    (tmp_path / "edits.jsonl").write_text('{"instruction": "x", "images": ["none", "neither"]}\n')
    assert "edits.jsonl, line 1: photos has no image 'none'" in said("pretrain", *with_edits)
    assert "edits.jsonl" in said("pretrain", *own, "--halves", "edits.jsonl")
    latents = ("--data", "photos", "-t", "vae", "--set", "tasks.edit=0")
    assert "vae/tiny makes latents, and a language model reads codes; give another tokenizer with -t" in said("pretrain", *latents)
    assert "nowhere does not exist" in said("pretrain", "--data", "nowhere")
    assert "scenes come in sizes 32, 64, 128, 256 px, got 48" in said("pretrain", "--data", "scenes", "-t", "patch", "--size", 48)
    assert not (out / "tokens").exists()  # all this is said before images are encoded
    assert "learning_rate takes a value of type float" in said("pretrain", "--set", "learning_rate=fast")
    assert "stage of pretrain cannot be set" in said("pretrain", "--set", "stage=dpo")
    assert "did you mean tasks.generate" in said("pretrain", "--set", "tasks.generat=1")
    assert "shares of tasks are not negative" in said("pretrain", "--set", "tasks.generate=-1")
    assert "steps must be at least 1" in said("pretrain", "--steps", 0)
    assert "does not divide into parts of 3 on 1 process" in said("pretrain", "--data", "scenes", "-t", "patch", "--micro-batch", 3)
    status, _, line = tokbench_cli("lm", "train", "quality", "--data", "scenes", "-t", "patch", *model, "--out", pretrained)
    assert (status, "already holds a run; add --resume" in line, (pretrained / "tokens").exists()) == (2, True, False)
    assert "nothing to resume" in said("pretrain", "--data", painted, "--resume")


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        ("dpo", {"text": "words"}, "dpo learns from pairs of images that its model draws or is given; leave --text out"),
        ("dpo", {"edits": "edits.jsonl"}, "leave --edits out"),
        ("dpo", {"size": 32}, "leave --size out"),
        ("dpo", {"pairs": "pairs.jsonl", "reward": "judges:redness"}, "a file of preferences says itself which images are better"),
        ("dpo", {"pairs": "pairs.jsonl", "labels": "folder"}, "leave --labels out"),
        (
            "pretrain",
            {"reward": "judges:redness"},
            r"pretrain keeps all images \(keep=none\), so that nothing is judged; leave --reward out",
        ),
    ],
)
def test_what_a_stage_has_no_use_for_is_refused(
    stage: str, given: dict[str, Any], message: str, painted: Path, pretrained: Path, tmp_path: Path
) -> None:
    inputs = Inputs(**{"data": None if "pairs" in given else painted, "model": pretrained, **given})
    with pytest.raises(TokbenchError, match=message):
        run_stage(recipe_of(stage), inputs, StageOptions(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", "inf"), ("weight_decay", "-1"), ("weight_decay", "nan"), ("grad_clip", "-0.5"), ("grad_clip", "inf"),
        ("betas", "0.9,1.5"), ("betas", "nan,0.9"), ("seed", 2**32), ("preferences.beta", "inf"), ("preferences.temperature", "inf"),
    ],
)  # fmt: skip
def test_numbers_that_no_optimiser_takes_are_refused_by_the_recipe(name: str, value: object) -> None:
    with pytest.raises(TokbenchError, match=f"{re.escape(name)}=.* is refused"):
        adjusted(get_recipe("pretrain"), {name: value})


def test_in_python_places_may_be_paths_and_text(painted: Path, pretrained: Path, tmp_path: Path) -> None:
    inputs = Inputs(painted, pretrained, edits=str(painted / "edits.jsonl"), text=tmp_path)
    assert (inputs.data, inputs.model, inputs.edits, inputs.text) == (
        *(str(painted), str(pretrained)),
        *(painted / "edits.jsonl", str(tmp_path)),
    )
    assert StageOptions(str(tmp_path)).out == tmp_path
    with pytest.raises(ValueError, match=r"captions are a tuple of texts, got one; write \('a photo of {class}',\)"):
        Inputs("photos", captions="a photo of {class}")


def test_a_run_goes_on_with_the_edits_and_the_text_tokenizer_it_began_with(painted: Path, tmp_path: Path) -> None:
    out, edits = tmp_path / "run", tmp_path / "edits.jsonl"
    edits.write_bytes((painted / "edits.jsonl").read_bytes())
    out.mkdir()
    (out / "measured.json").write_text('{"kept": 3}')  # left by a run that ended before its first checkpoint
    recipe, longer = recipe_of("pretrain"), replace(recipe_of("pretrain"), steps=3)
    run_stage(recipe, Inputs(painted, edits=edits), StageOptions(out))
    assert "measured" not in LanguageModel.load(out).recipe["stages"][0]
    first, *rest = edits.read_text().splitlines(keepends=True)
    edits.write_text("".join([*rest, first]))
    with pytest.raises(TokbenchError, match=r"holds a run with about.edits [0-9a-f]{40}, not [0-9a-f]{40}; repeat the options"):
        run_stage(longer, Inputs(painted, edits=edits), StageOptions(out, resume=True))
    with pytest.raises(TokbenchError, match=r"holds a run with about.text bytes, not [0-9a-f]{40}; repeat the options"):
        run_stage(longer, Inputs(painted, edits=painted / "edits.jsonl", text="words"), StageOptions(out, resume=True))
    checkpoint = read_checkpoint(out / CHECKPOINT)
    before = {name: value for name, value in checkpoint.settings.items() if name not in LATER}
    assert len(checkpoint.settings) - len(before) == 2
    replace(checkpoint, settings=before).write(out / CHECKPOINT)  # as earlier versions wrote it
    assert run_stage(longer, Inputs(painted, edits=edits), StageOptions(out, resume=True)).steps == 3


def test_the_command_trains_and_lists(painted: Path, tmp_path: Path, tokbench_cli: Any) -> None:
    status, printed, _ = tokbench_cli("lm", "train")
    assert status == 0
    assert [line.split()[0] for line in printed.splitlines()] == [recipe.name for recipe in RECIPES]
    changes = [word for key, value in (SMALL | {"tasks.edit": 0}).items() for word in ("--set", f"{key}={value}")]
    out = tmp_path / "run"
    status, _, said = tokbench_cli("lm", "train", "pretrain", "--data", painted, *changes, "--steps", 2, "--batch-size", 2, "--out", out)
    assert status == 0, said
    assert f"done: 2 steps, model {out}" in said
    assert LanguageModel.load(out).recipe["stages"][0]["recipe"]["batch_size"] == 2


def test_words_of_the_data_become_ids(painted: Path, tmp_path: Path) -> None:
    recipe = recipe_of("pretrain")
    run_stage(recipe, Inputs(str(painted), edits=painted / "edits.jsonl", text="words"), StageOptions(tmp_path / "run"))
    text = LanguageModel.load(tmp_path / "run").vocabulary.text
    assert text.size <= 512
    for words, most in (("a picture number 7 in red", 8), ("describe", 2), ("nothing like it: é * 12", 40)):
        ids = text.encode(words)
        assert len(ids) <= most
        assert text.decode(ids) == words
    again = tmp_path / "again"
    run_stage(recipe, Inputs(str(painted), edits=painted / "edits.jsonl", text="words"), StageOptions(again))
    assert (again / "words.json").read_bytes() == (tmp_path / "run" / "words.json").read_bytes()
    resumed = Inputs(str(painted), edits=painted / "edits.jsonl", text="words")
    run_stage(replace(recipe, steps=3), resumed, StageOptions(again, resume=True))
