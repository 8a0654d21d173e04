"""What the documents say is what the code does."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "results/README.md", *PAGES]


def load_tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = load_tables()


@pytest.mark.parametrize(("document", "name"), TABLES.TABLES)
def test_tables_are_made_of_committed_records_and_rows(document, name):
    text = (ROOT / document).read_text()
    assert text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1
    table = TABLES.TABLES[document, name]()
    assert table.strip() in text, f"{document}: run make tables"
    assert TABLES.with_table(text, name, table) == text
    assert TABLES.with_table(text, name, "another") != text


def test_every_variant_that_works_out_of_the_box_has_a_committed_record_of_its_weights():
    from tokbench.records.store import find_records
    from tokbench.tokenizers.zoo import families
    from tokbench.weights.checkpoints import sha256
    from tokbench.weights.obtain import weights_path

    measured = {
        "photos-64": ("photos-64", 736),
        "scenes-64": ("photos-64+data=scenes/test+samples=500", 500),  # what was trained on scenes alone
    }
    records = {folder: {record.tokenizer.name: record for _, record in find_records([ROOT / "results" / folder])} for folder in measured}
    for family in families().values():
        for variant in family.variants:
            if variant.needs_weights and variant.weights is None:
                continue
            folder = "scenes-64" if variant.name == "scenes" else "photos-64"
            record = records[folder][f"{family.name}/{variant.name}"]
            path = weights_path(variant)
            assert record.tokenizer.weights_sha256 == (sha256(path) if path else None), f"{variant.name}: measure again"
            assert (record.protocol_label, record.data.count) == measured[folder]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_the_documents_exist_with_their_options(name):
    from tokbench.cli import root_command

    root = root_command()
    parts = (ROOT / name).read_text().split("```")  # every second part is a block of code
    lines = re.findall(r"^tokbench ([a-z].*?)(?:\s+#.*)?$", "\n".join(parts[1::2]), flags=re.MULTILINE)
    assert lines or name in PAGES
    for line in lines:
        words = line.split()
        command = root.commands[words[0]]
        if hasattr(command, "commands"):
            command = command.commands[words[1]]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words[1:]:
            if word.startswith("-"):
                assert word in options, f"{name}: tokbench {line}: {word}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_pictures_are_there(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{name}: {target}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 130


def test_every_page_is_reached_from_the_readme():
    text = (ROOT / "README.md").read_text()
    assert not [name for name in PAGES if f"]({name})" not in text]


def test_weights_are_small_and_say_where_they_come_from():
    import json

    from safetensors import safe_open

    from tokbench.train.recipes import get_recipe

    for path in (ROOT / "tokbench" / "weights" / "embedded").glob("*.safetensors"):
        assert path.stat().st_size < (16_000_000 if path.name.startswith("flowmo") else 6_000_000), path.name
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["tokbench"])
        assert get_recipe(about["recipe"]["name"]).tokenizer == about["tokenizer"]
