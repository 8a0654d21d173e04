"""Encoding and decoding with the published VQGAN of stride 16, against diffusers and a plain transcription at equal outputs.

All three have the same random weights and go the same way: images to code numbers, and these numbers back to images. The plain
transcription is what one writes down from the paper: maps that lie channel by channel, attention by two products and a
softmax, the whole table of distances. Rounds are interleaved, so that whatever else runs on the machine slows all alike.

Run by hand: ``python benchmarks/vqgan_f16.py --batch 1 4 --rounds 9 --threads 2 [--write]``; ``--write`` puts the tables into README.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from readme import Block, machine
from torch import Tensor, nn

from tokbench.data.photos import PhotoCrops
from tokbench.images import to_float
from tokbench.nn.configs import AutoencoderConfig
from tokbench.tokenizers import zoo
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.vqgan.model import VQGAN
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly
from tokbench.weights.key_maps.diffusers import from_diffusers

VARIANT = "vqgan/imagenet-f16-16384"


class PlainBlock(nn.Module):
    """Residual block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, inputs, eps=1e-6), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(32, outputs, eps=1e-6), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Transform."""
        h = self.norm1(x)
        h = self.conv1(h * torch.sigmoid(h))
        h = self.norm2(h)
        h = self.conv2(h * torch.sigmoid(h))
        return self.nin_shortcut(x) + h


class PlainAttention(nn.Module):
    """Attention over all positions, written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions."""
        b, c, height, width = x.shape
        h = self.norm(x)
        q, k, v = (proj(h).reshape(b, c, height * width) for proj in (self.q, self.k, self.v))
        weights = torch.softmax(torch.bmm(q.permute(0, 2, 1), k) * c**-0.5, dim=2)
        return x + self.proj_out(torch.bmm(v, weights.permute(0, 2, 1)).reshape(b, c, height, width))


class PlainLevel(nn.Module):
    """Blocks and attention of one resolution, and the convolution to the next."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, attention: bool, way: str) -> None:
        super().__init__()
        self.block = nn.ModuleList(PlainBlock(inputs if i == 0 else outputs, outputs) for i in range(blocks))
        self.attn = nn.ModuleList(PlainAttention(outputs) for _ in range(blocks if attention else 0))
        if way == "down":
            self.downsample = nn.ModuleDict({"conv": nn.Conv2d(outputs, outputs, 3, stride=2)})
        if way == "up":
            self.upsample = nn.ModuleDict({"conv": nn.Conv2d(outputs, outputs, 3, padding=1)})

    def forward(self, x: Tensor) -> Tensor:
        """Transform and resample."""
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        if hasattr(self, "downsample"):
            x = self.downsample["conv"](F.pad(x, (0, 1, 0, 1)))
        if hasattr(self, "upsample"):
            x = self.upsample["conv"](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class PlainHalf(nn.Module):
    """Encoder or decoder."""

    def __init__(self, config: AutoencoderConfig, *, encoder: bool) -> None:
        super().__init__()
        widths, levels, order = config.widths, len(config.widths), range(len(config.widths))
        inputs, ends = (3, config.z_channels) if encoder else (config.z_channels, 3)
        width = widths[0] if encoder else widths[-1]
        self.encoder = encoder
        self.conv_in = nn.Conv2d(inputs, width, 3, padding=1)
        made: dict[int, PlainLevel] = {}
        for i in order if encoder else reversed(order):
            way = "" if i == (levels - 1 if encoder else 0) else "down" if encoder else "up"
            blocks = config.num_res_blocks + (0 if encoder else 1)
            made[i] = PlainLevel(width, widths[i], blocks, attention=config.has_attention(i), way=way)
            width = widths[i]
        levels_in_order = nn.ModuleList(made[i] for i in order)
        if encoder:
            self.down = levels_in_order
        else:
            self.up = levels_in_order
        middle = widths[-1]
        parts = {"block_1": PlainBlock(middle, middle), "attn_1": PlainAttention(middle), "block_2": PlainBlock(middle, middle)}
        self.mid = nn.ModuleDict(parts)
        self.norm_out = nn.GroupNorm(32, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, ends, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Run."""
        x = self.conv_in(x)
        for level in self.down if self.encoder else ():
            x = level(x)
        for part in self.mid.values():
            x = part(x)
        for level in () if self.encoder else reversed(self.up):
            x = level(x)
        x = self.norm_out(x)
        return self.conv_out(x * torch.sigmoid(x))


class Plain(nn.Module):
    """The plain transcription, with the parameter names of taming-transformers."""

    def __init__(self, config: ConvVQConfig) -> None:
        super().__init__()
        z = config.autoencoder.z_channels
        self.encoder, self.decoder = PlainHalf(config.autoencoder, encoder=True), PlainHalf(config.autoencoder, encoder=False)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(config.quantizer.codebook_sizes[0], config.quantizer.channels)})
        self.quant_conv, self.post_quant_conv = nn.Conv2d(z, config.quantizer.channels, 1), nn.Conv2d(config.quantizer.channels, z, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Code numbers, ``[B, h, w]``."""
        z = self.quant_conv(self.encoder(images)).float().permute(0, 2, 3, 1)
        flat, rows = z.reshape(-1, z.shape[3]), self.quantize["embedding"].weight
        distances = flat.square().sum(dim=1, keepdim=True) + rows.square().sum(dim=1) - 2 * flat @ rows.t()
        return distances.argmin(dim=1).reshape(z.shape[:3])

    def decode(self, codes: Tensor) -> Tensor:
        """Images."""
        vectors = self.quantize["embedding"](codes).permute(0, 3, 1, 2).contiguous()
        return self.decoder(self.post_quant_conv(vectors))


@dataclass(frozen=True)
class Way:
    """One implementation: images to code numbers ``[B, h, w]``, and back."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


def diffusers_model(config: ConvVQConfig) -> nn.Module:
    """The same network in diffusers, with random weights."""
    from diffusers import VQModel  # type: ignore[attr-defined]

    network = config.autoencoder
    attention = [network.has_attention(level) for level in range(len(network.widths))]
    return VQModel(
        down_block_types=tuple("AttnDownEncoderBlock2D" if here else "DownEncoderBlock2D" for here in attention),
        up_block_types=tuple("AttnUpDecoderBlock2D" if here else "UpDecoderBlock2D" for here in reversed(attention)),
        block_out_channels=network.widths,
        layers_per_block=network.num_res_blocks,
        latent_channels=network.z_channels,
        num_vq_embeddings=config.quantizer.codebook_sizes[0],
        vq_embed_dim=config.quantizer.channels,
        norm_num_groups=network.norm_groups,
    ).eval()


@torch.no_grad()
def spread_codes(model: nn.Module, images: Tensor) -> None:
    """Give random weights what training gives: latents of unit variance among codes of unit variance, so that many codes are used."""
    latents = model.quant_conv(model.encoder(images))
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    model.quant_conv.weight.div_(deviation[:, None, None, None])
    model.quant_conv.bias.sub_(mean).div_(deviation)
    model.quantize.embedding.weight.normal_()


def three_ways(images: Tensor) -> tuple[dict[str, Way], ConvVQConfig]:
    """The same weights in all."""
    config = zoo.resolve(VARIANT)[1].config
    torch.manual_seed(0)
    theirs = diffusers_model(config)
    spread_codes(theirs, images)
    state = from_diffusers(theirs.state_dict())
    ours, plain = VQGAN(config).eval(), Plain(config).eval()
    for model in (ours, plain):
        load_strictly(model, state, origin="the weights of diffusers' model")

    def encode_ours(images: Tensor) -> Tensor:
        tokens = ours.encode(images)
        return tokens.codes.reshape(len(images), *tokens.grid)  # type: ignore[union-attr]

    def decode_ours(codes: Tensor) -> Tensor:
        return ours.decode(DiscreteTokens(codes.flatten(1)[..., None], tuple(codes.shape[1:]), (config.quantizer.codebook_sizes[0],)))

    def encode_theirs(images: Tensor) -> Tensor:
        latents = theirs.encode(images).latents
        return theirs.quantize(latents)[2][2].reshape(latents.shape[0], *latents.shape[2:])

    def decode_theirs(codes: Tensor) -> Tensor:
        vectors = theirs.quantize.get_codebook_entry(codes.flatten(), (*codes.shape, config.quantizer.channels))
        return theirs.decode(vectors, force_not_quantize=True).sample

    ways = {
        "tokbench": Way(encode_ours, decode_ours),
        "diffusers": Way(encode_theirs, decode_theirs),
        "plain": Way(plain.encode, plain.decode),
    }
    return ways, config


def compare(ways: dict[str, Way], images: Tensor, *, exact: bool) -> str:
    """Say how far outputs are apart, decoding the same codes.

    Raises:
        RuntimeError: If ``exact`` and ids differ, or images by more than 1e-4.
    """
    codes = {name: way.encode(images) for name, way in ways.items()}
    decoded = {name: way.decode(codes["tokbench"]).float() for name, way in ways.items()}
    parts = []
    for name in ways:
        if name != "tokbench":
            other = int((codes[name] != codes["tokbench"]).sum())
            apart = float((decoded[name] - decoded["tokbench"]).abs().max())
            parts.append(f"{name}: {other} of {codes[name].numel()} ids differ, images by at most {apart:.1e}")
            if exact and (other or not apart <= 1e-4):
                raise RuntimeError(f"outputs are not equal: {parts[-1]}")
    spread = f"{len(codes['tokbench'].unique())} codes in use, images of deviation {float(decoded['tokbench'].std()):.2f}"
    return f"{'; '.join(parts)} ({spread})"


def measure(block: Block, ways: dict[str, Way], images: Tensor, rounds: int, clock: Callable[[], float]) -> None:
    """Say rows of times and of ratios."""
    seconds: dict[tuple[str, str], list[float]] = {(name, step): [] for name in ways for step in ("encode", "decode", "both")}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            times = [clock()]
            codes = way.encode(images)
            times.append(clock())
            way.decode(codes)
            times.append(clock())
            if turn:  # the first round warms up
                for step, (start, end) in {"encode": (0, 1), "decode": (1, 2), "both": (0, 2)}.items():
                    seconds[name, step].append(times[end] - times[start])
    block.say("| way | step | median, s | min | max | median / tokbench | min / tokbench |")
    block.say("|---|---|---:|---:|---:|---:|---:|")
    for (name, step), values in seconds.items():
        own = seconds["tokbench", step]
        middle, ratio = statistics.median(values), statistics.median(v / o for v, o in zip(values, own, strict=True))
        block.say(
            f"| {name} | {step} | {middle:.3f} | {min(values):.3f} | {max(values):.3f} | {ratio:.2f} | {min(values) / min(own):.2f} |"
        )


def main() -> None:
    """Print a table a batch size and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4], help="images at once")
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--processor-time", action="store_true", help="count the work of all threads, not the time on the clock")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    block = Block("vqgan-f16", "The VQGAN of stride 16 against diffusers", write=options.write)
    source = PhotoCrops("test", options.size)
    pictures = np.stack([np.asarray(source.read(index)) for index in range(max(options.batch))])
    images = to_float(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous())
    ways, _ = three_ways(images[:1])
    clock = time.process_time if options.processor_time else time.perf_counter
    of = "processor time" if options.processor_time else "time"
    block.say(f"{machine()}. `{VARIANT}`, random weights, {options.size} px, {of} of {options.rounds} interleaved rounds.")
    for precision in options.precision:
        for batch in options.batch:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                block.say(f"\n{precision}, batch {batch}. {compare(ways, images[:batch], exact=precision == 'fp32')}\n")
                measure(block, ways, images[:batch], options.rounds, clock)
    block.end()


if __name__ == "__main__":
    main()
