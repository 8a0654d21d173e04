"""Parts of libraries are imported without the whole, and whoever asks for the rest still finds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LIBRARY = {
    "__init__.py": "__version__ = '1'\nfrom library.parts import small, large\nopened = True\n",
    "parts/__init__.py": "from library.parts import small, large\nopened = True\n",
    "parts/small.py": "from library import __version__\nfrom library.heavy import draw, Axis\nclass Small: ...\n",
    "parts/large.py": "value = 2\n",
    "heavy.py": "Axis = int\nheight = 3\ndef draw(value): return value + 1\n",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name, text in LIBRARY.items():
        path = tmp_path / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(code: str, *places: Path) -> list[str]:
    paths = [str(place) for place in (*places, ROOT)]
    code = f"import sys; sys.path[:0] = {paths!r}\nfrom tokbench.put_off import import_part, put_off\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()


PART = """
with put_off("library.heavy", "draw", Axis=object):
    import_part("library.parts.small", {"library": {"__version__": "1"}, "library.parts": {}})
from library.parts.small import Small, draw
"""


def test_a_part_is_imported_alone_and_the_rest_is_there_when_asked_for(library: Path) -> None:
    found = run(
        f"""{PART}
print(sorted(name for name in sys.modules if name.startswith("library")))
import library
print(library.opened, library.parts.opened, library.parts.large.value, library.parts.small.Small is Small)
print(draw(1), sys.modules["library.heavy"].height)
""",
        library,
    )
    assert found == ["['library', 'library.parts', 'library.parts.small']", "True True 2 True", "2 3"]


def test_what_is_put_off_is_imported_for_any_other_name(library: Path) -> None:
    found = run(
        """
with put_off("library.heavy", "draw"):
    from library.heavy import draw
    print("library" in sys.modules)
    from library.heavy import height
print(height, draw(4))
import library.heavy
print(library.heavy.draw is not draw, hasattr(library.heavy, "no such name"))
with put_off("library.heavy", "draw"):
    from library.heavy import draw
print(draw is library.heavy.draw)
""",
        library,
    )
    assert found == ["False", "3 5", "True False", "True"]


@pytest.mark.parametrize("needs", ["from library import opened", "import library\nlibrary.parts.missing"])
def test_a_library_that_cannot_be_left_is_imported_whole(library: Path, needs: str) -> None:
    (library / "library" / "__init__.py").write_text("opened = True\n__version__ = '1'\n")
    (library / "library" / "parts" / "__init__.py").write_text(
        "import library\nmissing = 1\nlibrary.parts = sys = __import__('sys').modules[__name__]\n"
    )
    small = library / "library" / "parts" / "small.py"
    small.write_text(f"{needs}\n{LIBRARY['parts/small.py']}")
    assert run(f"{PART}\nimport library\nprint(library.opened, Small.__name__)", library) == ["True Small"]


def test_a_missing_library_is_missing(tmp_path: Path) -> None:
    code = """
try:
    import_part("library.parts.small", {"library": {}, "library.parts": {}})
except ImportError as error:
    print(error.name, [name for name in sys.modules if name.startswith("library")])
"""
    assert run(code, tmp_path) == ["library []"]


def test_the_judge_is_the_network_that_timm_makes_and_all_of_timm_is_there(tmp_path: Path) -> None:
    found = run(
        """
import torch
from tokbench.bench.networks import _efflite0_layers
torch.manual_seed(0)
own = _efflite0_layers().eval()
print({"torch._dynamo", "timm.models.beit", "matplotlib"} & set(sys.modules))
import timm
torch.manual_seed(0)
theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
images = torch.randn(2, 3, 64, 64)
with torch.no_grad():
    print(type(own) is type(theirs), torch.equal(own(images), theirs(images)), len(timm.list_models()))
import torch._dynamo.utils, torchvision
print(torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), [torch.tensor([[0.0, 0, 2, 2]])], 1).shape)
""",
        tmp_path,
    )
    whole = run("import timm; print(len(timm.list_models()))", tmp_path)
    assert found == ["set()", f"True True {whole[0]}", "torch.Size([1, 1, 1, 1])"]
