"""Every place of the package that writes, found in its sources: it goes through ``tokbench.files`` and ``tokbench.file_units``, or says here why it need not."""

import ast
from pathlib import Path

import pytest

import tokbench

ROOT = Path(tokbench.__file__).parent

WRITING = {
    *("write_text", "write_bytes", "savefig", "save_pretrained", "save_to_disk", "to_parquet", "to_csv", "to_feather", "tofile"),
    *("write_table", "save_file", "save", "savez", "savez_compressed", "memmap", "open_memmap", "FileLock", "OSFile", "write_image"),
    *("mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile", "extract", "extractall", "copyfile", "copy2"),
    *("copytree", "move", "rename", "renames", "link", "symlink", "symlink_to", "hardlink_to", "truncate", "ftruncate", "urlretrieve"),
}
"""Names of functions and methods that put something on a disk."""

WRITERS = ("tokbench.files", "tokbench.file_units")
IN_MEMORY = "into memory"
IN_DRAFT = "into a hidden folder of tokbench.file_units, which is moved as a whole"
ALLOWED = {
    ("arrays.py", "memmap"): "only read",
    ("bench/anchors.py", "save"): IN_MEMORY,
    ("bench/fetch.py", "rename"): IN_DRAFT,
    ("bench/networks.py", "save"): IN_MEMORY,
    ("bench/saved_images.py", "save"): IN_MEMORY,
    ("records/examples.py", "save"): IN_MEMORY,
    ("records/store.py", "write_table"): IN_DRAFT,
    ("records/store.py", "write_text"): IN_DRAFT,
    ("bench/cache.py", "save"): IN_MEMORY,
    ("bench/chunk_files.py", "save"): IN_MEMORY,
    ("bench/chunk_files.py", "write_table"): "into a file of tokbench.files",
    ("bench/memory.py", "write_text"): "to the kernel, which then counts anew",
    ("commands/pictures.py", "save"): IN_MEMORY,
    ("commands/probe.py", "save"): IN_MEMORY,
    ("data/shard_index.py", "save"): IN_MEMORY,
    ("weights/download.py", "FileLock"): "holds nothing",
    ("weights/download.py", "open"): "the part of a download that has arrived, kept under a hidden name to be gone on with",
    ("weights/download.py", "replace"): "that part, once it is whole and checked",
    ("feed/formats/codes.py", "open"): IN_DRAFT,
    ("feed/formats/latents.py", "save"): IN_MEMORY,
    ("feed/formats/latents.py", "write_bytes"): IN_DRAFT,
    ("feed/formats/latents.py", "write_text"): IN_DRAFT,
    ("feed/formats/parquet.py", "open"): IN_DRAFT,
    ("feed/formats/parquet.py", "write_table"): IN_DRAFT,
    ("feed/formats/parquet.py", "write_text"): IN_DRAFT,
    ("feed/formats/record.py", "write_text"): IN_DRAFT,
    ("feed/formats/streams.py", "open"): IN_DRAFT,
    ("feed/formats/streams.py", "write_text"): IN_DRAFT,
    ("feed/memmap.py", "write_table"): "into a file of tokbench.files",
    ("feed/shards.py", "write_table"): "into a file of tokbench.files",
    ("feed/probe/codecs.py", "save"): IN_MEMORY,
    ("feed/probe/saved.py", "save_pretrained"): IN_DRAFT,
    ("image_files.py", "TemporaryFile"): "what libtiff says, gone when it is read",
    ("lm/checkpoint.py", "TemporaryDirectory"): "the step to go on from, which a library reads from a file; gone when training ends",
    ("lm/checkpoint.py", "save"): "into a file of tokbench.files",
    ("lm/filtering.py", "save"): "into a file of tokbench.files",
    ("lm/model.py", "save_pretrained"): IN_DRAFT,
    ("lm/stages.py", "save"): "a model, through tokbench.file_units",
    ("report/page/embed.py", "save"): IN_MEMORY,
    ("report/plots/paper.py", "savefig"): IN_MEMORY,
    ("weights/checkpoints.py", "save"): IN_MEMORY,
    ("streams.py", "open"): "nothing is kept of it",
    ("weights/checkpoints.py", "rename"): "names of tensors",
    ("weights/fitting/fit.py", "rename"): "names of tensors",
    ("weights/fitting/likeliest.py", "rename"): "names of tensors",
    ("weights/fitting/sets.py", "rename"): "names of tensors",
    ("weights/places.py", "save"): IN_MEMORY,
    ("weights/saved.py", "write_text"): IN_DRAFT,
    ("train/loop.py", "save"): "into memory, or a file of tokbench.files",
}
"""File and function; and why that is no file of its own."""


def sites(path: Path) -> set[str]:
    """Names of the calls of a source that write."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in WRITERS
        for alias in node.names
    }
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if isinstance(function, ast.Name) and name in own:
            continue
        if name == "open" and _opens_to_write(node):
            found.add(name)
        elif name == "replace" and (_is_of(function, "os") or (len(node.args) == 1 and not node.keywords)):
            found.add(name)  # of os, or of a path: that of a text takes two arguments, that of dataclasses keywords
        elif name in WRITING:
            found.add(name)
    return found


def _is_of(function: ast.expr, module: str) -> bool:
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == module


def _opens_to_write(call: ast.Call) -> bool:
    if _is_of(call.func, "os"):
        return "O_WRONLY" in ast.unparse(call) or "O_RDWR" in ast.unparse(call) or "O_CREAT" in ast.unparse(call)
    arguments = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [item.value for node in arguments for item in ast.walk(node) if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return any(mode and set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)


SOURCES = sorted({path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")} - {f"{name.split('.')[1]}.py" for name in WRITERS})


def test_everything_that_is_written_is_written_through_two_modules():
    found = {(name, call) for name in SOURCES for call in sites(ROOT / name)}
    assert found - ALLOWED.keys() == set(), (
        "write it with tokbench.files or tokbench.file_units, so that it is whole or absent, or say above why not"
    )
    assert ALLOWED.keys() - found == set(), "these write no more; take them out of the list"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("path.write_text('a')", {"write_text"}),
        ("from tokbench.files import write_text\nwrite_text(path, 'a')", set()),
        ("open(path, 'w')", {"open"}),
        ("path.open('ab' if resumed else 'wb')", {"open"}),
        ("path.open(mode='x')", {"open"}),
        ("open(path, 'rb'); zip.open('wax/member'); open(path, encoding='utf-8')", set()),
        ("os.open(path, os.O_RDONLY)", set()),
        ("os.open(path, os.O_RDWR | os.O_CREAT)", {"open"}),
        ("os.replace(a, b)", {"replace"}),
        ("partial.replace(target)", {"replace"}),
        ("text.replace('a', 'b'); replace(record, name='x')", set()),
        ("Image.fromarray(a).save(path)", {"save"}),
    ],
)
def test_the_search_finds_what_writes(source, expected, tmp_path):
    (tmp_path / "source.py").write_text(source)
    assert sites(tmp_path / "source.py") == expected
