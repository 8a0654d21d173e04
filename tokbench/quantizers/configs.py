"""Quantizers as configuration: frozen settings that know their codebooks, are checked at birth and build the quantizer; no torch.

A setting is explained where it acts, in the quantizer of the same names.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from tokbench.configs import UNLESS_DEFAULT
from tokbench.plugins import import_class

if TYPE_CHECKING:
    from tokbench.quantizers.base import Quantizer

LossForm = Literal["paper", "taming", "commitment"]
BitOrder = Literal["low", "high"]
"""Whether the first channel of a code is its lowest or its highest bit."""
SignEntropy = Literal["exact", "clamped"]
SphereEntropy = Literal["group", "analytical"]
Enlarging = Literal["bicubic", "bilinear"]
"""How a coarse map of vectors is brought to the size of a fine one."""

MOST_LEVELS = 2**24
"""Levels of a channel: single precision counts no further."""

MOST_BITS = 24
"""Bits whose entropies are taken over all codes: 64 MB of single precision."""

LONGEST_CODE = 62
"""Bits of a code: ids are 64-bit integers with a sign."""


class QuantizerConfig(ABC):
    """What all of them have; each is a frozen dataclass with a ``kind`` of its own, which names it in text and JSON."""

    QUANTIZER: ClassVar[str]
    """``module:Class`` of the quantizer, which takes all fields but ``kind``."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Values of the vectors that are quantized."""

    @property
    @abstractmethod
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes of each codebook; a position has one code of each."""

    def build(self) -> Quantizer:
        """Make the quantizer; codes that are learned are random."""
        settings = {name: value for name, value in vars(self).items() if name != "kind"}
        quantizer: Quantizer = import_class(self.QUANTIZER)(**settings)
        return quantizer

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
            if (name == "beta" or name.endswith("_weight")) and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")


class OneCodebook(QuantizerConfig):
    """A learned codebook of ``codebook_size`` rows and ``dim`` columns."""

    codebook_size: int
    dim: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_codebook(self.codebook_size, self.dim)

    @property
    def channels(self) -> int:
        """See ``QuantizerConfig``."""
        return self.dim

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See ``QuantizerConfig``."""
        return (self.codebook_size,)


def _check_codebook(size: int, dim: int) -> None:
    if size < 1 or dim < 1:
        raise ValueError(f"a codebook has at least one row of at least one value, got {size} rows of {dim} values")


def _check_positive(**settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _check_choice(name: str, value: str, choices: Any) -> None:
    *first, last = get_args(choices)
    if value not in (*first, last):
        raise ValueError(f"{name} is {', '.join(first)} or {last}, got {value!r}")


@dataclass(frozen=True)
class VQ(OneCodebook):
    """The nearest row of a learned codebook; see ``VectorQuantizer``."""

    QUANTIZER: ClassVar = "tokbench.quantizers.vq:VectorQuantizer"

    codebook_size: int = 1024
    dim: int = 16
    beta: float = 0.25
    loss_form: LossForm = "paper"
    cosine: bool = False
    entropy_weight: float = 0.0
    entropy_temperature: float = 0.01
    raw_rows: bool = field(default=False, metadata=UNLESS_DEFAULT)
    kind: Literal["vq"] = "vq"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("loss_form", self.loss_form, LossForm)
        _check_positive(entropy_temperature=self.entropy_temperature)


@dataclass(frozen=True)
class Gumbel(OneCodebook):
    """The code with the highest score; see ``GumbelQuantizer``."""

    QUANTIZER: ClassVar = "tokbench.quantizers.gumbel:GumbelQuantizer"

    codebook_size: int = 1024
    dim: int = 16
    kl_weight: float = 5e-4
    temperature: float = 1.0
    kind: Literal["gumbel"] = "gumbel"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(temperature=self.temperature)


@dataclass(frozen=True)
class FSQ(QuantizerConfig):
    """A few levels a channel; see ``FiniteScalarQuantizer``. The default has 1,000 codes."""

    QUANTIZER: ClassVar = "tokbench.quantizers.fsq:FiniteScalarQuantizer"

    levels: tuple[int, ...] = (8, 5, 5, 5)
    codebooks: int = 1
    preserve_symmetry: bool = False
    kind: Literal["fsq"] = "fsq"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.levels or min(self.levels) < (2 if self.preserve_symmetry else 3):
            raise ValueError(f"a channel needs at least 3 levels, or 2 with preserve_symmetry, got {self.levels}")
        if max(self.levels) > MOST_LEVELS:
            raise ValueError(f"a channel has at most {MOST_LEVELS} levels, got {self.levels}; use more channels")
        size = math.prod(self.levels)
        if size >= 2**63 or self.codebooks < 1:
            raise ValueError(f"a code has less than 63 bits and a position at least one code, got {size} codes, {self.codebooks} codebooks")

    @property
    def channels(self) -> int:
        """See ``QuantizerConfig``."""
        return len(self.levels) * self.codebooks

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See ``QuantizerConfig``."""
        return (math.prod(self.levels),) * self.codebooks


@dataclass(frozen=True)
class LFQ(QuantizerConfig):
    """Signs of channels; see ``LookupFreeQuantizer``. The default has 1,024 codes."""

    QUANTIZER: ClassVar = "tokbench.quantizers.lfq:LookupFreeQuantizer"

    bits: int = 10
    codebooks: int = 1
    entropy_weight: float = 0.0025
    commitment_weight: float = 0.000625
    temperature: float = 0.1
    diversity_weight: float = 1.0
    bit_order: BitOrder = "low"
    entropy_form: SignEntropy = "exact"
    spherical: bool = False
    scale: float = 1.0
    kind: Literal["lfq"] = "lfq"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.bits <= LONGEST_CODE or self.codebooks < 1:
            raise ValueError(f"a code has 1 to {LONGEST_CODE} bits and a token at least one code, got {self.bits} and {self.codebooks}")
        _check_choice("bit_order", self.bit_order, BitOrder)
        _check_choice("entropy_form", self.entropy_form, SignEntropy)
        _check_positive(temperature=self.temperature, scale=self.scale)
        if self.entropy_weight and self.bits > MOST_BITS:
            raise ValueError(
                f"the entropy of codes of {self.bits} bits needs memory for 2**{self.bits} values; allowed are {MOST_BITS}: "
                "use more codebooks of fewer bits, or entropy_weight 0"
            )

    @property
    def channels(self) -> int:
        """See ``QuantizerConfig``."""
        return self.bits * self.codebooks

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See ``QuantizerConfig``."""
        return (2**self.bits,) * self.codebooks


@dataclass(frozen=True)
class BSQ(QuantizerConfig):
    """Signs of channels on a sphere; see ``BinarySphericalQuantizer``. The default has 512 codes."""

    QUANTIZER: ClassVar = "tokbench.quantizers.bsq:BinarySphericalQuantizer"

    bits: int = 9
    codes_per_position: int = 1
    commitment_weight: float = 0.25
    entropy_weight: float = 1.0
    sample_weight: float = 1.0
    diversity_weight: float = 1.0
    temperature: float = 1.0
    entropy_form: SphereEntropy = "group"
    group_size: int = 9
    normalize: bool = True
    unit_codes: bool = True
    kind: Literal["bsq"] = "bsq"

    def __post_init__(self) -> None:
        super().__post_init__()
        bits, codes = self.bits, self.codes_per_position
        if bits < 1 or codes < 1 or bits % codes or bits // codes > LONGEST_CODE:
            raise ValueError(f"{bits} bits cannot make {codes} equal codes of 1 to {LONGEST_CODE} bits")
        _check_choice("entropy_form", self.entropy_form, SphereEntropy)
        _check_positive(temperature=self.temperature)
        if self.entropy_form == "group" and self.group_size > MOST_BITS:
            raise ValueError(f"a group has at most {MOST_BITS} bits, got {self.group_size}; use a smaller one, or entropy_form analytical")
        if self.entropy_form == "group" and (self.group_size < 1 or bits % self.group_size):
            raise ValueError(f"{bits} bits cannot make groups of {self.group_size}; use a divisor, or entropy_form analytical")

    @property
    def channels(self) -> int:
        """See ``QuantizerConfig``."""
        return self.bits

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See ``QuantizerConfig``."""
        return (2 ** (self.bits // self.codes_per_position),) * self.codes_per_position


@dataclass(frozen=True)
class IBQ(OneCodebook):
    """The row with the largest product, with gradients to all rows; see ``IndexBackpropagationQuantizer``."""

    QUANTIZER: ClassVar = "tokbench.quantizers.ibq:IndexBackpropagationQuantizer"

    codebook_size: int = 1024
    dim: int = 16
    beta: float = 0.25
    entropy_weight: float = 0.05
    entropy_temperature: float = 0.01
    diversity_weight: float = 1.0
    kind: Literal["ibq"] = "ibq"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(entropy_temperature=self.entropy_temperature)


@dataclass(frozen=True)
class SimVQ(OneCodebook):
    """A frozen random codebook under a learned map; see ``tokbench.quantizers.simvq.SimVQ``."""

    QUANTIZER: ClassVar = "tokbench.quantizers.simvq:SimVQ"

    codebook_size: int = 1024
    dim: int = 16
    frozen_dim: int | None = None
    beta: float = 0.25
    commitment_weight: float = 1.0
    rotation_trick: bool = True
    kind: Literal["simvq"] = "simvq"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frozen_dim is not None:
            _check_codebook(self.codebook_size, self.frozen_dim)


@dataclass(frozen=True)
class ResidualVQ(QuantizerConfig):
    """Codebooks in stages, each of what the stages before it left over; see ``ResidualQuantizer``."""

    QUANTIZER: ClassVar = "tokbench.quantizers.residual:ResidualQuantizer"

    sizes: tuple[int, ...] = (256, 256, 256, 256)
    dim: int = 16
    beta: float = 0.25
    loss_form: LossForm = "paper"
    kind: Literal["residual"] = "residual"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sizes:
            raise ValueError("a residual quantizer needs at least one stage")
        _check_choice("loss_form", self.loss_form, LossForm)
        for size in self.sizes:
            _check_codebook(size, self.dim)

    @property
    def channels(self) -> int:
        """See ``QuantizerConfig``."""
        return self.dim

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See ``QuantizerConfig``."""
        return self.sizes


AnyQuantizer = VQ | Gumbel | FSQ | LFQ | BSQ | IBQ | SimVQ | ResidualVQ
"""The type of a field that takes any of them."""
