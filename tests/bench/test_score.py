"""Images that other code made, measured against their originals: by name, whole or not at all, and as a run measures its own."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tokbench.bench.metrics import frechet, without_originals
from tokbench.bench.pairing import paired, short_names
from tokbench.errors import TokbenchError
from tokbench.records.store import find_records
from tokbench.report.page.commands import run_command

METRICS = "psnr,ssim,fd_efflite0"


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(frechet, "MIN_IMAGES", 8)


@pytest.fixture
def made(folder, tmp_path):
    """Reconstructions of the pictures, as JPEG files of other endings, in a folder ``made``."""
    place = tmp_path / "made"
    place.mkdir()
    for path in folder.iterdir():
        Image.open(path).save(place / f"{path.stem}.jpg", quality=60)
    return place


def record_in(place):
    ((_, record),) = find_records([place])
    return record


def values(record):
    return {key: metric.value for key, metric in record.metrics.items()}


def test_two_folders_measure_as_the_run_that_made_them(tokbench_cli, folder, tmp_path):
    common = ("--metrics", f"{METRICS},usage", "--protocol", "photos-64")
    assert tokbench_cli("run", "-t", "patch", "--data", folder, *common, "--save-images", "saved", "--out", "ran")[0] == 0
    (own,) = (path for path in (tmp_path / "saved").iterdir() if path.is_dir() and path.name != "originals")
    status, out, _ = tokbench_cli("score", "saved/originals", own, "--name", "theirs", *common, "--out", "scored")
    assert status == 0
    assert "theirs" in out
    ran, scored = record_in(tmp_path / "ran"), record_in(tmp_path / "scored")
    for key in METRICS.split(","):
        assert scored.metrics[key].value == pytest.approx(ran.metrics[key].value, rel=1e-9)
        assert scored.metrics[key].value is not None
    assert scored.metrics["usage"].reason
    assert scored.tokenizer.name == "theirs"
    assert scored.tokenizer.is_given
    assert not ran.tokenizer.is_given
    assert (scored.tokens.bits_per_image, scored.tokenizer.parameters, scored.trained_on) == (None, None, None)
    assert scored.protocol.label == ran.protocol.label.replace("pictures", "originals")
    assert run_command(scored).startswith("tokbench score ORIGINALS RECONSTRUCTIONS --name theirs ")
    for command in (("compare", "scored", "ran"), ("diff", "scored", "ran"), ("report", "scored", "ran", "--output", "page.html")):
        status, out, err = tokbench_cli(*command)
        assert status in (0, 1) if command[0] == "diff" else status == 0, (command, out, err)
    assert "theirs" in (tmp_path / "page.html").read_text()


def test_images_need_not_be_square(tokbench_cli, folder, tmp_path):
    common = ("--metrics", "psnr,ssim")
    assert (
        tokbench_cli("run", "-t", "patch", "--data", folder, "--size", "32x48", *common, "--save-images", "saved", "--out", "ran")[0] == 0
    )
    (own,) = (path for path in (tmp_path / "saved").iterdir() if path.is_dir() and path.name != "originals")
    assert (
        tokbench_cli("score", "saved/originals", own, *common, "--protocol", "tokbench-256", "--size", "32x48", "--out", "scored")[0] == 0
    )
    assert tokbench_cli("score", "saved/originals", own, *common, "--out", "alone")[0] == 0
    ran, scored, alone = (record_in(tmp_path / name) for name in ("ran", "scored", "alone"))
    assert (ran.protocol.shape, scored.protocol.shape, alone.protocol.shape) == ((32, 48),) * 3
    for key, value in values(ran).items():
        assert values(scored)[key] == values(alone)[key] == pytest.approx(value, rel=1e-9)
    assert "--size 32x48" in run_command(ran)


def test_folder_zip_and_array_are_one_and_batches_and_parts_change_nothing(tokbench_cli, folder, made, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        for path in made.iterdir():
            archive.write(path, f"some/folder/{path.name}")
    for name, place in (("before", folder), ("after", made)):
        files = sorted(place.iterdir(), key=lambda path: path.stem)
        np.savez(tmp_path / f"{name}.npz", np.stack([np.asarray(Image.open(path)) for path in files]))
    monkeypatch.setattr("tokbench.bench.prepared.chunk_size", lambda protocol: 5)
    pairs = {
        "folders": (folder, made, "--batch-size", "3"),
        "zip": (folder, tmp_path / "made.zip"),
        "arrays": (tmp_path / "before.npz", tmp_path / "after.npz"),
    }
    for name, words in pairs.items():
        assert tokbench_cli("score", *words, "--metrics", METRICS, "--out", name)[0] == 0
    found = {name: record_in(tmp_path / name) for name in pairs}
    assert values(found["folders"]) == values(found["zip"]) == values(found["arrays"])
    assert [found[name].tokenizer.name for name in pairs] == ["made", "made.zip", "after.npz"]
    for part in ("1/2", "2/2"):
        assert tokbench_cli("score", folder, made, "--metrics", METRICS, "--part", part, "--out", "parts")[0] == 0
    assert tokbench_cli("merge", "parts", "--out", "merged")[0] == 0
    assert values(record_in(tmp_path / "merged")) == values(found["folders"])
    some = [
        tokbench_cli("score", folder, made, "--limit", "9", "--seed", seed, "--metrics", "psnr", "--json", "--out", "some") for seed in "34"
    ]
    counts = {json.loads(out)[0]["data"]["count"] for _, out, _ in some}
    assert counts == {9}
    assert len({json.loads(out)[0]["metrics"]["psnr"]["value"] for _, out, _ in some}) == 2


def test_what_does_not_pair_is_refused_in_a_line_and_nothing_is_written(tokbench_cli, folder, made, tmp_path):
    def refused(*words):
        status, _, err = tokbench_cli("score", *words, "--metrics", "psnr", "--out", "none")
        assert status == 2, err
        assert not list(tmp_path.glob("none/*"))
        return err.strip().splitlines()[-1].removeprefix("tokbench: ")

    (made / "03.jpg").rename(made / "else.jpg")
    assert refused(folder, made) == ("made lacks 1 of the 12 images of pictures: 03; give pairs of one name, or --unpaired for sets")
    (made / "else.jpg").rename(made / "03.jpg")
    Image.open(made / "04.jpg").save(made / "04.png")
    assert refused(folder, made) == "made holds two images of the name 04, 04.jpg and 04.png; keep one of them"
    (made / "04.png").rename(made / "extra.png")
    assert refused(folder, made).startswith("pictures lacks 1 of the 13 images of made: extra; give pairs")
    (made / "extra.png").unlink()
    Image.open(made / "05.jpg").resize((32, 32)).save(made / "05.jpg")
    assert refused(folder, made) == "05.jpg of made is 32x32 px, 05.png of pictures 64x64; make them alike, or cut originals by --crop"
    assert refused(folder, made, "--crop").startswith("05.jpg of made is 32x32 px, 64x64 are measured; give images of one size")
    Image.new("RGB", (64, 48)).save(made / "00.jpg")
    assert refused(folder, made) == "00.jpg of made is 48x64 px, 00.png of pictures 64x64; make them alike, or cut originals by --crop"
    assert refused(folder, made, "--crop").startswith("01.jpg of made is 64x64 px, 48x64 are measured; give images of one size")
    Image.new("RGB", (64, 64)).save(made / "00.jpg")
    (made / "05.jpg").write_bytes(b"no image")
    assert refused(folder, made).startswith("05.jpg of made cannot be read (")
    assert refused(folder, tmp_path / "nowhere").startswith("RECONSTRUCTIONS ")
    assert refused(folder, made, "--name", "").startswith("--name takes 1 to 60 printable characters")


def test_larger_originals_are_cut_if_asked(tokbench_cli, folder, made, tmp_path):
    wide = tmp_path / "wide"
    wide.mkdir()
    for path in folder.iterdir():
        image = Image.new("RGB", (90, 64))
        image.paste(Image.open(path), (13, 0))
        image.save(wide / path.name)
    assert tokbench_cli("score", folder, made, "--metrics", "psnr", "--out", "same")[0] == 0
    assert tokbench_cli("score", wide, made, "--metrics", "psnr", "--out", "wider", "--crop")[0] == 0
    assert values(record_in(tmp_path / "wider")) == values(record_in(tmp_path / "same"))


def test_sets_that_are_not_paired_have_distances_alone(tokbench_cli, folder, made, tmp_path):
    (made / "03.jpg").unlink()
    (made / "04.jpg").rename(made / "other.jpg")
    status, _, err = tokbench_cli("score", folder, made, "--unpaired", "--metrics", "fd_efflite0", "--out", "apart")
    assert status == 0
    assert "--reference pictures: it has 12 images, 11 are measured; Fréchet distances compare at equal numbers only" in err
    record = record_in(tmp_path / "apart")
    assert set(record.metrics) == {"fd_efflite0_reference"}
    assert record.metrics["fd_efflite0_reference"].value > 0
    assert record.metrics["fd_efflite0_reference"].settings["reference"]["name"] == "pictures"
    assert "--unpaired" in run_command(record)
    status, _, err = tokbench_cli("score", folder, made, "--unpaired", "--metrics", "psnr")
    assert status == 2
    assert "psnr compares images with their own originals, and --unpaired has none; it takes fd_efflite0_reference, fid" in err


def test_metrics_of_sets_that_are_not_paired():
    assert without_originals(None) == ("fd_efflite0_reference", "fid")
    assert without_originals(("rfid_clean_fid", "fid")) == ("fid", "fid_clean_fid")


def test_names_pair_without_endings_common_folders_and_zeros():
    assert short_names(["x/a/1.png", "x/b/2.JPEG"]) == ["a/1", "b/2"]
    assert short_names(["x/1.png"]) == ["1"]
    assert short_names([".png", "a.b.c"]) == [".png", "a.b.c"]
    assert paired(["v/a.png", "v/b.png"], ["b.jpg", "a.jpg"], of=("o", "r")) == {"v/a.png": 1, "v/b.png": 0}
    assert paired(["00000000", "00000001"], ["1.png", "0.png"], of=("o", "r")) == {"00000000": 1, "00000001": 0}
    with pytest.raises(TokbenchError, match=r"r lacks 4 of the 5 images of o: b, c, d and 1 more; "):
        paired(list("abcde"), ["a"], of=("o", "r"))
