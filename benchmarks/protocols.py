"""How much does a figure move by the protocol alone, where tokenizer and images are the same?

Run by hand, and the tables at the end::

    python benchmarks/protocols.py
    python benchmarks/protocols.py --images 20 --out elsewhere
    python benchmarks/protocols.py --table

Of the embedded photos 144 are taken whole, so that filter and crop are the protocol's. Tokenizers are those whose weights ship with the
package, and two synthetic checkpoints, whose weights are drawn. All run at 64 px, for which they were made; one runs at the presets' own
sizes too. It takes about half an hour of one core. What lies in the folder already is not measured again,
unless it is of another version of its preset, of fewer images or of fewer figures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tokbench.bench.fitting import fit
from tokbench.bench.frechet import FeatureMoments, distance_of_moments
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.networks import efficientnet_lite0
from tokbench.bench.prepared import RunOptions
from tokbench.bench.runner import run_all
from tokbench.configs import with_overrides
from tokbench.data.photos import WholePhotos
from tokbench.data.source import ImageSource
from tokbench.files import write_text
from tokbench.images import to_float, to_uint8
from tokbench.plugins import import_class
from tokbench.records.figures import BY_KEY
from tokbench.records.protocol import PRESETS, Protocol
from tokbench.records.store import find_records, write_record
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import load, resolve, save_tokenizer
from tokbench.tokens import DiscreteTokens
from tokbench.weights.assets import asset_path

RESULTS = Path(__file__).parents[1] / "results" / "protocols"

SIDE = 64
"""Pixels that the embedded tokenizers were made for."""

ZOO = ("pixel/rgb", "pixel/palette-512", "patch/kmeans-1024", "vqvae/tiny", "vqvae/scenes", "vqgan/tiny", "vae/tiny", "flowmo/tiny")
"""Tokenizers of the zoo whose weights ship with the package."""

IMAGES = 144
"""Photos that are measured; whole micro-batches, and enough for a Fréchet distance."""

DRAWN: dict[str, dict[str, object]] = {"llamagen/vq-16": {"autoencoder.channels": 32}, "vae/sd": {"autoencoder.channels": 32}}
"""Published networks, narrower, whose weights are drawn from a seed: what they make is noise, and leaves [-1, 1]."""

CHANGED = ("vqgan/tiny", "llamagen/vq-16", "pixel/rgb")
"""Those that are measured with one setting changed."""

METRICS = ("psnr", "ssim", "lpips", "lpips_vgg", "rfid", "fd_efflite0_299")
"""What is measured, as far as the networks are here."""

CLEAN = replace(PRESETS["tokbench-256"], size=SIDE)

CHANGES: dict[str, dict[str, Any]] = {
    "ssim-range-2": {"ssim_range": 2.0},
    "psnr-of-batches": {"psnr_averaging": "batches", "batch": 5},
    "psnr-of-all": {"psnr_averaging": "all pixels"},
    "lpips-0-1": {"lpips_range": "[0, 1]"},
    "truncated": {"uint8": "truncate"},
    "truncated-both": {"uint8": "truncate", "originals": "truncated"},
    "half-up": {"uint8": "half up"},
    "fid-of-floats": {"fid_pixels": "floats"},
    "fid-pytorch": {"fid_resize": "bilinear to 299", "fid_scaling": "x / 127.5 - 1"},
    "fid-torchmetrics": {"fid_resize": "bilinear antialias to 299"},
    "fid-clean": {"fid_resize": "bicubic antialias to 299"},
    "bilinear": {"resize": "bilinear"},
    "lanczos": {"resize": "lanczos"},
    "halving": {"resize": "box halving, bicubic"},
    "no-antialias": {"resize": "bilinear", "antialias": False},
    "torchvision-crop": {"crop": "scale all, cut as torchvision"},
    "judged-at-half": {"size": 2 * SIDE, "judged_size": SIDE},
    "largest-original": {"psnr_averaging": "all pixels", "psnr_range": "largest original"},
    "range-of-batch": {"ssim_range": None, "batch": 8},
    "bf16": {"precision": "bf16"},
    "uniform-window": {"ssim_window": "uniform 7x7", "ssim_covariance": "N - 1"},
    "mirrored": {"ssim_border": "mirrored"},
}
"""Protocols that differ from the clean one in one thing, by the names of their records."""


class WholeSet(ImageSource):
    """Embedded photos, uncut: those to test on, and then those to train on."""

    def __init__(self, images: int) -> None:
        self._splits = (WholePhotos("test"), WholePhotos("train"))
        places = [(split, index) for split, photos in enumerate(self._splits) for index in range(len(photos))]
        self._places = places[:images]
        self.name = "photos, whole"
        self.ids = tuple(f"{self._splits[split].name}/{self._splits[split].ids[index]}" for split, index in self._places)

    def read(self, index: int) -> Image.Image:
        """Decode one photo."""
        split, place = self._places[index]
        return self._splits[split].read(place)

    def raw_digest(self, index: int) -> bytes:
        """Digest of the WebP file."""
        split, place = self._places[index]
        return self._splits[split].raw_digest(place)


def drawn(name: str, folder: Path) -> Tokenizer:
    """A published network, narrower, with weights from a seed, as a saved checkpoint that is loaded again."""
    family, variant = resolve(name)
    torch.manual_seed(0)
    model: Tokenizer = import_class(family.model)(with_overrides(variant.config, DRAWN[name]))
    last = [tensor for tensor in model.parameters() if tensor.ndim == 4 and tensor.shape[0] == 3][-1]
    with torch.no_grad():
        last.mul_(0.6)  # so that some of what it makes is beyond [-1, 1]
    model.name = name
    return load(str(save_tokenizer(model.eval(), folder / name.replace("/", "-"))))


def measure(folder: Path, tokenizer: Tokenizer, source: ImageSource, protocols: dict[str, Protocol], metrics: Sequence[str]) -> None:
    """Measure a tokenizer under protocols, by the names of their folders, as far as that is not done."""
    missing = {name: protocol for name, protocol in protocols.items() if not _there(folder / name, tokenizer, source, protocol, metrics)}
    if not missing:
        return
    print(f"{tokenizer.name}: {', '.join(missing)}", flush=True)
    found = run_all(tokenizer, source, list(missing.values()), metrics=metrics, options=RunOptions(batch_size=16))
    for name, evaluation in zip(missing, found, strict=True):
        for failure in evaluation.failures:
            print(failure, flush=True)
        write_record(evaluation.record, evaluation.rows if name == "clean" else {}, folder / name)


def _there(folder: Path, tokenizer: Tokenizer, source: ImageSource, protocol: Protocol, metrics: Sequence[str]) -> bool:
    """Whether a record lies there; one of another version of its preset, of fewer images or of fewer figures goes."""
    if not folder.is_dir():
        return False
    sampled, found = str(getattr(tokenizer.config, "posterior", "")), False
    for path, record in find_records([folder], may_be_none=True):
        if record.tokenizer.name == tokenizer.name and str(record.tokenizer.config.get("posterior", "")) == sampled:
            whole = record.data.count == len(source) and set(metrics) <= set(record.metrics)
            if whole and record.protocol.version == protocol.version:
                found = True
            else:
                path.unlink()
                path.with_suffix(".parquet").unlink(missing_ok=True)
    return found


def reference_sets(tokenizer: Tokenizer, source: ImageSource) -> dict[str, float]:
    """Fréchet distances of the same reconstructions from other references: themselves, other photos, and uncut ones.

    Features are those of EfficientNet-Lite0 of images scaled to 299 px. The images are parted by their ids into two halves.
    """
    network = efficientnet_lite0(torch.device("cpu"), resize=CLEAN.fid_resize)
    order = sorted(range(len(source)), key=source.ids.__getitem__)
    pictures = [source.read(index) for index in order]
    crops = _stacked([fit(picture, CLEAN) for picture in pictures])
    squeezed = [np.asarray(picture.resize((299, 299), Image.Resampling.BICUBIC)) for picture in pictures]
    back = in_micro_batches(lambda part: tokenizer.decode(tokenizer.encode(part)), to_float(crops), size=CLEAN.micro_batch)
    sides = {"crops": crops, "back": to_uint8(back), "uncut": _stacked(squeezed)}
    features = {name: in_micro_batches(network.features, images, size=16).numpy() for name, images in sides.items()}
    own, other = slice(0, None, 2), slice(1, None, 2)
    return {
        "same crops": _distance(features["crops"][own], features["back"][own]),
        "other photos": _distance(features["crops"][other][: len(features["back"][own])], features["back"][own]),
        "uncut originals": _distance(features["uncut"][own], features["back"][own]),
    }


def _stacked(images: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def _distance(before: np.ndarray, after: np.ndarray) -> float:
    sides = []
    for features in (before, after):
        sides.append(FeatureMoments(features.shape[1]))
        sides[-1].update(features)
    return distance_of_moments(*sides)


def usages(tokenizer: Tokenizer, source: ImageSource) -> dict[str, float]:
    """What is called usage: of all codes, of the last quarter, above 8 % of an even share, and perplexities of batches of 16 images."""
    order = sorted(range(len(source)), key=source.ids.__getitem__)
    crops = _stacked([fit(source.read(index), CLEAN) for index in order])
    found = []
    for part in to_float(crops).split(16):
        tokens = tokenizer.encode(part)
        assert isinstance(tokens, DiscreteTokens)
        found.append(tokens.codes[..., 0])
    size, codes = tokens.codebook_sizes[0], torch.cat(found).flatten()
    counts = torch.bincount(codes, minlength=size)
    return {
        "any hit over all": float((counts > 0).double().mean()),
        "any hit in the last quarter": float((torch.bincount(codes[-(len(codes) // 4) :], minlength=size) > 0).double().mean()),
        "above 8 % of an even share": float((counts > 0.08 * len(codes) / size).double().mean()),
        "perplexity of all": _perplexity(codes, size),
        "mean perplexity of batches of 16": float(np.mean([_perplexity(part.flatten(), size) for part in found])),
    }


def _perplexity(codes: torch.Tensor, size: int) -> float:
    shares = torch.bincount(codes, minlength=size).double() / len(codes)
    return float(torch.exp(-(shares * shares.clamp_min(1e-300).log()).sum()))


def kept(path: Path, make: Callable[[], dict[str, float]]) -> None:
    """Write what a study gives, if it is not there."""
    if not path.exists():
        print(path.stem, flush=True)
        write_text(path, json.dumps(make(), indent=1) + "\n")


def here(*metrics: str) -> tuple[str, ...]:
    """Those of metrics whose networks are here: a record says where a file should lie, which is nobody else's concern."""
    return tuple(name for name in metrics if not BY_KEY[name].asset or asset_path(BY_KEY[name].asset).is_file())


def everything(out: Path, images: int) -> None:
    """Make all records."""
    source, metrics = WholeSet(images), here(*METRICS)
    presets = {name: replace(protocol, size=SIDE, judged_size=None) for name, protocol in PRESETS.items()}
    changed = {"clean": CLEAN} | {name: replace(CLEAN, **changes) for name, changes in CHANGES.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*ZOO, *DRAWN):
            tokenizer = drawn(name, Path(folder)) if name in DRAWN else load(name)
            measure(out / "presets", tokenizer, source, presets, metrics)
            if name in CHANGED:
                measure(out / "disagreements", tokenizer, source, changed, metrics)
        measure(out / "disagreements", load("vae/tiny"), source, {"clean": CLEAN}, metrics)
        sampled = load("vae/tiny", config={"posterior": "sample"})
        measure(out / "disagreements", sampled, source, {"posterior-sample": CLEAN}, metrics)
        measure(out / "sizes", load("patch/kmeans-1024"), source, dict(PRESETS), ("psnr", "ssim"))
    kept(out / "reference-sets.json", lambda: reference_sets(load("vqgan/tiny"), source))
    kept(out / "usage.json", lambda: usages(load("vqgan/tiny"), source))


def main() -> None:
    """Make the records, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument(
        "--images", type=int, default=IMAGES, help="so many photos at most, to try it; below 128 there is no Fréchet distance"
    )
    parser.add_argument("--table", action="store_true", help="print the tables of what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        everything(options.out, options.images)
    from protocol_tables import tables

    print(tables(options.out))


if __name__ == "__main__":
    main()
