"""Made-up records and pictures for what reads records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tokbench.records.intervals import Interval, group_bootstrap
from tokbench.records.lm_record import EvaluationProtocol, EvaluationTiming, LanguageModelInfo, LanguageModelRecord
from tokbench.records.pictures import Picture, Pictures
from tokbench.records.probe_protocol import get_probe_protocol
from tokbench.records.probe_record import Coding, CurvePoint, Parameters, ProbeRecord, ProbeTiming, TokenSetInfo
from tokbench.records.protocol import get_protocol
from tokbench.records.record import CodebookUse, DataInfo, Environment, MetricResult, Record, Timing, TokenizerInfo, TokensInfo
from tokbench.report.page.model import Group, Measured
from tokbench.report.pictures import ChosenImage

METRICS = {"psnr": ("dB", True, 25.0, 2.0), "lpips": ("1", False, 0.1, 0.02), "ssim": ("1", True, 0.8, 0.05)}
"""Unit, direction, typical figure and spread."""

STEADY = "order statistics of 45 micro-batches of one pass"


def codec_of(name: str) -> str | None:
    """The codec in an anchor's name."""
    return name.removeprefix("anchor/").partition("-")[0] if name.startswith("anchor/") else None


def weights_of(name: str) -> str:
    """The digest of a tokenizer's weights, another one for each name."""
    return "ab" * 32 if name == "a/b" else hashlib.sha256(name.encode()).hexdigest()


def made_up(
    name: str,
    *,
    seed: int = 0,
    images: int = 60,
    better: float = 0.0,
    size: int = 1024,
    grid: tuple[int, ...] = (4, 4),
    bits: float | None = -1,
) -> Measured:
    """A record with rows: ``better`` shifts every figure by so many spreads; ``bits`` None makes it continuous."""
    rng = np.random.default_rng(seed)
    positions = int(np.prod(grid))
    bits = positions * float(np.log2(size)) if bits == -1 else bits
    ids = [f"{i // 6:03d}/{i % 6:02d}" for i in range(images)]
    rows, metrics = {}, {}
    for key, (unit, higher, typical, spread) in METRICS.items():
        values = typical + spread * (rng.normal(size=images) * 0.3 + np.sin(np.arange(images)) + (better if higher else -better))
        rows[key] = dict(zip(ids, values.tolist(), strict=True))
        mean = float(values.mean())
        interval = Interval(mean - spread / 2, mean + spread / 2, f"bootstrap of {images // 6} groups, 1000 resamples")
        metrics[key] = MetricResult(mean, unit, higher, {"network": "some"} if key == "lpips" else {}, interval)
    metrics["fd_efflite0"] = MetricResult(
        100.0 - 10 * better, "squared feature distance", False, interval=Interval(90 - 10 * better, 110 - 10 * better, "jackknife")
    )
    metrics["usage"] = MetricResult(0.97, "share of codes", True)
    metrics["rfid"] = MetricResult(reason="the weights are not here")
    ranks = tuple(sorted({int(r) for r in np.rint(np.geomspace(1, size * 3 // 4, 40))}))
    weight = 1 / np.arange(1, size * 3 // 4 + 1)
    shares = tuple(float(weight[r - 1] / weight.sum()) for r in ranks)
    codes = () if bits is None else (size,)
    record = Record(
        tokenizer=TokenizerInfo(name, {"codebook_size": size}, weights_of(name), 2_500_000, codec=codec_of(name)),
        data=DataInfo("photos/test", "d" * 64, "e" * 64, images, images, images // 6),
        protocol=get_protocol(),
        protocol_label="photos-64",
        metrics=metrics,
        tokens=TokensInfo(positions, positions, bits, None if bits is None else bits / 4096, grid, codes, 0 if codes else 4),
        timing=Timing(
            *(100.0 + seed, 50.0 + 10 * seed, 16, "cpu", 2, 3.0),
            encode_interval=Interval(96.0 + seed, 105.0 + seed, STEADY),
            decode_interval=Interval(45.0 + 10 * seed, 52.0 + 10 * seed, STEADY),
        ),
        environment=Environment("0.1.0", "3.11", "Linux x86_64", "a processor", {"torch": "2.9"}),
        created="2026-01-01T00:00:00+00:00",
        codebooks=(CodebookUse(size, positions * images, size * 3 // 4, ranks, shares),) if codes else (),
    )
    return Measured(f"{name.replace('/', '-')}.json", record, rows)


def made_up_pictures(group: Group, ids: list[str], side: int = 16) -> tuple[list[ChosenImage], Pictures]:
    """Random originals, reconstructions near them, and codes of which every fifth changes."""
    rng = np.random.default_rng(1)
    smooth = rng.integers(40, 216, (side // 4, side // 4, 3), dtype=np.uint8)
    originals = {name: np.kron(np.roll(smooth, i, 0), np.ones((4, 4, 1), np.uint8)) for i, name in enumerate(ids)}
    made: list[dict[str, Picture]] = []
    for entry in group.entries:
        tokens = entry.record.tokens
        own = {}
        for name in ids:
            noisy = np.clip(originals[name].astype(int) + rng.integers(-12, 13, (side, side, 3)), 0, 255).astype(np.uint8)
            codes = again = None
            if tokens.codebook_sizes:
                codes = rng.integers(0, tokens.codebook_sizes[0], (*tokens.grid, len(tokens.codebook_sizes)))
                again = np.where(np.arange(codes.size).reshape(codes.shape) % 5 == 0, (codes + 1) % tokens.codebook_sizes[0], codes)
            own[name] = Picture(name, noisy, codes, again)
        made.append(own)
    whys = ("worst PSNR dB (12.00)", "median LPIPS (0.1000); best SSIM (0.9000)", "largest difference in LPIPS (a 0.1, b 0.2)")
    chosen = [ChosenImage(name, whys[i % len(whys)]) for i, name in enumerate(ids)]
    return chosen, Pictures(originals, tuple(made), tuple(None for _ in made), "someone, CC0")


def probe_record(name: str = "vqvae/tiny", bits: float = 1877.4, *, scale: int = 1, **config: object) -> ProbeRecord:
    """A record of 256 tokens, or of ``scale`` times as many with as many times the bits."""
    figures = {
        "uniform_bits_per_image": MetricResult(2560.0 * scale, "bits", False),
        "unigram_bits_per_image": MetricResult(2460.6 * scale, "bits", False),
        "ngram_bits_per_image": MetricResult(2111.1 * scale, "bits", False),
        "bits_per_image": MetricResult(
            bits * scale, "bits", False, interval=Interval((bits - 30) * scale, (bits + 30) * scale, "bootstrap")
        ),
        "bits_per_token": MetricResult(bits / 256, "bits", False),
        "bits_per_pixel": MetricResult(bits * scale / 4096, "bits", False),
        "png_bits_per_image": MetricResult(61440.0, "bits", False),
        "webp_bits_per_image": MetricResult(40960.0, "bits", False),
        "psnr": MetricResult(25.25, "dB", True),
    }
    return ProbeRecord(
        tokenizer=TokenizerInfo(name, dict(config), None, 1),
        tokens=TokensInfo(256 * scale, 256 * scale, 2560.0 * scale, 0.625 * scale, (16, 16 * scale), (1024,)),
        protocol=get_protocol(),
        probe=get_probe_protocol(),
        probe_label="small",
        condition="none",
        train=TokenSetInfo("photos/train and mirror images", "1" * 64, "2" * 64, 3910, 111),
        held_out=TokenSetInfo("photos/test", "3" * 64, "2" * 64, 736, 42),
        parameters=Parameters(754_816, 164_864),
        figures=figures,
        by_position=(8.0,) * 64 + (7.0,) * 128 + (6.5,) * 64 if scale == 1 else (7.0,) * 256 * scale,
        curve=(CurvePoint(0, None, 10.1), CurvePoint(1955, 8.5, 8.0), CurvePoint(3910, 7.5, 7.333)),
        coding=Coding(736, 1877.4, 1881.2, True),
        timing=ProbeTiming("cpu", 1, 60.0, 200.0),
        environment=Environment("0.1.0", "3.11", "Linux x86_64", "some", {}),
        created="2027-01-01T00:00:00+00:00",
    )


STAGES = ("pretrain", "quality", "dpo")

BY_PROMPT = {
    "prompt_attributes": 0.7, "prompt_all_right": 0.3, "prompt_shape": 0.6, "prompt_colour": 0.8, "prompt_number": 0.9,
    "ceiling_attributes": 0.97, "ceiling_all_right": 0.8, "chance_attributes": 0.4, "chance_all_right": 0.02,
    "original_attributes": 1.0, "original_all_right": 1.0,
    "edit_change": 0.5, "ceiling_edit_change": 0.9, "unedited_edit_change": 0.1, "edit_psnr": 24.0, "tokenizer_psnr": 27.0,
    "description_attributes": 0.8, "image_bits": 300.0, "completion_bits": 150.0, "nearest_training": 0.1, "nearest_training_floor": 0.12,
}  # fmt: skip
"""Figures that are means over prompts, before any stage but the first."""


def lm_record(
    name: str = "pretrain", *, stages: int = 1, split: str = "test", better: float = 0.0, prompts: int = 40, tokenizer: str = "vqvae/tiny"
) -> tuple[LanguageModelRecord, dict[str, dict[str, float]]]:
    """The record of a language model after so many stages, and its values by prompt; shares are ``better`` by so much."""
    rng = np.random.default_rng([stages, prompts])
    rows, figures = {}, {}
    for key, typical in BY_PROMPT.items():
        own = typical + better * (key.startswith(("prompt", "edit_c", "description")))
        values = own + 0.1 * typical * rng.uniform(-1, 1, size=prompts)
        rows[key] = {f"{split}-{number}": float(value) for number, value in enumerate(values)}
        figures[key] = MetricResult(
            float(values.mean()), "share", "bits" not in key, interval=group_bootstrap(values.tolist(), list(rows[key]))
        )
    figures["kd_efflite0"] = MetricResult(0.012, "squared feature distance", False, interval=Interval(0.01, 0.014, "jackknife"))
    figures["kd_efflite0_floor"] = MetricResult(0.001, "squared feature distance", False)
    figures["fd_efflite0"] = MetricResult(reason="a Fréchet distance needs at least 128 images")
    recipe = {"stages": [{"name": stage, "stage": stage, "steps": 10} for stage in STAGES[:stages]]}
    record = LanguageModelRecord(
        model=LanguageModelInfo(name, "LlamaForCausalLM", 1_000_000, f"{stages}" * 64, recipe),
        tokenizer=TokenizerInfo(tokenizer, {}, None, 1),
        tokens=TokensInfo(64, 64, 640.0, 0.15625, (8, 8), (1024,)),
        protocol=EvaluationProtocol("scenes", split, prompts, 64, 0, ("generate", "edit"), {"temperature": 1.0}, prompts, 2000),
        figures=figures,
        timing=EvaluationTiming("cpu", 1, 0.25, 60.0),
        environment=Environment("0.2.0", "3.11", "Linux x86_64", "some", {}),
        created="2027-01-01T00:00:00+00:00",
    )
    return record, rows


@pytest.fixture(scope="session")
def make_model() -> Callable[..., tuple[LanguageModelRecord, dict[str, dict[str, float]]]]:
    """``lm_record``, for tests to call."""
    return lm_record


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Measured]:
    """Makes a record with rows."""
    return made_up


@pytest.fixture(scope="session")
def make_pictures() -> Callable[..., tuple[list[ChosenImage], Pictures]]:
    """Makes pictures of a group's records."""
    return made_up_pictures


@pytest.fixture
def report_cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs the report command in an empty folder; returns what it said."""
    import typer

    from tokbench.commands.report import report
    from tokbench.errors import TokbenchError

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(report)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        try:
            app(list(map(str, arguments)), standalone_mode=False)
        except TokbenchError as error:
            return str(error)
        return capsys.readouterr().err

    return run


@pytest.fixture
def make_probe() -> Callable[..., ProbeRecord]:
    """``probe_record``, for tests to call."""
    return probe_record
