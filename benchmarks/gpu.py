"""Whether ``tokbench run`` keeps a GPU busy: images per second by stage, of the networks alone and of the whole run, and the idle share.

Weights are random, of the published VQGAN of stride 16 and of FlowMo-lo, as time does not depend on what was learned. Pictures are JPEG files
of 500 by 375 pixels, which are made once. Networks alone are timed on a micro-batch that lies on the device, one stage at a time. A run is
timed from the end of its first chunk, so that nothing is warmed up in it, and once more under PyTorch's profiler, which says when the device
did nothing.

Run by hand: ``python benchmarks/gpu.py --device cuda``, or with ``--write`` to put the table into docs/speed.md. Without a GPU the table says
that nothing was measured; ``--device cpu --tokenizers small`` tries the script out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tokbench.bench.clocks import Clock, clock_of
from tokbench.bench.encode import decode, encode, reproducible
from tokbench.bench.loader import LoadReport, as_batch, load_keyed
from tokbench.bench.metrics.features import FeatureMetric
from tokbench.bench.metrics.lpips import LPIPS
from tokbench.bench.metrics.stability import Stability
from tokbench.bench.observation import Observation
from tokbench.bench.prepared import PreparedRun, RunOptions
from tokbench.data.photos import PhotoCrops
from tokbench.granted import granting
from tokbench.images import to_float
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.flowmo.model import FlowMo
from tokbench.tokenizers.vqgan.model import VQGAN

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
BEGIN, END = "<!-- benchmarks/gpu.py -->\n", "<!-- end -->\n"
"""What stands around the table on the page."""

SETS = {"published": ("vqgan/imagenet-f16-16384", "flowmo/lo"), "small": ("vqgan/tiny",)}
CLASSES: Mapping[str, Callable[[Any], Tokenizer]] = {"vqgan": VQGAN, "flowmo": FlowMo}

STAGES = ("encode", "decode", "again", "judges")
"""Again is the second encoding, of reconstructions, that the stability of codes is measured by."""

CALLS = 8
"""Timed calls of a stage."""


@dataclass(frozen=True)
class Row:
    """What was measured of one tokenizer in one precision, in images per second.

    Args:
        name: Of the tokenizer.
        precision: Number format it ran in.
        stages: Rate of each stage alone.
        alone: Rate of the stages one after another.
        run: Rate of the run.
        idle: Share of the run in which the device did nothing; None where nobody can say.
    """

    name: str
    precision: str
    stages: Mapping[str, float]
    alone: float
    run: float
    idle: float | None

    @property
    def share(self) -> float:
        """Share of the networks' own rate that the run reaches."""
        return self.run / self.alone


def table(rows: Sequence[Row], device: str = "") -> str:
    """The table of the page; without rows it says that nothing was measured.

    Args:
        rows: What was measured.
        device: What it was measured on.
    """
    heads = ("tokenizer, random weights, 256 px", "precision", *(f"{stage}/s" for stage in STAGES), "networks/s", "run/s", "share", "idle")
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for row in rows:
        rates = [*(row.stages.get(stage) for stage in STAGES), row.alone, row.run]
        idle = "not measured" if row.idle is None else f"{row.idle:.3f}"
        lines.append(
            f"| `{row.name}` | {row.precision} | "
            + " | ".join("-" if rate is None else f"{rate:.1f}" for rate in rates)
            + f" | {row.share:.3f} | {idle} |"
        )
    if not rows:
        missing = " | ".join(["not measured"] * (len(heads) - 2))
        lines += [f"| `{name}` | {precision} | {missing} |" for name in SETS["published"] for precision in ("fp32", "bf16")]
    return "\n".join([*lines, *([f"\nMeasured on {device}."] if rows else [])]) + "\n"


def make_pictures(folder: Path, count: int) -> None:
    """Write so many JPEG files, all different."""
    photos = PhotoCrops("train", 256)
    generator = np.random.Generator(np.random.PCG64(0))
    for number in range(count):
        image = photos.read(number % len(photos)).resize((500, 375), Image.Resampling.BICUBIC)
        pixels = np.asarray(image).astype(np.int16) + generator.integers(-8, 9, (375, 500, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:06d}.jpg", quality=90)


def build(name: str, device: torch.device) -> Tokenizer:
    """A tokenizer of the zoo with random weights."""
    family, variant = zoo.resolve(name)
    torch.manual_seed(0)
    with device:
        tokenizer = CLASSES[family.name](variant.config)
    tokenizer.name, tokenizer.trained_with = name, ()
    return tokenizer.eval().requires_grad_(False)


def stage_seconds(prepared: PreparedRun, clock: Clock, *, calls: int = CALLS) -> dict[str, float]:
    """Seconds that an image takes in each stage of a run with these metrics, on a micro-batch that lies on the device.

    Args:
        prepared: The run.
        clock: Times the work.
        calls: Timed calls of a stage.
    """
    tokenizer, protocol = prepared.under_test.tokenizer, prepared.protocol
    assert isinstance(tokenizer, Tokenizer)
    loaded: list[Any] = [load_keyed(prepared.source, protocol, index) for index in prepared.indices[: protocol.at_once]]
    observation = prepared.under_test.observe(as_batch(loaded, LoadReport()), prepared.listing)
    images, ids = to_float(observation.reference), observation.ids
    work = {
        "encode": lambda: encode(tokenizer, images, ids, protocol),
        "decode": lambda: decode(tokenizer, observation.tokens, ids, protocol),  # type: ignore[arg-type]
        "again": lambda: encode(tokenizer, observation.reconstruction_float, ids, protocol),
        "judges": partial(_judge, prepared.panel._active, observation),
    }
    if not any(isinstance(metric, Stability) for metric in prepared.panel._active):
        del work["again"]
    found = {}
    with reproducible():
        for stage, call in work.items():
            found[stage] = clock.repeated(partial(_granted, call), calls)() / len(ids)
    return found


def _granted(call: Callable[[], Any]) -> None:
    with granting():
        call()


def _judge(metrics: Iterable[Any], observation: Observation) -> None:
    """The networks that judge, and nothing around them: originals and reconstructions once each."""
    seen = set()
    for metric in metrics:
        if isinstance(metric, LPIPS):
            metric.per_image(observation)
        elif isinstance(metric, FeatureMetric) and metric.network.name not in seen:
            seen.add(metric.network.name)
            metric.network.features(observation.reference)
            metric.network.features(observation.reconstruction)


def run_rate(prepared: PreparedRun, now: Callable[[], float] = time.perf_counter) -> float:
    """Images per second of a run, from the end of its first chunk to that of its last.

    Raises:
        ValueError: If there is one chunk only.
    """
    ends = []
    for _ in prepared.measure(range(len(prepared.spans))):
        ends.append(now())
    if len(ends) < 2:
        raise ValueError(f"{len(prepared.indices)} images are one chunk; take more --images")
    images = sum(len(span) for span in prepared.spans[1:])
    return images / (ends[-1] - ends[0])


def idle_share(intervals: Iterable[tuple[float, float]]) -> float | None:
    """Share of the time from the first beginning to the last end in which none of the intervals lies; None if there are none."""
    merged: list[list[float]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    if not merged or merged[-1][1] <= merged[0][0]:
        return None
    busy = sum(end - start for start, end in merged)
    return 1 - busy / (merged[-1][1] - merged[0][0])


def profiled(prepared: PreparedRun) -> list[tuple[float, float]]:
    """When the device did something in the second chunk of a run: beginnings and ends, in microseconds."""
    from torch.profiler import DeviceType, ProfilerActivity, profile  # type: ignore[attr-defined]

    chunks = prepared.measure(range(min(3, len(prepared.spans))))
    next(chunks)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        next(chunks)
    chunks.close()
    events: Any = seen.events()
    return [(event.time_range.start, event.time_range.end) for event in events if event.device_type == DeviceType.CUDA]


def measure(
    tokenizer: Tokenizer, folder: Path, precision: str, *, size: int = 256, clock: Clock | None = None, micro_batch: int = 16
) -> Row:
    """Measure one tokenizer.

    Args:
        tokenizer: On its device.
        folder: Pictures.
        precision: Number format of the tokenizer.
        size: Side in pixels.
        clock: Times stages and run; None takes that of the device.
        micro_batch: Images at once.
    """
    clock = clock or clock_of(tokenizer.device)
    protocol = get_protocol(changes={"size": size, "precision": precision, "micro_batch": micro_batch})

    def prepared() -> PreparedRun:
        return PreparedRun(tokenizer, folder, metrics=None, protocol=protocol, options=RunOptions(cache=False))

    seconds = stage_seconds(prepared(), clock)
    rate = run_rate(prepared())
    idle = idle_share(profiled(prepared())) if tokenizer.device.type == "cuda" else None
    stages = {stage: 1 / value for stage, value in seconds.items()}
    return Row(tokenizer.name, precision, stages, 1 / sum(seconds.values()), rate, idle)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the device can, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokenizers", choices=SETS, default="published")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--write", action="store_true", help="put the table into docs/speed.md")
    asked = parser.parse_args(argv)
    rows, name = [], ""
    if asked.device == "cpu" or torch.cuda.is_available():
        device = torch.device(asked.device)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
        with tempfile.TemporaryDirectory() as folder:
            make_pictures(Path(folder), asked.images)
            for tokenizer in SETS[asked.tokenizers]:
                built = build(tokenizer, device)
                rows += [
                    measure(built, Path(folder), precision, size=asked.size, micro_batch=asked.micro_batch)
                    for precision in asked.precisions
                ]
                del built
    text = table(rows, name)
    print(text)
    if asked.write:
        page = PAGE.read_text()
        PAGE.write_text(page[: page.index(BEGIN) + len(BEGIN)] + text + page[page.index(END) :])


if __name__ == "__main__":
    main()
