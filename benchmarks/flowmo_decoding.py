"""FlowMo's decoder against the published sampling, both with fused attention, at equal output: time as a ratio; and bf16.

The published sampling calls the network once for the condition and, within the guidance interval, once more without it
(31 calls for 25 steps), and computes rotary angles, code embeddings, both streams of the last block and a modulation for
every image anew in each call. Run by hand:
``python benchmarks/flowmo_decoding.py [--threads 2] [--write]``; ``--write`` puts the table into README.md.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from readme import Block, machine
from torch import Tensor, nn

from tokbench.data.photos import PhotoCrops
from tokbench.images import to_float
from tokbench.linear import Linear
from tokbench.nn.configs import MMDiTConfig
from tokbench.nn.mmdit import code_positions, patchify, rotation, unpatchify
from tokbench.nn.schedules import schedule_times, time_of_sigma
from tokbench.tokenizers.flowmo.config import FlowMoConfig
from tokbench.tokenizers.flowmo.model import FlowMo

RUNS = 5
SMALL = FlowMoConfig(
    MMDiTConfig(hidden=192, heads=3, depth=2, axes=(16, 24, 24)),
    MMDiTConfig(hidden=192, heads=3, depth=4, axes=(16, 24, 24)),
    bits=10,
    codebooks=2,
    code_length=128,
    image_size=64,
    patch_size=8,
)
"""Small enough for a processor, at 64 px."""
REDUCED = FlowMoConfig(
    MMDiTConfig(hidden=192, heads=3, depth=1, axes=(8, 28, 28)),
    MMDiTConfig(hidden=384, heads=4, depth=4, axes=(12, 42, 42)),
    bits=9,
    codebooks=2,
    image_size=128,
)
"""The published decoder's head dimension, patch and code length, a third as wide, a quarter as deep, at half the side."""


def published(model: FlowMo, vectors: Tensor, noise: Tensor) -> Tensor:
    """The published sampling: separate calls, everything computed anew in each."""
    config, decoder = model.config, model.decoder

    def call(state: Tensor, context: Tensor, now: float) -> Tensor:
        places = code_positions(config.code_length, config.grid, config.code_places)
        by = rotation(places, config.grid, config.decoder, state.device)
        vec = decoder.time_in(torch.full((len(state),), now, device=state.device))
        image, code = decoder.img_in(patchify(state, config.patch_size)), decoder.embed(context)
        for block in decoder.double_blocks:
            image, code = block(image, code, block.modulations(vec), by)
        return unpatchify(decoder.final_layer_img(image, vec).float(), config.patch_size, config.grid)

    context, state = model.context(vectors), noise
    low, high = map(time_of_sigma, config.guidance_sigmas)
    times = schedule_times(config.schedule, config.steps)
    for now, then in pairwise(times):
        velocity = call(state, context, now)
        if config.guidance != 1.0 and low < now < high:
            without = call(state, torch.zeros_like(context), now)
            velocity = without + config.guidance * (velocity - without)
        state = state - (now - then) * velocity
    return state


def with_plain_layers(model: FlowMo) -> FlowMo:
    """A copy whose linear layers are those of PyTorch, as the published code's are."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, Linear):
            layer.__class__ = nn.Linear
    return model


def ours(model: FlowMo, vectors: Tensor, noise: Tensor) -> Tensor:
    """What ``decode`` does."""
    return model.walk(vectors, noise)[-1]


def half(way: Callable[[FlowMo, Tensor, Tensor], Tensor]) -> Callable[[FlowMo, Tensor, Tensor], Tensor]:
    """The same under bf16 autocast."""

    def run(model: FlowMo, vectors: Tensor, noise: Tensor) -> Tensor:
        with torch.autocast(vectors.device.type, torch.bfloat16):
            return way(model, vectors, noise)

    return run


def with_open_gates(config: FlowMoConfig) -> FlowMo:
    """Random weights. Gates start closed; open ones cost the same, but let differences show."""
    torch.manual_seed(0)
    model = FlowMo(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("mod.lin.weight"):
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def psnr(images: Tensor, reference: Tensor) -> float:
    """Of images clamped to [-1, 1], in dB."""
    return float(-10 * torch.log10((images.clamp(-1, 1) - reference.clamp(-1, 1)).square().mean(dim=(1, 2, 3)) / 4).mean())


@torch.inference_mode()
def measure(block: Block, name: str, model: FlowMo, images: Tensor) -> None:
    """Say one row."""
    vectors = model.quantize.lookup(model.encode(images).codes)  # type: ignore[union-attr]
    noise = torch.stack([torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in range(len(images))])
    ways = {"published": published, "ours": ours, "ours, bf16": half(ours)}
    seconds: dict[str, list[float]] = {key: [] for key in ways}
    out: dict[str, Tensor] = {}
    plain = with_plain_layers(model)
    for _ in range(RUNS + 1):
        for key, way in ways.items():
            start = time.perf_counter()
            out[key] = way(plain if key == "published" else model, vectors, noise)
            seconds[key].append(time.perf_counter() - start)
    median = {key: statistics.median(values[1:]) for key, values in seconds.items()}
    apart = float((out["ours"] - out["published"]).abs().max())
    block.say(
        f"| {name} | {len(images)} | {len(images) / median['ours']:.2f} | {median['published'] / median['ours']:.2f} | {apart:.1e} "
        f"| {median['ours'] / median['ours, bf16']:.2f} | {psnr(out['ours, bf16'], out['ours']):.1f} |"
    )


def main() -> None:
    """Print a row for a small shape, one image and sixteen, and for the published shape reduced."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    block = Block("flowmo-decoding", "FlowMo's decoder against the published sampling", write=given.write)
    block.say(f"{machine()}. 25 steps, random weights, median of {RUNS} interleaved runs.\n")
    block.say(
        "| shape | batch | ours, images/s | time: published / ours | largest difference | time: fp32 / bf16 | bf16 against fp32, dB |"
    )
    block.say("|---|---:|---:|---:|---:|---:|---:|")
    for name, config, count in (("small, 64 px", SMALL, 1), ("small, 64 px", SMALL, 16), ("published, reduced, 128 px", REDUCED, 2)):
        source = PhotoCrops("test", config.image_size)
        pictures = np.stack([np.asarray(source.read(index)) for index in range(count)])
        measure(block, name, with_open_gates(config), to_float(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()))
    block.end()


if __name__ == "__main__":
    main()
