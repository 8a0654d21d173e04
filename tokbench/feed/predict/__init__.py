"""Figures that may tell how well models generate from tokens, without a model of them; one file a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.feed.predict.run import Prediction, predict, select_studies

__all__ = ["Prediction", "predict", "select_studies"]

__getattr__, __dir__ = lazy_exports(__name__, dict.fromkeys(__all__, "tokbench.feed.predict.run"))
