"""The commands that say what there is: list and show."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from functools import partial
from typing import Annotated, Any

import typer

from tokbench.commands.console import out, say, tokenizer_names, tokenizers_and_sets
from tokbench.commands.values import choice, whole
from tokbench.errors import TokbenchError

LIST_FORMATS = ("terminal", "csv", "json")
SORT_KEYS = ("name", "tokens", "bits", "f", "size", "rfid", "psnr", "ssim", "lpips")
"""What ``tokbench.tokenizers.listed`` sorts by, which takes long to import."""


def list_(
    tokenizer: Annotated[
        list[str] | None,
        typer.Option("--tokenizer", "-t", autocompletion=tokenizers_and_sets, help="Name or set alone, as run takes it; may be repeated."),
    ] = None,
    family: Annotated[list[str] | None, typer.Option("--family", help="Of this family alone; may be repeated.")] = None,
    discrete: Annotated[bool | None, typer.Option("--discrete/--continuous", help="With codes alone, or with latents alone.")] = None,
    max_tokens: Annotated[int | None, whole("--max-tokens", low=1, help="Of so many tokens an image at most.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Of licences in which a word begins so: apache, non-commercial.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Those alone whose weights are here, or that need none.")] = False,
    f: Annotated[int | None, whole("--f", low=1, help="With one position for so many pixels along each axis.")] = None,
    sort: Annotated[str | None, choice("--sort", among=SORT_KEYS, help="Smallest or best first [default: by family].")] = None,
    sets: Annotated[bool, typer.Option("--sets", help="List the words that sets such as @discrete-f16 are named by.")] = False,
    form: Annotated[str, choice("--format", "-f", among=LIST_FORMATS, help="How to write the list.")] = "terminal",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as --format json does.")] = False,
) -> None:
    """List the tokenizers of the zoo, with figures that others published."""
    from tokbench.commands.zoo_table import csv_of, print_sets, print_table
    from tokbench.tokenizers.listed import Filter, Listed, in_order, listed
    from tokbench.tokenizers.sets import expand, is_outside
    from tokbench.tokenizers.zoo import resolve

    if sets:
        print_sets(out)
        return
    if licence is not None and not licence.strip():
        raise TokbenchError(f"--licence takes the beginning of a word, such as apache; got {licence!r}")
    asked = Filter(tuple(family or ()), discrete, max_tokens, licence, local, f)
    every = listed()
    names = expand(tokenizer or [])
    outside = [name for name in names if name not in (tokenizer or []) and is_outside(name)]
    chosen = every if tokenizer is None else [Listed(*resolve(name)) for name in names if name not in outside]
    if outside:
        say(f"not of the zoo, and so in no list: {', '.join(outside)}")
    rows = [row for row in chosen if asked.takes(row)]
    if sort is not None:
        rows = in_order(rows, sort)
    if as_json or form == "json":
        print(json.dumps([row.facts() for row in rows], indent=2))
    elif form == "csv":
        print(csv_of(rows), end="")
    elif rows:
        print_table(rows, out)
    else:
        say(f"none of the {len(every)} tokenizers is so; leave out an option of tokbench list")


def _plugin_row(name: str) -> dict[str, Any]:
    """What there is to say of a tokenizer of others, without weights."""
    import inspect

    from tokbench.bench.identity import package_of, source_digest
    from tokbench.conduct import layout_of
    from tokbench.configs import plain
    from tokbench.tokenizers.listed import layout_facts, sizes_taken
    from tokbench.tokenizers.plugin import build_plugin
    from tokbench.tokenizers.zoo import families

    with redirect_stdout(sys.stderr):
        model = build_plugin(name, {}, taken=families())
        size = next((size for size in (64, 256, 512, model.stride) if size % model.stride == 0), model.stride)
        layout = layout_of(model, size, size)
        sizes = sizes_taken(partial(layout_of, model), size, model.stride)
        package, digest = package_of(model), source_digest(model)
    return {
        "name": model.name,
        "summary": (inspect.getdoc(type(model)) or "").partition("\n")[0],
        "image_size": size,
        "image_sizes": sizes,
        **layout_facts(layout),
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
    from tokbench.commands.zoo_table import quoted, size_in_words
    from tokbench.configs import flat, plain
    from tokbench.tokenizers.listed import Listed
    from tokbench.tokenizers.zoo import resolve

    if ":" in name and not name.startswith("hf:"):
        values = _plugin_row(name)
    else:
        family, variant = resolve(name)
        values = Listed(family, variant).facts() | {"config": plain(variant.config), "family_summary": family.summary}
    if as_json:
        print(json.dumps(values, indent=2))
        return
    out.print(f"[bold]{values['name']}[/bold]  ", end="", highlight=False)
    out.print(values["summary"], highlight=False, markup=False)
    if "family_summary" in values:
        out.print(f"family        {values['family_summary']}", highlight=False, markup=False)
    shown = values | {"size": size_in_words(values.get("bytes"))}
    for key in (
        "image_size",
        "image_sizes",
        "grid",
        "downsampling",
        "tokens_per_image",
        "bits_per_image",
        "bpp",
        "codebook_sizes",
        "channels",
        "scales",
        "lengths",
        "parameters",
        "size",
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
        if shown.get(key) not in (None, [], 0, ""):
            value = shown[key]
            text = ", ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
            out.print(f"{key.replace('_', ' '):<18}{text}", highlight=False, markup=False)
    for line in quoted(values.get("published", [])):
        out.print(line, highlight=False, markup=False)
    if not values["config"]:
        return
    out.print("config (change with --set key=value)", highlight=False)
    for key, value in flat(values["config"]).items():
        inner = json.loads(value) if isinstance(value, str) and value.startswith("{") else None  # a library's own settings
        out.print(f"  {key} = {value if inner is None else 'one object of JSON:'}", highlight=False, markup=False)
        for name, item in (inner or {}).items():
            out.print(f"    {name}: {json.dumps(item)}", highlight=False, markup=False)
