"""The house as docs/architecture.md draws it: its floors, its tree, and no circles."""

from __future__ import annotations

import ast
import builtins
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tokbench"
GROUND = "the ground"


def block(title: str) -> list[str]:
    """Lines of the first block of code under a heading of the page."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    return text.split(f"## {title}\n", 1)[1].split("```text\n", 1)[1].split("```", 1)[0].splitlines()


def floors() -> dict[str, int]:
    """Room to the number of its floor, counted from the ground."""
    lines = [line for line in block("The floors") if line.strip()]
    return {room.strip(): number for number, line in enumerate(reversed(lines)) for room in line.partition("  ")[0].split(",")}


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(PACKAGE.rglob("*.py"))}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


@cache
def imports(*, lazy: bool) -> dict[str, set[str]]:
    """What each module imports of the package, leaving out what only types need.

    Args:
        lazy: Whether imports inside of functions count.
    """
    return {name: set(_imported(ast.parse(path.read_text()), lazy)) for name, path in modules().items()}


def _imported(tree: ast.AST, lazy: bool) -> list[str]:
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tokbench":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append(inner if inner in modules() else node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "tokbench"]
        else:
            found += _imported(node, lazy)
    return found


def room(module: str) -> str:
    """The room of a module; files beside the rooms are the ground, unless the page names them."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else parts[0]
    return name if name in floors() else GROUND


def test_every_room_is_on_a_floor() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms <= set(floors()), rooms - set(floors())
    assert GROUND in floors()
    assert all((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() for name in floors() if name != GROUND)


def test_modules_import_only_from_floors_below() -> None:
    level = floors()
    wrong = [
        f"{module} imports {target}"
        for module, targets in imports(lazy=True).items()
        if module not in ("tokbench", "tokbench.__main__")
        for target in targets
        if room(module) != room(target) and level[room(target)] >= level[room(module)] and target != "tokbench"
    ]
    assert not wrong, wrong


def test_nothing_imports_in_a_circle() -> None:
    graph = imports(lazy=True)
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module in done or module == "tokbench":
            return
        for target in sorted(graph.get(module, ())):
            walk(target, (*path, module))
        done.add(module)

    for module in graph:
        walk(module, ())


def test_a_circle_and_a_step_up_would_be_seen() -> None:
    tree = ast.parse("import tokbench.cli\nif TYPE_CHECKING:\n    from tokbench import files\ndef f():\n    from tokbench import errors")
    assert _imported(tree, lazy=True) == ["tokbench.cli", "tokbench.errors"]
    assert _imported(tree, lazy=False) == ["tokbench.cli"]
    assert floors()["commands"] > floors()["report"] > floors()["bench"] > floors()["weights"] > floors()[GROUND]


def test_the_tree_of_the_page_is_the_tree_on_disk() -> None:
    drawn = {}
    path: list[str] = []
    for line in block("The tree"):
        if match := re.match(r"( *)([\w.]+)(/?)", line):
            depth = len(match[1]) // 2
            path = [*path[:depth], match[2]]
            drawn["/".join(path)] = bool(match[3])
    inside = [item for item in PACKAGE.rglob("*") if item.is_dir() and any(item.glob("*.py"))]
    folders = {str((item.with_name("FAMILY") if (item / "variants.py").is_file() else item).relative_to(ROOT)) for item in inside}
    ground = {str(item.relative_to(ROOT)) for item in PACKAGE.glob("*.py")} - {"tokbench/__init__.py", "tokbench/__main__.py"}
    assert {name for name, folder in drawn.items() if folder} == {"tokbench"} | folders
    assert {name for name, folder in drawn.items() if not folder} == ground


def unbound(tree: ast.AST) -> set[str]:
    """Names in annotations that a source neither makes nor imports; no type checker sees these, as shapes of arrays look alike."""
    nodes, bound = list(ast.walk(tree)), set(dir(builtins))
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    annotations = [one for node in nodes for one in (getattr(node, "annotation", None), getattr(node, "returns", None)) if one is not None]
    return {node.id for one in annotations for node in ast.walk(one) if isinstance(node, ast.Name)} - bound


def test_names_in_annotations_are_imported() -> None:
    found = {path.relative_to(ROOT).as_posix(): names for path in PACKAGE.rglob("*.py") if (names := unbound(ast.parse(path.read_text())))}
    assert not found


def test_a_name_that_is_nowhere_would_be_seen() -> None:
    source = "from a import A\nB = int\nx: B = 1\ndef f(a: A, b: Float[Tensor, 'n d']) -> dict[str, C]: ..."
    assert unbound(ast.parse(source)) == {"Float", "Tensor", "C"}
