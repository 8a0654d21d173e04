"""What tests of formats share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.feed.formats.pieces import exported


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """An export of one codebook."""
    return exported(tmp_path / "tokens", 256)
