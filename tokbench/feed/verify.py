"""Whether an export is what it says: every byte read again, and a sample encoded afresh and decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokbench.configs import differences
from tokbench.data.open import open_source, spec_of
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.audit import Audit
from tokbench.feed.compare import Comparison, compare
from tokbench.feed.encoding import identify
from tokbench.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class VerifyOptions:
    """How an export is verified.

    Args:
        sample: Images that are encoded afresh.
        seed: Seed of their choice.
        progress: Called after every shard with shards read and in all.

    Raises:
        ValueError: If the sample is negative.
    """

    sample: int = 16
    seed: int = 0
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)

    def __post_init__(self) -> None:
        if self.sample < 0:
            raise ValueError(f"sample must not be negative, got {self.sample}")


@dataclass(frozen=True)
class Verification:
    """What was found.

    Args:
        shards: Read.
        rows: Read.
        problems: What is wrong, one line each; none if all is well.
        comparison: Comparison of the sample with its source; None if there was nothing to compare with.
    """

    shards: int
    rows: int
    problems: tuple[str, ...]
    comparison: Comparison | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(
    folder: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    data: str | Path | ImageSource | None = None,
    options: VerifyOptions | None = None,
) -> Verification:
    """Read an export again: schema, counts, ids, code ranges, checksums, digests, and a sample against its source.

    Args:
        folder: Where the shards lie.
        tokenizer: The one that made them, which encodes the sample afresh and decodes it.
        data: The images they were made from. Without both, nothing is compared; ``tokenizer_of`` and ``source_of`` may find them.
        options: How.

    Returns:
        What was found; damage is a problem in it, not an exception.

    Raises:
        TokbenchError: If there is no export, or the tokenizer is another one.
    """
    options, folder = options or VerifyOptions(), Path(folder)
    audit = Audit(folder)
    if tokenizer is not None:
        different = differences(audit.job, replace(audit.job, tokenizer=identify(tokenizer, schema=audit.job.schema)))
        if different:
            raise TokbenchError(f"{folder} was made by another tokenizer: {different}; give the one that made it")
    audit.read(sample=options.sample, seed=options.seed, progress=options.progress)
    comparison = None
    if tokenizer is not None and data is not None and audit.sample:
        how = audit.job.preparation
        source = data if isinstance(data, ImageSource) else open_source(spec_of(data), size=how.size, scaled=how.scaled)
        comparison = compare(audit.sample, audit.job, tokenizer, source)
    problems = (*audit.problems, *(comparison.problems if comparison else ()))
    return Verification(audit.shards, audit.rows, problems, comparison)
