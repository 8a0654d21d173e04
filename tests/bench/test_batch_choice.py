"""How many images a tokenizer sees at once: chosen by trying, recorded, and of no weight for the metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tokbench
from tokbench.bench import batch_choice
from tokbench.bench.batch_choice import choose_batch
from tokbench.bench.runner import run
from tokbench.bench.under_test import UnderTest
from tokbench.conduct import Misbehaved
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.records.protocol import get_protocol
from tokbench.report.sections import place_of
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens

SMALL = get_protocol(changes={"size": 32})


class Hungry(Tokenizer):
    """Runs out of memory with many images."""

    trained_with = ()
    name = "hungry"

    def __init__(self, most):
        super().__init__()
        self.most, self.seen = most, []

    def layout(self, height, width):
        return TokenLayout((height, width), (1, 1), (), channels=1)

    def _image_size(self, grid):
        return 32, 32

    def _encode(self, images, seeds):
        self.seen.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return ContinuousTokens(images.mean(dim=(1, 2, 3)).reshape(-1, 1, 1), (1, 1))

    def _decode(self, tokens, seeds):
        return tokens.latents[:, :, :, None].expand(-1, 3, 32, 32).clone()


class Paced:
    """A clock by which an image takes less the more come at once, down to a floor."""

    name = "paced"

    def __init__(self, tokenizer, seconds):
        self.tokenizer, self.seconds = tokenizer, seconds

    def once(self, work):
        work()
        return self.seconds(self.tokenizer.seen[-1])


@pytest.mark.parametrize(
    ("most", "seconds", "chosen", "tried"),
    [
        (10**6, lambda images: 1.0 + images / 64, 256, (16, 32, 64, 128, 256)),  # the more the better, but no more than that
        (10**6, lambda images: 1.0 * images, 16, (16, 32)),  # twice as many pay nothing
        (10**6, lambda images: 0.1 * max(images, 40), 64, (16, 32, 64, 128)),
        (40, lambda images: 1.0, 32, (16, 32)),  # 64 do not fit
        (5, lambda images: 1.0, 4, (4,)),  # nor do 16 and 8
        (1, lambda images: 1.0, 1, (1,)),
    ],
)
def test_the_fastest_that_fits_is_chosen(most, seconds, chosen, tried):
    tokenizer = Hungry(most)
    choice = choose_batch(tokenizer, SMALL, clock=Paced(tokenizer, seconds))
    assert choice.images == chosen
    assert tuple(choice.rates) == tried
    assert str(choice).startswith(f"{chosen} image{'s' * (chosen > 1)} at once, of {tried[0]}: ")


def test_what_does_not_fit_at_all_is_said_and_mistakes_are_named():
    tokenizer = Hungry(0)
    with pytest.raises(TokbenchError, match=r"^hungry ran out of memory with one image of 32 px; lower --size, or take --tile-size$"):
        choose_batch(tokenizer, SMALL, clock=Paced(tokenizer, lambda images: 1.0))
    assert tokenizer.seen == [16, 8, 4, 2, 1]
    tokenizer = Hungry(64)
    tokenizer._decode = lambda tokens, seeds: 1 / 0
    with pytest.raises(Misbehaved, match=r"^hungry fails in decode \(ZeroDivisionError"):
        choose_batch(tokenizer, SMALL, clock=Paced(tokenizer, lambda images: 1.0))


def test_metrics_see_their_own_micro_batches_whatever_the_tokenizer_sees(folder, monkeypatch, tmp_path):
    """Codes of nearest colours do not depend on what is beside them, so all figures are the same to the last bit."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    tokenizer, found, sizes = tokbench.load("pixel/palette-512"), [], []
    encode = UnderTest._encode
    monkeypatch.setattr(UnderTest, "_encode", lambda self, images, *rest: sizes.append(len(images)) or encode(self, images, *rest))
    for images in (None, 1, 2, 8, 16):
        protocol = get_protocol(changes={"size": 64, "micro_batch": 4, "tokenizer_batch": images})
        sizes.clear()
        found.append(run(tokenizer, folder, metrics=("psnr", "ssim", "lpips", "codebook", "stability", "kd_efflite0"), protocol=protocol))
        assert set(sizes) == {images or 4, min(images or 4, 4)}  # reconstructions are encoded as metrics see them
        assert found[-1].record.timing.micro_batch == (images or 4)
    for other in found[1:]:
        assert other.rows == found[0].rows
        assert other.record.metrics == found[0].record.metrics
        assert other.record.protocol_label == found[0].record.protocol_label
        assert place_of(other.record) == place_of(found[0].record)


@pytest.mark.parametrize("name", ["vqgan/tiny", "flowmo/tiny", "vae/tiny"])
def test_convolutions_of_other_batches_change_figures_by_rounding_alone(name, folder):
    tokenizer = tokbench.load(name)
    plain, *others = (
        run(tokenizer, folder, metrics=("psnr", "ssim"), protocol=get_protocol(changes={"size": 64, "tokenizer_batch": images}))
        for images in (None, 1, 32)
    )
    for other in others:
        for key in ("psnr", "ssim"):
            assert other.record.metrics[key].value == pytest.approx(plain.record.metrics[key].value, rel=1e-5)


def test_records_of_other_batches_stand_in_one_table(tokbench_cli, folder):
    """They are tested against each other, mean ranks are over both, and nothing keeps their change apart."""
    words = ("--data", "pictures", "--size", "64", "--metrics", "psnr,codebook", "--json", "--out", "out")
    tokenizers = ("vqvae/tiny", "pixel/palette-512", "pixel/rgb")
    options = ((), ("--micro-batch", "4", "--limit", "1000"), ("--micro-batch", "64"))
    for tokenizer, more in zip(tokenizers, options, strict=True):
        assert tokbench_cli("run", "-t", tokenizer, *words, *more)[0] == 0
    status, out, err = tokbench_cli("compare", "out", "--format", "md", "--bold")
    assert status == 0, err
    assert out.count("| tokenizer |") == 1
    assert "rows differ in how they were computed (4, 64 or 16 images at once), which changes figures by rounding alone" in out
    paths = {path.name.split("_")[0]: path for path in Path("out").rglob("*.json")}
    status, out, _ = tokbench_cli("diff", *(str(paths[name]) for name in sorted(paths)[:2]))
    assert status == 0
    assert "another protocol" not in out


class Dithered(Tokenizer):
    """One code an image: its mean grey, with noise of its own added."""

    encode_is_stochastic = True
    trained_with = ()
    name = "dithered"

    def layout(self, height, width):
        return TokenLayout((height, width), (1, 1), (64,))

    def _image_size(self, grid):
        return 32, 32

    def _encode(self, images, seeds):
        noise = torch.stack([torch.randn((), generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        grey = images.mean(dim=(1, 2, 3)) * 32 + 32 + noise
        return DiscreteTokens(grey.round().long().clamp(0, 63).reshape(-1, 1, 1), (1, 1), (64,))

    def _decode(self, tokens, seeds):
        return ((tokens.codes - 32) / 32).float()[:, :, :, None].expand(-1, 3, 32, 32).clone()


def test_what_is_encoded_again_draws_the_noise_of_its_own_image(folder):
    found = [
        run(Dithered(), folder, metrics=("stability",), protocol=get_protocol(changes={"size": 32, "micro_batch": 4, "tokenizer_batch": n}))
        for n in (None, 2, 8)
    ]
    assert found[0].rows
    for other in found[1:]:
        assert other.failures == ()
        assert other.rows == found[0].rows


@pytest.mark.parametrize("images", [3, 24, 0, 8192])
def test_batches_that_do_not_fit_into_each_other_are_refused(images):
    with pytest.raises(TokbenchError, match=rf"tokenizer_batch must divide 16 or be a multiple of it up to 4096, got {images}"):
        get_protocol(changes={"tokenizer_batch": images})


def test_the_command_takes_a_number_or_tries(tokbench_cli, folder, monkeypatch):
    words = ("run", "-t", "pixel/palette-512", "--data", "pictures", "--metrics", "psnr", "--json", "--out", "out")
    status, out, err = tokbench_cli(*words, "--micro-batch", "4")
    assert status == 0, err
    (record,) = json.loads(out)
    assert record["protocol"]["tokenizer_batch"] == 4
    assert record["timing"]["micro_batch"] == 4
    status, out, _ = tokbench_cli(*words, "--micro-batch", "16")
    assert "tokenizer_batch" not in json.loads(out)[0]["protocol"]
    tried = []
    rates = {16: 10.0, 32: 30.0, 64: 30.5}
    monkeypatch.setattr(batch_choice, "_rate", lambda tokenizer, protocol, images, clock: tried.append(images) or rates[images])
    status, out, err = tokbench_cli(*words, "--micro-batch", "auto")
    assert status == 0, err
    assert tried == [16, 32, 64]
    assert "pixel/palette-512: 64 images at once, of 16: 10/s, 32: 30/s, 64: 30.5/s" in err
    assert json.loads(out)[0]["protocol"]["tokenizer_batch"] == 64
    assert json.loads(out)[0]["timing"]["micro_batch"] == 64
    for given, problem in (
        (("--micro-batch", "some"), "--micro-batch takes a whole number from 1 to 4096, or auto, got 'some'"),
        (("--micro-batch", "24"), "tokenizer_batch must divide 16 or be a multiple of it up to 4096, got 24"),
    ):
        status, _, err = tokbench_cli(*words, *given)
        assert status == 2
        assert problem in err
    status, _, err = tokbench_cli(*[word for word in words if word != "--json"], "--micro-batch", "auto", "--part", "1/2")
    assert status == 2
    assert "--micro-batch auto may choose otherwise for other parts than 1/2; give all parts one number" in err
    status, _, err = tokbench_cli(*words, "--micro-batch", "auto", "--resume")
    assert status == 2
    assert "--micro-batch auto may choose otherwise than the run to go on with; give the number that it chose" in err


def test_a_choice_is_made_once_for_all_data_sets_and_a_failure_leaves_the_others(tokbench_cli, folder, monkeypatch):
    tried = []

    def rate(tokenizer, protocol, images, clock):
        tried.append(tokenizer.name)
        return None if tokenizer.name == "pixel/rgb" else 1.0

    monkeypatch.setattr(batch_choice, "_rate", rate)
    words = ("--data", "pictures", "--data", "photos", "--size", "32", "--limit", "6", "--metrics", "psnr", "--json", "--out", "out")
    status, out, err = tokbench_cli("run", "-t", "pixel/rgb", "-t", "pixel/palette-512", *words, "--micro-batch", "auto")
    assert status == 1
    assert "pixel/rgb ran out of memory with one image of 32 px; lower --size, or take --tile-size" in err
    assert {record["tokenizer"]["name"] for record in json.loads(out)} == {"pixel/palette-512"}
    assert len(json.loads(out)) == 2
    assert tried.count("pixel/palette-512") == 2  # 16 and 32, once


def test_compiled_and_half_precision_stand_in_the_record(tokbench_cli, folder, monkeypatch):
    monkeypatch.setattr("tokbench.bench.under_test.COMPILER", "eager")
    words = ("run", "-t", "pixel/palette-512", "--data", "pictures", "--metrics", "psnr", "--json", "--out", "out")
    status, out, err = tokbench_cli(*words, "--compile")
    assert status == 0, err
    (compiled,) = json.loads(out)
    assert compiled["protocol"]["compiled"] is True
    (plain,) = json.loads(tokbench_cli(*words)[1])
    assert compiled["protocol_label"] == plain["protocol_label"]
    assert "compiled" not in plain["protocol"]
    assert compiled["metrics"]["psnr"]["value"] == plain["metrics"]["psnr"]["value"]
    (half,) = json.loads(tokbench_cli(*words, "--precision", "fp16")[1])
    assert half["protocol"]["precision"] == "fp16"
