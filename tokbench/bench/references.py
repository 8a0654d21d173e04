"""What reconstructions are compared with beside their originals: statistics or images of others, and what is to be known of them.

    --reference stats.npz | FOLDER | images.npz  ->  Reference: its digest, its number of images, its guards

A guard is a sentence that says how figures against a reference may mislead. It may be of training images, not cut as the protocol cuts, or
of another number of images. Records keep the guards beside the figures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from tokbench.bench.cache import FeatureCache
from tokbench.bench.feature_pass import features_by_key
from tokbench.bench.frechet import FeatureMoments
from tokbench.bench.inception_input import BACKENDS
from tokbench.bench.loader import Loaded, in_background, load_keyed, stacked
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.seen import seen_originals
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.readers import readers
from tokbench.records.protocol import Protocol
from tokbench.records.references import SOURCE
from tokbench.weights.assets import get_asset

AHEAD = 64
"""Images of a reference that are read before they are asked for."""


@dataclass(frozen=True)
class Reference(ABC):
    """What reconstructions are compared with.

    Args:
        name: Name of the file or folder, without its path.
        kind: What it is, in words.
        sha256: Digest of the file of statistics, or of the ids and pixels of the images.
        images: How many it is of; None if it does not say.
        guards: What is to be known of it, sentence by sentence.
    """

    name: str
    kind: str
    sha256: str
    images: int | None
    guards: tuple[str, ...]

    @property
    def identity(self) -> str:
        """Digest by which it is found again, however a protocol cuts it."""
        return self.sha256

    def settings(self, network: FeatureNetwork) -> dict[str, Any]:
        """What records say of it, beside figures on a network."""
        guards = [*self.guards, *self.guards_on(network)]
        return {"name": self.name, "kind": self.kind, "sha256": self.sha256, "images": self.images, "guards": guards}

    def refusal(self, network: FeatureNetwork) -> str | None:
        """Why it cannot be compared with features of a network; None if it can."""
        return None

    def guards_on(self, network: FeatureNetwork) -> tuple[str, ...]:
        """What is to be known where a network judges."""
        return ()

    @abstractmethod
    def moments(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int, device: torch.device) -> FeatureMoments:
        """Mean and covariance of its features on a network.

        Args:
            network: Whose features.
            cache: Cache of the features of images; None computes them anew.
            micro_batch: Images a network pass.
            device: Where the network is.

        Raises:
            TokbenchError: If an image is not what it was when the reference was opened.
        """


@dataclass(frozen=True)
class StatisticsReference(Reference):
    """Mean and covariance out of a file.

    Args:
        mean: ``[d]``.
        covariance: ``[d, d]``.
        made_by: Implementation that the images seem to have been scaled by; empty if nothing tells.
    """

    mean: np.ndarray = field(repr=False, compare=False)
    covariance: np.ndarray = field(repr=False, compare=False)
    made_by: str = ""

    def refusal(self, network: FeatureNetwork) -> str | None:
        """Statistics are of one number of features."""
        if len(self.mean) != network.dim:
            return f"the reference holds statistics of {len(self.mean)} features, {network.name} has {network.dim}"
        return None

    def guards_on(self, network: FeatureNetwork) -> tuple[str, ...]:
        """Whose input the network was given, and whether its weights are those that others have."""
        found = []
        if self.made_by and network.given is not None and BACKENDS[self.made_by] != network.given:
            found.append(f"its images were scaled as by {self.made_by}, those measured are not: {network.given.resize}")
        if network.name == "inception" and network.settings["weights_sha256"] != get_asset("inception").sha256:
            found.append("the network here has other weights than the published ones, which statistics of others are of")
        return tuple(found)

    def moments(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int, device: torch.device) -> FeatureMoments:
        """What is in the file."""
        return FeatureMoments.of(self.mean, self.covariance)


@dataclass(frozen=True)
class ImagesReference(Reference):
    """Images, cut as the protocol says, or whole.

    Args:
        source: Where they are.
        protocol: How they are cut.
        indices: Those that can be read, in the order in which they are read.
        keys: Digests of their pixels as the network is given them.
        source_sha256: Digest of their ids and bytes before they are cut; of whole images that of their pixels.
        sizes: Width and height of each, if they are taken whole: then networks scale them as they are. Empty if they are cut.
    """

    source: ImageSource = field(repr=False, compare=False)
    protocol: Protocol = field(repr=False, compare=False)
    indices: tuple[int, ...] = field(repr=False, compare=False)
    keys: tuple[bytes, ...] = field(repr=False, compare=False)
    source_sha256: str
    sizes: tuple[tuple[int, int], ...] = field(default=(), repr=False, compare=False)
    _known: dict[str, FeatureMoments] = field(default_factory=dict, repr=False, compare=False)

    @property
    def identity(self) -> str:
        """Digest of what lies there."""
        return self.source_sha256

    def settings(self, network: FeatureNetwork) -> dict[str, Any]:
        """What records say of it, beside figures on a network: also what it is before it is cut."""
        return {**super().settings(network), SOURCE: self.source_sha256}

    def refusal(self, network: FeatureNetwork) -> str | None:
        """One image has no covariance."""
        return "the reference holds one image, which has no covariance" if len(self.indices) < 2 else None

    def moments(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int, device: torch.device) -> FeatureMoments:
        """Run the network over all images, unless another metric did."""
        sides = dict.fromkeys(self.sizes) or {self.protocol.seen_at[::-1]: None}
        what = " ".join([network.pixels, *dict.fromkeys(network.work(height, width) for width, height in sides)])
        if what not in self._known:
            moments = FeatureMoments(network.dim)
            for images in self._batches():
                rules = replace(self.protocol, judged_size=None) if self.sizes else self.protocol
                pixels, keys = seen_originals(stacked(images), rules, network.pixels)
                moments.update(features_by_key(network, cache, pixels.to(device), keys, size=micro_batch).cpu().numpy())
            if cache is not None:
                cache.flush()
            self._known[what] = moments
        return self._known[what]

    def _batches(self) -> Iterator[list[Loaded]]:
        """Micro-batches in the order of the ids; of whole images, of one size each."""
        read, batch = partial(load_keyed, self.source, None if self.sizes else self.protocol), list[Loaded]()
        order = sorted(range(len(self.indices)), key=lambda place: self.sizes[place] if self.sizes else (0, 0))
        items = in_background(read, [self.indices[place] for place in order], ahead=AHEAD, workers=readers())
        for found, place in zip(items, order, strict=True):
            if not isinstance(found, Loaded) or found.key != self.keys[place]:
                raise TokbenchError(f"{visible(found.id)} of the reference {self.name} changed while it was used; run it again")
            if batch and (len(batch) == self.protocol.micro_batch or batch[0].pixels.shape != found.pixels.shape):
                yield batch
                batch = []
            batch.append(found)
        if batch:
            yield batch
