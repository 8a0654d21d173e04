"""Commands of a language model that draw, edit, complete and describe images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.commands.console import (
    DeviceOption,
    PrecisionOption,
    SettingsOption,
    WeightsOption,
    loading,
    progress,
    tokenizer_names,
    told_apart,
)
from tokbench.commands.pictures import check_picture, check_size, write_picture
from tokbench.commands.values import number, whole
from tokbench.errors import TokbenchError
from tokbench.escapes import visible

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from torch import Tensor

    from tokbench.lm.image_model import ImageModel
    from tokbench.lm.options import SamplingOptions

ModelOption = Annotated[Path | None, typer.Option("--model", "-m", help="Folder of a model [default: the one that comes with tokbench].")]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer", "-t", autocompletion=tokenizer_names, help="Name or module:Class [default: the one the model was trained with]."
    ),
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Picture to write.")]
CountOption = Annotated[int, whole("--count", "-n", low=1, help="How many to draw of each.")]
SeedOption = Annotated[int, whole("--seed", low=0, help="Of all that is drawn.")]
TopKOption = Annotated[int, whole("--top-k", low=0, help="Choose from so many of the likeliest ids; 0 means all.")]
TopPOption = Annotated[float, number("--top-p", help="Choose from the likeliest ids that hold this share of the probability.")]
TemperatureOption = Annotated[
    float | None, number("--temperature", help="Divides the scores; 0 takes the likeliest id [default: 1; 0.5 to edit].")
]
GuidanceOption = Annotated[
    float | None,
    number("--guidance", help="How far to go from images of anything to those of the words [default: what the model says; 1 to edit]."),
]
BatchOption = Annotated[int, whole("--batch-size", low=1, help="Sequences at once; changes no choice, but for rounding.")]
ResizeOption = Annotated[bool, typer.Option("--resize", help="Take the centre of an image, at the size of the model.")]
EnlargeOption = Annotated[int, whole("--enlarge", low=1, high=16, help="Pixels of the picture that a pixel becomes.")]

SMALLER = "fewer images, a smaller --enlarge"
"""What makes a picture smaller."""


def generate(
    prompt: Annotated[list[str] | None, typer.Argument(help="What to draw, in words.")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="A text file with a prompt in each line.")] = None,
    count: CountOption = 1,
    output: OutputOption = Path("grid.png"),
    model: ModelOption = None,
    tokenizer: TokenizerOption = None,
    weights: WeightsOption = None,
    setting: SettingsOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    guidance: GuidanceOption = None,
    seed: SeedOption = 0,
    batch_size: BatchOption = 16,
    enlarge: EnlargeOption = 2,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
) -> None:
    """Draw images from words, each prompt in a row of its own."""
    check_picture(output, "--output")
    options = sampling_options(temperature, top_k, top_p, guidance, batch_size)
    from tokbench.lm.prompts import read_prompts

    if (prompts is None) == (not prompt):
        raise TokbenchError("give prompts in words or a file of them with --prompts, one of both")
    texts = list(prompt or []) if prompts is None else read_prompts(prompts)
    artist, _ = load_model(model, tokenizer, weights, setting, device, precision)
    columns = count if len(texts) > 1 else 8
    _check_sheet(len(texts) * count, artist, output, columns=columns, enlarge=enlarge)
    with progress("drawing", len(texts) * count) as advance:
        drawn = artist.generate(texts, count=count, seed=seed, options=options, progress=advance)
    _write(drawn, output, columns=columns, enlarge=enlarge)


def edit(
    images_and_instruction: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE... INSTRUCTION",
            callback=told_apart,
            help="The image, or one to be like and the image; then what to do, in words.",
        ),
    ],
    then: Annotated[
        list[str] | None,
        typer.Option("--then", help="What to do next with what came of it, such as 'now larger'; may be repeated."),
    ] = None,
    count: CountOption = 1,
    output: OutputOption = Path("grid.png"),
    model: ModelOption = None,
    tokenizer: TokenizerOption = None,
    weights: WeightsOption = None,
    setting: SettingsOption = None,
    resize: ResizeOption = False,
    temperature: TemperatureOption = None,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    guidance: GuidanceOption = None,
    seed: SeedOption = 0,
    batch_size: BatchOption = 16,
    enlarge: EnlargeOption = 2,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
) -> None:
    """Change an image as words say; the picture shows the given images, then what became of the last, turn by turn with --then."""
    *places, instruction = images_and_instruction
    if len(places) not in (1, 2):
        raise TokbenchError(f"edit takes one or two images and then the instruction, got {len(places)} images before {instruction!r}")
    check_picture(output, "--output")
    options = sampling_options(temperature, top_k, top_p, guidance, batch_size)
    artist, _ = load_model(model, tokenizer, weights, setting, device, precision)
    given = _read(places, artist, resize=resize)
    turns = [instruction, *(then or [])]
    columns = len(given) + len(turns) if then else 8
    _check_sheet(columns * count if then else len(given) + count, artist, output, columns=columns, enlarge=enlarge)
    from tokbench.lm.turns import edit_in_turns

    with progress("editing", count * len(turns)) as advance:
        first = given[:1] if len(places) == 2 else None
        made = edit_in_turns(artist, given[-1:], turns, first=first, count=count, seed=seed, options=options, progress=advance)
    import torch

    if then:  # each edit in a row of its own, turn by turn
        rows = torch.cat([given.expand(count, *given.shape), made.transpose(0, 1)], dim=1)
        _write(rows.flatten(0, 1), output, columns=columns, enlarge=enlarge)
    else:
        _write(torch.cat([given, made[0]]), output, columns=columns, enlarge=enlarge)


def complete(
    images: Annotated[list[str], typer.Argument(callback=told_apart, help="Image files, or photos/test/ID/NN for embedded crops.")],
    text: Annotated[str, typer.Option("--text", help="What is in the images, in words.")] = "",
    count: CountOption = 1,
    output: OutputOption = Path("grid.png"),
    model: ModelOption = None,
    tokenizer: TokenizerOption = None,
    weights: WeightsOption = None,
    setting: SettingsOption = None,
    resize: ResizeOption = False,
    temperature: TemperatureOption = None,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    guidance: GuidanceOption = None,
    seed: SeedOption = 0,
    batch_size: BatchOption = 16,
    enlarge: EnlargeOption = 2,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
) -> None:
    """Draw the lower half of images from the upper; each row shows an image, then what was drawn."""
    check_picture(output, "--output")
    options = sampling_options(temperature, top_k, top_p, guidance, batch_size)
    artist, _ = load_model(model, tokenizer, weights, setting, device, precision)
    given = _read(images, artist, resize=resize)
    _check_sheet(len(given) * (1 + count), artist, output, columns=1 + count, enlarge=enlarge)
    with progress("completing", len(images) * count) as advance:
        drawn = artist.complete(given, texts=[text] * len(given), count=count, seed=seed, options=options, progress=advance)
    import torch

    rows = torch.cat([given[:, None], drawn.unflatten(0, (len(given), count))], dim=1)
    _write(rows.flatten(0, 1), output, columns=1 + count, enlarge=enlarge)


def describe(
    images: Annotated[list[str], typer.Argument(callback=told_apart, help="Image files, or photos/test/ID/NN for embedded crops.")],
    model: ModelOption = None,
    tokenizer: TokenizerOption = None,
    weights: WeightsOption = None,
    setting: SettingsOption = None,
    resize: ResizeOption = False,
    temperature: Annotated[float, number("--temperature", help="Divides the scores; 0 takes the likeliest id.")] = 0.0,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    seed: SeedOption = 0,
    batch_size: BatchOption = 16,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
) -> None:
    """Say in words what is in images, one line each."""
    options = sampling_options(temperature, top_k, top_p, 1.0, batch_size)
    artist, _ = load_model(model, tokenizer, weights, setting, device, precision)
    given = _read(images, artist, resize=resize)
    with progress("describing", len(images)) as advance:
        told = artist.describe(given, seed=seed, options=options, progress=advance)
    for text in told:
        print(visible(" ".join(text.split())))


def sampling_options(temperature: float | None, top_k: int, top_p: float, guidance: float | None, batch_size: int) -> SamplingOptions:
    """Build the options of sampling, whose errors name options of the command.

    Raises:
        TokbenchError: If a value is out of range.
    """
    from tokbench.lm.options import SamplingOptions

    try:
        return SamplingOptions(temperature, top_k or None, top_p, guidance, batch_size)
    except ValueError as error:
        raise TokbenchError(f"{str(error).replace('_', '-')}; see --help") from error


def load_model(
    model: Path | None, tokenizer: str | None, weights: str | None, setting: list[str] | None, device: str, precision: str | None
) -> tuple[ImageModel, Path]:
    """Load a model as the options name it, and say which folder it is.

    Raises:
        TokbenchError: If it cannot be loaded, or settings of a tokenizer are given without one.
    """
    if tokenizer is None and (weights is not None or setting):
        raise TokbenchError("--weights and --set belong to a tokenizer; give it with -t")
    from tokbench.lm.shipped import shipped_model

    folder = shipped_model() if model is None else model
    from tokbench.lm.image_model import ImageModel
    from tokbench.tokenizers.zoo import load

    given = None if tokenizer is None else load(tokenizer, device=device, **loading(weights, setting, None, None))
    return ImageModel.load(folder, tokenizer=given, device=device, precision=precision or "fp32"), folder


def _read(places: list[str], artist: ImageModel, *, resize: bool) -> UInt8[Tensor, "b 3 h w"]:
    import numpy as np
    import torch

    from tokbench.bench.reconstruct import read_pictures

    pictures, _ = read_pictures(places, artist.model.size, resize=resize)
    return torch.from_numpy(np.stack([pixels for _, pixels in pictures])).permute(0, 3, 1, 2).contiguous()


def _write(images: UInt8[Tensor, "b 3 h w"], output: Path, *, columns: int, enlarge: int) -> None:
    from tokbench.feed.probe.drawing import draw_samples

    picture = draw_samples(images, columns=columns, enlarge=enlarge, gap=_gap(len(images)))
    write_picture(picture, output, smaller=SMALLER)


def _check_sheet(count: int, artist: ImageModel, output: Path, *, columns: int, enlarge: int) -> None:
    """Refuse more images than one picture holds, before any of them is drawn.

    Raises:
        TokbenchError: If it would be too large.
    """
    from tokbench.records.sheets import Sheet

    size = Sheet(columns, enlarge, _gap(count)).size(count, *artist.model.image_size)
    check_size(output, *size, smaller=SMALLER)


def _gap(count: int) -> int:
    """White pixels between images; one has no frame, so that edit and describe take its file where nothing was enlarged."""
    return 4 if count > 1 else 0
