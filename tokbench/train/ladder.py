"""The rungs of the quantizer ladder: one small network around one quantizer after another, at ten bits a position; no torch.

    images -> encoder -> quantizer of the rung -> decoder -> images        loss: squared error, and the quantizer's own terms

The weights of these terms are those of each quantizer's published training. docs/quantizer-ladder.md says what is compared, and how.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tokbench.quantizers.configs import BSQ, FSQ, IBQ, LFQ, VQ, AnyQuantizer, ResidualVQ, SimVQ
from tokbench.tokenizers.conv_vq.config import TINY_AUTOENCODER, ConvVQConfig
from tokbench.tokenizers.vae.variants import VAEConfig

LADDER_AUTOENCODER = replace(TINY_AUTOENCODER, channels=16)
"""Half as wide as the networks that ship: 0.6 million parameters, 256 positions of a photo of 64 px."""


@dataclass(frozen=True)
class Rung:
    """One step of the ladder.

    Args:
        name: Its recipe is ``ladder-NAME``.
        config: The network, and what stands in its middle.
        summary: What is learned, and whose terms of the loss these are.
        averages: Whether rows are learned by moving averages.
    """

    name: str
    config: ConvVQConfig | VAEConfig
    summary: str
    averages: bool = False

    @property
    def tokenizer(self) -> str:
        """``family/variant`` whose class is trained."""
        return "vae/tiny" if self.continuous else "vqvae/tiny"

    @property
    def continuous(self) -> bool:
        """Whether it has latents and no codes, and so no bits but those that store them."""
        return isinstance(self.config, VAEConfig)


def _codes(name: str, quantizer: AnyQuantizer, summary: str, *, averages: bool = False) -> Rung:
    return Rung(name, ConvVQConfig(LADDER_AUTOENCODER, quantizer), summary, averages)


RUNGS: tuple[Rung, ...] = (
    _codes(
        "vq-ema",
        VQ(1024, 16, loss_form="commitment"),
        "rows by moving averages, dead ones restarted; commitment 0.25 (VQ-VAE, Jukebox)",
        averages=True,
    ),
    _codes("simvq", SimVQ(1024, 16, rotation_trick=False), "frozen rows under a learned map; rows 1, commitment 0.25 (SimVQ)"),
    _codes("ibq", IBQ(1024, 16), "gradients to all rows; three terms of distance, entropy 0.05 (IBQ)"),
    _codes("fsq", FSQ((8, 5, 5, 5)), "levels of four channels; no terms (FSQ)"),
    _codes(
        "lfq", LFQ(10, entropy_weight=0.1, commitment_weight=0.25, temperature=0.01), "signs; entropy 0.1, commitment 0.25 (Open-MAGVIT2)"
    ),
    _codes(
        "bsq",
        BSQ(10, entropy_weight=0.1, commitment_weight=0.025, entropy_form="analytical"),
        "signs on a sphere; entropy 0.1, commitment 0.025 (BSQ-ViT)",
    ),
    _codes("residual", ResidualVQ((32, 32), 16), "two stages of 32 rows; rows 1, commitment 0.25 in each (VQ-VAE)"),
    Rung(
        "kl", VAEConfig(replace(LADDER_AUTOENCODER, double_z=True), embed_dim=4), "four latents without codes; KL 1e-6 (latent diffusion)"
    ),
)
"""From rows that are learned to grids that are given, then codes in stages, and apart from all of them latents without codes."""
