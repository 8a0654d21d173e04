"""What a completion begins from knows nothing of what it is to draw, when it is learned, asked and measured."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tokbench
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed import TokenDataset, Vocabulary, identify
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.text import ByteText
from tokbench.lm.halves import HalvedImages, Halves, hide_lower, joined
from tokbench.lm.image_model import ImageModel
from tokbench.lm.mixture import Mixture
from tokbench.lm.model import LanguageModel
from tokbench.lm.recipes import Shares, Words, adjusted, get_recipe
from tokbench.lm.stages import StageOptions
from tokbench.lm.tasks import prompt_of
from tokbench.lm.training import Inputs, run_stage
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

from .conftest import random_llama

COUNT = 6
PROTOCOL = get_protocol(changes={"size": 16, "micro_batch": 8})
COMPLETE = Shares(generate=0, complete=1)


class Noise(ImageSource):
    """Noise that is the same at every call, with a caption."""

    name, ready_size, ids = "noise", 16, tuple(f"n{number}" for number in range(COUNT))

    def read(self, index: int) -> Image.Image:
        generator = torch.Generator().manual_seed(index)
        return Image.fromarray(torch.randint(0, 256, (16, 16, 3), generator=generator, dtype=torch.uint8).numpy())

    def raw_digest(self, index: int) -> bytes:
        return bytes([index]) * 32

    def caption(self, index: int) -> str:
        return f"noise {index}"


@pytest.fixture(scope="module")
def attentive() -> Tokenizer:
    """A tokenizer whose codes know of the whole image."""
    return tokbench.load("vqvae/tiny")


@pytest.fixture(scope="module")
def folders(attentive: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    whole, halves = (tmp_path_factory.mktemp("halves") / name for name in ("whole", "halves"))
    export(attentive, Noise(), whole, protocol=PROTOCOL, options=ExportOptions())
    hidden = HalvedImages(Noise(), 4, PROTOCOL, attentive.layout(16, 16).grid)
    export(attentive, hidden, halves, protocol=PROTOCOL, options=ExportOptions())
    return whole, halves


@pytest.fixture(scope="module")
def painter(attentive: Tokenizer) -> ImageModel:
    vocabulary = Vocabulary.over(ByteText(), attentive.layout(16, 16), identify(attentive))
    network = random_llama(vocabulary, initializer_range=0.3, num_hidden_layers=1)
    return ImageModel(LanguageModel(network, vocabulary, (16, 16), attentive.layout(16, 16).grid, {"stages": ["none"]}), attentive)


def pixels(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_the_lower_half_is_hidden() -> None:
    images = pixels(0)
    hidden = hide_lower(images, (4, 4))
    assert torch.equal(hidden[:, :, :8], images[:, :, :8])
    assert torch.equal(hidden[:, :, 8:], images[:, :, 7:8].expand(-1, -1, 8, -1))
    assert torch.equal(hide_lower(images, (5, 4))[:, :, 6:], images[:, :, 5:6].expand(-1, -1, 10, -1))  # two rows of five
    assert torch.equal(hide_lower(images, (16,)), images)
    assert torch.equal(images, pixels(0))


def test_a_completion_knows_nothing_of_what_is_below(painter: ImageModel) -> None:
    images, others = pixels(1), pixels(2)
    others[:, :, :8] = images[:, :, :8]
    upper = slice(0, 8)
    assert not torch.equal(painter.encode(images).codes[:, upper], painter.encode(others).codes[:, upper])
    assert torch.equal(painter.complete(images, seed=3), painter.complete(others, seed=3))


def test_upper_codes_of_halves_are_joined_to_lower_codes(folders: tuple[Path, Path]) -> None:
    whole, halves = (TokenDataset(folder) for folder in folders)
    found = Halves(halves, whole, kept=None, seed=0)
    images = dict(found.image(number) for number in range(4))
    assert sorted(images) == ["n0", "n1", "n2", "n3"]
    for name, image in images.items():
        place = list(Noise.ids).index(name)
        assert torch.equal(image.codes[0, :8], halves[place]["codes"][:8])
        assert torch.equal(image.codes[0, 8:], whole[place]["codes"][8:])
    assert any(not torch.equal(image.codes[0, :8], whole[int(name[1])]["codes"][:8]) for name, image in images.items())


def test_joined_keeps_codebooks_together() -> None:
    one, other = (DiscreteTokens(torch.full((1, 6, 2), value), (3, 2), (9, 9)) for value in (1, 2))
    assert joined(one, other).codes[0, :, 0].tolist() == [1, 1, 2, 2, 2, 2]


def test_completions_are_learned_as_they_are_asked(folders: tuple[Path, Path], painter: ImageModel) -> None:
    whole, halves = (TokenDataset(folder) for folder in folders)
    mixture = Mixture(whole, painter.model.vocabulary, tasks=COMPLETE, words=Words(drop=0), halves=halves, seed=0)
    asked = set()
    for place in range(4):
        image = torch.from_numpy(np.array(Noise().read(place))).permute(2, 0, 1)[None].contiguous()
        seen = painter.encode(hide_lower(image, painter.model.grid))
        asked.add(tuple(prompt_of("complete", painter.model.vocabulary, images=[seen])))
    learned = {tuple(mixture.example(number).input_ids[: mixture.example(number).prompt_length]) for number in range(4)}
    assert learned == asked


def test_only_halves_of_images_that_are_kept(folders: tuple[Path, Path]) -> None:
    whole, halves = (TokenDataset(folder) for folder in folders)
    found = Halves(halves, whole, kept=np.array([1, 3, 5]), seed=0)
    assert {found.image(number)[0] for number in range(8)} == {"n1", "n3"}
    with pytest.raises(ValueError, match="no rows"):
        Halves(halves, whole, kept=np.array([4, 5]), seed=0)


def test_halves_of_other_images_are_refused(folders: tuple[Path, Path], painter: ImageModel) -> None:
    whole, halves = (TokenDataset(folder) for folder in folders)
    with pytest.raises(TokbenchError, match=re.escape(f"{halves.folder} has no image 'n4' of {whole.folder}; give the halves that belong")):
        Mixture(halves, painter.model.vocabulary, tasks=COMPLETE, words=Words(drop=0), halves=whole, seed=0)


def test_stages_encode_halves_and_hand_them_on(attentive: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    folder = tmp_path / "mine"
    folder.mkdir()
    for index in range(COUNT):
        Noise().read(index).save(folder / f"n{index}.png")
    small = {"network.layers": 1, "network.hidden_size": 16, "network.heads": 2, "network.intermediate_size": 16}
    tasks = {f"tasks.{name}": 0 for name in asdict(Shares()) if name != "complete"} | {"tasks.complete": 1}
    recipe = adjusted(get_recipe("pretrain"), small | tasks | {"halves": 3}, steps=1, batch_size=4)
    first = tmp_path / "first"
    run_stage(recipe, Inputs(str(folder), tokenizer=attentive, size=16), StageOptions(first))
    assert len(TokenDataset(first / "halves")) == 3
    about = LanguageModel.load(first).recipe["stages"][0]["data"]
    quality = replace(adjusted(get_recipe("quality"), tasks, steps=1, batch_size=4), keep=None)
    handed = Inputs(str(first / "tokens"), str(first), halves=first / "halves")
    run_stage(quality, handed, StageOptions(tmp_path / "second"))
    assert LanguageModel.load(tmp_path / "second").recipe["stages"][1]["data"]["halves"] == about["halves"]


def test_completions_of_an_export_without_halves_are_warned_of(
    folders: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("trl")
    small = {"network.layers": 1, "network.hidden_size": 16, "network.heads": 2, "network.intermediate_size": 16}
    recipe = adjusted(get_recipe("pretrain"), small | {"tasks.edit": 0}, steps=1, batch_size=4)
    run_stage(recipe, Inputs(str(folders[0])), StageOptions(tmp_path / "run"))
    assert "completions begin from codes of whole images" in caplog.text
    assert "--halves takes an export" in caplog.text
