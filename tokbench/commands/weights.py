"""Commands about weights: what is here, what is fetched from where, files of others turned into this package's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.commands import console
from tokbench.commands.console import (
    AveragesOption,
    DropOption,
    SettingsOption,
    WeightsOption,
    bar,
    loading,
    say,
    tokenizer_names,
    tokenizers_and_sets,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.values import choice
from tokbench.commands.zoo_table import size_in_words
from tokbench.errors import TokbenchError
from tokbench.report.words import counted

if TYPE_CHECKING:
    from tokbench.tokenizers.fetching import Plan

weights_app = typer.Typer(help="Fetch, find and list weights and network files.")


@weights_app.command("get")
def weights_get(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            autocompletion=tokenizers_and_sets,
            help="Tokenizers, sets of them (@discrete-f16, @FILE.txt), network files of: tokbench weights list, timm/NETWORK, URLs or hf: places.",
        ),
    ],
    renew: Annotated[
        bool, typer.Option("--renew", help="Fetch it again, and take what is there now for the file of its first use.")
    ] = False,
) -> None:
    """Fetch weights once into the cache, and print where they lie. What one command could not fetch, the next goes on with."""
    from tokbench.tokenizers.fetching import plan
    from tokbench.tokenizers.sets import is_set

    if len(names) == 1 and not is_set(names[0]):
        print(_fetched(names[0], renew))
        return
    asked = plan(names, renew=renew)
    say(_announced(asked))
    failed: list[str] = []
    for name in asked.names:
        try:
            print(_fetched(name, renew), flush=True)
        except TokbenchError as error:
            say(f"tokbench: {name}: {error}")
            failed.append(name)
    if failed:
        say(f"tokbench: {len(failed)} of {len(asked.names)} could not be fetched: {', '.join(failed)}; the same command goes on with them")
        raise typer.Exit(1)


def _announced(asked: Plan) -> str:
    """How much is to come, in a line."""
    size = size_in_words(asked.bytes) if asked.bytes else ""
    parts = [f"{counted(len(asked.coming), 'file')} to fetch" + (f", {size} by the shapes of their tensors" if size else "")]
    parts += [f"{asked.unknown} of unknown size"] * bool(asked.unknown)
    parts += [f"{len(asked.names) - len(asked.coming)} here or in these"] * (len(asked.names) > len(asked.coming))
    parts += [f"{asked.needless} with nothing to fetch"] * bool(asked.needless)
    return "; ".join(parts) + ("; files that hold more are larger" if size else "")


def _fetched(name: str, renew: bool) -> Path:
    """Bring one file here, with a bar as it comes."""
    from tokbench.tokenizers.fetching import check_name
    from tokbench.tokenizers.sets import is_place
    from tokbench.weights.assets import is_asset

    with bar() as shown:
        task = shown.add_task(name, total=None, figures="")

        def report(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total or None)

        if is_asset(name):
            from tokbench.bench.fetch import fetch_asset

            return fetch_asset(name, renew=renew, progress=report)
        if is_place(name):
            from tokbench.weights.places import locate

            return locate(name, renew=renew, progress=report)
        from tokbench.tokenizers.zoo import resolve
        from tokbench.weights.obtain import fetch_weights

        check_name(name)
        return fetch_weights(*resolve(name), renew=renew, progress=report)


@weights_app.command("forget")
def weights_forget(name: Annotated[str, typer.Argument(help="A tokenizer, or a URL or hf: place.")]) -> None:
    """Forget the digest noted at first use: the file that is here is taken at its next use."""
    from tokbench.tokenizers.fetching import check_name
    from tokbench.tokenizers.sets import is_place
    from tokbench.tokenizers.zoo import resolve
    from tokbench.weights.assets import TIMM, is_asset
    from tokbench.weights.obtain import forget_weights
    from tokbench.weights.places import forget_pin

    if is_asset(name) and not name.startswith(TIMM):
        raise _one_digest(name)
    if is_place(name):
        known = forget_pin(name)
    elif name.startswith(TIMM):
        from tokbench.weights.judges import timm_place

        known = forget_pin(str(timm_place(name)))
    else:
        check_name(name)
        variant = resolve(name)[1]
        if variant.sha256 is not None:
            raise _one_digest(name)
        known = forget_weights(variant)
    if not known:
        raise TokbenchError(f"no digest of {name} is noted, so its next file is taken whatever it is")
    say(f"forgot the digest of {name}; that of its next file is noted")


def _one_digest(name: str) -> TokbenchError:
    return TokbenchError(f"{name} has one digest, which is part of tokbench; to fetch it again: tokbench weights get {name} --renew")


@weights_app.command("path")
def weights_path(name: Annotated[str, typer.Argument(help="A tokenizer, or a network file of: tokbench weights list.")]) -> None:
    """Print where weights lie, or would lie; exit status 1 if they are not there."""
    from tokbench.tokenizers.fetching import check_name
    from tokbench.tokenizers.zoo import resolve
    from tokbench.weights import obtain
    from tokbench.weights.assets import asset_path, is_asset

    if is_asset(name):
        path: Path | None = asset_path(name)
    else:
        check_name(name)
        family, variant = resolve(name)
        path = obtain.weights_path(variant) or obtain.cache_path(family, variant)
    if path is None:
        raise TokbenchError(f"{name} has no weights of its own, and no file of it is known; see: tokbench show {name}")
    print(path)
    raise typer.Exit(0 if path.is_file() else 1)


@weights_app.command("list")
def weights_list() -> None:
    """List weights that are fetched, and whether they are here."""
    from tokbench.tokenizers.zoo import families
    from tokbench.weights.assets import ASSETS, asset_path
    from tokbench.weights.obtain import weights_state

    rows = [
        (
            asset.name,
            "embedded" if asset.embedded else "here" if asset_path(asset.name).is_file() else "to fetch",
            f"{asset.summary} ({asset.licence})",
        )
        for asset in ASSETS
    ]
    for family in families().values():
        for variant in family.variants:
            if variant.file is not None:
                rows.append((f"{family.name}/{variant.name}", weights_state(family, variant), f"{variant.source} ({variant.licence})"))
    width = max(len(name) for name, _, _ in rows) + 2
    for name, state, summary in rows:
        console.out.print(f"{name:<{width}}{state:<10}{summary}", highlight=False, markup=False, soft_wrap=True)


def convert(
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", "-t", autocompletion=tokenizer_names, help="Name, or a folder or file saved by tokbench.")
    ],
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    dtype: Annotated[str, choice("--dtype", among=("keep", "float32", "float16", "bfloat16"), help="Kind of numbers.")] = "keep",
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder to write: config.json and model.safetensors.")] = ...,  # type: ignore[assignment]  # required
) -> None:
    """Write weights as a folder that loads by its path."""
    check_folder(out_dir, "--out")
    import torch

    from tokbench.tokenizers.zoo import load, save_tokenizer

    model = load(tokenizer, **loading(weights, setting, drop, averages))
    folder = save_tokenizer(model, out_dir, dtype=None if dtype == "keep" else getattr(torch, dtype))
    say(f"wrote {folder}: {model.name}, {sum(value.numel() for value in model.state_dict().values()):,} values; {model.weights_how}")
    say(f"load it: tokbench run --tokenizer {folder if folder.is_absolute() or folder.parts[0] == '..' else f'./{folder}'}")


def published(
    name: Annotated[str | None, typer.Argument(help="A tokenizer; without one, all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List figures that others published, with their sources."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from tokbench.configs import plain
    from tokbench.tokenizers.published import FIGURES, published_figures
    from tokbench.tokenizers.zoo import resolve

    figures = FIGURES if name is None else published_figures(resolve(name)[1].published)
    if as_json:
        print(json.dumps([plain(figure) for figure in figures], indent=2))
        return
    if not figures:
        raise TokbenchError(f"no published figures of {name} are known here; tokbench published lists all that are")
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("tokenizer", "metric", "value", "protocol", "source", "read"):
        table.add_column(title, justify="right" if title == "value" else "left", no_wrap=title in ("tokenizer", "metric", "value"))
    for figure in figures:
        table.add_row(
            figure.tokenizer,
            figure.metric,
            f"{figure.value:g}",
            figure.protocol,
            figure.source,
            "in source" if figure.verified else "second hand",
        )
    console.out.print(table)
