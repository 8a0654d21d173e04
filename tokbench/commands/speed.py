"""The command that measures how fast tokenizers are, and how much memory they take."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.commands import console
from tokbench.commands.console import (
    AveragesOption,
    Cut,
    DeviceOption,
    DropOption,
    PrecisionOption,
    SettingsOption,
    TileOverlapOption,
    TileSizeOption,
    WeightsOption,
    bar,
    loading,
    of_each,
    once,
    say,
    tiles,
    tokenizers_and_sets,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.values import several_pixels, whole, whole_numbers
from tokbench.errors import TokbenchError, unknown_name

if TYPE_CHECKING:
    from tokbench.records.speed_record import SpeedProtocol, SpeedRecord
    from tokbench.tokenizers.base import Tokenizer


def speed(
    tokenizer: Annotated[
        list[str],
        typer.Option(
            "--tokenizer",
            "-t",
            autocompletion=tokenizers_and_sets,
            help="Name, module:Class, or a set, @discrete-f16 or @FILE.txt; may be repeated.",
        ),
    ],
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    sizes: Annotated[str, typer.Option("--sizes", help="Sides of the images in pixels, or HxW, separated by commas.")] = "256",
    batches: Annotated[str, typer.Option("--batches", help="Images at once, separated by commas.")] = "1,8,32",
    tile_size: TileSizeOption = None,
    tile_overlap: TileOverlapOption = None,
    modes: Annotated[
        str, typer.Option("--modes", help="Some of warm and compiled, separated by commas; compiling takes long.")
    ] = "warm,compiled",
    rounds: Annotated[int, whole("--rounds", low=1, high=10_000, help="Turns of every tokenizer; six and more give intervals.")] = 10,
    warmup: Annotated[int, whole("--warmup", low=1, high=10_000, help="Calls before the first round that do not count.")] = 3,
    seed: Annotated[int, whole("--seed", low=0, high=2**63 - 1, help="Of images, noise, and the order of turns.")] = 0,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for the records.")] = Path("runs/speed"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON array.")] = False,
) -> None:
    """Measure latency, images per second and peak memory.

    Tokenizers encode and decode images of noise, at every size and batch, as they are and compiled, and take turns at it.
    """
    from tokbench.records.speed_record import LARGEST_BATCH, SpeedProtocol
    from tokbench.tokenizers.sets import expand

    tokenizer = expand(once(tokenizer), needs_weights=True)
    check_folder(out_dir, "--out")
    protocol = SpeedProtocol(
        sizes=several_pixels("--sizes", sizes),
        batches=whole_numbers("--batches", batches, LARGEST_BATCH),
        modes=_modes(modes),
        precision=precision or "fp32",  # type: ignore[arg-type]  # one of them
        rounds=rounds,
        warmup=warmup,
        seed=seed,
    )
    chosen, cut = loading(weights, setting, drop, averages), tiles(tile_size, tile_overlap)
    if len(tokenizer) > 1 and (weights is not None or drop or averages is not None):
        raise TokbenchError(
            f"--weights, --drop and --averages belong to one tokenizer, {len(tokenizer)} are given; "
            "make folders of them with tokbench convert, and give these with -t"
        )
    from tokbench.records.speed_store import write_speed_record
    from tokbench.report.render import print_tables
    from tokbench.report.speed import speed_tables

    with redirect_stdout(sys.stderr):  # plug-ins may print, and what we print may be JSON
        loaded, failed = _loaded(tokenizer, device, chosen, cut)
        records = _measured(loaded, protocol)
        for record in records:
            say(f"{record.tokenizer.name}: record {write_speed_record(record, out_dir)}")
    for record in records:
        for reason in dict.fromkeys(row.reason for row in record.rows if row.outcome == "failed"):
            say(f"tokbench: {reason}")
            failed = True
    if as_json:
        print(json.dumps([json.loads(record.to_json()) for record in records], indent=2, allow_nan=False))
    else:
        print_tables(speed_tables(records), console.out)
    if failed:
        raise typer.Exit(1)


def _measured(tokenizers: Sequence[Tokenizer], protocol: SpeedProtocol) -> list[SpeedRecord]:
    from tokbench.bench.speed import measure_speed

    with _turns() as advance:
        return measure_speed(tokenizers, protocol, progress=advance)


@contextmanager
def _turns() -> Iterator[Callable[[int, int], None]]:
    with bar() as shown:
        task = shown.add_task("turns", total=None, figures="")
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _loaded(names: Sequence[str], device: str, chosen: dict[str, Any], cut: Cut) -> tuple[list[Tokenizer], bool]:
    """Load what is to be measured; of several, those whose own code fails are named and left out, and so the second value."""
    from tokbench.bench.anchors import parse_anchor
    from tokbench.tokenizers.zoo import load

    def loaded(name: str) -> list[Tokenizer]:
        if parse_anchor(name) is not None:
            raise TokbenchError(f"{name} is a codec, whose speed tokbench run measures; tokbench speed takes tokenizers")
        model = load(name, device=device, **chosen)
        return [model if cut is None else cut(model)]

    return of_each(names, loaded)


def _modes(given: str) -> tuple[Any, ...]:
    """Some of the modes, each once.

    Raises:
        TokbenchError: If there is none, or another word.
    """
    from tokbench.records.speed_record import MODES

    words = dict.fromkeys(word.strip() for word in given.split(",") if word.strip())
    if not words:
        raise TokbenchError(f"--modes needs some of {', '.join(MODES)}, got {given!r}")
    for word in words:
        if word not in MODES:
            raise unknown_name("mode", word, MODES, hint="See: tokbench speed --help")
    return tuple(mode for mode in MODES if mode in words)
