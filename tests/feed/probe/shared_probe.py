"""A probe of seconds, as what several processes share: ``python shared_probe.py OUT``."""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tokbench.feed.probe.parts import Parts
from tokbench.feed.probe.run import ProbeResult, probe
from tokbench.records.protocol import get_protocol

HOUSE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))


def run(out: Path) -> ProbeResult | None:
    """Probe a few ramps. The last step has one image for all processes, and the 9 batches held out do not divide by 2."""
    parts = Parts(HOUSE["Ramps"](40), HOUSE["Ramps"](33, first=201, name="other ramps"))
    protocol = get_protocol(changes={"size": HOUSE["SIZE"], "micro_batch": 16})
    budget = replace(HOUSE["BUDGET"], images_seen=21, batch_size=4, curve_points=2, curve_images=10)
    return probe(HOUSE["Blocks"](), parts, out, protocol=protocol, budget=budget)


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = run(Path(sys.argv[1]))
    print("nothing" if found is None else found.record.to_json())
