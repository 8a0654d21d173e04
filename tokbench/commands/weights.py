"""Commands about weights: what is here, what is fetched from where, files of others turned into this package's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

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
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.values import choice
from tokbench.errors import TokbenchError, unknown_name

weights_app = typer.Typer(help="Fetch, find and list weights and network files.")


@weights_app.command("get")
def weights_get(
    name: Annotated[str, typer.Argument(help="A tokenizer, a network file of: tokbench weights list, or a URL or hf: place.")],
    renew: Annotated[
        bool, typer.Option("--renew", help="Fetch it again, and take what is there now for the file of its first use.")
    ] = False,
) -> None:
    """Fetch weights once into the cache, and print where they lie."""
    from tokbench.weights.assets import ASSETS

    with bar() as shown:
        task = shown.add_task(name, total=None, figures="")

        def report(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total or None)

        if name in [asset.name for asset in ASSETS]:
            from tokbench.bench.fetch import fetch_asset

            path = fetch_asset(name, renew=renew, progress=report)
        elif _is_place(name):
            from tokbench.weights.places import locate

            path = locate(name, renew=renew, progress=report)
        else:
            from tokbench.tokenizers.zoo import resolve
            from tokbench.weights.obtain import fetch_weights

            _check(name)
            path = fetch_weights(*resolve(name), renew=renew, progress=report)
    print(path)


@weights_app.command("forget")
def weights_forget(name: Annotated[str, typer.Argument(help="A tokenizer, or a URL or hf: place.")]) -> None:
    """Forget the digest noted at first use: the file that is here is taken at its next use."""
    from tokbench.tokenizers.zoo import resolve
    from tokbench.weights.assets import ASSETS
    from tokbench.weights.obtain import forget_weights
    from tokbench.weights.places import forget_pin

    if name in [asset.name for asset in ASSETS]:
        raise _one_digest(name)
    if _is_place(name):
        known = forget_pin(name)
    else:
        _check(name)
        variant = resolve(name)[1]
        if variant.sha256 is not None:
            raise _one_digest(name)
        known = forget_weights(variant)
    if not known:
        raise TokbenchError(f"no digest of {name} is noted, so its next file is taken whatever it is")
    say(f"forgot the digest of {name}; that of its next file is noted")


def _one_digest(name: str) -> TokbenchError:
    return TokbenchError(f"{name} has one digest, which is part of tokbench; to fetch it again: tokbench weights get {name} --renew")


def _is_place(name: str) -> bool:
    return name.startswith("hf:") or name.lower().startswith(("http://", "https://"))


@weights_app.command("path")
def weights_path(name: Annotated[str, typer.Argument(help="A tokenizer, or a network file of: tokbench weights list.")]) -> None:
    """Print where weights lie, or would lie; exit status 1 if they are not there."""
    from tokbench.tokenizers.zoo import resolve
    from tokbench.weights import obtain
    from tokbench.weights.assets import ASSETS, asset_path

    if name in [asset.name for asset in ASSETS]:
        path: Path | None = asset_path(name)
    else:
        _check(name)
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
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write: config.json and model.safetensors.")] = ...,  # type: ignore[assignment]  # required
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


def _check(name: str) -> None:
    """Misspelt names are told those of tokenizers and network files alike."""
    from tokbench.tokenizers.zoo import families, names
    from tokbench.weights.assets import ASSETS

    known = [*(asset.name for asset in ASSETS), *names(), *families()]
    if name not in known:
        raise unknown_name("weights", name, known, hint="See: tokbench weights list")
