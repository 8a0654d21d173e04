"""Commands that make what an autoregressive model trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tokbench.commands.console import AveragesOption, DeviceOption, DropOption, SettingsOption, WeightsOption, loading, progress, say
from tokbench.commands.destinations import check_folder
from tokbench.errors import TokbenchError
from tokbench.report.words import counted


def export(
    tokenizer: Annotated[list[str] | None, typer.Option("--tokenizer", "-t", help="Name, or module:Class; one.")] = None,
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="photos, text, faces, faces:PLACE, a folder, a zip, tar shards, a parquet file, or hf:NAME "
            "[default: photos; with --verify what was exported]."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Images at most, chosen by --seed.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels [default: 64].")] = None,
    seed: Annotated[int | None, typer.Option(help="Of --limit and of stochastic tokenizers [default: 0].")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16 [default: fp32].")] = None,
    labels: Annotated[str, typer.Option(help="source, folder (the one an image lies in), or none.")] = "source",
    classes: Annotated[
        Path | None, typer.Option(help="Names of the classes in the order of their numbers: a text or JSON file, or an earlier export.")
    ] = None,
    latents: Annotated[str, typer.Option(help="float32 or float16, of continuous tokenizers.")] = "float32",
    rows: Annotated[int | None, typer.Option(help="Images a shard [default: 4096, or 64 MiB].", min=1)] = None,
    batch_size: Annotated[int, typer.Option(help="Images read ahead, where one thread encodes; changes no byte.", min=1)] = 64,
    device: DeviceOption = "cpu",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    memmap: Annotated[Path | None, typer.Option(help="Also write one array for random access, into this folder.")] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for the shards.")] = None,
    verify: Annotated[Path | None, typer.Option(help="Check this export instead, also against its images.")] = None,
) -> None:
    """Encode images to Parquet shards of tokens, or verify them."""
    if tokenizer is not None and len(tokenizer) > 1:
        raise TokbenchError(f"export takes one --tokenizer, got {', '.join(tokenizer)}; run it once for each, with an --out of its own")
    name = tokenizer[0] if tokenizer else None
    if verify is not None:
        if out_dir is not None:
            raise TokbenchError("--verify checks an export and writes nothing; leave --out out")
        _verify(verify, name, loading(weights, setting, drop, averages), data, device)
        return
    if name is None or out_dir is None:
        raise TokbenchError("export takes --tokenizer NAME and --out FOLDER, or --verify FOLDER; see tokbench export --help")

    check_folder(out_dir, "--out")
    if memmap is not None:
        check_folder(memmap, "--memmap")
    from tokbench.data.open import open_source
    from tokbench.feed.classes import read_classes
    from tokbench.feed.export import ExportOptions
    from tokbench.feed.export import export as export_tokens
    from tokbench.records.protocol import get_protocol
    from tokbench.tokenizers.zoo import load

    protocol = get_protocol(changes={"samples": limit, "size": size, "seed": seed, "precision": precision})
    names = None if classes is None else read_classes(classes)
    model = load(name, device=device, **loading(weights, setting, drop, averages))
    source = open_source("photos" if data is None else data, size=protocol.size)
    with progress(model.name, len(source)) as advance:
        options = ExportOptions(
            rows_per_shard=rows,
            latents=_one_of("--latents", latents, ("float32", "float16")),  # type: ignore[arg-type]  # checked
            labels=_one_of("--labels", labels, ("source", "folder", "none")),  # type: ignore[arg-type]  # checked
            classes=names,
            batch_size=batch_size,
            strict=strict,
            memmap=memmap,
            progress=advance,
        )
        done = export_tokens(model, source, out_dir, protocol=protocol, options=options)
    rest = "" if done.complete else "; other ranks are not done yet"
    say(f"{counted(done.rows, 'image')} in {done.made} new and {done.kept} kept shards of {done.folder}, {len(done.skipped)} skipped{rest}")
    if memmap is not None:
        say(f"{done.memmap} holds them as one array" if done.memmap else f"the rank that finishes last writes {memmap}")


def _verify(folder: Path, tokenizer: str | None, chosen: dict[str, Any], data: str | None, device: str) -> None:
    from tokbench.data.open import open_source
    from tokbench.feed.audit import read_job
    from tokbench.feed.origin import source_of, tokenizer_of
    from tokbench.feed.verify import VerifyOptions
    from tokbench.feed.verify import verify as verify_export
    from tokbench.tokenizers.zoo import load

    job, model, source = read_job(folder), None, None
    if tokenizer is None and any(value not in (None, (), {}) for value in chosen.values()):
        raise TokbenchError("--weights, --drop, --averages and --set belong to a tokenizer; give it with -t")
    if tokenizer is not None:
        model = load(tokenizer, device=device, **chosen)
    if data is not None:
        source = open_source(data, size=job.preparation.size)
    missing = [option for option, given in (("-t", model), ("--data", source)) if given is None]
    try:
        model = tokenizer_of(job, device=device) if model is None else model
        source = source_of(job) if source is None else source
    except TokbenchError as error:
        say(f"not compared with images: {error}; give {' and '.join(missing)}")
    with progress(f"{folder}", 0) as advance:
        found = verify_export(folder, tokenizer=model, data=source, options=VerifyOptions(progress=advance))
    for problem in found.problems:
        say(problem)
    compared = ""
    if found.comparison is not None:
        again = found.comparison
        compared = f"; {again.equal} of {counted(again.compared, 'image')} encode to the same tokens"
        compared += "" if again.psnr is None else f", which decode to {again.psnr:.2f} dB"
    print(f"{counted(found.shards, 'shard')}, {counted(found.rows, 'image')}, {counted(len(found.problems), 'problem')}{compared}")
    if not found.ok:
        raise typer.Exit(1)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise TokbenchError(f"{option} is {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}")
    return value
