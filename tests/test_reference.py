"""The pages of docs/api name what is there, and all that is public."""

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[1] / "docs" / "api"


def described() -> list[str]:
    """Dotted names that the pages ask the docstrings of."""
    return [name for page in sorted(PAGES.glob("*.md")) for name in re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE)]


def found(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", described())
def test_what_the_reference_names_is_there_and_described(name: str) -> None:
    assert found(name).__doc__


def test_the_reference_names_everything_once() -> None:
    assert len(described()) == len(set(described()))


@pytest.mark.parametrize("package", ["tokbench", "tokbench.tokenizers", "tokbench.feed", "tokbench.feed.probe"])
def test_every_public_name_is_in_the_reference(package: str) -> None:
    module = import_module(package)
    objects = {id(found(name)) for name in described()}
    assert not [name for name in module.__all__ if id(getattr(module, name)) not in objects]
