"""Commands about the cache of features: what is in it, and what goes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.commands import console
from tokbench.commands.console import say
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.escapes import visible

if TYPE_CHECKING:
    from tokbench.bench.cache_size import Segment

cache_app = typer.Typer(help="Show and prune the features of reference images that runs keep.")


@cache_app.command("show")
def cache_show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say which networks' features are kept, how much room they take, and when they were last used."""
    from tokbench.bench.cache_size import features_dir, in_words, limit, segments

    folder, most = features_dir(), limit()
    found = sorted(segments(folder), key=_network)
    taken = sum(segment.size for segment in found)
    networks = [
        (name, len(group), sum(segment.size for segment in group), max(segment.used for segment in group))
        for name, group in ((name, list(group)) for name, group in groupby(found, key=_network))
    ]
    if as_json:
        rows = [{"network": name, "segments": count, "bytes": size, "used": _time(used)} for name, count, size, used in networks]
        print(json.dumps({"folder": str(folder), "limit_bytes": most, "bytes": taken, "networks": rows}, indent=2))
        return
    width = max((len(name) for name, *_ in networks), default=0) + 2
    for name, count, size, used in networks:
        _print(f"{name:<{width}}{in_words(size):>10}  {count:>6} {'segment ' if count == 1 else 'segments'}  last used {_time(used)[:10]}")
    _print(f"{in_words(taken)} of {in_words(most)} in {folder}")


def _network(segment: Segment) -> str:
    return segment.path.parent.name


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _print(line: str) -> None:
    console.out.print(visible(line), highlight=False, markup=False, soft_wrap=True)


@cache_app.command("prune")
def cache_prune(
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="SIZE", help="What may stay, as 500MB or 0 [default: TOKBENCH_CACHE_GB, or 4 GB].")
    ] = None,
) -> None:
    """Remove features, those not used for longest first, until they take no more than a size."""
    from tokbench.bench.cache_size import features_dir, in_words, limit, prune

    most = limit() if keep is None else _size(keep)
    pruned = prune(features_dir(), most)
    say(f"removed {counted(pruned.segments, 'segment')}, {in_words(pruned.size)}; {in_words(pruned.left)} stay")
    if pruned.left > most:
        raise TokbenchError(f"{in_words(pruned.left)} in {features_dir()} cannot be removed; see who owns the files there")


def _size(text: str) -> int:
    from tokbench.bench.cache_size import bytes_of

    try:
        return bytes_of(text)
    except TokbenchError as error:
        raise TokbenchError(f"--keep: {error}") from error
