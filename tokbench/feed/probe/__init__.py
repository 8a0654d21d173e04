"""The probe: a small language model, the same for every tokenizer, that shows how many bits its tokens take to predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.feed.probe.drawing import decode_samples, sample
    from tokbench.feed.probe.options import SampleOptions
    from tokbench.feed.probe.run import ProbeOptions, ProbeResult, probe
    from tokbench.feed.probe.saved import ProbeForm, load_probe, read_probe_form, save_probe

__all__ = [
    "ProbeForm",
    "ProbeOptions",
    "ProbeResult",
    "SampleOptions",
    "decode_samples",
    "load_probe",
    "probe",
    "read_probe_form",
    "sample",
    "save_probe",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ProbeForm": "tokbench.feed.probe.saved",
        "ProbeOptions": "tokbench.feed.probe.run",
        "ProbeResult": "tokbench.feed.probe.run",
        "SampleOptions": "tokbench.feed.probe.options",
        "decode_samples": "tokbench.feed.probe.drawing",
        "load_probe": "tokbench.feed.probe.saved",
        "probe": "tokbench.feed.probe.run",
        "read_probe_form": "tokbench.feed.probe.saved",
        "sample": "tokbench.feed.probe.drawing",
        "save_probe": "tokbench.feed.probe.saved",
    },
)
