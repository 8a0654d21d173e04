"""How many codes stay as they are where an edit changes nothing?

Run by hand::

    python benchmarks/code_locality.py
    python benchmarks/code_locality.py -t vqvae/scenes -t vqgan/tiny --edits 500

Pairs of drawn scenes differ in their things and not in their ground. A position counts as untouched if no pixel of its square changes, or lies
within a 32nd of the side of one that does. A language model that edits copies the codes of such positions, as far as they are the same.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import tokbench
from tokbench.data.scenes import draw, edit_of, untouched
from tokbench.tokens import DiscreteTokens

ZOO = ("vqvae/scenes", "vqvae/tiny", "vqgan/tiny", "patch/kmeans-1024", "pixel/palette-512")
KINDS = ("recolour", "resize", "move", "add", "remove", "swap", "like")
BATCH = 16


def codes_of(tokenizer: tokbench.Tokenizer, pictures: list[np.ndarray]) -> torch.Tensor:
    """Codes of pictures, ``[pictures, rows, columns, codebooks]``."""
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    found = []
    with torch.no_grad():
        for part in images.split(BATCH):
            tokens = tokenizer.encode(tokbench.to_float(part.contiguous()))
            assert isinstance(tokens, DiscreteTokens)
            found.append(tokens.codes.unflatten(1, tokens.grid))
    return torch.cat(found)


def main() -> None:
    """Print a line a tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-t", "--tokenizer", action="append", help="of the zoo, with a grid of rows and columns")
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    edits = [
        edit for edit in (edit_of(seed, "test", kinds=KINDS) for seed in range(options.edits)) if edit.before.ground == edit.after.ground
    ]
    before, after = ([draw(scene, options.size) for scene in scenes] for scenes in zip(*((e.before, e.after) for e in edits), strict=True))
    still = torch.from_numpy(np.stack([untouched(edit, options.size) for edit in edits]))
    print(
        f"{len(edits)} edits at {options.size} px\n\n| tokenizer | positions | untouched | same where untouched % | same % |\n|---|---:|---:|---:|---:|"
    )
    for name in options.tokenizer or ZOO:
        tokenizer = tokbench.load(name)
        codes = codes_of(tokenizer, before)
        same = (codes == codes_of(tokenizer, after)).all(dim=-1)
        rows, columns = same.shape[1:]
        squares = still.unflatten(1, (rows, options.size // rows)).unflatten(3, (columns, options.size // columns))
        away = squares.all(dim=4).all(dim=2)
        shares = 100 * same[away].double().mean(), 100 * same.double().mean()
        print(f"| {name} | {rows * columns} | {away.double().sum(dim=(1, 2)).mean():.1f} | {shares[0]:.1f} | {shares[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
