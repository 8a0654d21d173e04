"""A picture through several tokenizers, as the page shows it."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tokbench.app.comparison import SIDES, Comparer
from tokbench.errors import TokbenchError
from tokbench.tokenizers import zoo


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB"))


def file_of(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def comparer() -> Comparer:
    return Comparer(["pixel/rgb", "vqvae/tiny", "vae/tiny", "flowmo/tiny"])


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_pictures_errors_tokens_and_figures_lie_side_by_side(comparer: Comparer, noise: np.ndarray) -> None:
    answer = comparer.compare(comparer.read(file_of(noise), 64), ["vae/tiny", "pixel/rgb", "vqvae/tiny"])
    assert (pixels_of(answer["original"]) == noise).all()
    latents, exact, coded = answer["results"]
    assert [result["name"] for result in answer["results"]] == ["vae/tiny", "pixel/rgb", "vqvae/tiny"]
    assert (pixels_of(exact["picture"]) == noise).all()
    assert (pixels_of(exact["errors"]) == 255).all()
    assert exact["figures"] == ["PSNR exact", "LPIPS 0.0000", "12,288 tokens, 98,304 bits"]
    assert [part["title"] for part in exact["tokens"]] == ["codes, codebook 1", "codes, codebook 2", "codes, codebook 3"]
    assert not (pixels_of(coded["errors"]) == 255).all()
    assert [pixels_of(part["picture"]).shape for part in coded["tokens"]] == [(16, 16, 3)]
    assert coded["figures"][2] == "256 tokens, 2,560 bits"
    assert (latents["tokens"], latents["figures"][2]) == ([], "continuous latents")


def test_a_picture_is_cut_to_its_centre_square(comparer: Comparer) -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 200
    assert (comparer.read(file_of(wide), 64) == 200).all()
    assert comparer.read(file_of(wide), 96).shape == (96, 96, 3)
    assert (comparer.photo(1, 64) == comparer.photo(1 + 736, 64)).all()


def test_what_one_tokenizer_refuses_the_others_still_show(comparer: Comparer) -> None:
    answer = comparer.compare(comparer.photo(0, 33), ["pixel/rgb", "flowmo/tiny"])
    assert "picture" in answer["results"][0]
    assert set(answer["results"][1]) == {"name", "problem"}
    assert "33" in answer["results"][1]["problem"]


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "choose among pixel/rgb, vqvae/tiny, vae/tiny, flowmo/tiny; got none"), (["os:system"], "choose among .*; got os:system")],
)
def test_only_those_offered_are_loaded(comparer: Comparer, noise: np.ndarray, names: list[str], message: str) -> None:
    with pytest.raises(TokbenchError, match=message):
        comparer.compare(noise, names)


@pytest.mark.parametrize("upload", [b"", b"<html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 50], ids=["empty", "a page", "cut off"])
def test_what_is_no_image_is_refused_in_words(comparer: Comparer, upload: bytes) -> None:
    with pytest.raises(TokbenchError, match=r"^this file is not a readable image .*; choose another one$"):
        comparer.read(upload, 64)


@pytest.mark.parametrize("size", [SIDES[0] - 1, SIDES[1] + 1])
def test_sides_are_bounded(comparer: Comparer, noise: np.ndarray, size: int) -> None:
    for read in (lambda: comparer.read(file_of(noise), size), lambda: comparer.photo(0, size)):
        with pytest.raises(TokbenchError, match=rf"the side of a picture is 32 to 512 pixels here, got {size}"):
            read()


def test_a_tokenizer_is_loaded_when_it_is_first_asked_for(noise: np.ndarray) -> None:
    loaded = []

    def load(name: str, weights: None, device: str) -> object:
        loaded.append((name, device))
        return zoo.load(name, weights, device)

    comparer = Comparer(["pixel/rgb", "no/such"], load=load)
    assert loaded == []
    for _ in range(2):
        comparer.compare(noise, ["pixel/rgb"])
    assert loaded == [("pixel/rgb", "cpu")]
    (result,) = comparer.compare(noise, ["no/such"])["results"]
    assert "no/such" in result["problem"]
