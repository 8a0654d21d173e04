"""Rows of data that describe the zoo: a family and its variants; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tokbench.layout import TokenLayout
from tokbench.tokenizers.normalisation import Normalisation


@runtime_checkable
class TokenizerConfig(Protocol):
    """What a tokenizer is built from: a frozen dataclass that says, without weights, how an image becomes tokens."""

    @property
    def stride(self) -> int:
        """Pixels a position covers along each axis."""
        ...

    def layout(self, height: int, width: int) -> TokenLayout:
        """Say how an image of this size, in pixels, becomes tokens.

        Raises:
            TokbenchError: If the tokenizer cannot take this size.
        """
        ...


@dataclass(frozen=True)
class Variant:
    """One tokenizer that can be loaded by name.

    Args:
        name: Without the family.
        config: The family's frozen configuration.
        image_size: Side of the square images it was made for, in pixels.
        summary: One line.
        weights: File in ``tokbench/weights/embedded`` that ships with the package; None if it needs no weights or brings none.
        needs_weights: Whether it is useless without weights.
        file: Where its published weights can be fetched, as ``tokbench.weights.places`` reads it.
        sha256: Digest of that file, in hex, where it is known; of a file in a zip, its own.
        beside: Name of a file in the same folder that says how diffusion models read the latents; it is fetched along.
        source: Where architecture and weights come from.
        licence: Licence of the weights.
        trained_with: Networks and data its training used, e.g. ``lpips-vgg`` or ``data:photos/train``.
        published: Key of its published figures, if any.
        normalisation: How diffusion models read its latents, where that is published; its tokens are not normalised.
        statistics_alone: Whether means and deviations that settings beside its weights say are all of it: its publisher's code passes by the
            scaling factor that stands with them.
    """

    name: str
    config: TokenizerConfig
    image_size: int
    summary: str
    weights: str | None = None
    needs_weights: bool = True
    file: str | None = None
    sha256: str | None = None
    beside: str | None = None
    source: str = ""
    licence: str = ""
    trained_with: tuple[str, ...] = ()
    published: str | None = None
    normalisation: Normalisation | None = None
    statistics_alone: bool = False


@dataclass(frozen=True)
class Family:
    """A folder of the zoo.

    Args:
        name: The folder's name.
        summary: One line.
        model: ``module:Class`` of the tokenizer, or a function from configuration to tokenizer, imported only when one is loaded.
        variants: Its rows.
        default: The variant a bare family name means.
    """

    name: str
    summary: str
    model: str
    variants: tuple[Variant, ...]
    default: str


def published_variant(
    family: str,
    name: str,
    config: TokenizerConfig,
    summary: str,
    *,
    source: str,
    licence: str,
    trained_with: tuple[str, ...],
    file: str | None = None,
    sha256: str | None = None,
    beside: str | None = None,
    figures: bool = True,
    normalisation: Normalisation | None = None,
    statistics_alone: bool = False,
    image_size: int = 256,
) -> Variant:
    """A row for weights of others, which the user brings.

    Args:
        family: Its name.
        name: Without the family.
        config: The family's frozen configuration.
        summary: One line.
        source: Where architecture and weights come from.
        licence: Licence of the weights, and where it is said.
        trained_with: Networks and data its training used.
        file: Where they can be fetched.
        sha256: Digest of that file, where it is known.
        beside: Name of a file in the same folder that says how diffusion models read the latents.
        figures: Whether there are published figures, see ``tokbench.tokenizers.published``.
        normalisation: How diffusion models read its latents.
        statistics_alone: Whether a scaling factor beside means and deviations in settings does not count.
        image_size: Side of the images they were made for, in pixels.
    """
    return Variant(
        name=name,
        config=config,
        image_size=image_size,
        summary=summary,
        source=source,
        licence=licence,
        file=file,
        sha256=sha256,
        beside=beside,
        trained_with=trained_with,
        published=f"{family}/{name}" if figures else None,
        normalisation=normalisation,
        statistics_alone=statistics_alone,
    )
