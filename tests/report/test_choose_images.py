"""The choice of images to look at: found again by looking through all of them."""

import math
import re
import statistics
from dataclasses import replace
from itertools import combinations

import pytest

from tokbench.report.pictures import choose_images


def reasons(chosen):
    return {why.split(" (")[0]: image.image_id for image in chosen for why in image.why.split("; ")}


def test_worst_median_best_and_apart_are_what_they_say(make_record):
    first, second = make_record("a/b", seed=1), make_record("c/d", seed=2)
    found = reasons(choose_images([first.record, second.record], [first.rows, second.rows], 100))
    for key, title, sign in (("psnr", "PSNR dB", 1), ("lpips", "LPIPS", -1), ("ssim", "SSIM", 1)):
        a, b = first.rows[key], second.rows[key]
        by_mean = sorted(a, key=lambda name: sign * (a[name] + b[name]))
        assert found[f"worst {title}"] == by_mean[0]
        assert found[f"median {title}"] == by_mean[29]
        assert found[f"best {title}"] == by_mean[-1]
        assert found[f"largest difference in {title}"] == max(a, key=lambda name: abs(a[name] - b[name]))


def test_each_image_once_the_same_again_and_no_more_than_asked_for(make_record):
    items = [make_record("a/b", seed=1), make_record("c/d", seed=2)]
    records, rows = [item.record for item in items], [item.rows for item in items]
    everything = choose_images(records, rows, 100)
    assert len({image.image_id for image in everything}) == len(everything)
    assert choose_images(records, rows, 100) == everything
    shuffled = [{key: dict(reversed(list(column.items()))) for key, column in row.items()} for row in rows]
    assert choose_images(records, shuffled, 100) == everything
    for limit in (0, 1, 5):
        assert choose_images(records, rows, limit) == everything[:limit]
    assert everything[0].why.startswith("worst LPIPS (0.")
    with pytest.raises(ValueError, match="limit"):
        choose_images(records, rows, -1)
    with pytest.raises(ValueError, match="2 records with 1"):
        choose_images(records, rows[:1], 1)


def test_one_tokenizer_has_nothing_to_differ_from(make_record):
    item = make_record("a/b")
    chosen = choose_images([item.record], [item.rows], 100)
    assert chosen
    assert not [image for image in chosen if "difference" in image.why or "mean of" in image.why]


def differing(records, rows):
    """The reason with the largest difference in LPIPS, and its image."""
    found = choose_images(records, rows, 100)
    return next((image.image_id, why) for image in found for why in image.why.split("; ") if why.startswith("largest difference in LPIPS"))


def test_codecs_and_the_lossless_differ_most_only_where_two_others_lack(make_record):
    a, b = make_record("a/b", seed=1), make_record("c/d", seed=2)
    codec, lossless = make_record("anchor/webp-160", seed=3, better=-20), make_record("pixel/rgb", seed=4)
    lossless.rows.update(
        {key: dict.fromkeys(lossless.rows[key], value) for key, value in (("psnr", math.inf), ("lpips", 0.0), ("ssim", 1.0))}
    )

    def of(*items):
        return differing([item.record for item in items], [item.rows for item in items])

    name, why = of(codec, a, lossless, b)
    assert (name, why) == of(a, b)
    assert "a/b" in why
    assert "c/d" in why
    assert "anchor/webp-160" in of(codec, a)[1]
    assert "pixel/rgb" in of(lossless, a)[1]
    assert "anchor" not in of(lossless, a, codec)[1]
    del lossless.rows["psnr"]  # the metric alone shows it
    assert of(codec, a, lossless, b) == (name, why)
    means = choose_images([i.record for i in (codec, a, b)], [i.rows for i in (codec, a, b)], 100)[0].why
    assert "mean of 3 tokenizers" in means


def pairs_apart(items):
    """For every metric the two that differ most, by the gallery."""
    chosen = choose_images([item.record for item in items], [item.rows for item in items], 100)
    found = {}
    for image in chosen:
        for title, names in re.findall(r"largest difference in (\w+)[^(]* \((?:of this pair: )?([^)]*)\)", image.why):
            found[title.lower()] = (image.image_id, tuple(part.split(" ")[0] for part in names.split(", ")))
    return found


def test_different_pairs_have_the_places_of_those_that_differ_most(make_record):
    """One tokenizer is far from all others, and so is another of its family."""
    names = ("far/one", "far/two", "a/x", "b/x", "c/x", "d/x", "e/x")
    items = [make_record(name, seed=i, better=-30 - 10 * i if i < 2 else 0.1 * i) for i, name in enumerate(names)]
    found = pairs_apart(items)
    assert set(found) == {"lpips", "psnr", "ssim"}
    families = [name.split("/")[0] for _, pair in found.values() for name in pair]
    assert sorted(families) == ["a", "b", "c", "d", "e", "far"]
    odd = pairs_apart(items[:-1])  # five families: all have a place, and one a second
    families = [name.split("/")[0] for _, pair in odd.values() for name in pair]
    assert set(families) == {"a", "b", "c", "d", "far"}
    alone = pairs_apart(items[:2])  # one family, one pair
    assert {pair for _, pair in alone.values()} == {("far/one", "far/two"), ("far/two", "far/one")}
    three = [make_record(f"same/{i}", seed=i) for i in range(3)]
    assert len({frozenset(pair) for _, pair in pairs_apart(three).values()}) == 3


def test_the_first_pair_differs_most_over_the_spread_of_the_metric(make_record):
    items = [make_record(f"{name}/x", seed=i, better=2.0 * i) for i, name in enumerate("abcd")]
    wild = make_record("wild/x", seed=9)
    wild.rows["lpips"] = {name: 0.5 + 200 * (value - 0.1) for name, value in wild.rows["lpips"].items()}  # far, but far from itself too
    items.append(wild)
    image_id, pair = pairs_apart(items)["lpips"]
    rows = {item.record.tokenizer.name: item.rows["lpips"] for item in items}

    def largest(a, b):
        usual = math.sqrt((statistics.pvariance(rows[a].values()) + statistics.pvariance(rows[b].values())) / 2)
        name = max(rows[a], key=lambda name: abs(rows[a][name] - rows[b][name]))
        return abs(rows[a][name] - rows[b][name]) / usual, name, {a, b}

    by_hand = [largest(a, b) for a, b in combinations(rows, 2)]
    assert (image_id, set(pair)) == max(by_hand, key=lambda item: item[0])[1:]
    absolute = max(combinations(rows, 2), key=lambda two: max(abs(rows[two[0]][name] - rows[two[1]][name]) for name in rows[two[0]]))
    assert "wild/x" in absolute
    assert "wild/x" not in pair


def test_infinite_values_and_other_images_stay_out(make_record):
    lossless, usual = make_record("pixel/rgb", seed=1), make_record("c/d", seed=2)
    lossless.rows["psnr"] = dict.fromkeys(lossless.rows["psnr"], math.inf)
    chosen = choose_images([lossless.record, usual.record], [lossless.rows, usual.rows], 100)
    worst = min(usual.rows["psnr"], key=usual.rows["psnr"].get)
    assert reasons(chosen)["worst PSNR dB"] == worst
    elsewhere = replace(usual.record, data=replace(usual.record.data, pixels_digest="f" * 64))
    alone = choose_images([lossless.record, elsewhere], [lossless.rows, usual.rows], 100)
    assert alone == choose_images([lossless.record], [lossless.rows], 100)


def test_without_rows_there_is_no_choice(make_record):
    item = make_record("a/b")
    assert choose_images([item.record, item.record], [{}, {}], 5) == []
    assert choose_images([], [], 5) == []
