"""One probe from images to record: export, train, measure, bound, code, compare, draw, save."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tokbench.bench.about import tokenizer_info
from tokbench.bench.encode import reproducible
from tokbench.bench.environment import environment
from tokbench.bench.identity import trained_on, training_of_tokenizer
from tokbench.errors import TokbenchError
from tokbench.feed.label_rules import LabelRule
from tokbench.feed.probe.codecs import SETTINGS, measure_pixels
from tokbench.feed.probe.coding import decode_images, encode_images, zlib_bits
from tokbench.feed.probe.counts import ngram_bits, unigram_bits
from tokbench.feed.probe.figures import DECIBELS, Figures
from tokbench.feed.probe.network import count_parameters, make_network
from tokbench.feed.probe.parts import Part, Parts, WithMirrorImages
from tokbench.feed.probe.sequences import Sequences, check_condition, choose_condition, probe_vocabulary
from tokbench.feed.probe.tokens import TokenSet, check_codes, describe, export_tokens, read_codes
from tokbench.feed.probe.training import measure_bits, train
from tokbench.feed.vocabulary import Vocabulary
from tokbench.launch import joined, take_device
from tokbench.layout import TokenLayout
from tokbench.records.probe_protocol import ProbeProtocol, get_probe_protocol
from tokbench.records.probe_record import Coding, ProbeRecord, ProbeTiming
from tokbench.records.protocol import Protocol, get_protocol
from tokbench.records.record import TokensInfo
from tokbench.together import place
from tokbench.tokenizers.base import Tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

PAIRS = 1 << 28
"""Pairs of steps, about, of the images that are written and read by the coder: its work grows with the square of their length."""


Stage = Callable[[str, int], AbstractContextManager[Callable[[int, int], None]]]
"""Shows that a stage of some name and total has begun; the callable it yields takes what is done and what there is in all."""


def quiet(name: str, total: int) -> AbstractContextManager[Callable[[int, int], None]]:
    """A stage that shows nothing."""
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True)
class ProbeOptions:
    """What a probe is told beside its budget.

    Args:
        labels: Where labels come from, as for ``export``; they stand before the images if the budget's condition takes them.
        coded_images: Images that are written and read by the coder at most; None takes as many as ``PAIRS`` allows.
        stage: Shows progress.

    Raises:
        ValueError: If a number is not positive.
    """

    labels: LabelRule = "source"
    coded_images: int | None = None
    stage: Stage = quiet

    def __post_init__(self) -> None:
        if self.coded_images is not None and self.coded_images < 1:
            raise ValueError(f"coded_images must be at least 1, got {self.coded_images}")


@dataclass(frozen=True)
class ProbeResult:
    """A probe.

    Args:
        record: Its figures.
        rows: Values per held-out image behind them, by name and id.
        model: The trained network.
        vocabulary: Vocabulary of its ids.
        texts: What stood before the first held-out images; empty without condition.
    """

    record: ProbeRecord
    rows: dict[str, dict[str, float]]
    model: LlamaForCausalLM
    vocabulary: Vocabulary
    texts: tuple[str, ...] = ()


def probe(
    tokenizer: Tokenizer,
    parts: Parts,
    tokens_folder: Path,
    *,
    protocol: Protocol | None = None,
    budget: ProbeProtocol | None = None,
    options: ProbeOptions | None = None,
) -> ProbeResult | None:
    """Train the probe on a tokenizer's tokens and measure held-out images with it.

    Two runs on one machine with one number of threads and processes give equal figures. Under ``torchrun`` or ``accelerate launch`` the
    processes share training, and the bits of held-out images; the rest is the first's.

    Args:
        tokenizer: One that makes codes; the probe runs on its device.
        parts: Images to train and to measure on.
        tokens_folder: Where exported tokens are kept, and found again.
        protocol: How images are read and encoded; None takes ``photos-64``.
        budget: Network and training; None takes ``small``.
        options: Labels, coding, progress.

    Returns:
        What was found; None in other processes than the first.

    Raises:
        Elsewhere: If the first process cannot export the tokens.
        TokbenchError: If tokenizer and data do not fit together, images are both trained on and held out, or ``transformers`` is not
            installed.
    """
    started = time.perf_counter()
    protocol, budget, options = protocol or get_protocol(), budget or get_probe_protocol(), options or ProbeOptions()
    kept = {name: getattr(protocol, name) for name in ("size", "resize", "samples", "seed", "precision", "micro_batch")}
    protocol = get_protocol(protocol.name, kept, data=parts.held_out.name)
    with joined(), reproducible():
        take_device(tokenizer.device)
        work = _Work(tokenizer, parts, tokens_folder, protocol, budget, options)
        work.train()
        work.measure()
        if place() > 0:
            return None
        work.bound()
        coding = work.code()
        work.compare()
    return work.result(coding, started)


class _Work:
    """The stages of one probe."""

    def __init__(
        self, tokenizer: Tokenizer, parts: Parts, folder: Path, protocol: Protocol, budget: ProbeProtocol, options: ProbeOptions
    ) -> None:
        self.tokenizer, self.protocol, self.budget, self.options = tokenizer, protocol, budget, options
        check_codes(tokenizer, protocol)
        for source in (parts.train, parts.held_out):
            check_condition(budget.condition, source, options.labels)
        training = WithMirrorImages(parts.train) if budget.augment == "flip" else parts.train
        self.train_tokens, self.held_out_tokens = (
            self._export(source, folder, what) for source, what in ((training, "training"), (parts.held_out, "held-out"))
        )
        train_set, held_out_set = self.train_tokens.dataset, self.held_out_tokens.dataset
        both = len(self.train_tokens.digests() & self.held_out_tokens.digests())
        if both:
            raise TokbenchError(f"{both} images of {parts.held_out.name} are trained on and held out; give others with --held-out-data")
        self.vocabulary = probe_vocabulary(train_set)
        self.condition = choose_condition(budget.condition, train_set, held_out_set)
        self.sequences, self.held_out = (Sequences(part, self.vocabulary, self.condition) for part in (train_set, held_out_set))
        length = max(self.sequences.length, self.held_out.length)
        self.model = make_network(self.vocabulary, budget, length=length).to(tokenizer.device)
        self.layout: TokenLayout = train_set.job.layout
        self.ids = [held_out_set[row]["id"] for row in range(len(held_out_set))]
        groups = self.held_out_tokens.groups()
        self.figures = Figures(self.ids, [groups[name] for name in self.ids], self.layout)

    def _export(self, source: Any, folder: Path, what: str) -> TokenSet:
        with self.options.stage(f"{what} tokens", len(source)) as advance:
            return export_tokens(self.tokenizer, source, folder, protocol=self.protocol, labels=self.options.labels, progress=advance)

    def train(self) -> None:
        """Train the network, with a look at some held-out images now and then."""
        count = min(self.budget.curve_images, len(self.ids))
        rows = [number * len(self.ids) // count for number in range(count)]
        started = time.perf_counter()
        with self.options.stage("training", self.budget.images_seen) as advance:
            self.curve = train(
                self.model,
                self.sequences,
                self.budget,
                measure=lambda: float(self._bits(rows).mean(dtype=np.float64)),
                progress=lambda done, total, bits: advance(done, total),
            )
        self.train_seconds = time.perf_counter() - started

    def _bits(self, rows: list[int], advance: Callable[[int, int], None] = lambda done, total: None) -> np.ndarray:
        return measure_bits(self.model, self.held_out, rows, batch_size=self.budget.batch_size, progress=advance)

    def measure(self) -> None:
        """Bits of all held-out images under the trained network."""
        with self.options.stage("held-out images", len(self.ids)) as advance:
            self.bits = self._bits(list(range(len(self.ids))), advance)
        self.figures.of_codes("bits_per_image", self.bits, settings={"precision": "fp32", "batch_size": self.budget.batch_size})
        self.figures.derive("bits_per_token", "bits_per_image", self.layout.tokens_per_image, "bits")
        height, width = self.layout.image_size
        self.figures.derive("bits_per_pixel", "bits_per_image", height * width, "bits")

        self._gap()

    def _gap(self) -> None:
        """Bits of images trained on, evenly chosen and as many as are held out, and what held-out ones take beyond them.

        Where a position tells which image it is of, a model knows the rest of it by heart: bits fall there in training and nowhere else.
        Source: the entropy cliff of arXiv 2605.06207, as a gap by position.
        """
        dataset = self.train_tokens.dataset
        count = min(len(dataset), len(self.ids))
        rows = [number * len(dataset) // count for number in range(count)]
        with self.options.stage("images trained on", count) as advance:
            bits = measure_bits(self.model, self.sequences, rows, batch_size=self.budget.batch_size, progress=advance)
        groups = self.train_tokens.groups()
        self.train_bits = bits
        self.figures.gap("gap_bits_per_image", "bits_per_image", bits, [groups[dataset[row]["id"]] for row in rows])

    def bound(self) -> None:
        """Bits without a network: all codes equal, their frequencies, their neighbours, and a dictionary coder."""
        sizes, grid = self.layout.codebook_sizes, self.layout.grid
        train_codes, codes = read_codes(self.train_tokens.dataset), read_codes(self.held_out_tokens.dataset, most=1 << 62)
        counted = {"training_images_counted": len(train_codes)}
        uniform = self.layout.bits_per_image
        assert uniform is not None
        self.figures.constant("uniform_bits_per_image", uniform)
        self.figures.own_entropy("entropy_bits_per_image", codes)
        with self.options.stage("counting", len(sizes)):
            flat = (len(codes), self.layout.tokens_per_image)
            unigram = unigram_bits(train_codes, codes, sizes)
            self.figures.of_codes("unigram_bits_per_image", unigram.reshape(flat), settings={"added_to_counts": 0.5, **counted})
            ngram, weights = ngram_bits(train_codes, codes, grid=grid, sizes=sizes)
            settings = {"smoothing": "Witten-Bell", "weights": weights, **counted}
            self.figures.of_codes("ngram_bits_per_image", ngram.reshape(flat), settings=settings)
        packed = zlib_bits(codes.reshape(flat), sizes)
        self.figures.per_image("zlib_bits_per_image", dict(zip(self.ids, map(float, packed), strict=True)), settings={"level": 9})

    def code(self) -> Coding:
        """Write some held-out images under the probe and read them again."""
        limit = self.options.coded_images or max(1, PAIRS // self.held_out.length**2)
        shuffled = sorted(range(len(self.ids)), key=lambda row: hashlib.sha256(self.ids[row].encode()).digest())
        rows = sorted(shuffled[:limit])
        with self.options.stage("writing under the probe", self.layout.tokens_per_image) as advance:
            files = encode_images(self.model, self.held_out, rows, progress=advance)
        with self.options.stage("reading back", self.layout.tokens_per_image) as advance:
            decoded = decode_images(self.model, self.held_out, rows, files, progress=advance)
        codes = np.stack([self.held_out.dataset[row]["codes"].flatten().numpy() for row in rows])
        sizes = {self.ids[row]: 8.0 * len(file) for row, file in zip(rows, files, strict=True)}
        settings = {"coder": "range coder, one file an image", "images": len(rows)}
        self.figures.per_image("coded_bits_per_image", sizes, settings=settings)
        coded = self.figures.results["coded_bits_per_image"].value
        assert coded is not None
        return Coding(len(rows), float(self.bits[rows].sum(axis=1, dtype=np.float64).mean()), coded, bool((decoded == codes).all()))

    def compare(self) -> None:
        """What codecs take for the same images, and how good those are that the tokens decode to."""
        with self.options.stage("codecs", len(self.ids)) as advance:
            found = measure_pixels(
                self.tokenizer, self.held_out_tokens.dataset, self.held_out_tokens.source, self.protocol, progress=advance
            )
        for name, values in found.items():
            if name == "psnr":
                self.figures.per_image(name, values, unit=DECIBELS, settings={"averaging": "mean of per-image dB"})
            else:
                self.figures.per_image(f"{name}_bits_per_image", values, settings=SETTINGS[name.removesuffix("_reconstruction")])

    def result(self, coding: Coding, started: float) -> ProbeResult:
        """Put it all together."""
        layout = self.layout
        record = ProbeRecord(
            tokenizer=tokenizer_info(self.tokenizer),
            tokens=TokensInfo(
                layout.positions, layout.tokens_per_image, layout.bits_per_image, layout.bpp, layout.grid, layout.codebook_sizes
            ),
            protocol=self.protocol,
            probe=self.budget,
            probe_label=self.budget.label,
            condition=self.condition,
            train=describe(self.train_tokens),
            held_out=describe(self.held_out_tokens),
            parameters=count_parameters(self.model),
            figures=self.figures.results,
            by_position=self._by_position(self.bits),
            train_by_position=self._by_position(self.train_bits),
            trained_on=self._trained_on(),
            curve=self.curve,
            coding=coding,
            timing=ProbeTiming(
                str(self.tokenizer.device),
                torch.get_num_threads(),
                round(self.train_seconds, 3),
                round(time.perf_counter() - started, 3),
            ),
            environment=_environment(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        texts = () if self.condition == "none" else tuple(self.held_out.text(row) for row in range(len(self.ids)))
        return ProbeResult(record, self.figures.rows, self.model, self.vocabulary, texts)

    def _trained_on(self) -> bool | None:
        """Whether the tokenizer was trained on the held-out images; a part of a source is of the whole one's name."""
        source = self.held_out_tokens.source
        whole = source.source if isinstance(source, Part) else source
        return trained_on(training_of_tokenizer(self.tokenizer), whole, self.held_out_tokens.digests())

    def _by_position(self, bits: np.ndarray) -> tuple[float, ...]:
        books = len(self.layout.codebook_sizes)
        mean = bits.mean(axis=0, dtype=np.float64).reshape(-1, books).sum(axis=1)
        return tuple(mean.tolist())


def _environment() -> Any:
    """Versions, ``transformers`` among them."""
    from importlib.metadata import version

    found = environment()
    return replace(found, packages={**found.packages, "transformers": version("transformers")})
