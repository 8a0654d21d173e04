"""The page on security says what the attacks are: their numbers, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_the_page_counts_the_cases(counts: dict[str, int]) -> None:
    rows = re.findall(r"^\| (\w+) \| (\d+) \| .* \| `(.*?)` \|$", PAGE, flags=re.MULTILINE)
    assert {name: int(number) for name, number, _ in rows} == counts
    for name, _, file in rows:
        assert f'"{name}"' in (ROOT / file).read_text(encoding="utf-8")


def test_the_page_states_the_bounds_of_the_code() -> None:
    from tokbench import images, json_files
    from tokbench.weights import web

    assert f"{images.MAX_PIXELS:,} pixels" in PAGE
    assert f"at most {json_files.MOST_BYTES >> 20} MiB" in PAGE
    assert f"{json_files.DEEPEST} levels and whole numbers of {json_files.MOST_DIGITS} digits" in PAGE
    slow = f"silent for {web.TIMEOUT:.0f} seconds, or sends less than {web.SLOWEST:,} bytes a second over {web.WINDOW:.0f} seconds"
    assert slow in " ".join(PAGE.split())


def test_others_find_the_page() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        assert "docs/security.md" in (ROOT / name).read_text(encoding="utf-8")
