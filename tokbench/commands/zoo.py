"""The commands that say what there is: list and show."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.commands.console import (
    out,
    tokenizer_names,
)

if TYPE_CHECKING:
    from tokbench.tokenizers.family import Family, Variant

WIDE = 140
"""Columns of a terminal that also shows bits per pixel and what each tokenizer is."""


def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the tokenizers of the zoo."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from tokbench.tokenizers.zoo import families

    rows = [_variant_row(family, variant) for family in families().values() for variant in family.variants]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption="* what the family's name alone means",
        caption_justify="left",
    )
    wide = out.width >= WIDE
    for title in ("tokenizer", "px", "tokens", "bits", *(["bpp"] if wide else []), "codes", "weights", "licence"):
        table.add_column(title, justify="left" if title in ("tokenizer", "weights", "licence") else "right", no_wrap=True)
    if wide:
        table.add_column("what it is", ratio=1)
    for row in rows:
        bits = "-" if row["bits_per_image"] is None else f"{row['bits_per_image']:.0f}"
        bpp = "-" if row["bpp"] is None else f"{row['bpp']:.3f}"
        books = _books(row["codebook_sizes"]) or f"{row['channels']} ch."
        name = row["name"] + ("*" if row["default"] else "")
        state = {"none needed": "-", "to be given": "--weights"}.get(row["weights"], row["weights"])
        cells = [name, str(row["image_size"]), str(row["tokens_per_image"]), bits, *([bpp] if wide else []), books, state]
        table.add_row(*cells, row["licence"].partition(" (")[0] or "-", *([row["summary"]] if wide else []))
    out.print(table)


def _books(sizes: list[int]) -> str:
    return (
        ""
        if not sizes
        else str(sizes[0])
        if len(sizes) == 1
        else f"{len(sizes)} x {sizes[0]}"
        if len(set(sizes)) == 1
        else ", ".join(map(str, sizes))
    )


def _variant_row(family: Family, variant: Variant) -> dict[str, Any]:
    from tokbench.configs import plain
    from tokbench.weights.obtain import weights_state

    layout = variant.config.layout(variant.image_size, variant.image_size)
    return {
        "name": f"{family.name}/{variant.name}",
        "family": family.name,
        "default": variant.name == family.default,
        "summary": variant.summary,
        "image_size": variant.image_size,
        "grid": list(layout.grid),
        "positions": layout.positions,
        "tokens_per_image": layout.tokens_per_image,
        "bits_per_image": layout.bits_per_image,
        "bpp": layout.bpp,
        "codebook_sizes": list(layout.codebook_sizes),
        "channels": layout.channels,
        "scales": list(layout.scales),
        "lengths": list(layout.lengths),
        "weights": weights_state(family, variant),
        "file": variant.file,
        "file_sha256": variant.sha256,
        "licence": variant.licence,
        "source": variant.source,
        "trained_with": list(variant.trained_with),
        "normalisation": plain(variant.normalisation or getattr(variant.config, "normalisation", None)),
    }


def _plugin_row(name: str) -> dict[str, Any]:
    """What there is to say of a tokenizer of others, without weights."""
    import inspect

    from tokbench.bench.identity import package_of, source_digest
    from tokbench.conduct import layout_of
    from tokbench.configs import plain
    from tokbench.tokenizers.plugin import build_plugin
    from tokbench.tokenizers.zoo import families

    with redirect_stdout(sys.stderr):
        model = build_plugin(name, {}, taken=families())
        size = next((size for size in (64, 256, 512, model.stride) if size % model.stride == 0), model.stride)
        layout = layout_of(model, size, size)
        package, digest = package_of(model), source_digest(model)
    return {
        "name": model.name,
        "summary": (inspect.getdoc(type(model)) or "").partition("\n")[0],
        "image_size": size,
        "grid": list(layout.grid),
        "positions": layout.positions,
        "tokens_per_image": layout.tokens_per_image,
        "bits_per_image": layout.bits_per_image,
        "bpp": layout.bpp,
        "codebook_sizes": list(layout.codebook_sizes),
        "channels": layout.channels,
        "scales": list(layout.scales),
        "lengths": list(layout.lengths),
        "source_sha256": digest,
        "package": package,
        "trained_with": list(model.trained_with),
        "config": plain(getattr(model, "config", {})),
    }


def show(
    name: Annotated[str, typer.Argument(autocompletion=tokenizer_names)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one tokenizer: layout, configuration, source, licence."""
    from tokbench.configs import flat, plain
    from tokbench.tokenizers.zoo import resolve

    if ":" in name and not name.startswith("hf:"):
        values = _plugin_row(name)
    else:
        family, variant = resolve(name)
        values = _variant_row(family, variant) | {"config": plain(variant.config), "family_summary": family.summary}
    if as_json:
        print(json.dumps(values, indent=2))
        return
    out.print(f"[bold]{values['name']}[/bold]  ", end="", highlight=False)
    out.print(values["summary"], highlight=False, markup=False)
    if "family_summary" in values:
        out.print(f"family        {values['family_summary']}", highlight=False, markup=False)
    for key in (
        "image_size",
        "grid",
        "tokens_per_image",
        "bits_per_image",
        "bpp",
        "codebook_sizes",
        "channels",
        "scales",
        "lengths",
        "weights",
        "file",
        "file_sha256",
        "source",
        "licence",
        "trained_with",
        "normalisation",
        "source_sha256",
        "package",
    ):
        if values.get(key) not in (None, [], 0, ""):
            value = values[key]
            text = ", ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
            out.print(f"{key.replace('_', ' '):<18}{text}", highlight=False, markup=False)
    if not values["config"]:
        return
    out.print("config (change with --set key=value)", highlight=False)
    for key, value in flat(values["config"]).items():
        inner = json.loads(value) if isinstance(value, str) and value.startswith("{") else None  # a library's own settings
        out.print(f"  {key} = {value if inner is None else 'one object of JSON:'}", highlight=False, markup=False)
        for name, item in (inner or {}).items():
            out.print(f"    {name}: {json.dumps(item)}", highlight=False, markup=False)
