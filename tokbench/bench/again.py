"""What a record says was measured, found again: its tokenizer by the digest of its weights, its images by that of their bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tokbench.bench.anchors import Anchor, parse_anchor
from tokbench.bench.identity import CHANGED, KEPT, QUANTIZERS, TILING, weights_digest
from tokbench.bench.merging import Evaluation
from tokbench.bench.metrics import metric_classes
from tokbench.bench.metrics.to_reference import ReferenceFrechet
from tokbench.bench.prepared import RunOptions
from tokbench.bench.reference_opening import References
from tokbench.bench.runner import run
from tokbench.configs import canonical_json, flat, plain
from tokbench.data.open import comes_with_the_package, open_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.records.figures import BY_KEY
from tokbench.records.protocol import Protocol
from tokbench.records.record import Record, TokenizerInfo
from tokbench.records.references import identity_of, reference_of
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer

ON_TIMM = "fd[timm:"
"""Begins the keys of distances on networks of timm, which ``--metrics`` takes under another name."""


class Workshop:
    """Measures again, with some of what a record depends on changed.

    Args:
        places: Where images are, as ``--data`` takes them; those that come with the package are found without.
        weights: Files or folders of weights that are not those of the zoo, as ``--weights`` takes them.
        references: Statistics or images of others, as ``--reference`` takes them.
        device: Where tokenizers run.
    """

    def __init__(self, places: Sequence[str], weights: Sequence[str], references: Sequence[str] = (), *, device: str) -> None:
        self.places, self.weights, self.device = tuple(places), tuple(weights), device
        self.references = tuple(References(spec) for spec in references)
        self._tokenizers: dict[str, Tokenizer | Anchor] = {}

    def measure(
        self,
        tokenizer: TokenizerInfo,
        data: Record,
        protocol: Protocol,
        metrics: Sequence[str],
        options: RunOptions,
        *,
        reference: Record | None = None,
    ) -> Evaluation:
        """Measure a tokenizer.

        Args:
            tokenizer: What a record says of it, or a mixture of what two records say.
            data: A record of the images.
            protocol: How to measure.
            metrics: Names of metrics.
            options: What changes no figure.
            reference: A record of the reference to compare with. It is left out where no reference is at hand, and so are the figures
                against it.

        Raises:
            TokbenchError: If tokenizer, images or reference are not at hand, or are other ones than those of the records.
        """
        subject = self._tokenizer(tokenizer)
        source = self._source(data, protocol)
        if reference is not None and (needed := against(metrics)):
            if not self.references and len(needed) == len(metrics):
                raise _no_reference(reference)
            if self.references:
                options = replace(options, reference=self._reference(reference, protocol, data.data.count))
        found = run(subject, source, protocol=replace(protocol, data=source.name), metrics=tuple(metrics), options=options)
        chosen = ("samples", "seed", "size")
        alike = all(getattr(protocol, name) == getattr(data.protocol, name) for name in chosen)
        if alike and found.record.data.digest != data.data.digest:
            raise TokbenchError(
                f"the images of {source.name} are not those of the record, whose digest begins {data.data.digest[:8]} and theirs "
                f"{found.record.data.digest[:8]}; give the same images by --data"
            )
        return found

    def _reference(self, record: Record, protocol: Protocol, images: int) -> References:
        """The reference of a record, among those at hand."""
        for one in self.references:
            if one.of(protocol, images=images).identity == identity_of(reference_of(record) or {}):
                return one
        raise _no_reference(record)

    def _tokenizer(self, info: TokenizerInfo) -> Tokenizer | Anchor:
        key = canonical_json([info.name, info.config, info.state_sha256, info.weights_sha256])
        if key not in self._tokenizers:
            self._tokenizers[key] = parse_anchor(info.name) or self._load(info)
        return self._tokenizers[key]

    def _load(self, info: TokenizerInfo) -> Tokenizer:
        if info.is_given:
            raise TokbenchError(f"{info.name} is of images that other code made, which cannot make others; leave --measure out")
        if CHANGED in info.config:
            raise TokbenchError(f"{info.name} was changed in Python before it was measured, and cannot be loaded so; measure it there")
        problem = TokbenchError(f"{info.name} has no weights here; give them by --weights")
        for weights in (None, *self.weights):
            try:
                tokenizer = self._configured(info, weights)
            except TokbenchError as error:
                problem = error if weights is not None or not self.weights else problem
                continue
            digest = weights_digest(tokenizer)
            if digest == info.state_sha256 or (info.state_sha256 is None and tokenizer.weights_sha256 == info.weights_sha256):
                return tokenizer
            problem = TokbenchError(
                f"{info.name} has other weights here than in the record, whose digest begins "
                f"{(info.state_sha256 or info.weights_sha256 or 'none')[:8]}; give those by --weights"
            )
        raise problem

    def _configured(self, info: TokenizerInfo, weights: str | None) -> Tokenizer:
        config = {key: value for key, value in info.config.items() if key not in (CHANGED, QUANTIZERS, KEPT, TILING)}
        loaded = zoo.load(info.name, weights=weights, device=self.device)
        changes = _changes(plain(getattr(loaded, "config", {})), config)
        if changes:
            loaded = zoo.load(info.name, weights=weights, device=self.device, config=changes)
        if (tiling := info.config.get(TILING)) is not None:
            told = {"windows": tiling.get("windows", 0), "halfway": tiling.get("halfway", False)}  # neither was there in earlier versions
            loaded = loaded.tiled(tiling["size"], overlap=tiling["overlap"], **told)
        return loaded if info.config.get(KEPT) is None else loaded.keeping(info.config[KEPT])

    def _source(self, data: Record, protocol: Protocol) -> ImageSource:
        name, open_at = data.data.name, partial(open_source, size=protocol.size, scaled=not protocol.scales_all)
        if comes_with_the_package(name):
            return open_at(name)
        found = [open_at(place) for place in self.places]
        for source in found:
            if source.name == name:
                return source
        here = f"; --data gives {', '.join(source.name for source in found)}" if found else ""
        raise TokbenchError(f"the images of {name} do not come with the package{here}; give their place by --data")


def against(metrics: Sequence[str]) -> list[str]:
    """Those of some metrics that compare with a reference."""
    known = metric_classes()
    return [name for name in metrics if name in known and issubclass(known[name], ReferenceFrechet)]


def _no_reference(record: Record) -> TokbenchError:
    given = reference_of(record) or {}
    name, digest = visible(str(given.get("name"))), identity_of(given)[:8]
    return TokbenchError(f"the reference {name}, whose digest begins {digest}, is not at hand; give it by --reference")


def metrics_of(keys: Sequence[str]) -> list[str]:
    """Names of the metrics that measure figures, as ``--metrics`` takes them; figures of metrics of others are left out."""
    names = [
        f"fd_timm.{key.removeprefix(ON_TIMM).removesuffix(']')}" if key.startswith(ON_TIMM) else BY_KEY[key].measured_by
        for key in keys
        if key in BY_KEY or key.startswith(ON_TIMM)
    ]
    return list(dict.fromkeys(names))


def _changes(own: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Settings to be given to ``load`` so that a tokenizer is configured as asked."""
    here, there = flat(own), flat(asked)
    return {key: value for key, value in there.items() if key not in here or here[key] != value}
