"""Figures that may tell how well models generate from tokens, one row each, by the study that measures them; no torch."""

from __future__ import annotations

from tokbench.records.figure_info import FigureInfo


def _row(key: str, title: str, unit: str, better: bool | None, meaning: str, study: str, **more: object) -> FigureInfo:
    return FigureInfo(key, title, unit, better, meaning, "codes", metric=study, **more)  # type: ignore[arg-type]  # as its fields are


DISTANCE = "squared feature distance"
JUDGED = {"per_image": False, "networks": ("efflite0",)}
OF_ALL = {"per_image": False}

PREDICTION_FIGURES = (
    _row(
        "interpolation_fd",
        "interpolation FD",
        DISTANCE,
        False,
        "Fréchet distance on EfficientNet-Lite0 between images and what is decoded midway between each and its nearest neighbour",
        "interpolation",
        digits=2,
        leading=True,
        **JUDGED,
    ),
    _row(
        "interpolation_kd",
        "interpolation KD",
        DISTANCE,
        False,
        "kernel distance of the same, unbiased at any number of images",
        "interpolation",
        digits=5,
        **JUDGED,
    ),
    _row(
        "sensitivity_fd",
        "sensitivity FD",
        DISTANCE,
        False,
        "Fréchet distance on EfficientNet-Lite0 between images and what is decoded from tokens of which some were replaced",
        "sensitivity",
        digits=2,
        leading=True,
        **JUDGED,
    ),
    _row(
        "sensitivity_kd",
        "sensitivity KD",
        DISTANCE,
        False,
        "kernel distance of the same, unbiased at any number of images",
        "sensitivity",
        digits=5,
        **JUDGED,
    ),
    _row(
        "sensitivity_loss",
        "sensitivity",
        "dB",
        False,
        "decibels of PSNR that are lost when some tokens are replaced",
        "sensitivity",
        digits=2,
        symbol="dB",
        leading=True,
    ),
    *(
        _row(
            f"equivariance_{change}",
            f"{change} lost",
            "dB",
            False,
            f"decibels lost where the tokens are {word} instead of the image, which is then encoded",
            "equivariance",
            digits=2,
            symbol="dB",
            leading=True,
        )
        for change, word in (("flip", "mirrored"), ("rotation", "turned by a quarter"), ("scale", "halved in size"))
    ),
    _row("latent_mean", "mean", "1", None, "mean of all values of latents, or of the vectors of codes", "statistics", digits=3, **OF_ALL),
    _row("latent_rms", "rms", "1", None, "root of their mean square", "statistics", digits=3, **OF_ALL),
    _row("latent_std", "std", "1", None, "root of the mean variance of their channels", "statistics", digits=3, leading=True, **OF_ALL),
    _row("latent_skew", "skew", "1", None, "mean size of the skewness of their channels", "statistics", digits=3, leading=True, **OF_ALL),
    _row(
        "latent_range",
        "range",
        "1",
        None,
        "mean of largest less smallest value of their channels; it has no interval, since more images can only widen it",
        "statistics",
        digits=2,
        **OF_ALL,
    ),
    _row(
        "latent_correlation",
        "correlation",
        "1",
        None,
        "mean size of the correlation between two of their channels",
        "statistics",
        digits=3,
        leading=True,
        **OF_ALL,
    ),
    _row(
        "spectrum_slope",
        "spectrum",
        "decades per decade",
        None,
        "slope of the power of latents over frequency, both as logarithms",
        "spectrum",
        digits=2,
        leading=True,
        **OF_ALL,
    ),
    _row(
        "spectrum_image_slope",
        "spectrum of images",
        "decades per decade",
        None,
        "that slope of the images over the same frequencies",
        "spectrum",
        digits=2,
        **OF_ALL,
    ),
    _row(
        "spectrum_excess",
        "excess",
        "decades per decade",
        None,
        "slope of the latents less that of the images: above 0 they hold more of high frequencies",
        "spectrum",
        digits=2,
        leading=True,
        **OF_ALL,
    ),
    _row(
        "linear_accuracy",
        "linear",
        "share of images",
        True,
        "share of held-out images whose class a linear map of the tokens finds",
        "linear",
        digits=1,
        scale=100.0,
        symbol="%",
        leading=True,
    ),
    _row(
        "linear_chance",
        "most frequent class",
        "share of images",
        None,
        "share of the images that are of the class most images are of, which always naming it would reach",
        "linear",
        digits=1,
        scale=100.0,
        symbol="%",
        **OF_ALL,
    ),
    _row(
        "locality",
        "locality",
        "share of positions",
        True,
        "share of positions whose codes stay the same where an edit of a drawn scene changes nothing",
        "locality",
        digits=1,
        scale=100.0,
        symbol="%",
        leading=True,
        per_image=False,
    ),
    _row(
        "locality_whole",
        "same codes",
        "share of positions",
        None,
        "share of all positions whose codes stay the same",
        "locality",
        digits=1,
        scale=100.0,
        symbol="%",
        per_image=False,
    ),
)
"""All of them, in the order of tables; the study is what ``metric`` names."""

BY_KEY = {info.key: info for info in PREDICTION_FIGURES}

STUDIES = tuple(dict.fromkeys(info.metric for info in PREDICTION_FIGURES))
"""What ``tokbench predict --figures`` takes, beside the keys themselves."""


def keys_of_study(study: str) -> tuple[str, ...]:
    """Keys of the figures that a study measures."""
    return tuple(info.key for info in PREDICTION_FIGURES if info.metric == study)
