"""The templates of the page, with the words and shapes they share."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from tokbench.escapes import visible
from tokbench.report.grid import ERROR_GAIN
from tokbench.report.page.marks import CODEC_PATHS, SHAPE_PATHS
from tokbench.report.page.model import clipped
from tokbench.report.words import counted

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@cache
def environment() -> Environment:
    """What renders the templates; every text in them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("tokbench.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible_lines,
    )
    made.filters |= {"clip": clipped, "breakable": _breakable, "counted": counted}
    made.globals |= {"shapes": SHAPE_PATHS, "codec_shapes": CODEC_PATHS, "error_gain": ERROR_GAIN}
    return made


def _visible_lines(value: Any) -> Any:
    """Text with control, direction and invisible characters written out, line by line; all else, and what is HTML, as it is."""
    return "\n".join(map(visible, value.split("\n"))) if type(value) is str else value


def macros(name: str) -> Any:
    """The macros of a template.

    Args:
        name: Its file name.
    """
    return environment().get_template(name).module


def _breakable(text: str) -> Markup:
    """Text that may go on in the next line after a slash or hyphen."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[/-])", text))
