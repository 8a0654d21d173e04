"""Shards written in another thread while the next one is made."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from tokbench.feed.shards import ShardFacts, ShardRows
from tokbench.records.record import SkippedImage


class ShardWriter:
    """Writes shards one after the other, each whole before the next is begun, so that two at most are in memory.

    It is a context, which ends when the shard being written is on the disk, whatever happens within.

    Args:
        folder: Where the shards lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokbench-write")
        self._writing: Future[ShardFacts] | None = None
        self._written: dict[int, ShardFacts] = {}

    def put(self, rows: ShardRows, *, enlarged: int, skipped: Sequence[SkippedImage]) -> None:
        """Begin to write a shard, once the one before is written.

        Raises:
            TokbenchError: If that could not be written.
        """
        self.finish()
        self._writing = self._thread.submit(rows.write, self._folder, enlarged=enlarged, skipped=skipped)

    def check(self) -> None:
        """Notice that a shard has been written, or not.

        Raises:
            TokbenchError: If it could not be written.
        """
        if self._writing is not None and self._writing.done():
            self.finish()

    def finish(self) -> dict[int, ShardFacts]:
        """Wait for the shard being written.

        Returns:
            All shards written, by number.

        Raises:
            TokbenchError: If it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            facts = writing.result()
            self._written[facts.number] = facts
        return self._written

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown()
