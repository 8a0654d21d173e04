"""The command that draws reconstructions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.commands.console import DeviceOption, TileOverlapOption, TileSizeOption, once, tiles, tokenizer_names, told_apart
from tokbench.commands.pictures import check_picture, check_size, write_picture
from tokbench.commands.values import pixels, whole

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer

SMALLER = "fewer images, a smaller --tile"
"""What makes the picture smaller."""


def reconstruct(
    images: Annotated[list[str], typer.Argument(callback=told_apart, help="Image files, or photos/test/ID/NN for embedded crops.")],
    tokenizer: Annotated[
        list[str], typer.Option("--tokenizer", "-t", autocompletion=tokenizer_names, help="Name or module:Class; may be repeated.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write.")] = Path("grid.png"),
    size: Annotated[Any, pixels("--size", low=8, help="Side of the centre square in pixels, or HxW.")] = 64,
    tile_size: TileSizeOption = None,
    tile_overlap: TileOverlapOption = None,
    tile: Annotated[int, whole("--tile", low=32, high=1024, help="Side of a picture in the grid.")] = 192,
    device: DeviceOption = "cpu",
    seed: Annotated[int, whole("--seed", low=0, help="Of stochastic tokenizers.")] = 0,
) -> None:
    """Draw originals, reconstructions and error maps side by side."""
    check_picture(output, "--output")
    cut = tiles(tile_size, tile_overlap)
    from tokbench.bench.reconstruct import read_pictures
    from tokbench.bench.reconstruct import reconstruct as reconstruct_pictures
    from tokbench.report.grid import draw_grid, grid_size
    from tokbench.tokenizers.zoo import load

    loaded = [load(name, None, device) for name in once(tokenizer)]
    tokenizers: list[Tokenizer] = loaded if cut is None else [cut(model) for model in loaded]
    pictures, attribution = read_pictures(images, size)
    check_size(output, *grid_size(len(pictures), len(tokenizers), tile=tile, footer=attribution), smaller=SMALLER)
    rows = reconstruct_pictures(pictures, tokenizers, seed=seed)
    grid = draw_grid(rows, [item.name for item in tokenizers], tile=tile, footer=attribution)
    write_picture(grid, output, smaller=SMALLER)
