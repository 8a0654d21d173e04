"""What do tokens tell of models that generate them: which cheap figures agree with each other, and what does each cost?

Run by hand, the tokenizers first, and the tables at the end::

    python benchmarks/what_predicts.py measure vqvae/tiny vqgan/tiny vqvae/scenes patch pixel/palette-512
    python benchmarks/what_predicts.py measure pixel/palette-512 --size 32
    python benchmarks/what_predicts.py table

Records are made by ``tokbench predict`` and lie beside those of ``which_tokenizer.py``, whose tables then say how each figure goes with what a
language model does after it was trained on the tokens. Tokenizers without a model there count here all the same.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from quantizer_ladder import RESULTS as LADDER
from which_tokenizer import NOTHING, RESULTS, beforehand, tokbench

from tokbench.records.correlation import FEWEST, RankCorrelation, rank_correlation
from tokbench.records.prediction_record import PredictionRecord
from tokbench.records.prediction_store import find_prediction_records
from tokbench.records.store import find_records
from tokbench.report.beforehand import Known
from tokbench.report.prediction import prediction_tables
from tokbench.report.render import render


def measure(options: argparse.Namespace) -> None:
    """Measure tokenizers, one after the other."""
    out = Path(options.results) / str(options.size) / "predictions"
    for name in options.tokenizers:
        tokbench("predict", "-t", name, "--data", options.data, "--limit", options.limit, "--size", options.size, "--out", out)


def tables(results: Path = RESULTS, *, everything: bool = False) -> str:
    """The figures with what they cost, and which of them agree, from records alone.

    Args:
        results: Folder of records.
        everything: Also pairs of figures whose sign is undetermined.
    """
    rungs = {record.tokenizer.state_sha256: path.parent.name for path, record in find_records([LADDER])} if LADDER.is_dir() else {}
    parts: list[str] = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()) if results.is_dir() else []:
        records = [_named(record, rungs) for _, record in find_prediction_records([folder])]
        if records:
            parts += [f"**{folder.name} px**", render(prediction_tables(records, intervals=True), "md").strip()]
            parts.append(_agreements(beforehand(folder), everything=everything))
    return "\n\n".join(parts) or NOTHING


def _named(record: PredictionRecord, rungs: Mapping[str | None, str]) -> PredictionRecord:
    """A record under the name of its rung, if it is of one of the ladder; they all are changed forms of one name of the zoo."""
    rung = rungs.get(record.tokenizer.state_sha256)
    return record if rung is None else replace(record, tokenizer=replace(record.tokenizer, name=rung, settings={}))


def _agreements(known: Sequence[Known], *, everything: bool) -> str:
    """Rank correlations between every two figures, over the tokenizers that have both, drawn again; the surest first."""
    subjects = dict.fromkeys(subject for one in known for subject in one.values)
    found: list[tuple[str, str, RankCorrelation]] = []
    for one, other in itertools.combinations(known, 2):
        both = [subject for subject in subjects if subject in one.values and subject in other.values]
        if len(both) < FEWEST:
            continue
        ranks = rank_correlation([one.values[subject] for subject in both], [other.values[subject] for subject in both], resamples=2000)
        if ranks is not None:
            found.append((one.figure.key, other.figure.key, ranks))
    shown = [row for row in found if everything or row[2].determined]
    lines = [f"{len(found)} pairs of figures; the sign of {sum(row[2].determined for row in found)} is determined.", ""]
    lines += ["| figure | figure | tokenizers | rank correlation | with one left out |", "|---|---|---:|---:|---:|"]
    for one, other, ranks in sorted(shown, key=lambda row: -abs(row[2].value)):
        lines.append(f"| {one} | {other} | {ranks.count} | {ranks.words} | {ranks.least:.2f} to {ranks.most:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure tokenizers, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("measure", help="measure tokenizers")
    one.add_argument("tokenizers", nargs="+", help="names of the zoo, or folders of runs of tokbench train")
    one.add_argument("--size", type=int, default=64, choices=(32, 64))
    one.add_argument("--data", default="scenes", help="images; those of which a linear map finds the class must be labelled")
    one.add_argument("--limit", type=int, default=500, help="images at most")
    one.set_defaults(work=measure)
    shown = parts.add_parser("table", help="print the tables")
    shown.add_argument("--all", action="store_true", help="pairs whose sign is undetermined, too")
    shown.set_defaults(work=lambda options: print(tables(Path(options.results), everything=options.all)))
    for part in (one, shown):
        part.add_argument("--results", default=RESULTS)
    options = parser.parse_args()
    options.work(options)


if __name__ == "__main__":
    main()
