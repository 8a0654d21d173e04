"""Records of probes to tables: bits beside bounds and quality, by part of the image, and while training; no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from tokbench.records.figures import BY_KEY
from tokbench.records.probe_record import ProbeRecord
from tokbench.report.sections import told_apart
from tokbench.report.subjects import names_of, one_by_names
from tokbench.report.table import EXACT, Cell, Column, Table, column_of
from tokbench.report.training import trained_mark, trained_notes
from tokbench.report.words import counted

BITS = (
    Column("uniform", "uniform_bits_per_image"),
    Column("unigram", "unigram_bits_per_image"),
    Column("n-gram", "ngram_bits_per_image"),
    Column("probe", "bits_per_image"),
)
"""Bits per image, each with more knowledge than the one before."""

RATES = (
    Column("bits/token", "bits_per_token", 3),
    Column("bits/pixel", "bits_per_pixel", 4),
    replace(column_of(BY_KEY["psnr"]), arrow=""),
)

OTHER_CODES = (
    Column("zlib", "zlib_bits_per_image"),
    Column("coder", "coded_bits_per_image"),
    Column("PNG of decoded", "png_reconstruction_bits_per_image"),
    Column("WebP of decoded", "webp_reconstruction_bits_per_image"),
)

CODER = Column("coder/probe %", "coder_share", 2, 100.0)
ENTROPY = Column("own entropy", "entropy_bits_per_image")

GAP = "gap"
"""What a row is called of bits that held-out images take beyond those trained on."""

QUARTERS = ("first quarter", "second", "third", "last")


def probe_tables(records: Sequence[ProbeRecord]) -> list[Table]:
    """Arrange records.

    Args:
        records: In the order rows shall have.

    Returns:
        For every budget, protocol, condition and data set: bits per image, other codes of the same tokens, bits by part of the image,
        and the learning curve.
    """
    return [table for names, section in probe_sections(records) for table in _section(names, section)]


def probe_sections(records: Sequence[ProbeRecord]) -> list[tuple[list[str], list[ProbeRecord]]]:
    """Put records together that compare, with the names of their rows."""
    sections: dict[tuple[object, ...], list[ProbeRecord]] = {}
    for record in records:
        key = (
            record.probe_label,
            record.probe.version,
            record.protocol_label,
            record.condition,
            record.train.digest,
            record.held_out.digest,
        )
        sections.setdefault(key, []).append(record)
    return [(told_apart(names_of([record.tokenizer for record in section])), section) for section in sections.values()]


def _section(names: Sequence[str], records: Sequence[ProbeRecord]) -> list[Table]:
    return [_bits(names, records), _codes(names, records), _parts(names, records), _curve(names, records)]


def _bits(names: Sequence[str], records: Sequence[ProbeRecord]) -> Table:
    first = records[0]
    condition = "" if first.condition == "none" else f", {first.condition} given"
    title = (
        f"probe {first.probe_label} v{first.probe.version} on {first.protocol.label}: bits per image of "
        f"{counted(first.held_out.count, 'held-out image')} of {first.held_out.name} ({counted(first.held_out.groups, 'group')}, data {first.held_out.digest[:8]}){condition}"
    )
    sizes = sorted({record.parameters.non_embedding for record in records})
    network = f"{' or '.join(f'{size:,}' for size in sizes)} parameters beside the embedding"
    probe = first.probe
    notes = [
        f"the probe: Llama, {network}, {counted(probe.images_seen, 'image')} seen of {first.train.name} ({first.train.count})",
        "uniform: all codes equally likely; unigram: by their frequency in training; n-gram: by their neighbours, interpolated; "
        "in brackets 95 % intervals over groups",
        "bits pay for different quality: PSNR is that of what the tokens decode to, on the same images",
    ]
    png, webp = (first.figures.get(f"{codec}_bits_per_image") for codec in ("png", "webp"))
    if png is not None and webp is not None and png.value is not None and webp.value is not None:
        area = first.protocol.pixels_per_image
        notes.append(
            f"the original pixels without loss: PNG {png.value:.0f} bits per image ({png.value / area:.2f} per pixel), "
            f"WebP {webp.value:.0f} ({webp.value / area:.2f})"
        )
    notes += [*_trained_on(names, records), *one_by_names([record.tokenizer for record in records])]
    tokens = Column("tokens", "tokens_per_image")
    rows = []
    for name, record in zip(names, records, strict=True):
        cells = [Cell(str(record.tokens.tokens_per_image), record.tokens.tokens_per_image)]
        cells += [_cell(record, column, interval=column.key == "bits_per_image") for column in (*BITS, *RATES)]
        rows.append((name, tuple(cells)))
    return Table(title, (tokens, *BITS, *RATES), tuple(rows), tuple(notes))


def _codes(names: Sequence[str], records: Sequence[ProbeRecord]) -> Table:
    rows, notes = [], []
    for name, record in zip(names, records, strict=True):
        coding = record.coding
        share = coding.coded_bits_per_image / coding.reported_bits_per_image
        cells = (
            _cell(record, ENTROPY),
            *(_cell(record, column) for column in OTHER_CODES),
            _marked(record, f"{share * CODER.scale:.2f}", share),
        )
        rows.append((name, cells))
        state = "read back without a difference" if coding.decoded else "NOT read back alike"
        notes.append(f"{name}: {counted(coding.images, 'image')} written by an arithmetic coder under the probe and {state}")
    notes.append(
        "own entropy: of the held-out codes by their own frequencies; coder/probe: size of the files over the bits reported for them"
    )
    notes += _trained_on(names, records)
    return Table("bits per image by other codes of the same tokens", (ENTROPY, *OTHER_CODES, CODER), tuple(rows), tuple(notes))


def _parts(names: Sequence[str], records: Sequence[ProbeRecord]) -> Table:
    """Mean bits a position in each quarter of the sequence; on a 2D grid the first quarter is the upper one."""
    rows = []
    for name, record in zip(names, records, strict=True):
        count = len(record.by_position)
        ends = [count * i // 4 for i in range(5)]
        rows.append((name, tuple(_mean(record, record.by_position[start:stop]) for start, stop in pairwise(ends))))
        if len(record.train_by_position) == count:
            gap = [held_out - trained for held_out, trained in zip(record.by_position, record.train_by_position, strict=True)]
            rows.append((f"{name}, {GAP}", tuple(_mean(record, gap[start:stop]) for start, stop in pairwise(ends))))
    columns = tuple(Column(quarter, f"quarter_{i}", 3) for i, quarter in enumerate(QUARTERS, start=1))
    notes = ["on a 2D grid from top to bottom; on a 1D grid in the order of the sequence"]
    if any(record.train_by_position for record in records):
        notes.append(f"{GAP}: what these bits are more than those of images that were trained on, as many as are held out")
    notes += _trained_on(names, records)
    return Table("bits per position, all codebooks together, by quarter of the sequence", columns, tuple(rows), tuple(notes))


def _curve(names: Sequence[str], records: Sequence[ProbeRecord]) -> Table:
    seen = sorted({point.images_seen for record in records for point in record.curve})
    rows = []
    for name, record in zip(names, records, strict=True):
        at = {point.images_seen: point.held_out for point in record.curve}
        rows.append((name, tuple(_marked(record, f"{at[count]:.3f}", at[count]) if count in at else Cell("-") for count in seen)))
        last = record.curve[-1]
        if last.train is not None:
            rows.append((f"{name}, training", tuple(_trained(record, count) for count in seen)))
    columns = tuple(Column(f"{count}", f"seen_{count}", 3) for count in seen)
    first = records[0].probe
    count = min(first.curve_images, records[0].held_out.count)
    note = f"measured on {count} of the held-out images, evenly chosen; training: the mean since the column before"
    return Table("bits per token by images seen", columns, tuple(rows), (note, *_trained_on(names, records)))


def _trained(record: ProbeRecord, count: int) -> Cell:
    value = next((point.train for point in record.curve if point.images_seen == count), None)
    return Cell("-") if value is None else Cell(f"{value:.3f}", value)


def _mean(record: ProbeRecord, values: Sequence[float]) -> Cell:
    if not values:
        return Cell("-")
    mean = sum(values) / len(values)
    return _marked(record, f"{mean:.3f}", mean)


def _marked(record: ProbeRecord, text: str, value: float) -> Cell:
    """A figure of held-out images, marked where the tokenizer was trained on them."""
    return Cell(text, value, mark=trained_mark(record.trained_on))


def _trained_on(names: Sequence[str], records: Sequence[ProbeRecord]) -> list[str]:
    return trained_notes(names, [record.trained_on for record in records])


def _cell(record: ProbeRecord, column: Column, *, interval: bool = False) -> Cell:
    figure = record.figures.get(column.key)
    if figure is not None and figure.wholly_exact:
        return Cell(EXACT, exact=figure.exact, mark=trained_mark(record.trained_on))
    if figure is None or figure.value is None:
        return Cell("-")
    write: Callable[[float], str] = lambda value: f"{value * column.scale:.{column.digits}f}"  # noqa: E731
    text = write(figure.value)
    if interval and figure.interval is not None:
        text += f" [{write(figure.interval.low)}, {write(figure.interval.high)}]"
    constant = column.key == "uniform_bits_per_image"  # of the codebook, and of no image
    return Cell(text, figure.value, exact=figure.exact, mark=trained_mark(record.trained_on) * (not constant))
