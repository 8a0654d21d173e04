"""Configuration, layout arithmetic and variants of the KL autoencoder; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite

from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig
from tokbench.tokenizers.conv_vq.config import TINY_AUTOENCODER
from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.vae.config import PosteriorForm, check_posterior


@dataclass(frozen=True)
class VAEConfig:
    """Shape of a KL autoencoder.

    Args:
        autoencoder: The network; ``double_z`` must be set.
        embed_dim: Latent channels.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).
        quant_convs: Whether 1x1 convolutions stand before and after the latents (Flux has none).
        latent_shift: Tokens are ``(latents - latent_shift) * latent_scale``; by default the latents as they are.
        latent_scale: A diffusion model reads latents of about unit variance; its own two numbers are set here.

    Raises:
        ValueError: If the encoder does not emit mean and log-variance, its design is ``magvit2``, the channels do not fit together, or the
            scale is not positive.
    """

    autoencoder: AutoencoderConfig
    embed_dim: int
    posterior: PosteriorForm = "mean"
    quant_convs: bool = True
    latent_shift: float = 0.0
    latent_scale: float = 1.0

    def __post_init__(self) -> None:
        self.autoencoder.check_design()
        if not self.autoencoder.double_z:
            raise ValueError("a KL autoencoder needs autoencoder.double_z=True")
        check_posterior(self.posterior)
        if self.embed_dim < 1:
            raise ValueError(f"embed_dim must be positive, got {self.embed_dim}")
        if not self.quant_convs and self.autoencoder.z_channels != self.embed_dim:
            z = self.autoencoder.z_channels
            raise ValueError(f"without quant_convs autoencoder.z_channels ({z}) must equal embed_dim ({self.embed_dim})")
        if not (isfinite(self.latent_shift) and 0 < self.latent_scale < inf):
            raise ValueError(f"latent_shift must be finite and latent_scale positive, got {self.latent_shift} and {self.latent_scale}")

    @property
    def scaled(self) -> bool:
        """Whether its tokens are scaled latents, not those that the weights make."""
        return (self.latent_shift, self.latent_scale) != (0.0, 1.0)

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return self.autoencoder.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One latent vector per ``stride`` x ``stride`` pixels."""
        return TokenLayout.strided(height, width, self.stride, channels=self.embed_dim)


STABLE_DIFFUSION = AutoencoderConfig(4, channel_multipliers=(1, 2, 4, 4), attn_resolutions=(), double_z=True)
"""The network of ``kl-f8``, which Stable Diffusion 1, 2 and XL share: 83,653,863 parameters with its 1x1 convolutions."""

SIXTEEN_CHANNELS = VAEConfig(replace(STABLE_DIFFUSION, z_channels=16), embed_dim=16, quant_convs=False)
"""FLUX.1 and Stable Diffusion 3."""

IMAGENET_F16 = VAEConfig(AutoencoderConfig(32, double_z=True), embed_dim=32)
"""VA-VAE and the autoencoders that REPA-E tunes at f16."""

LATENT_DIFFUSION_DATA = ("data:openimages/train", "lpips-vgg")
ALIGNED_DATA = ("data:imagenet/train", "lpips-vgg", "dinov2")
"""Of those whose latents were aligned with DINOv2: VA-VAE's own, and REPA-E's through a diffusion model."""
EQ_VAE = "Kouzelis et al. 2025, EQ-VAE"


def _latent_diffusion(name: str, autoencoder: AutoencoderConfig, channels: int) -> Variant:
    return published_variant(
        "vae",
        f"kl-{name}",
        VAEConfig(autoencoder, embed_dim=channels),
        f"{name}, {channels} latent channels, published for OpenImages at 256 px",
        source=f"CompVis/latent-diffusion, kl-{name}",
        licence="MIT (repository)",
        trained_with=LATENT_DIFFUSION_DATA,
        file=f"https://ommer-lab.com/files/latent-diffusion/kl-{name}.zip#model.ckpt",
    )


def _tuned(
    name: str,
    repository: str,
    of: str,
    summary: str,
    *,
    scale: float = 0.18215,
    paper: str | None = None,
    licence: str = "MIT (model card)",
    trained_with: tuple[str, ...] = ("unknown", "lpips-vgg"),
    figures: bool = True,
) -> Variant:
    """A row for weights of the f8 network that others tuned, by default for the latents of Stable Diffusion."""
    return published_variant(
        "vae",
        name,
        VAEConfig(STABLE_DIFFUSION, embed_dim=4),
        f"f8, 4 latent channels, of {of}, {summary}",
        source=f"{repository}, diffusion_pytorch_model.safetensors" if paper is None else f"{repository} ({paper})",
        licence=licence,
        trained_with=trained_with,
        file=f"hf:{repository}/diffusion_pytorch_model.safetensors",
        figures=figures,
        normalisation=Normalisation(scale=scale),
    )


def _end_to_end(name: str, repository: str, config: VAEConfig, like: str, *, licence: str = "MIT (repository)") -> Variant:
    """REPA-E's: tuned on ImageNet together with a diffusion model, whose statistics are in the ``config.json`` beside the weights.

    Its scaling factor is that of the model it was tuned from; REPA-E's code divides by the deviations alone.
    """
    return published_variant(
        "vae",
        name,
        config,
        f"f{config.stride}, {config.embed_dim} latent channels, {like} tuned with a diffusion model",
        source=f"{repository} (Leng et al. 2025, REPA-E)",
        licence=licence,
        trained_with=ALIGNED_DATA,
        file=f"hf:{repository}/diffusion_pytorch_model.safetensors",
        beside="config.json",
        figures=name == "e2e-sd",
        statistics_alone=True,
    )


FAMILY = Family(
    name="vae",
    summary="KL autoencoder (Rombach et al. 2022, latent diffusion): continuous latents",
    model="tokbench.tokenizers.vae.model:VAE",
    default="tiny",
    variants=(
        Variant(
            name="tiny",
            config=VAEConfig(replace(TINY_AUTOENCODER, double_z=True), embed_dim=4),
            image_size=64,
            summary="f4, 4 latent channels, for 64 px photos; squared error and a light KL term",
            weights="vae-tiny.safetensors",
            source="trained by tokbench, recipe vae-tiny",
            licence="Apache-2.0",
            trained_with=("data:photos/train",),
        ),
        _latent_diffusion("f4", AutoencoderConfig(3, channel_multipliers=(1, 2, 4), attn_resolutions=(), double_z=True), 3),
        _latent_diffusion("f8", STABLE_DIFFUSION, 4),
        _latent_diffusion("f16", AutoencoderConfig(16, double_z=True), 16),
        _latent_diffusion(
            "f32", AutoencoderConfig(64, channel_multipliers=(1, 1, 2, 2, 4, 4), attn_resolutions=(16, 8), double_z=True), 64
        ),
        published_variant(
            "vae",
            "sd",
            VAEConfig(STABLE_DIFFUSION, embed_dim=4),
            "f8, 4 latent channels, of Stable Diffusion 1 and 2",
            source="CompVis/stable-diffusion, first_stage_model",
            licence="OpenRAIL-M (CreativeML, model card)",
            trained_with=LATENT_DIFFUSION_DATA,
            file="hf:CompVis/stable-diffusion-v1-4/vae/diffusion_pytorch_model.safetensors",
            normalisation=Normalisation(scale=0.18215),
        ),
        _tuned("sd-ft-ema", "stabilityai/sd-vae-ft-ema", "Stable Diffusion 1 and 2", "its decoder tuned further"),
        _tuned("sd-ft-mse", "stabilityai/sd-vae-ft-mse", "Stable Diffusion 1 and 2", "its decoder tuned to squared error"),
        published_variant(
            "vae",
            "sdxl",
            VAEConfig(STABLE_DIFFUSION, embed_dim=4),
            "f8, 4 latent channels, of Stable Diffusion XL",
            source="stabilityai/sdxl-vae; its training data are not published",
            licence="MIT (model card)",
            trained_with=("lpips-vgg",),
            file="hf:stabilityai/sdxl-vae/sdxl_vae.safetensors",
            sha256="63aeecb90ff7bc1c115395962d3e803571385b61938377bc7089b36e81e92e2e",
            normalisation=Normalisation(scale=0.13025),
        ),
        _tuned("sdxl-fp16-fix", "madebyollin/sdxl-vae-fp16-fix", "Stable Diffusion XL", "tuned to run in half precision", scale=0.13025),
        published_variant(
            "vae",
            "flux",
            SIXTEEN_CHANNELS,
            "f8, 16 latent channels, of FLUX.1",
            source="black-forest-labs/FLUX.1, ae.safetensors; its training is not published",
            licence="Apache-2.0 (model card of FLUX.1-schnell)",
            trained_with=(),
            file="hf:black-forest-labs/FLUX.1-schnell/ae.safetensors",
            sha256="afc8e28272cd15db3919bacdb6918ce9c1ed22e96cb12c4d5ed0fba823529e38",
            normalisation=Normalisation(mean=(0.1159,), scale=0.3611),
        ),
        published_variant(
            "vae",
            "sd3",
            SIXTEEN_CHANNELS,
            "f8, 16 latent channels, of Stable Diffusion 3 and 3.5; the shapes of FLUX.1, other weights",
            source="stabilityai/stable-diffusion-3.5-large, vae; its training is not published",
            licence="Stability Community (model card, unverified)",
            trained_with=(),
            file="hf:stabilityai/stable-diffusion-3.5-large/vae/diffusion_pytorch_model.safetensors",
            normalisation=Normalisation(mean=(0.0609,), scale=1.5305),
        ),
        published_variant(
            "vae",
            "va",
            IMAGENET_F16,
            "VA-VAE: f16, 32 latent channels, aligned with DINOv2, for ImageNet at 256 px",
            source="hustvl/vavae-imagenet256-f16d32-dinov2 (Yao and Wang 2025, VA-VAE)",
            licence="MIT (model card)",
            trained_with=ALIGNED_DATA,
            file="hf:hustvl/vavae-imagenet256-f16d32-dinov2/vavae-imagenet256-f16d32-dinov2.pt",
            beside="latents_stats.pt",
        ),
        _tuned(
            "eq",
            "zelaki/eq-vae",
            "kl-f8",
            "tuned on OpenImages to scale and turn with the image",
            paper=EQ_VAE,
            licence="not stated (repository, model card)",
            trained_with=LATENT_DIFFUSION_DATA,
        ),
        _tuned(
            "eq-ema",
            "zelaki/eq-vae-ema",
            "kl-f8",
            "tuned on ImageNet to scale and turn with the image",
            paper=EQ_VAE,
            licence="not stated (repository, model card)",
            trained_with=("data:imagenet/train", *LATENT_DIFFUSION_DATA),
        ),
        _end_to_end("e2e-sd", "REPA-E/e2e-sdvae-hf", VAEConfig(STABLE_DIFFUSION, embed_dim=4), "Stable Diffusion's"),
        _end_to_end("e2e-in", "REPA-E/e2e-invae-hf", IMAGENET_F16, "one of ImageNet", licence="MIT (model card)"),
        _end_to_end("e2e-va", "REPA-E/e2e-vavae-hf", IMAGENET_F16, "VA-VAE"),
        _end_to_end("e2e-flux", "REPA-E/e2e-flux-vae", SIXTEEN_CHANNELS, "FLUX.1's", licence="MIT (model card, unverified)"),
        _end_to_end(
            "e2e-sd3.5", "REPA-E/e2e-sd3.5-vae", SIXTEEN_CHANNELS, "Stable Diffusion 3.5's", licence="MIT (model card, unverified)"
        ),
    ),
)
