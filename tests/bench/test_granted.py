"""What values must be is taken for granted while a device is at work: mistakes are named at their image all the same."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import tokbench
from tests.bench.gpu_stand_in import CUDA, asked, log, put_on_cuda, without_values
from tokbench.bench.loader import Batch
from tokbench.bench.prepared import RunOptions
from tokbench.bench.runner import run
from tokbench.bench.under_test import UnderTest
from tokbench.conduct import Misbehaved
from tokbench.granted import Granted, granted, granting, presumed, require
from tokbench.layout import TokenLayout
from tokbench.quantizers.nearest import nearest_codes
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens

__all__ = ["asked", "log"]

SMALL = get_protocol(changes={"micro_batch": 2, "size": 32})


def test_what_is_granted_is_asked_later():
    no = torch.zeros((), dtype=torch.bool)
    assert not granted()
    assert not presumed(no)
    with pytest.raises(ValueError, match="at once"):
        require(no, lambda: ValueError("at once"))
    with granting() as found:
        assert granted()
        require(~no, lambda: ValueError("holds"))
        require(no, lambda: ValueError("first"))
        assert presumed(no)
    assert not granted()
    assert not bool(found.verdict(torch.device("cpu")))
    broken, error = found.broken()
    assert broken
    assert str(error) == "first"
    assert bool(Granted().verdict(torch.device("cpu")))
    assert Granted().broken() == (False, None)


class Means(Tokenizer):
    """Keeps the mean of an image, and gives back images of that grey."""

    trained_with = ()

    def layout(self, height, width):
        return TokenLayout((height, width), (1, 1), (), channels=1)

    def _image_size(self, grid):
        return 32, 32

    def _encode(self, images, seeds):
        return ContinuousTokens(images.mean(dim=(1, 2, 3)).reshape(-1, 1, 1), (1, 1))

    def _decode(self, tokens, seeds):
        return tokens.latents[:, :, :, None].expand(-1, 3, 32, 32).clone()


class Spoilt(Means):
    """Decodes of bright images what is no number."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def _decode(self, tokens, seeds):
        images = super()._decode(tokens, seeds)
        return torch.where(images > 0.5, self.value, images)


class SpoiltLatents(Means):
    """Encodes bright images as what is no number, and fails to decode that."""

    def _encode(self, images, seeds):
        latents = super()._encode(images, seeds).latents
        return ContinuousTokens(torch.where(latents > 0.5, torch.inf, latents), (1, 1))

    def _decode(self, tokens, seeds):
        if not bool(torch.isfinite(tokens.latents).all()):
            raise ArithmeticError("nobody should have decoded this")
        return super()._decode(tokens, seeds)


class Once(Means):
    """Decodes what is no number once, and never again."""

    calls = 0

    def _decode(self, tokens, seeds):
        self.calls += 1
        return super()._decode(tokens, seeds) * (torch.nan if self.calls == 2 else 1)


class Codes(Means):
    """Gives bright images a code that the codebook does not have; on a GPU, to look it up would end everything."""

    def layout(self, height, width):
        return TokenLayout((height, width), (1, 1), (4,))

    def _encode(self, images, seeds):
        codes = torch.where(images.mean(dim=(1, 2, 3)) > 0.5, 9, 1)
        return DiscreteTokens(codes.reshape(-1, 1, 1), (1, 1), (4,))

    def _decode(self, tokens, seeds):
        return torch.nn.functional.embedding(tokens.codes[:, :, :, None].expand(-1, 3, 32, 32), torch.zeros(4, 1)).squeeze(-1)


@pytest.fixture
def greys(tmp_path):
    """Nine dark pictures and two bright ones, the first of which is called 05."""
    for number in range(11):
        Image.new("RGB", (32, 32), (240 if number in (5, 9) else 20,) * 3).save(tmp_path / f"{number:02d}.png")
    return tmp_path


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (Spoilt(torch.nan), r"^Spoilt decoded NaN pixels of image 05\.png; its weights are damaged, or it needs another precision$"),
        (Spoilt(-torch.inf), r"^Spoilt decoded infinite pixels of image 05\.png; its weights are damaged"),
        (SpoiltLatents(), r"^SpoiltLatents encoded latents that are not finite of image 05\.png; its weights are damaged"),
        (Codes(), r"^Codes fails in encode \(ValueError: codes of codebook 0 range over 1\.\.9, allowed is 0\.\.3"),
    ],
)
def test_what_is_wrong_is_caught_at_its_image(tokenizer, words, ahead, greys, monkeypatch):
    monkeypatch.setattr(UnderTest, "ahead", ahead)
    judged = []
    options = RunOptions(progress=lambda done, total: judged.append(done))
    with pytest.raises(Misbehaved, match=words):
        run(tokenizer, greys, metrics=("psnr",), protocol=SMALL, options=options)
    assert judged == [2, 4]  # the metrics see no image of the third micro-batch


@pytest.mark.parametrize("ahead", [0, 1])
def test_what_is_wrong_once_is_wrong(ahead, greys, monkeypatch):
    monkeypatch.setattr(UnderTest, "ahead", ahead)
    with pytest.raises(Misbehaved, match=r"^Once decoded NaN pixels of image 02\.png"):
        run(Once(), greys, metrics=("psnr",), protocol=SMALL)


@pytest.mark.parametrize("ahead", [0, 1])
def test_what_goes_another_way_is_made_again(ahead, greys, monkeypatch):
    """Values beyond the range of products in single precision are searched in double: what was taken for granted does not hold."""

    monkeypatch.setattr(UnderTest, "ahead", ahead)

    class Large(Means):
        """Searches its one number in a codebook of large ones."""

        def layout(self, height, width):
            return TokenLayout((height, width), (1, 1), (4,))

        def _encode(self, images, seeds):
            nearest = nearest_codes(images.mean(dim=(1, 2, 3))[:, None] * 1e30, torch.tensor([[-9e29], [-5e29], [5e29], [9e29]]))
            return DiscreteTokens(nearest.reshape(-1, 1, 1), (1, 1), (4,))

        def _decode(self, tokens, seeds):
            return super()._decode(ContinuousTokens(tokens.codes / 4, (1, 1)), seeds)

    evaluation = run(Large(), greys, metrics=("codebook",), protocol=SMALL)
    assert evaluation.record.codebooks[0].used == 2


@pytest.mark.parametrize(("name", "config"), [("vqgan", None), ("vae", None), ("flowmo", {"steps": 2}), ("patch", None)])
def test_a_gpu_is_asked_once_a_micro_batch(name, config, asked, crops):
    """Without values, whoever asked for one would fail; and nothing is copied that is waited for, but what is sent once."""
    under_test = UnderTest(tokbench.load(name, config=config), get_protocol(changes={"micro_batch": 2, "size": 64}))
    under_test.device = CUDA
    batch = Batch(("a", "b"), ("group", "group"), (b"", b""), crops[:2])
    with without_values() as (mode, waits):
        put_on_cuda(under_test.tokenizer, mode)
        under_test.restore(batch)
        assert set(waits.found) <= {"_to_copy to cuda"}
        waits.found.clear()
        restored = under_test.restore(batch)
        assert waits.found == []
        assert restored.images.device == CUDA
    assert asked == [CUDA, CUDA]
