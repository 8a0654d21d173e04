"""Commands that make what an autoregressive model trains on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tokbench.commands.console import (
    AveragesOption,
    DataOption,
    DeviceOption,
    DropOption,
    LabelsOption,
    PrecisionOption,
    SettingsOption,
    TileOverlapOption,
    TileSizeOption,
    WeightsOption,
    WorkersOption,
    loading,
    own_place,
    progress,
    say,
    tiles,
    tokenizer_names,
    tokenizers_and_sets,
    told_apart,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.formats import (
    HINT,
    ConditionOption,
    FormatsOption,
    FromOption,
    IdTypeOption,
    LossOption,
    TextOption,
    VocabularyOption,
    check_together,
    convert,
    format_options,
    read_places,
    say_written,
)
from tokbench.commands.values import choice, pixels, whole
from tokbench.errors import TokbenchError
from tokbench.ranks import leave_the_others
from tokbench.report.words import counted

if TYPE_CHECKING:
    from tokbench.data.source import ImageSource
    from tokbench.feed.job import ExportJob

TOKENIZER, OUT = "Name, or module:Class", "Folder for the shards"
"""What is needed to encode: required, unless ``--from`` names an export."""


def _moved(folder: str | None) -> None:
    """Answer the spelling that checked exports before there was a command for it."""
    if folder is not None:
        raise TokbenchError(f"export --verify is a command of its own now: tokbench verify {folder}")


def export(
    context: typer.Context,
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", "-t", autocompletion=tokenizers_and_sets, help=f"{TOKENIZER}; or a set, @discrete-f16 or @FILE.txt."),
    ] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", "-o", help=f"{OUT}; each of a set has a folder in it.")] = None,
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    data: DataOption = "photos",
    limit: Annotated[int | None, whole("--limit", low=1, help="Images at most, chosen by --seed.")] = None,
    size: Annotated[Any, pixels("--size", help="Side of the images in pixels, or HxW [default: 64].")] = None,
    seed: Annotated[int | None, whole("--seed", low=0, help="Of --limit and of stochastic tokenizers [default: 0].")] = None,
    precision: PrecisionOption = None,
    tile_size: TileSizeOption = None,
    tile_overlap: TileOverlapOption = None,
    views: Annotated[
        Literal["none", "flip", "ten-crop"],
        choice("--views", among=("none", "flip", "ten-crop"), help="Rows of an image: it alone, it and its mirror image, or ten crops."),
    ] = "none",
    labels: LabelsOption = "source",
    classes: Annotated[
        Path | None, typer.Option(help="Names of the classes in the order of their numbers: a text or JSON file, or an earlier export.")
    ] = None,
    latents: Annotated[
        Literal["float32", "float16"], choice("--latents", among=("float32", "float16"), help="Of continuous tokenizers.")
    ] = "float32",
    latent_scale: Annotated[
        Literal["raw", "normalised"],
        choice("--latent-scale", among=("raw", "normalised"), help="Latents as the decoder or as diffusion models take them."),
    ] = "raw",
    rows: Annotated[int | None, whole("--rows", low=1, help="Images a shard [default: 4096, or 64 MiB].")] = None,
    batch_size: Annotated[int, whole("--batch-size", low=1, help="Images read ahead, where one thread encodes; changes no byte.")] = 64,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    memmap: Annotated[Path | None, typer.Option(help="Also write one array for random access, into this folder.")] = None,
    formats: FormatsOption = None,
    source_dir: FromOption = None,
    condition: ConditionOption = "auto",
    loss: LossOption = "all",
    id_type: IdTypeOption = None,
    vocabulary: VocabularyOption = None,
    text_tokenizer: TextOption = None,
    verify: Annotated[str | None, typer.Option(hidden=True, is_eager=True, callback=_moved)] = None,
) -> None:
    """Encode images to Parquet shards of tokens, and write these as trainers read them."""
    places = read_places(formats)
    check_together(context, places)
    if source_dir is not None:
        if leave_the_others():
            return
        convert(source_dir, places, format_options(condition, loss, id_type, vocabulary, text_tokenizer))
        return
    for given, option in ((tokenizer, f"--tokenizer ({TOKENIZER})"), (out_dir, f"--out ({OUT})")):
        if given is None:
            raise TokbenchError(f"export needs {option}, got none. {HINT}")
    assert tokenizer is not None
    assert out_dir is not None
    check_folder(out_dir, "--out")
    if memmap is not None:
        check_folder(memmap, "--memmap")
    from tokbench.data.open import open_source
    from tokbench.feed.classes import read_classes
    from tokbench.feed.export import ExportOptions
    from tokbench.feed.export import export as export_tokens
    from tokbench.records.protocol import get_protocol
    from tokbench.tokenizers.sets import check_sizes
    from tokbench.tokenizers.zoo import load

    protocol = get_protocol(changes={"samples": limit, "size": size, "seed": seed, "precision": precision})
    cut = tiles(tile_size, tile_overlap)
    names = None if classes is None else read_classes(classes)
    how = format_options(condition, loss, id_type, vocabulary, text_tokenizer)
    folders = _folders(tokenizer, out_dir)
    if tokenizer not in folders:
        alone: dict[str, object] = {"--weights": weights, "--drop": drop, "--averages": averages, "--memmap": memmap}
        _check_alone(tokenizer, folders, {**alone, **_placed(places)})
        if not setting:  # which may change what sizes they take
            check_sizes(folders, protocol.size)
    source = None
    for name, folder in folders.items():
        model = load(name, device=own_place(device), **loading(weights, setting, drop, averages))
        model = model if cut is None else cut(model)
        source = open_source(data, size=protocol.size) if source is None else source
        with progress(model.name, len(source)) as advance:
            options = ExportOptions(
                rows_per_shard=rows,
                latents=latents,
                latent_scale=latent_scale,
                views=views,
                labels=labels,
                classes=names,
                batch_size=batch_size,
                workers=workers,
                strict=strict,
                memmap=memmap,
                formats=places,
                format_options=how,
                progress=advance,
            )
            done = export_tokens(model, source, folder, protocol=protocol, options=options)
        rest = "" if done.complete else "; other ranks are not done yet"
        what = "image" if views == "none" else "view"
        say(
            f"{counted(done.rows, what)} in {done.made} new and {done.kept} kept shards of {done.folder}, {len(done.skipped)} skipped{rest}"
        )
        if memmap is not None:
            say(f"{done.memmap} holds them as one array" if done.memmap else f"the rank that finishes last writes {memmap}")
        say_written(done.formats, places)


def _folders(tokenizer: str, out: Path) -> dict[str, Path]:
    """Names of what is asked for, each with the folder of its shards: that of a set is one of its own, called after its name."""
    from tokbench.records.naming import file_stem
    from tokbench.tokenizers.sets import expand, is_set

    if not is_set(tokenizer):
        return {tokenizer: out}
    return {name: out / file_stem(name) for name in expand([tokenizer], needs_weights=True)}


def _placed(places: Mapping[str, Path | None]) -> dict[str, Path | None]:
    """Formats with a folder of their own, as they are asked for."""
    return {f"--as {name}={place}": place for name, place in places.items() if place is not None}


def _check_alone(tokenizer: str, folders: Mapping[str, Path], given: Mapping[str, object]) -> None:
    """Refuse for a set what is of one tokenizer."""
    wrong = [option for option, value in given.items() if value not in (None, [])]
    if wrong:
        raise TokbenchError(
            f"{wrong[0]} is of one tokenizer, and {tokenizer} has {len(folders)}; leave it out, or export them one by one with -t NAME"
        )


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An export, whole or begun.")],
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", "-t", autocompletion=tokenizer_names, help="Name, or module:Class [default: the one that made it]."),
    ] = None,
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    data: Annotated[
        str | None, typer.Option("--data", callback=told_apart, help="Its images [default: those it names, where they are here].")
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Check an export, also against its images; exit status 1 if something is wrong with it."""
    chosen = loading(weights, setting, drop, averages)
    from tokbench.data.open import open_source
    from tokbench.feed.audit import read_job
    from tokbench.feed.origin import tokenizer_of
    from tokbench.feed.verify import VerifyOptions
    from tokbench.feed.verify import verify as verify_export
    from tokbench.tokenizers.zoo import load

    job, model, source = read_job(folder), None, None
    if tokenizer is None and any(value not in (None, (), {}) for value in chosen.values()):
        raise TokbenchError("--weights, --drop, --averages and --set belong to a tokenizer; give it with -t")
    if tokenizer is not None:
        model = load(tokenizer, device=device, **chosen)
    if data is not None:
        source = open_source(data, size=job.preparation.size, scaled=job.preparation.scaled)
    missing = [option for option, given in (("-t", model), ("--data", source)) if given is None]
    try:
        model = tokenizer_of(job, device=device) if model is None else model
        source = _images(folder, job) if source is None else source
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
    print(
        f"{counted(found.shards, 'shard')}, {counted(found.rows, 'view' if job.views > 1 else 'image')}, {counted(len(found.problems), 'problem')}{compared}"
    )
    if not found.ok:
        raise typer.Exit(1)


def _images(folder: Path, job: ExportJob) -> ImageSource:
    """The images of an export by their name, and of a whole one also scenes that a stage of a language model drew."""
    from tokbench.feed.dataset import TokenDataset
    from tokbench.feed.origin import source_of
    from tokbench.feed.summary import SUMMARY
    from tokbench.lm.originals import originals_of

    try:
        return source_of(job)
    except TokbenchError:
        if not (folder / SUMMARY).is_file():
            raise
        return originals_of(TokenDataset(folder))
