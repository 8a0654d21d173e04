"""What measuring costs, against the libraries that people use for it, at equal figures: time as a ratio.

Parts: ``ssim``, ``frechet`` (the distance and its interval), ``inception`` (features of one network), ``pass`` (four metrics of pairs).
Networks have random weights, the same on both sides: the time does not depend on them.

Run by hand: ``python benchmarks/metrics.py [PART ...] [--rounds 5] [--threads 2] [--write]``; ``--write`` puts tables into README.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from readme import machine, write_block
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.frechet import FeatureMoments, distance_of_moments, frechet_distance, sample_factor
from tokbench.bench.leave_out import distances_without
from tokbench.bench.metrics.frechet import KEPT
from tokbench.bench.metrics.lpips import LPIPS
from tokbench.bench.metrics.psnr import PSNR
from tokbench.bench.metrics.rfid import RFID
from tokbench.bench.metrics.ssim import SSIM, ssim
from tokbench.bench.networks import inception
from tokbench.bench.observation import Listing, Observation
from tokbench.data.photos import PhotoCrops
from tokbench.nn.packed import packed
from tokbench.nn.perceptual import build_lpips
from tokbench.weights.judges import read_judge

CPU = torch.device("cpu")
MICRO_BATCH = 16
SIZE = 256


def rounds_of(ways: Mapping[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of every way, in turns, after one turn that warms up; and what each returned last."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}, results


def table(*rows: tuple[object, ...]) -> str:
    """Rows as Markdown; the first is the head."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Photos of 256 px, and the same with noise, as bytes."""
    source = PhotoCrops("test", SIZE)
    images = np.stack([np.asarray(source.read(index % len(source))) for index in range(count)])
    reference = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    noise = torch.randint(-20, 21, reference.shape, generator=torch.Generator().manual_seed(0))
    return reference, (reference.to(torch.int16) + noise).clamp(0, 255).to(torch.uint8)


def ssim_part(rounds: int) -> str:
    """Structural similarity of 16 pairs."""
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = pictures(16)
    rows_a, rows_b = (x.permute(0, 2, 3, 1).numpy() for x in (a, b))

    def scikit_image() -> np.ndarray:
        options: dict[str, Any] = {"data_range": 255, "channel_axis": 2, "gaussian_weights": True, "sigma": 1.5}
        pairs = zip(rows_a, rows_b, strict=True)
        return np.array([structural_similarity(x, y, use_sample_covariance=False, **options) for x, y in pairs])

    def torchmetrics() -> Any:
        return structural_similarity_index_measure(a.float(), b.float(), data_range=255.0, reduction="none")

    seconds, values = rounds_of({"tokbench": lambda: ssim(a, b), "scikit-image": scikit_image, "torchmetrics": torchmetrics}, rounds)
    apart = {name: float(np.abs(np.asarray(value) - values["scikit-image"]).max()) for name, value in values.items()}
    return (
        table(
            ("SSIM of 16 pairs of 256 px", "ms an image", "time / tokbench's", "largest difference to scikit-image"),
            *(
                (name, f"{1e3 * value / 16:.2f}", f"{value / seconds['tokbench']:.2f}", f"{apart[name]:.1e}")
                for name, value in seconds.items()
            ),
        )
        + "\n\ntorchmetrics averages over the border too, which is another figure."
    )


def features(count: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Features that are not negative and of unequal variance, of originals and reconstructions."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(dim, dim)).astype(np.float32) / dim**0.5
    before = np.maximum(0, rng.normal(size=(count, dim)).astype(np.float32) @ mixing)
    after = np.maximum(0, before + 0.3 * rng.normal(size=(count, dim)).astype(np.float32) @ mixing)
    return before, after


class Given(torch.nn.Module):
    """A network that returns what it is given, so that torchmetrics takes features."""

    num_features = 2048

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        return x


def frechet_part(rounds: int) -> str:
    """The distance from features in single precision to the figure, and what its interval adds."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torchmetrics.image.fid import FrechetInceptionDistance

    dim = Given.num_features
    rows: list[tuple[object, ...]] = [
        ("N", "tokbench s", "torchmetrics / tokbench", "torch-fidelity / tokbench", "relative errors: all three", "interval / distance")
    ]
    for count in (1000, 5000):
        before, after = features(count, dim)

        def tokbench(before: np.ndarray = before, after: np.ndarray = after) -> tuple[FeatureMoments, FeatureMoments, float]:
            sides = FeatureMoments(dim), FeatureMoments(dim)
            for moments, samples in zip(sides, (before, after), strict=True):
                for part in np.array_split(samples, -(-len(samples) // MICRO_BATCH)):
                    moments.update(part)
            return *sides, distance_of_moments(*sides)

        def torchmetrics(before: np.ndarray = before, after: np.ndarray = after) -> float:
            metric = FrechetInceptionDistance(feature=Given())
            metric.orig_dtype = torch.float64
            metric.update(torch.from_numpy(before), real=True)
            metric.update(torch.from_numpy(after), real=False)
            return float(metric.compute())

        def torch_fidelity(before: np.ndarray = before, after: np.ndarray = after) -> float:
            one, other = (fid_features_to_statistics(torch.from_numpy(samples)) for samples in (before, after))
            return float(fid_statistics_to_metric(one, other, False)["frechet_inception_distance"])

        known = tokbench()

        def interval(
            before: np.ndarray = before, after: np.ndarray = after, known: tuple[FeatureMoments, FeatureMoments, float] = known
        ) -> np.ndarray:
            kept = min(len(before), KEPT)
            pairs = np.stack([before[:kept], after[:kept]], axis=1)
            return distances_without(*known[:2], pairs, [f"{i:05d}" for i in range(kept)], known[2])

        exact = frechet_distance(*sample_factor(before.astype(np.float64)), *sample_factor(after.astype(np.float64)))
        ways: dict[str, Callable[[], Any]] = {"tokbench": tokbench, "torchmetrics": torchmetrics, "torch-fidelity": torch_fidelity}
        seconds, values = rounds_of(ways | {"interval": interval}, rounds)
        errors = [abs(value / exact - 1) for value in (values["tokbench"][2], values["torchmetrics"], values["torch-fidelity"])]
        ratios = [f"{seconds[name] / seconds['tokbench']:.2f}" for name in ("torchmetrics", "torch-fidelity", "interval")]
        errors_in_words = ", ".join(f"{error:.0e}" for error in errors)
        rows.append((count, f"{seconds['tokbench']:.2f}", ratios[0], ratios[1], errors_in_words, ratios[2]))
    return (
        table(*rows)
        + f"\n\nFréchet distance of {dim} features; errors are to singular values of factors. The interval leaves out up to 2048 images in turn."
    )


def inception_file(folder: Path) -> Path:
    """Random weights under the names of the published file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    original, captured = FeatureExtractorInceptionV3.load_state_dict, {}

    def capture(self: torch.nn.Module, state: object, *args: object, **kwargs: object) -> None:
        captured.update(self.state_dict())

    path = folder / "inception.pth"
    torch.save({}, path)
    FeatureExtractorInceptionV3.load_state_dict = capture
    try:
        FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(path))
    finally:
        FeatureExtractorInceptionV3.load_state_dict = original
    for name, value in captured.items():
        if name.endswith("conv.weight"):
            torch.nn.init.kaiming_normal_(value)
    torch.save(captured, path)
    return path


def peer_inception(path: Path) -> Any:
    """The metric of torchmetrics with the same weights and the same resize."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    return FrechetInceptionDistance(feature_extractor_weights_path=str(path), antialias=False)


def inception_part(rounds: int) -> str:
    """Features of 64 images, by the network alone."""
    reference, _ = pictures(64)
    with tempfile.TemporaryDirectory() as folder:
        path = inception_file(Path(folder))
        network, peer = inception(path, CPU), peer_inception(path)
    ways: dict[str, Callable[[], Any]] = {
        "tokbench": lambda: torch.cat([network.features(part) for part in reference.split(MICRO_BATCH)]),
        "torchmetrics, 16 at once": lambda: torch.cat([peer.inception(part) for part in reference.split(16)]),
        "torchmetrics, 64 at once": lambda: peer.inception(reference),
    }
    seconds, values = rounds_of(ways, rounds)
    wanted = values["torchmetrics, 16 at once"].reshape(64, -1)
    apart = float((values["tokbench"] - wanted).norm() / wanted.norm())
    return (
        table(
            ("Inception, 64 images of 256 px", "images/s", "time / tokbench's"),
            *((name, f"{64 / value:.1f}", f"{value / seconds['tokbench']:.2f}") for name, value in seconds.items()),
        )
        + f"\n\nThe features are {apart:.0e} of their length apart."
    )


def pass_part(rounds: int) -> str:
    """Features for rFID, LPIPS, PSNR and SSIM of 64 pairs: what a run does beside the tokenizer."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    reference, reconstruction = pictures(64)
    ids = tuple(f"{i:03d}" for i in range(64))
    listing, keys = Listing(ids, ids), tuple(name.encode().ljust(32, b"\0") for name in ids)
    state, digest = read_judge("lpips-alex")
    plain = build_lpips("alex", state).to(memory_format=torch.contiguous_format)
    with tempfile.TemporaryDirectory() as folder:
        path = inception_file(Path(folder))
        network, peer = inception(path, CPU), peer_inception(path)
        warm = FeatureCache(Path(folder) / "cache", network)
        judge = build_lpips("alex", state)
        packed(judge.get_submodule("net"))  # as the metric does

        def tokbench(cache: FeatureCache | None) -> list[Any]:
            metrics = RFID(network, cache, micro_batch=MICRO_BATCH), LPIPS(judge, digest, micro_batch=MICRO_BATCH), PSNR(), SSIM()
            for start in range(0, 64, MICRO_BATCH):
                part = slice(start, start + MICRO_BATCH)
                places = tuple(range(64)[part])
                seen = Observation(listing, places, keys[part], reference[part], reconstruction[part], None, lambda: None)  # type: ignore[arg-type, return-value]
                for metric in metrics:
                    metric.update(seen)
            return [metric.compute() for metric in metrics[1:]]

        @torch.no_grad()
        def peers(size: int) -> list[float]:
            peer.reset()
            found: list[list[float]] = [[], [], []]
            for a, b in zip(reference.split(size), reconstruction.split(size), strict=True):
                peer.update(a, real=True)
                peer.update(b, real=False)
                found[0] += plain(a.float() / 127.5 - 1, b.float() / 127.5 - 1).flatten().tolist()
                found[1] += peak_signal_noise_ratio(b.float(), a.float(), 255.0, reduction="none", dim=(1, 2, 3)).tolist()
                found[2] += structural_similarity_index_measure(b.float(), a.float(), data_range=255.0, reduction="none").tolist()
            return [sum(values) / len(values) for values in found]

        tokbench(warm)
        warm.flush()
        seconds, values = rounds_of(
            {
                "tokbench, cold": lambda: tokbench(None),
                "tokbench, features of originals cached": lambda: tokbench(warm),
                "torchmetrics and lpips, 16 at once": lambda: peers(16),
                "torchmetrics and lpips, 64 at once": lambda: peers(64),
            },
            rounds,
        )
    fastest = min(value for name, value in seconds.items() if name.startswith("torchmetrics"))
    lpips = [next(iter(values["tokbench, cold"][0].values())), values["torchmetrics and lpips, 16 at once"][0]]
    return (
        table(
            ("rFID, LPIPS-Alex, PSNR and SSIM of 64 pairs of 256 px", "s", "fastest peer / it"),
            *((name, f"{value:.2f}", f"{fastest / value:.2f}") for name, value in seconds.items()),
        )
        + f"\n\nUpdates alone, without the distance of all images. LPIPS is {lpips[0]:.6f} here and {lpips[1]:.6f} there."
    )


PARTS: dict[str, Callable[[int], str]] = {"ssim": ssim_part, "frechet": frechet_part, "inception": inception_part, "pass": pass_part}
TITLES = {"ssim": "SSIM", "frechet": "Fréchet distance", "inception": "Inception", "pass": "A pass of metrics"}


def main() -> None:
    """Measure the parts asked for, print their tables, and write them down if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    for name in arguments.parts or PARTS:
        text = f"{machine()}, median of {arguments.rounds}.\n\n{PARTS[name](arguments.rounds)}"
        print(f"{text}\n", flush=True)
        if arguments.write:
            write_block(f"metrics-{name}", TITLES[name], text)


if __name__ == "__main__":
    main()
