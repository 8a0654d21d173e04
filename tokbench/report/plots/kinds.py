"""Kinds of plots, by the words of ``tokbench plot --kind``, and the function that makes each."""

from __future__ import annotations

RUN_KINDS = {
    "rate": "tokbench.report.plots.run_panels:rate_panels",
    "encode": "tokbench.report.plots.run_panels:encode_panels",
    "decode": "tokbench.report.plots.run_panels:decode_panels",
    "codebook": "tokbench.report.plots.run_panels:codebook_panels",
    "images": "tokbench.report.plots.run_panels:image_panels",
}
"""Of runs. The function takes records, their rows, the paper and ``together``, and gives panels, none where there are no data."""

LM_KINDS = {
    "stages": "tokbench.report.plots.dots:stage_plots",
    "parts": "tokbench.report.plots.dots:part_plots",
}
"""Of language models: beside ceiling and chance, and by the part that words ask for. The function takes records and the group."""

SPEED_KINDS = {
    "throughput": "tokbench.report.plots.speeds:throughput_plots",
    "memory": "tokbench.report.plots.speeds:memory_plots",
}
"""Of speed tests, by batch. The function takes a section of records that compare."""
