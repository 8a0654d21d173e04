"""What stands under the pictures of the gallery, whose they are, and that they leave a page its size."""

import re
from dataclasses import replace

import pytest

from tokbench.report.page import embed, render
from tokbench.report.page.budget import take_fitting
from tokbench.report.page.gallery import credit_lines, figure_text, make_gallery
from tokbench.report.page.model import arrange
from tokbench.report.page.render import PICTURE_BYTES, Shown, render_page
from tokbench.report.page.tokens import token_pictures
from tokbench.report.table import figure_column


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("psnr", 27.138, "PSNR 27.14 dB"),
        ("psnr", float("inf"), "PSNR exact"),
        ("psnr", float("-inf"), "PSNR -∞"),
        ("lpips", float("inf"), "LPIPS ∞"),
        ("lpips", 0.1, "LPIPS 0.1000"),
        ("text_accuracy", 0.8151, "text 81.5 %"),
        ("face_distance", 0.3475, "face distance 0.347"),
    ],
)
def test_figures_are_written_with_name_and_unit(key, value, text):
    assert figure_text(figure_column(key), value) == text


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


def test_what_fits_is_taken_in_order_and_the_first_in_part():
    def take(items, budget):
        return take_fitting(iter(items), len, lambda item: item[:-1] if len(item) > 1 else None, budget)

    assert take(["aa", "bbb", "c"], 6) == (["aa", "bbb", "c"], 6)
    assert take(["aa", "bbb", "c"], 4) == (["aa"], 2)  # none is taken before one that was chosen first
    assert take(["aaaa", "b"], 3) == (["aaa"], 3)
    assert take(["aaaa", "b"], 0) == ([], 0)
    assert take([], 3) == ([], 0)


def large(make_record, count, *, side, grid, prefix=""):
    """Tokenizers that have codes on every kind of grid."""
    grids = [grid, (grid[0] * grid[1],), (grid[0] // 2, grid[1])]
    return [make_record(f"{prefix}family-{i}/{'long-' * (i % 3)}name", seed=i, grid=grids[i % 3], size=4096) for i in range(count)]


def test_big_grids_and_many_images_leave_a_page_below_15_mb(make_record, make_pictures, monkeypatch):
    """Ten tokenizers at 256 px, four of them with a code a pixel; written in a hurry, for time."""
    written = embed._written
    monkeypatch.setattr(embed, "_written", lambda image, kind, **options: written(image, "PNG", compress_level=1))
    items = large(make_record, 10, side=256, grid=(256, 256))
    other = [replace(item, record=replace(item.record, data=replace(item.record.data, pixels_digest="f" * 64))) for item in items]
    groups = arrange([*items, *other])
    ids = sorted(items[0].rows["psnr"])[:8]
    shown = [Shown(*make_pictures(group, ids, 256)) for group in groups]
    page = render_page(groups, shown)
    assert PICTURE_BYTES * 0.7 < len(page.encode()) < 15_000_000
    assert page.count("No room for the pictures of") == 2
    assert page.count("No room for the tokens of") >= 2
    assert page.count('class="image"') >= 4


@pytest.mark.parametrize("budget", [20_000, 200_000, 2_000_000])
def test_pictures_take_what_the_budget_allows_with_all_that_is_written_about_them(make_record, make_pictures, monkeypatch, budget):
    monkeypatch.setattr(render, "PICTURE_BYTES", budget)
    items = large(make_record, 12, side=16, grid=(32, 32), prefix="<&'\"\u2028é")
    (group,) = arrange(items)
    ids = sorted(items[0].rows["psnr"])
    shown = Shown(*make_pictures(group, ids, 16))
    page = render_page([group], [shown])
    without = render_page([group], [None])
    notes = 8_000  # what is left out, whose the pictures are, and the tools above them
    assert len(page.encode()) - len(without.encode()) < budget + notes
    assert ('class="view original"' in page) is (budget > 20_000)
    assert page.count("No room for the pictures of") == (2 if budget == 20_000 else 1 if budget == 200_000 else 0)


def test_one_group_s_rest_is_another_s(make_record, make_pictures, monkeypatch):
    items = [make_record(f"family/{i}", seed=i) for i in range(3)]
    other = [replace(item, record=replace(item.record, data=replace(item.record.data, pixels_digest="f" * 64))) for item in items]
    few, many = arrange([*items, *other])
    ids = sorted(items[0].rows["psnr"])
    shown = [Shown(*make_pictures(few, ids[:1])), Shown(*make_pictures(many, ids))]
    budget = 3 * len(render_page([many], [Shown(*make_pictures(many, ids[:4]))]))
    monkeypatch.setattr(render, "PICTURE_BYTES", budget)
    images = [len(re.findall('class="image" data-i', part)) for part in render_page([few, many], shown).split('<section id="gallery-')[1:]]
    monkeypatch.setattr(render, "PICTURE_BYTES", budget // 2)
    half = render_page([many], [shown[1]])
    assert images[0] == 1
    assert images[1] > half.count('class="image" data-i') > 4


def test_what_does_not_fit_is_named(make_record, make_pictures):
    items = [make_record("vae/a", bits=None), *(make_record(f"family/{i}", seed=i) for i in range(4))]
    (group,) = arrange(items)
    chosen, pictures = make_pictures(group, ["000/00", "000/01"])
    whole, spent = make_gallery(group, chosen[:1], pictures, 10**9)
    part, less = make_gallery(group, chosen, pictures, spent - 1)
    assert (part.no_room, part.dropped, len(part.images)) == (("family/3",), 1, 1)
    assert [shot.entry for shot in part.images[0].shots] == list(group.entries[:-1])
    assert less < spent
    nothing, none = make_gallery(group, chosen, pictures, 10)
    assert (nothing.images, nothing.dropped, nothing.no_room, none) == ((), 2, (), 0)
    assert whole.no_room == ()
    seen, spent = token_pictures(group, ["000/00"], pictures, 10**9)
    assert [view.entry.name for view in seen.images[0].views] == [f"family/{i}" for i in range(4)]
    part, less = token_pictures(group, ["000/00", "000/01", "nobody"], pictures, spent - 1)
    assert (part.no_room, part.dropped, len(part.images)) == (("family/3",), 1, 1)
    assert less < spent
    page = render_page([group], [Shown(chosen, replace(pictures, originals={}))])
    assert "No image could be chosen" in page


def test_only_the_owners_of_what_is_shown_are_named(make_record, make_pictures, monkeypatch):
    (group,) = arrange([make_record("family/a"), make_record("family/b", seed=1)])
    ids = [f"00{i}/00" for i in range(6)]
    chosen, pictures = make_pictures(group, ids)
    owners = {name: f"owner {i // 2}, CC BY-SA" for i, name in enumerate(ids) if i != 1}
    pictures = replace(pictures, credits=owners, attribution="all by <somebody>")
    assert credit_lines(pictures, ids[:4]) == ["all by <somebody>", "000/00: owner 0, CC BY-SA", "002/00, 003/00: owner 1, CC BY-SA"]
    assert credit_lines(pictures, []) == []
    page = render_page([group], [Shown(chosen, pictures)])
    credits = page[page.index('class="credits"') : page.index('id="tokens-0"')]
    assert "all by &lt;somebody&gt;" in credits
    assert "004/00, 005/00: owner 2, CC BY-SA" in credits
    monkeypatch.setattr(render, "PICTURE_BYTES", 15_000)
    page = render_page([group], [Shown(chosen, pictures)])
    assert "owner 0" in page
    assert "owner 2" not in page
