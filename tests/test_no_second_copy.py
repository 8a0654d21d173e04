"""No block, attention or quantizer is there twice: syntax trees of classes and functions are compared, whatever their names are."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import median

from tokbench.tokenizers.zoo import families

PACKAGE = Path(__file__).parents[1] / "tokbench"
ROOMS = ("nn", "quantizers", "tokenizers")
SHORTEST = 40
"""Words of a tree from which on two are compared: below, most are delegations that look alike."""
RUN = 6
"""Words in a row that are compared as one."""
ALIKE = 0.6
"""Share of common runs from which on two trees are copies of each other."""
MOST_LINES = 150


class Words(ast.NodeVisitor):
    """A tree as words, without docstrings and annotations, its own names replaced by the order in which they come."""

    def __init__(self, tree: ast.AST) -> None:
        self.own = set(_bound(tree))
        self.order: dict[str, int] = {}
        self.words: list[str] = []
        self.visit(tree)

    def word(self, name: str) -> str:
        return f"#{self.order.setdefault(name, len(self.order))}" if name in self.own else name

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.words.append("class")
        self.body(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.words += ["def", *(self.word(one.arg) for one in (*node.args.args, *node.args.kwonlyargs))]
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        self.body(node)

    def body(self, node: ast.ClassDef | ast.FunctionDef) -> None:
        for statement in node.body[ast.get_docstring(node) is not None :]:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        self.words.append(self.word(node.id))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        self.words.append(self.word(f"self.{node.attr}") if own else f".{node.attr}")

    def visit_Constant(self, node: ast.Constant) -> None:
        self.words.append(repr(node.value))

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, ast.expr_context):
            self.words.append(type(node).__name__)
        super().generic_visit(node)


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield f"self.{node.attr}"


def pieces(text: str, place: str) -> dict[str, list[str]]:
    """Words of every class and function of a module that is long enough."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and len(words := Words(node).words) >= SHORTEST:
            found[f"{type(node).__name__} {place}:{node.lineno} {node.name}"] = words
    return found


def copies(found: dict[str, list[str]]) -> list[str]:
    """Pairs of classes, or of functions, that are alike, the most alike first."""
    runs = {name: Counter(tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)) for name, words in found.items()}
    holders = defaultdict(list)
    for name, own in runs.items():
        for run in own:
            holders[run].append(name)
    common: Counter[tuple[str, str]] = Counter()
    for run, names in holders.items():
        for one, two in combinations(names, 2):
            if one.split()[0] == two.split()[0]:
                common[one, two] += min(runs[one][run], runs[two][run])
    shares = {pair: 2 * count / sum(runs[name].total() for name in pair) for pair, count in common.items()}
    return [f"{share:.2f} {one} and {two}" for (one, two), share in sorted(shares.items(), key=lambda item: -item[1]) if share >= ALIKE]


def test_no_class_and_no_function_is_there_twice() -> None:
    found: dict[str, list[str]] = {}
    for path in (path for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))):
        found |= pieces(path.read_text(), str(path.relative_to(PACKAGE)))
    assert len(found) > 300
    assert copies(found) == []


def test_a_copy_with_other_names_is_found() -> None:
    text = (PACKAGE / "nn" / "vit.py").read_text()
    renamed = text.replace("width", "size").replace("self.heads", "self.count").replace("class Attention", "class Mixer")
    assert renamed != text
    found = copies(pieces(text, "one.py") | pieces(renamed, "two.py"))
    assert any("Attention" in line and "Mixer" in line for line in found)
    assert copies(pieces(text, "one.py")) == []


def lines_of(family: str) -> int:
    """Lines of a family's folder: configuration, rows, model and names of weights; those that are empty count too."""
    return sum(len(path.read_text().splitlines()) for path in (PACKAGE / "tokenizers" / family).glob("*.py"))


def test_the_median_family_is_short() -> None:
    counts = {name: lines_of(name) for name in families() if (PACKAGE / "tokenizers" / name).is_dir()}
    assert len(counts) > 25
    assert min(counts.values()) > 10
    assert median(counts.values()) < MOST_LINES, sorted(counts.items(), key=lambda item: item[1])
