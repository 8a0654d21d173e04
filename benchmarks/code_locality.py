"""How many codes stay as they are where an edit changes nothing?

Run by hand::

    python benchmarks/code_locality.py
    python benchmarks/code_locality.py -t vqvae/scenes -t vqgan/tiny --edits 500

The figure is that of ``tokbench predict --figures locality``, beside how many positions it is of.
"""

from __future__ import annotations

import argparse

import tokbench
from tokbench.feed.predict.locality import measure_locality
from tokbench.feed.predict.results import Results
from tokbench.records.protocol import get_protocol

ZOO = ("vqvae/scenes", "vqvae/tiny", "vqgan/tiny", "patch/kmeans-1024", "pixel/palette-512")


def main() -> None:
    """Print a line a tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-t", "--tokenizer", action="append", help="of the zoo, with a grid of rows and columns")
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    protocol = get_protocol(changes={"size": options.size})
    heading = "| tokenizer | positions | untouched | same where untouched % | same % |\n|---|---:|---:|---:|---:|"
    for number, name in enumerate(options.tokenizer or ZOO):
        tokenizer, results = tokbench.load(name), Results()
        layout = tokenizer.layout(options.size, options.size)
        edits, away = measure_locality(tokenizer, layout, protocol, options.edits, results)
        if not number:
            print(f"{edits} edits at {options.size} px\n\n{heading}")
        shares = [100 * (results.figures[key].value or 0.0) for key in ("locality", "locality_whole")]
        print(f"| {name} | {layout.positions} | {away:.1f} | {shares[0]:.1f} | {shares[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
