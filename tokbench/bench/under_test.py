"""The tokenizer or codec that a run measures, on micro-batches of one fixed size, and the time it takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.about import tokenizer_info
from tokbench.bench.anchors import Anchor
from tokbench.bench.clocks import Lap
from tokbench.bench.compiling import COMPILER, compiled, graphs_made
from tokbench.bench.encode import Timed, decode, encode, untimed
from tokbench.bench.given import GivenImages
from tokbench.bench.identity import training_of_tokenizer, weights_digest
from tokbench.bench.loader import Batch
from tokbench.bench.microbatch import padded
from tokbench.bench.observation import Again, Listing, Observation
from tokbench.bench.pace import Made, Underway
from tokbench.bench.queues import Queue, Sent
from tokbench.bench.regroup import joined_tokens
from tokbench.bench.seen import Restored, observed
from tokbench.conduct import Misbehaved, blamed, layout_of, name_of
from tokbench.configs import plain
from tokbench.images import to_float
from tokbench.layout import TokenLayout
from tokbench.records.protocol import Protocol
from tokbench.records.record import TokenizerInfo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import Tokens
from tokbench.weights.training import Training


@dataclass(frozen=True)
class Cost:
    """What some images took.

    Args:
        encode: Seconds that an image took in each micro-batch; the first one of the process warms up, and is left out.
        decode: The same of decoding.
        coded: Bytes that a codec made of each image; empty of a tokenizer.
    """

    encode: tuple[float, ...]
    decode: tuple[float, ...]
    coded: tuple[int, ...]


class UnderTest:
    """A tokenizer or an anchor, run on micro-batches of one fixed size and timed.

    Args:
        tokenizer: On its device; or reconstructions that other code made.
        protocol: Size, micro-batch, precision and seed.

    Attributes:
        layout: Layout of the tokens of one image; None of a codec.
        device: Where it runs.
        training: What is known of its training.
    """

    def __init__(self, tokenizer: Tokenizer | Anchor | GivenImages, protocol: Protocol) -> None:
        self.tokenizer, self.protocol = tokenizer, protocol
        self.layout: TokenLayout | None = None
        self.device = torch.device("cpu")
        self.training = Training(())
        if isinstance(tokenizer, GivenImages):
            self.training, self.device = Training(), torch.device(tokenizer.device)
        self._state: str | None = None
        if isinstance(tokenizer, Tokenizer):
            self.layout = layout_of(tokenizer, *protocol.shape)
            with blamed(name_of(tokenizer), "its device, weights and training"):
                self.training, self.device = training_of_tokenizer(tokenizer), tokenizer.device
                self._state = weights_digest(tokenizer)
        self._warm = {"encode": False, "decode": False}
        self._laps: dict[str, list[Lap]] = {"encode": [], "decode": []}
        self._seconds: dict[str, list[float]] = {"encode": [], "decode": []}
        self._bytes: list[int] = []
        self._grants = True
        self._queue: Queue | None = None
        self._functions: dict[str, Callable[..., Any] | None] = {"encode": None, "decode": None}
        self._graphs: int | None = None
        if protocol.compiled and isinstance(tokenizer, Tokenizer):
            self._functions = {stage: compiled(getattr(tokenizer, stage), COMPILER) for stage in self._functions}
            self._graphs = graphs_made()

    def observe(self, batch: Batch, listing: Listing) -> Observation:
        """Encode and decode one micro-batch of the images listed, and show what came back as the protocol has it."""
        return observed(self.restore(batch), self.protocol, listing)

    @property
    def ahead(self) -> int:
        """Micro-batches that are sent, and as many that are begun, before the one ahead of them is judged; no figure depends on it."""
        return 1 if self.device.type == "cuda" else 0

    def send(self, batch: Batch) -> Sent:
        """Send a micro-batch to the tokenizer's device, padded; in any thread, but one at a time."""
        if self._queue is None:
            self._queue = Queue(self.device)
        return Sent(padded(batch.images, self.protocol.at_once), self._queue)

    def restore(self, batch: Batch) -> Restored:
        """Encode and decode one micro-batch; the padding is cut off again."""
        return self._begin(batch, self.send(batch))()

    def restored(self, ready: Iterable[tuple[Batch, Sent]]) -> Iterator[Restored]:
        """Encode and decode micro-batches, each asked for when those ahead have begun.

        Args:
            ready: The images, and what ``send`` returned of them.
        """
        waiting: deque[Callable[[], Restored]] = deque()
        for batch, sent in ready:
            waiting.append(self._begin(batch, sent))
            if len(waiting) > self.ahead:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def _begin(self, batch: Batch, sent: Sent) -> Callable[[], Restored]:
        """Give one micro-batch to the tokenizer.

        Returns:
            What says what came of it, and raises ``Misbehaved`` where the tokenizer broke its contract.
        """
        count, reference = len(batch.ids), sent.get()

        def restored(tokens: Tokens | None, images: Tensor) -> Restored:
            return Restored(batch.ids, batch.keys, reference[:count], images, tokens, self._reencode)

        if isinstance(self.tokenizer, Anchor):
            start = time.perf_counter()
            images, sizes = self.tokenizer.transcode(reference[:count])
            if self._warm["encode"]:
                self._seconds["encode"].append((time.perf_counter() - start) / count)
            self._warm["encode"] = True
            self._bytes += sizes
            return partial(restored, None, images)
        if isinstance(self.tokenizer, GivenImages):
            return partial(restored, None, self.tokenizer.images(batch.ids).to(self.device))
        underway = self._underway(lambda timed: self._both(reference, batch.ids, self._timer if timed else lambda what: untimed))
        return lambda: restored(*self._end(underway))

    def cost(self) -> Cost:
        """What was taken since this was last asked."""
        for what, laps in self._laps.items():
            self._seconds[what] += [lap.seconds() / self.protocol.at_once for lap in laps]
            laps.clear()
        found = Cost(tuple(self._seconds["encode"]), tuple(self._seconds["decode"]), tuple(self._bytes))
        self._seconds, self._bytes = {"encode": [], "decode": []}, []
        return found

    def _underway(self, make: Callable[[bool], Made]) -> Underway[Made]:
        assert isinstance(self.tokenizer, Tokenizer)
        return Underway(name_of(self.tokenizer), make, self.device, grants=self._grants)

    def _end(self, underway: Underway[Made]) -> Made:
        made, held = underway.end()
        self._grants = self._grants and held  # what is unusual here may be so again
        return made

    def _both(self, reference: Tensor, ids: tuple[str, ...], timer: Callable[[str], Timed]) -> tuple[Tokens, Tensor]:
        """Tokens of images and what they decode to, without the padding."""
        assert isinstance(self.tokenizer, Tokenizer)
        tokens = self._encode(to_float(reference), ids, timer("encode"))
        images = decode(self.tokenizer, tokens, ids, self.protocol, timed=timer("decode"), function=self._functions["decode"])
        self._check_compiled()
        tokens, images = tokens[: len(ids)], images[: len(ids)]
        return (joined_tokens([tokens]), images.clone()) if self.ahead else (tokens, images)  # the next call may write to its own

    def _check_compiled(self) -> None:
        """Refuse to call compiled what runs as it is.

        Raises:
            Misbehaved: If no graph was made of the tokenizer.
        """
        if self._graphs is not None and graphs_made() == self._graphs:
            assert isinstance(self.tokenizer, Tokenizer)
            name = name_of(self.tokenizer)
            raise Misbehaved(f"torch.compile makes no graph of {name}, which would run as it is; leave --compile out")
        self._graphs = None

    def _encode(self, images: Tensor, ids: tuple[str, ...], timed: Timed = untimed) -> Tokens:
        assert isinstance(self.tokenizer, Tokenizer)
        function = self._functions["encode"]
        return encode(self.tokenizer, images, ids, self.protocol, layout=self.layout, timed=timed, function=function)

    def _reencode(self, reconstruction: Tensor, ids: Sequence[str]) -> Again:
        images = to_float(padded(reconstruction, min(self.protocol.at_once, self.protocol.micro_batch)))
        underway = self._underway(lambda timed: self._encode(images, tuple(ids))[: len(reconstruction)])
        return Again(underway.likely, cache(lambda: self._end(underway)))

    def _timer(self, what: str) -> Timed:
        def timed(action: Callable[[], Any]) -> Any:
            lap = Lap(self.device)
            result = action()
            lap.stop()
            if self._warm[what]:
                self._laps[what].append(lap)
            self._warm[what] = True
            return result

        return timed

    def info(self) -> TokenizerInfo:
        """What was measured, as it is now.

        Raises:
            Misbehaved: If its tensors are not those it had before the first image.
        """
        if isinstance(self.tokenizer, Anchor):
            codec = self.tokenizer.config
            return TokenizerInfo(self.tokenizer.name, plain(codec), None, 0, codec=codec.codec)
        if isinstance(self.tokenizer, GivenImages):
            return self.tokenizer.info()
        info = tokenizer_info(self.tokenizer)
        if info.state_sha256 != self._state:
            raise Misbehaved(
                f"{info.name} changed its weights while it was measured; call .eval(), and let encode and decode write nothing"
            )
        return info
