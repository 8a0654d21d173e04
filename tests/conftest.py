"""What all tests share: the package's annotations checked at run time, few threads, the golden files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

# Before anything imports the package. The tower lets an int stand for a float, as type checkers do.
jaxtyping.install_import_hook("tokbench", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("tokbench", deadline=None, max_examples=60)
settings.load_profile("tokbench")

torch.set_num_threads(1)  # the networks are small: more threads wait for each other, the longer the busier the machine


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of golden files."""
    return Path(__file__).parent / "goldens"


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Switch the run-time check of annotations off, to reach the package's own validation of what callers pass."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
