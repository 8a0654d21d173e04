"""FlowMo. Paper: Sargent, Hsu, Johnson, Li and Wu, "Flow to the Mode: Mode-Seeking Diffusion Autoencoders for
State-of-the-Art Image Tokenization", 2025.

    images -> patches -> encoder -> code vectors [B, L, F] -> signs -> codes
                             zeros --^                          |
                                                     (signs, 1) |   zeros without guidance's condition
                                                                v
    noise ----> patches ----------------------------------> decoder -> velocity
      ^                                                          |
      +------------- Euler steps from t = 1 to t = 0 <-----------+-> images

Parameter names are those of kylesargent/FlowMo ``flowmo/models.py``.
"""

from __future__ import annotations

import logging

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.nn.flow import euler
from tokbench.nn.mmdit import MMDiT, Rotation, code_positions, patchify, rotation, unpatchify
from tokbench.nn.noise import standard_normal
from tokbench.nn.schedules import schedule_times
from tokbench.quantizers.base import Quantized
from tokbench.quantizers.lfq import LookupFreeQuantizer
from tokbench.sending import moved
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.flowmo.config import FlowMoConfig
from tokbench.tokens import DiscreteTokens

logger = logging.getLogger(__name__)


class FlowMo(Tokenizer):
    """Diffusion autoencoder over a 1D sequence of binary codes; decoding starts from noise, so it needs seeds.

    Args:
        config: Shape of the networks and how to decode.
    """

    config: FlowMoConfig
    decode_is_stochastic = True
    tileable = False

    def __init__(self, config: FlowMoConfig) -> None:
        super().__init__()
        self.config = config
        if config.guidance != 1.0 and not any(config.guided):
            logger.warning(
                "guidance of %g acts on none of the %d steps: none lies within guidance_sigmas %g to %g; widen them, or set guidance to 1",
                config.guidance,
                config.steps,
                *config.guidance_sigmas,
            )
        values, dim = 3 * config.patch_size**2, config.context_dim
        self.encoder = MMDiT(config.encoder, patch_dim=values, context_dim=dim, out="code", timed=False)
        self.decoder = MMDiT(config.decoder, patch_dim=values, context_dim=dim + 1, out="image", timed=True)
        if config.code_places == "grid":
            self.encoder.start_local()
            self.decoder.start_local()
        self.quantize = LookupFreeQuantizer(
            config.bits, config.codebooks, entropy_weight=config.entropy_weight, commitment_weight=config.commitment_weight
        )

    @property
    def dtype(self) -> torch.dtype:
        """What the networks compute in; the walk of decoding is in single precision at least."""
        return self.decoder.dtype

    def vectors(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b l f"]:
        """Encode images to code vectors, before quantization (differentiable). Every code token starts as zeros."""
        patches = patchify(images, self.config.patch_size)
        zeros = images.new_zeros(len(images), self.config.code_length, self.config.context_dim)
        return _single(self.encoder(patches, self.encoder.embed(zeros), self._rotation("encoder", images.device)))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Quantized:
        """Encode and quantize, for training."""
        return self.quantize(self.vectors(images))

    def velocity(
        self, state: Float[Tensor, "b 3 h w"], context: Float[Tensor, "b l f1"], times: Float[Tensor, " b"]
    ) -> Float[Tensor, "b 3 h w"]:
        """What the decoder says of noisy images (differentiable).

        Args:
            state: Noisy images.
            context: From ``context``.
            times: From 0 (image) to 1 (noise), one an image.
        """
        patches = patchify(state, self.config.patch_size).to(self.dtype)
        out = self.decoder(patches, self.decoder.embed(context.to(self.dtype)), self._rotation("decoder", state.device), times)
        return unpatchify(_single(out), self.config.patch_size, self.config.grid)

    @staticmethod
    def context(vectors: Float[Tensor, "b l f"]) -> Float[Tensor, "b l f1"]:
        """Append the channel that says there is a condition; all zeros say there is none."""
        return torch.cat([vectors, vectors.new_ones(*vectors.shape[:2], 1)], dim=-1)

    def walk(self, vectors: Float[Tensor, "b l f"], noise: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b 3 h w"]]:
        """Decode code vectors from given noise; the state after every Euler step, not clamped.

        Conditioned and unconditioned halves of a guided step run as one batch; what does not depend on the time is computed once.
        """
        config, device = self.config, noise.device
        by = self._rotation("decoder", device)
        code = self.decoder.embed(self.context(vectors).to(self.dtype))
        null = self.decoder.embed(torch.zeros(1, config.code_length, config.context_dim + 1, dtype=self.dtype, device=device)).expand_as(
            code
        )
        both = torch.cat([code, null])
        times = [torch.tensor([time]) for time in schedule_times(config.schedule, config.steps)]
        guided = {float(time) for time, is_guided in zip(times[:-1], config.guided, strict=True) if is_guided}
        told = dict(zip(map(float, times[:-1]), self.decoder.tell(moved(torch.cat(times[:-1]), device)).each(), strict=True))

        def velocity(patches: Tensor, time: Tensor) -> Tensor:
            patches, now = patches.to(self.dtype), float(time)
            if now not in guided:
                return _single(self.decoder(patches, code, by, told[now]))
            with_code, without = _single(self.decoder(torch.cat([patches, patches]), both, by, told[now])).chunk(2)
            return without + config.guidance * (with_code - without)

        states = euler(velocity, patchify(noise, config.patch_size), times)
        return [unpatchify(state, config.patch_size, config.grid) for state in states]

    def _rotation(self, side: str, device: torch.device) -> Rotation:
        config = self.config
        code = code_positions(config.code_length, config.grid, config.code_places)
        return rotation(code, config.grid, getattr(config, side), device)

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        with self._autocast(images.device):
            vectors = self.vectors(images)
        return DiscreteTokens(self.quantize.codes(vectors), (self.config.code_length,), self.quantize.codebook_sizes)

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        vectors = self._embed(tokens.codes)
        shape = (3, self.config.image_size, self.config.image_size)
        if not seeds:
            return torch.zeros(0, *shape, dtype=self.dtype, device=vectors.device)
        with self._autocast(vectors.device):
            return self.walk(vectors, standard_normal(shape, seeds, vectors))[-1].to(self.dtype)

    def _embed(self, codes: Tensor) -> Tensor:
        return self.quantize.lookup(codes)

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        if grid != (self.config.code_length,):
            raise ValueError(f"{self.name or 'FlowMo'} takes a sequence of {self.config.code_length} codes, got a grid {grid}")
        return self.config.image_size, self.config.image_size


def _single(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
