"""Pictures made again are those of the run: bit for bit, by PSNR and stability of the record's own rows, or not at all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import tokbench
from tokbench.bench.anchors import parse_anchor
from tokbench.bench.metrics.psnr import psnr
from tokbench.bench.pictures import make_pictures
from tokbench.bench.runner import run
from tokbench.data.photos import PhotoCrops, photo_rows
from tokbench.images import load_rgb
from tokbench.records.pictures import Picture, Pictures
from tokbench.records.protocol import get_protocol
from tokbench.weights.assets import asset_path


@pytest.fixture(scope="module")
def evaluations():
    protocol = get_protocol(changes={"samples": 6, "seed": 3, "micro_batch": 4})
    subjects = [
        tokbench.load("vqgan/tiny"),
        tokbench.load("vae/tiny", config={"posterior": "sample"}),
        tokbench.load("flowmo/tiny", config={"steps": 1}),
        tokbench.load("pixel/rgb"),
        parse_anchor("anchor/webp-320"),
    ]
    metrics = [("psnr", "stability"), ("psnr",), ("psnr",), ("psnr",), ("psnr",)]
    return [run(subject, "photos", metrics=names, protocol=protocol) for subject, names in zip(subjects, metrics, strict=True)]


def test_pictures_have_exactly_the_figures_of_the_run(evaluations):
    records = [evaluation.record for evaluation in evaluations]
    ids = sorted(evaluations[0].rows["psnr"])[::-2]  # one micro-batch of images that were in two
    pictures = make_pictures(records, ids)
    assert pictures.missing == (None,) * len(records)
    assert list(pictures.originals) == ids
    for evaluation, made in zip(evaluations, pictures.by_record, strict=True):
        assert set(made) == set(ids)
        for name in ids:
            pair = [torch.from_numpy(pixels).permute(2, 0, 1)[None] for pixels in (pictures.originals[name], made[name].reconstruction)]
            assert psnr(*pair).item() == evaluation.rows["psnr"][name], evaluation.record.tokenizer.name
    for name in ids:
        codes, again = pictures.by_record[0][name].codes, pictures.by_record[0][name].codes_again
        assert codes.shape == (16, 16, 1)
        assert float((codes == again).mean()) == evaluations[0].rows["stability"][name]
    assert pictures.by_record[1][ids[0]].codes is None
    assert pictures.by_record[3][ids[0]].codes.shape == (64, 64, 3)
    assert pictures.by_record[4][ids[0]].codes_again is None


def test_codes_lie_as_the_grid_does(evaluations):
    """The codes of pixel/rgb are the pixels themselves."""
    made = make_pictures([evaluations[3].record], list(evaluations[3].rows["psnr"])[:1])
    (name,) = made.originals
    assert np.array_equal(made.by_record[0][name].codes, made.originals[name])


def test_whose_the_originals_are(evaluations):
    name = next(iter(evaluations[3].rows["psnr"]))
    source = PhotoCrops("test", 64)
    photo = source.photo(source.ids.index(name))
    made = make_pictures([evaluations[3].record], [name])
    assert list(made.credits) == [name]
    assert made.credits[name].startswith(f"{photo.author or 'unknown author'}, {photo.licence}")
    assert made.credits[name].endswith(photo.origin)
    assert np.array_equal(made.originals[name], np.asarray(source.read(source.ids.index(name))))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weights_sha256": "0" * 64}, "was measured with the weights 00000000, those that load here are"),
        ({"weights_how": "entry ema"}, "other weights of the same file: entry ema"),
        ({"name": "vqgan/tinny"}, "unknown tokenizer 'vqgan/tinny'; did you mean vqgan/tiny"),
        ({"config": {"codebook": 512}}, "unknown setting 'codebook'"),
        ({"name": "nowhere.at.all:Tokenizer", "config": {}}, "cannot import"),
        ({"name": "vqgan/imagenet-f16-1024"}, ""),
        ({"name": "anchor/webp"}, "unknown anchor"),
    ],
)
def test_what_cannot_be_had_has_a_reason_and_costs_the_others_nothing(evaluations, change, reason, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    good = evaluations[3].record
    bad = replace(evaluations[0].record, tokenizer=replace(evaluations[0].record.tokenizer, **change))
    name = next(iter(evaluations[3].rows["psnr"]))
    made = make_pictures([good, bad], [name])
    assert made.missing[0] is None
    assert set(made.by_record[0]) == {name}
    assert made.by_record[1] == {}
    assert made.missing[1]
    assert reason in made.missing[1]


def test_other_images_are_never_shown_for_the_record_s(evaluations, folder, tmp_path):
    record = evaluations[3].record
    name = next(iter(evaluations[3].rows["psnr"]))

    def why(changed, ids=(name,), data=()):
        made = make_pictures([changed], list(ids), data=data)
        assert made.originals == {}
        assert made.by_record == ({},)
        return made.missing[0]

    assert "has no image 'nobody/00'" in why(record, ["nobody/00"])
    other = replace(record, data=replace(record.data, pixels_digest="0" * 64))
    assert "are not those the record was measured on" in why(other)
    elsewhere = replace(record, data=replace(record.data, name="pictures"))
    assert "do not come with the package; name them with --data" in why(elsewhere)
    assert "are not those the record was measured on" in why(elsewhere, data=(str(folder),))
    more = replace(elsewhere, data=replace(elsewhere.data, requested=7))
    assert "gives 6 images, the record was measured on 7" in why(more, data=(str(folder),))
    assert "does not exist" in why(elsewhere, data=(str(tmp_path / "none"),))
    slower = replace(record, protocol=replace(record.protocol, tokenizer_batch=2))
    names = list(evaluations[3].rows["psnr"])[:4]
    pictures = make_pictures([record, slower], names)  # of one table, though they saw other numbers of images at once
    assert pictures.missing == (None, None)
    assert all(np.array_equal(*(made[name].reconstruction for made in pictures.by_record)) for name in names)
    both = make_pictures([record, other], [name])
    assert both.missing == (None, "measured on other images: photos/test at 64 px")
    assert make_pictures([], ["a"]) == Pictures({}, (), ())


def test_images_of_a_folder(folder):
    evaluation = run(tokbench.load("pixel/palette-512"), folder, metrics=("psnr",))
    made = make_pictures([evaluation.record], ["03.png", "00.png"], data=("photos", "nowhere", str(folder)))
    assert made.missing == (None,)
    assert list(made.originals) == ["03.png", "00.png"]
    assert made.attribution == ""
    assert made.credits == {}


@pytest.mark.parametrize(("spec", "size"), [("text", 64), ("photos/train", 32)])
def test_what_comes_with_the_package_needs_no_place(spec, size, folder):
    """A place given is for others."""
    evaluation = run(tokbench.load("pixel/rgb"), spec, metrics=("psnr",), protocol=get_protocol(changes={"size": size, "samples": 5}))
    name = min(evaluation.rows["psnr"])
    for data in ((), (str(folder),), ("nowhere/at/all",)):
        made = make_pictures([evaluation.record], [name], data=data)
        assert made.missing == (None,)
        assert np.array_equal(made.originals[name], made.by_record[0][name].reconstruction)
    assert set(made.credits) == ({name} if spec == "photos/train" or "/photo-" in name else set())


def test_photos_behind_words_are_credited_one_by_one():
    """Those of the pictures asked for, and of no others."""
    evaluation = run(tokbench.load("pixel/rgb"), "text", metrics=("psnr",), protocol=get_protocol(changes={"size": 64}))
    behind = sorted(name for name in evaluation.rows["psnr"] if "/photo-" in name)
    asked = [behind[0], "sans/10px/paper-0", behind[-1]]
    made = make_pictures([evaluation.record], asked)
    assert list(made.credits) == [behind[0], behind[-1]]
    rows = {photo.credit: photo for photo in photo_rows("test")}
    for name, credit in made.credits.items():
        photo = rows[credit.partition(" is by ")[2]]
        ground = load_rgb(photo.read_bytes())
        side = min(ground.size)
        corner = ((ground.width - side) // 2, (ground.height - side) // 2)
        square = ground.resize((64, 64), Image.Resampling.LANCZOS, box=(*corner, corner[0] + side, corner[1] + side))
        shown = made.originals[name].astype(int)
        without_words = (shown != 255).any(axis=2) & (np.abs(shown - np.asarray(square, int) * 2 // 5).max(axis=2) <= 1)
        assert without_words.mean() > 0.3, (name, credit)


def test_a_folder_called_text_is_found_at_its_place(folder, tmp_path):
    (tmp_path / "text").symlink_to(folder)
    evaluation = run(tokbench.load("pixel/rgb"), str(tmp_path / "text"), metrics=("psnr",))
    record = evaluation.record
    assert record.data.name == "text (own images)"
    assert make_pictures([record], ["00.png"], data=(str(tmp_path / "text"),)).missing == (None,)
    (reason,) = make_pictures([record], ["00.png"]).missing
    assert reason == "the images of text (own images) do not come with the package; name them with --data"
    (reason,) = make_pictures([record], ["00.png"], data=("nowhere",)).missing
    assert "the images of text (own images) do not come with the package" in reason
    assert "; of --data: --data nowhere does not exist" in reason


def test_faces_are_named_where_they_have_not_been_fetched(evaluations, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    record = evaluations[3].record
    made = make_pictures([replace(record, data=replace(record.data, name="faces"))], [])
    assert made.missing == ("the images of faces are not here; run: tokbench weights get faces",)


def test_pictures_of_faces():
    if not asset_path("faces").is_file():
        pytest.skip("the face networks have not been fetched: tokbench weights get faces")
    evaluation = run(tokbench.load("pixel/rgb"), "faces", metrics=("psnr",))
    name = min(evaluation.rows["psnr"])
    made = make_pictures([evaluation.record], [name], data=("nowhere",))
    assert made.missing == (None,)
    assert list(made.originals) == [name]
    assert "MIT" in made.attribution


def test_pictures_are_checked_at_birth():
    pixels, codes = np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2, 1), np.int64)
    with pytest.raises(ValueError, match="uint8"):
        Picture("a", pixels.astype(np.float32))
    with pytest.raises(ValueError, match="come together"):
        Picture("a", pixels, codes)
    with pytest.raises(ValueError, match="differ in shape"):
        Picture("a", pixels, codes, codes[:1])
    with pytest.raises(ValueError, match="1 sets of pictures with 2 reasons"):
        Pictures({}, ({},), (None, None))
