"""The base class of torchmetrics, imported without its hundred metrics and whatever these need.

``import torchmetrics`` imports text, audio and networks of others too, which takes longer than ``import torch``. The base class also imports
matplotlib, for plots of values.
"""

from __future__ import annotations

import logging

from tokbench.put_off import import_part, put_off

with put_off("torchmetrics.utilities.plot", "plot_single_or_multi_val", _AX_TYPE=object, _PLOT_OUT_TYPE=object):
    import_part("torchmetrics.utilities", {"torchmetrics": {"_logger": logging.getLogger("torchmetrics")}})  # what the base class prints by

from torchmetrics.metric import Metric
from torchmetrics.utilities import dim_zero_cat

__all__ = ["Metric", "dim_zero_cat"]
