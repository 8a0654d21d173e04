"""What commands share: where they print, progress bars, and the options that several of them take."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tokbench.commands.values import choice, completing, whole
from tokbench.errors import TokbenchError
from tokbench.escapes import visible

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer

Loaded = TypeVar("Loaded")


def _tokenizers() -> list[str]:
    from tokbench.tokenizers.zoo import names

    return names()


tokenizer_names = completing(_tokenizers)
"""What shells offer for the name of a tokenizer."""


def _tokenizers_and_sets() -> list[str]:
    from tokbench.tokenizers.sets import SIGN, counts

    return [*_tokenizers(), *(f"{SIGN}{word}" for word in sorted(counts()))]


tokenizers_and_sets = completing(_tokenizers_and_sets)
"""What shells offer where a set of tokenizers is taken too."""


class Screen(Console):
    """A console that leaves it to ``main`` what becomes of the process when nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        """Raise, where the parent class would end the process."""
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output any more")


out, err = Screen(), Screen(stderr=True)


def told_apart(context: typer.Context, parameter: typer.CallbackParam, given: Any) -> Any:
    """Say, of a name that is that of images of the package, that something here has it too; a callback of options and arguments."""
    from tokbench.ranks import ranks_from_environment

    source = context.get_parameter_source(parameter.name or "")
    chosen = source is not None and source.name == "COMMANDLINE" and not context.resilient_parsing
    words = [given] if isinstance(given, str) else given or []
    for word in words if chosen else []:
        place = word.removeprefix("raw:")
        if os.path.lexists(place) and _comes_with_the_package(place) and ranks_from_environment().rank == 0:
            say(f"{place} is taken as the images of that name that come with tokbench; what is called so in this folder is ./{place}")
    return given


def _comes_with_the_package(place: str) -> bool:
    """Whether this names images of the package, or one of them."""
    from tokbench.data.open import comes_with_the_package

    return comes_with_the_package(place) or place.startswith(("photos/test/", "photos/train/"))


DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        callback=told_apart,
        help="photos, text, scenes, faces, kodak:PLACE, a folder, a zip, tar shards, a parquet file, or hf:NAME.",
    ),
]
DataSetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        callback=told_apart,
        help="photos, text, scenes, faces, kodak:PLACE, a folder, a zip, tar shards, a parquet file, or hf:NAME; may be repeated [default: photos].",
    ),
]
SettingsOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the tokenizer's configuration.")]
WeightsOption = Annotated[
    str | None, typer.Option(help="Weights to use instead of the variant's own: a file or folder, hf:OWNER/REPO/FILE, or a URL.")
]
DropOption = Annotated[
    list[str] | None,
    typer.Option("--drop", metavar="PREFIX", help="Leave out tensors of the weights whose names begin so; may be repeated."),
]
AveragesOption = Annotated[
    str | None,
    choice("--averages", among=("yes", "no"), help="Take averaged (EMA) or raw weights [default: averages, where there are all]."),
]
LabelsOption = Annotated[
    Literal["source", "folder", "none"],
    choice("--labels", among=("source", "folder", "none"), help="Of the source, the folder an image lies in, or none."),
]
CaptionsOption = Annotated[
    list[str] | None,
    typer.Option("--captions", metavar="TEMPLATE", help='Captions for classes, as "a photo of {class}"; may be repeated.'),
]
PrecisionOption = Annotated[str | None, choice("--precision", among=("fp32", "bf16"), help="Of the networks [default: fp32].")]
RunPrecisionOption = Annotated[str | None, choice("--precision", among=("fp32", "bf16", "fp16"), help="Of the tokenizer [default: fp32].")]
WorkersOption = Annotated[int | None, whole("--workers", low=1, help="Threads that read [default: as many as there are cores].")]
ReferenceOption = Annotated[
    str | None,
    typer.Option(
        "--reference",
        callback=told_apart,
        help="Compare with these too: statistics of others (.npz with mu and sigma), a folder, or images (.npz); raw:PLACE cuts none.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0, mps.")]

TileSizeOption = Annotated[
    int | None, whole("--tile-size", low=1, help="Work through images in overlapping tiles with sides of so many pixels.")
]
TileOverlapOption = Annotated[
    int | None, whole("--tile-overlap", low=0, help="Pixels that tiles overlap by at least [default: a quarter of a tile].")
]

Cut = Callable[["Tokenizer"], "Tokenizer"] | None
"""What lets a tokenizer work in tiles; None where none were asked for."""


def say(text: str) -> None:
    """Print a line to stderr, or nothing where that is full or gone: no work is lost for a remark.

    What a terminal would obey in it is written out.
    """
    with suppress(OSError):
        err.print(visible(text), markup=False, highlight=False, soft_wrap=True)


def unsaid(text: str) -> None:
    """Print nothing, where another process says it."""


def own_place(device: str) -> str:
    """Name the device of this process among several, and make it the current one: code of others that says ``cuda`` means that.

    Args:
        device: What was asked for.

    Raises:
        TokbenchError: If several processes were to share one accelerator, or there is none of that number.
    """
    from tokbench.ranks import own_device

    named = own_device(device)
    if named != device:
        import torch

        from tokbench.tokenizers.zoo import usable_device

        torch.cuda.set_device(usable_device(named))
    return named


def settings(pairs: list[str] | None) -> dict[str, object]:
    """Read what ``--set`` was given; of a key that is there twice the last value counts, as of other options.

    Raises:
        TokbenchError: If one is not KEY=VALUE.
    """
    values: dict[str, object] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise TokbenchError(f"--set takes KEY=VALUE, got {pair!r}; tokbench show NAME lists the keys")
        values[key.strip()] = value.strip()
    return values


def loading(weights: str | None, setting: list[str] | None, drop: list[str] | None, averages: str | None) -> dict[str, Any]:
    """Turn the options about weights and configuration into arguments of ``tokbench.load``.

    Raises:
        TokbenchError: If a setting is not KEY=VALUE, or there is nothing where weights are to be named.
    """
    if weights is not None and not weights.strip():
        raise TokbenchError(f"--weights takes a file or folder, hf:OWNER/REPO/FILE, or a URL; got {weights!r}")
    taken = None if averages is None else averages == "yes"
    return {"weights": weights, "drop": tuple(drop or ()), "averages": taken, "config": settings(setting)}


def of_each(
    names: Sequence[str], load: Callable[[str], Iterable[Loaded]], *, anywhere: Callable[[bool], bool] = bool
) -> tuple[list[Loaded], bool]:
    """Load tokenizers; of several, those whose own code fails are named and left out.

    Args:
        names: Names of the tokenizers.
        load: Gives what there is to be worked on of one.
        anywhere: Tells whether one failed in any of the processes that share the work, from whether it failed here.

    Returns:
        What was loaded, and whether one was left out.

    Raises:
        Misbehaved: If none is left.
    """
    from tokbench.conduct import Misbehaved

    found, failures = list[Loaded](), list[Misbehaved]()
    for name in names:
        problem, loaded = None, list[Loaded]()
        try:
            loaded = list(load(name))
        except Misbehaved as error:
            problem = error
        except TokbenchError:
            anywhere(True)
            raise
        if not anywhere(problem is not None):
            found += loaded
        else:
            failures.append(problem or Misbehaved(f"{name} could not be loaded by another process of this run; what it said tells why"))
    for failure in failures[: None if found else -1]:
        say(f"tokbench: {failure}")
    if not found:
        raise failures[-1]
    return found, bool(failures)


def once(names: Sequence[str]) -> list[str]:
    """Take each tokenizer once, and say which was named again: the same work twice would give the same figures.

    Args:
        names: What ``-t`` was given.
    """
    from tokbench.ranks import ranks_from_environment
    from tokbench.tokenizers.sets import each_once

    found, left = each_once(names), list(names)
    for name in found:
        left.remove(name)
    if left and ranks_from_environment().rank == 0:
        say(f"--tokenizer names {', '.join(dict.fromkeys(left))} again, which counts once")
    return found


def tiles(size: int | None, overlap: int | None) -> Cut:
    """Turn the options about tiles into what they do to a tokenizer.

    Raises:
        TokbenchError: If there is an overlap without tiles.
    """
    if size is None and overlap is not None:
        raise TokbenchError(f"--tile-overlap {overlap} is of tiles, and there are none; give --tile-size too, or leave it out")
    return None if size is None else lambda tokenizer: tokenizer.tiled(size, overlap=overlap)


def bar() -> Progress:
    """A progress bar on stderr, silent where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


class progress:  # reads as a statement: with progress(...) as advance
    """A progress bar over images, with the rate."""

    def __init__(self, name: str, total: int) -> None:
        self.bar = bar()
        self.task = self.bar.add_task(name, total=total, figures="")

    def __enter__(self) -> Any:
        self.bar.start()
        return self._advance

    def _advance(self, done: int, total: int) -> None:
        speed = self.bar.tasks[self.task].speed
        self.bar.update(self.task, completed=done, total=total, figures=f"{speed:.1f} images/s" if speed else "")

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()
