"""Shapes of marks in plots and keys, centred on the origin; colours are in the style sheet, in the same order."""

from __future__ import annotations

SHAPE_PATHS = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",  # circle
    "M-4.4 -4.4h8.8v8.8h-8.8Z",  # square
    "M0 -5.8L5.4 4.2h-10.8Z",  # triangle
    "M0 -6L6 0L0 6L-6 0Z",  # diamond
    "M0 5.8L5.4 -4.2h-10.8Z",  # triangle on its point
)

CODEC_PATHS = {
    "webp": "M-3.6 -3.6L3.6 3.6M-3.6 3.6L3.6 -3.6",  # cross
    "jpeg": "M-4.6 0h9.2M0 -4.6v9.2",  # plus
}
"""Codecs are grey and open, so that they stay in the background."""
