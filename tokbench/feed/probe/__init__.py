"""The probe: a small language model, the same for every tokenizer, that shows how many bits its tokens take to predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.feed.probe.drawing import SampleOptions, sample
    from tokbench.feed.probe.run import ProbeOptions, ProbeResult, probe
    from tokbench.feed.probe.saved import load_probe, save_probe

__all__ = ["ProbeOptions", "ProbeResult", "SampleOptions", "load_probe", "probe", "sample", "save_probe"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ProbeOptions": "tokbench.feed.probe.run",
        "ProbeResult": "tokbench.feed.probe.run",
        "SampleOptions": "tokbench.feed.probe.drawing",
        "load_probe": "tokbench.feed.probe.saved",
        "probe": "tokbench.feed.probe.run",
        "sample": "tokbench.feed.probe.drawing",
        "save_probe": "tokbench.feed.probe.saved",
    },
)
