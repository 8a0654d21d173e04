"""What the options of ``export`` about the formats of trainers mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tokbench.commands.console import say
from tokbench.commands.destinations import check_folder
from tokbench.commands.values import choice, completing
from tokbench.errors import TokbenchError, unknown_name
from tokbench.feed.formats import FORMAT_NAMES

if TYPE_CHECKING:
    from tokbench.feed.formats.options import FormatOptions

HINT = "See: tokbench export --help"

FormatsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--as",
        metavar="FORMAT[=DIR]",
        autocompletion=completing(lambda: FORMAT_NAMES),
        help=f"Also write what a trainer reads: {', '.join(FORMAT_NAMES)}. May be repeated.",
    ),
]
FromOption = Annotated[
    Path | None, typer.Option("--from", metavar="EXPORT", help="Write --as from an export that is there; encode nothing.")
]
ConditionOption = Annotated[
    Literal["auto", "caption", "label", "none"],
    choice("--condition", among=("auto", "caption", "label", "none"), help="Text before the images of sequences."),
]
LossOption = Annotated[Literal["all", "image"], choice("--loss", among=("all", "image"), help="Ids of sequences that carry loss.")]
IdTypeOption = Annotated[
    Literal["uint16", "int32", "uint32"] | None,
    choice("--id-type", among=("uint16", "int32", "uint32"), help="Of sequences [default: the smallest that holds all ids]."),
]
VocabularyOption = Annotated[Path | None, typer.Option("--vocabulary", help="Ids of sequences, a JSON file [default: bytes, then codes].")]
TextOption = Annotated[
    Path | None, typer.Option("--text-tokenizer", help="The tokenizer.json that writes the texts of sequences [default: bytes].")
]


def read_places(given: list[str] | None) -> dict[str, Path | None]:
    """Read what ``--as`` was given.

    Returns:
        Formats, each with its folder, None where there is none.

    Raises:
        TokbenchError: If a format is unknown or named twice, or cannot be written where it is asked for.
    """
    places: dict[str, Path | None] = {}
    for word in given or []:
        name, equals, place = word.partition("=")
        if name not in FORMAT_NAMES:
            raise unknown_name("--as", name, FORMAT_NAMES, hint=HINT)
        if equals and not place:
            raise TokbenchError(f"--as takes FORMAT or FORMAT=DIR, got {word!r}; name a folder, or leave = out")
        if name in places:
            raise TokbenchError(f"--as names {name} twice; name every format once")
        folder = places[name] = Path(place).expanduser() if place else None
        if folder is not None:
            check_folder(folder, f"--as {name}")
    return places


HOW = ("condition", "loss", "id_type", "vocabulary", "text_tokenizer")
"""Parameters that say how ``--as`` is written."""


def check_together(context: typer.Context, places: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing beside the others that were given.

    Args:
        context: Context of the command, which knows what was given.
        places: What ``--as`` was given.

    Raises:
        TokbenchError: If ``--from`` comes without a format or with what encodes, or options of formats without a format.
    """
    given = {item.name: item.opts[0] for item in context.command.params if _is_given(context, item.name)}
    how = [given[name] for name in HOW if name in given]
    if how and not places:
        raise TokbenchError(f"{', '.join(how)} belongs to --as, and none was given; name a format, or leave it out. {HINT}")
    if "source_dir" not in given:
        return
    if not places:
        raise TokbenchError(f"--from needs --as (one of {', '.join(FORMAT_NAMES)}), got none. {HINT}")
    wrong = [option for name, option in given.items() if name not in (*HOW, "source_dir", "formats")]
    if wrong:
        raise TokbenchError(f"--from encodes nothing and takes no {', '.join(wrong)}; leave out --from, or these")


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


def format_options(condition: Any, loss: Any, id_type: Any, vocabulary: Path | None, text_tokenizer: Path | None) -> FormatOptions:
    """Read the files that options name.

    Raises:
        TokbenchError: If one cannot be read.
    """
    from tokbench.feed.formats.options import FormatOptions
    from tokbench.feed.text_file import FileText
    from tokbench.feed.vocabulary_json import vocabulary_from_json
    from tokbench.json_files import read_regular

    if vocabulary is None:
        text = None if text_tokenizer is None else FileText.open(text_tokenizer)
        return FormatOptions(text=text, condition=condition, loss=loss, id_type=id_type)
    try:
        words = read_regular(vocabulary).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TokbenchError(f"--vocabulary {vocabulary} cannot be read ({reason}); give a vocabulary.json that tokbench wrote") from error
    numbers = vocabulary_from_json(words, text_file=text_tokenizer, origin=str(vocabulary))
    return FormatOptions(vocabulary=numbers, condition=condition, loss=loss, id_type=id_type)


def convert(folder: Path, places: Mapping[str, Path | None], options: FormatOptions) -> None:
    """Write an export that is there in formats of trainers.

    Raises:
        TokbenchError: If one of them cannot be written; all are asked before the first is.
    """
    from tokbench.feed.formats.write import check_format, check_places, write_format
    from tokbench.feed.summary import read_summary

    job = read_summary(folder).job
    checked = {name: check_format(folder, name, place, job=job, options=options) for name, place in places.items()}
    check_places(checked, None)
    say_written({name: write_format(folder, name, place, options=options) for name, place in checked.items()}, checked)


def say_written(written: Mapping[str, Path], asked: Mapping[str, Any]) -> None:
    """Say where the formats are, or who writes them."""
    for name in asked:
        say(f"{written[name]} holds them as {name}" if name in written else f"the rank that finishes last writes {name}")
