"""Images that are not square: how they are cut, measured, exported and read again, and who takes them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import tokbench
from tests.bench.test_fitting import picture
from tokbench.bench.fitting import covers, fit
from tokbench.configs import build, canonical_json, plain
from tokbench.errors import TokbenchError
from tokbench.feed import TokenDataset
from tokbench.feed.export import export
from tokbench.feed.predict.run import predict
from tokbench.feed.verify import verify
from tokbench.records.frame import frame
from tokbench.records.protocol import PRESETS, Protocol, get_protocol
from tokbench.records.store import find_records
from tokbench.report.page.commands import run_command
from tokbench.tokenizers.sets import check_sizes

PICTURES = [(97, 64), (64, 97), (131, 200), (333, 250), (40, 57), (48, 32), (96, 64), (300, 33)]
SIZES = [(32, 48), (48, 32), (64, 96), (20, 60)]


@pytest.fixture
def wide(tmp_path):
    """Six pictures of several shapes."""
    place = tmp_path / "wide"
    place.mkdir()
    for number, shape in enumerate(PICTURES[:6]):
        picture(*shape, seed=number).save(place / f"{number}.png")
    return place


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("preset", "name"), [("seed-voken", "BILINEAR"), ("titok", "BICUBIC")])
def test_pictures_are_scaled_until_they_cover_and_cut_as_torchvision_cuts(preset, name, size):
    transforms = pytest.importorskip("torchvision.transforms")
    for shape in PICTURES:
        image, (height, width) = picture(*shape), size
        factor = max(height / image.height, width / image.width)
        by_height = factor == height / image.height
        down, across = (height, int(height * image.width / image.height)) if by_height else (int(width * image.height / image.width), width)
        way = transforms.Compose([transforms.Resize((down, across), transforms.InterpolationMode[name]), transforms.CenterCrop(size)])
        found = fit(image, get_protocol(preset, {"size": size}))
        assert found.shape == (height, width, 3)
        assert np.array_equal(found, np.asarray(way(image)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_cuts_every_shape_from_the_middle(preset, size):
    """A ramp keeps its middle: what is cut on the left is what is cut on the right, within a pixel of the cut."""
    if get_protocol(preset).judged_size is not None:
        with pytest.raises(TokbenchError, match="must be square, got size"):
            get_protocol(preset, {"size": size})
        return
    for width, height in PICTURES:
        across = np.broadcast_to(np.linspace(0, 255, width), (height, width))
        down = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
        image = Image.fromarray(np.stack([across, down, across], axis=2).round().astype(np.uint8))
        found = fit(image, get_protocol(preset, {"size": size})).astype(float)
        assert found.shape == (*size, 3)
        step = [255 / (n - 1) * max(1.0, min(width / size[1], height / size[0])) for n in (width, height)]
        for axis in (0, 1):
            assert abs(found[..., axis].mean() - 127.5) <= step[axis] + 1
        spans = [np.ptp(found[:, :, 0].mean(axis=0)) / 255 * width / size[1], np.ptp(found[:, :, 1].mean(axis=1)) / 255 * height / size[0]]
        assert spans[0] == pytest.approx(spans[1], rel=0.25)  # neither side is squeezed


def test_what_need_not_be_enlarged_covers():
    protocol = get_protocol(changes={"size": (32, 48)})
    assert covers(picture(48, 32), protocol)
    assert not covers(picture(47, 300), protocol)
    assert not covers(picture(300, 31), protocol)


def test_squares_are_written_as_before_and_others_come_back():
    square, wide = get_protocol(changes={"size": 96}), get_protocol(changes={"size": "96x160"})
    assert plain(square)["size"] == 96
    assert '"size":96,' in canonical_json(square)
    assert plain(wide)["size"] == [96, 160]
    assert build(Protocol, json.loads(json.dumps(plain(wide)))) == wide
    assert (wide.shape, wide.pixels_per_image, wide.seen_at) == ((96, 160), 15360, (96, 160))
    assert wide.label == "photos-64+size=96x160"
    for size in ((64, 64), (0, 64), (64, 9000), (64, 64, 64), ("64", "96")):
        with pytest.raises(ValueError, match="size"):
            replace(square, size=size)


def test_a_run_says_its_shape_everywhere(tokbench_cli, wide, tmp_path):
    subjects = ("-t", "vqvae", "-t", "pixel/rgb", "-t", "anchor/jpeg-400")
    words = ("run", *subjects, "--data", wide, "--metrics", "psnr,ssim,usage", "--size")
    assert tokbench_cli(*words, "32x48", "--out", "flat")[0] == 0
    assert tokbench_cli(*words, "48", "--out", "square")[0] == 0
    records = {record.tokenizer.name: record for _, record in find_records([tmp_path / "flat"])}
    record = records["vqvae/tiny"]
    assert record.tokens.grid == (8, 12)
    assert record.tokens.bpp == pytest.approx(record.tokens.bits_per_image / (32 * 48))
    assert records["pixel/rgb"].metrics["psnr"].exact == 6
    assert records["pixel/rgb"].tokens.bpp == 24
    assert records["anchor/jpeg-400"].interval("bpp").low > 0
    assert record.data.enlarged == 1  # the one of 40 px across
    assert record.protocol_label == "tokbench-256+data=wide+size=32x48"
    assert "--size 32x48" in run_command(record)
    assert list(frame(record)["size"]) == ["32x48"]
    status, out, _ = tokbench_cli("compare", "flat", "square", "--format", "csv")
    assert status == 0
    assert "32x48" in out
    assert tokbench_cli("report", "flat", "square", "--output", "page.html")[0] == 0
    assert "32x48" in (tmp_path / "page.html").read_text()
    places = [
        path for name in ("flat", "square") for path, found in find_records([tmp_path / name]) if found.tokenizer.name == "vqvae/tiny"
    ]
    for command in ("diff", "explain"):
        _, out, err = tokbench_cli(command, *places)
        assert "32x48" in (out + err).split(), (command, out, err)


def test_tokens_of_a_shape_are_exported_verified_and_read(wide, tmp_path):
    tokenizer = tokbench.load("vqvae")
    protocol = get_protocol(changes={"size": (32, 48)})
    export(tokenizer, wide, tmp_path / "tokens", protocol=protocol)
    data = TokenDataset(tmp_path / "tokens")
    assert data.grid == (8, 12)
    assert data.job.preparation.size == (32, 48)
    assert verify(tmp_path / "tokens", tokenizer=tokenizer, data=wide).ok


def test_maps_that_are_turned_have_the_other_shape(wide):
    found = predict(tokbench.load("vae"), wide, figures=["equivariance"], protocol=get_protocol(changes={"size": (32, 48)})).record
    assert all(found.figures[f"equivariance_{name}"].value is not None for name in ("flip", "rotation", "scale"))
    found = predict(tokbench.load("vqvae"), wide, figures=["locality"], protocol=get_protocol(changes={"size": (32, 48)})).record
    assert found.figures["locality"].reason == "drawn scenes are square, got 32x48; give --size one number, such as 32"


def test_tiles_go_over_images_of_any_shape():
    tokenizer = tokbench.load("vqvae").tiled(32)
    images = torch.rand(2, 3, 40, 72) * 2 - 1
    tokens = tokenizer.encode(images)
    assert tokens.grid == (10, 18)
    assert tokenizer.decode(tokens).shape == images.shape


@pytest.mark.parametrize("data", ["photos", "text", "scenes"])
def test_what_comes_square_is_refused_in_other_shapes(tokbench_cli, data, tmp_path):
    status, _, err = tokbench_cli("run", "-t", "vqvae", "--data", data, "--size", "64x96", "--metrics", "psnr")
    assert status == 2
    assert "square, got 64x96; give --size one number, such as 64" in err
    assert not (tmp_path / "runs").exists()


def test_photos_are_cut_to_a_shape_by_protocols_that_scale(tokbench_cli, tmp_path):
    words = ("--protocol", "tokbench-256", "--size", "64x96", "--limit", "4", "--metrics", "psnr")
    assert tokbench_cli("run", "-t", "vqvae", *words)[0] == 0
    ((_, record),) = find_records([tmp_path / "runs"])
    assert (record.protocol.shape, record.data.count) == ((64, 96), 4)


def test_tokenizers_of_one_size_refuse_others(tokbench_cli, wide):
    status, _, err = tokbench_cli("run", "-t", "flowmo", "--data", wide, "--size", "32x48")
    assert status == 2
    assert "32x48" in err
    with pytest.raises(TokbenchError, match=r"^flowmo/tiny: .*32x48.*take another --size, or a set without it$"):
        check_sizes(["vqvae/tiny", "flowmo/tiny"], (32, 48))
    check_sizes(["vqvae/tiny"], (32, 48))
