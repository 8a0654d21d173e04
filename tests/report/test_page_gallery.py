"""What stands under the pictures of the gallery."""

from dataclasses import replace

import pytest

from tokbench.report.page.gallery import figure_text, make_gallery
from tokbench.report.page.model import arrange
from tokbench.report.table import METRIC_COLUMNS

COLUMNS = {column.key: column for column in METRIC_COLUMNS}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("psnr", 27.138, "PSNR 27.14 dB"),
        ("psnr", float("inf"), "PSNR ∞ dB"),
        ("lpips", 0.1, "LPIPS 0.1000"),
        ("text_accuracy", 0.8151, "text 81.5 %"),
        ("face_distance", 0.3475, "face distance 0.347"),
    ],
)
def test_figures_are_written_with_name_and_unit(key, value, text):
    assert figure_text(COLUMNS[key], value) == text


@pytest.mark.parametrize(("key", "text"), [("text_accuracy", "text 50.0 %"), ("face_distance", "face distance 0.500")])
def test_pictures_of_text_and_faces_have_their_own_figure(make_record, make_pictures, key, text):
    a, b = make_record("family/a"), make_record("family/b")
    a = replace(a, rows=a.rows | {key: dict.fromkeys(a.rows["psnr"], 0.5)})
    (group,) = arrange([a, b])
    chosen, pictures = make_pictures(group, sorted(a.rows["psnr"])[:3])
    gallery, _ = make_gallery(group, chosen, pictures, 10**8)
    assert gallery.images
    for image in gallery.images:
        first, second = image.shots
        assert first.caption[-1] == text
        assert [word.split(" ")[0] for word in first.caption[:-1]] == ["LPIPS", "PSNR"]
        assert len(second.caption) == 2
