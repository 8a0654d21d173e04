"""Figures that others published for the tokenizers of the zoo, each with the protocol it was measured under; no torch.

They are quotations, not measurements of this package. The same weights have different figures under different protocols. So one stands
beside a record only where data, size and what else is known of its protocol are the record's. PSIM is the perceptual distance that latent
diffusion reports, iFID the FID of images decoded from latents between those of two images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DATA_SETS = {"imagenet-val": 50_000, "coco-val2017": 5_000}
"""Images of the data sets that published figures name by key."""

COMMON = ("imagenet-val", 256)
"""Data set and side in pixels that most figures are of."""


@dataclass(frozen=True)
class PublishedProtocol:
    """What is known of how a figure was measured.

    Args:
        text: Data set, size and whatever else is known, in words.
        data: Key of ``DATA_SETS``, if the whole of one was both encoded and compared with; None if it was another or is unknown.
        size: Side of the images in pixels, where they were encoded and where they were compared; None if unknown or not one.
        differs: Metric to what is known to differ from how this package measures it, so that the figures do not compare.

    Raises:
        ValueError: If the data set is unknown.
    """

    text: str
    data: str | None = None
    size: int | None = None
    differs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data is not None and self.data not in DATA_SETS:
            raise ValueError(f"data is one of {', '.join(DATA_SETS)}, got {self.data!r}")


@dataclass(frozen=True)
class PublishedFigure:
    """One number and where it comes from.

    Args:
        tokenizer: The key, ``Variant.published``.
        metric: ``rfid``, ``psnr`` (dB), ``ssim``, ``lpips``, ``psim`` or ``ifid``.
        value: As printed.
        protocol: Data set, size and whatever else is known of the measurement.
        source: Where it is printed.
        data: See ``PublishedProtocol``.
        size: See ``PublishedProtocol``.
        differs: What is known to differ from how this package measures the metric; None if nothing is.
        verified: Whether it was read in its source; if not, it is second hand, from those who quote the source.
    """

    tokenizer: str
    metric: str
    value: float
    protocol: str
    source: str
    data: str | None = None
    size: int | None = None
    differs: str | None = None
    verified: bool = True

    @property
    def common(self) -> bool:
        """Whether it is of the data set and the size that most figures are of."""
        return (self.data, self.size) == COMMON


def _rows(tokenizer: str, protocol: PublishedProtocol | str, source: str, **values: float) -> tuple[PublishedFigure, ...]:
    known = PublishedProtocol(protocol) if isinstance(protocol, str) else protocol
    return tuple(
        PublishedFigure(
            tokenizer, metric, value, known.text, source, known.data, known.size, known.differs.get(metric), source not in SECOND_HAND
        )
        for metric, value in values.items()
    )


TAMING, LDM, LLAMAGEN = "CompVis/taming-transformers, README", "CompVis/latent-diffusion, README", "FoundationVision/LlamaGen, README"
MASKBIT = "markweberdev/maskbit, README"
TITOK, MASKGEN = "bytedance/1d-tokenizer, README_TiTok.md", "bytedance/1d-tokenizer, README_MaskGen.md"
BSQ = "zhaoyue-zephyrus/bsq-vit, README"
INFINITY = "FoundationVision/Infinity, README"
FLOWMO = "Sargent et al. 2025, table 1"
IBQ_DOC, MAGVIT2_DOC = "TencentARC/SEED-Voken, docs/IBQ.md", "TencentARC/SEED-Voken, docs/Open-MAGVIT2.md"
SOFTVQ, RAE, VTP = "Hhhhhhao/continuous_tokenizer, README", "bytetriper/RAE, README", "MiniMax-AI/VTP, README"
EQ_VAE, LIGHTNING = "zelaki/eqvae, README", "hustvl/LightningDiT"
DINO_PERCEPTUAL = "Na-VAE/dino_perceptual, docs"
IFID = "tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID, README"
SANA = "mit-han-lab/efficientvit, dc_ae_sana_1.1.md"
SIMPLE_VAE = "AiArtLab/simplevae, model card"
OMNI_DOC = "alibaba/OmniDoc-TokenBench, README"
SECOND_HAND = (FLOWMO,)
"""Sources that were not read themselves."""

PYTORCH_FID = "network and resize of pytorch-fid, on floats instead of bytes"
UNIFORM = "uniform window of 7x7"

TRAIN_256 = PublishedProtocol("reconstructions of ImageNet val against ImageNet train, 256 px", size=256)
VAL_256 = PublishedProtocol("ImageNet val, 256 px", "imagenet-val", 256)
BSQ_256 = PublishedProtocol("ImageNet val, 256 px, Lanczos", "imagenet-val", 256, {"rfid": PYTORCH_FID})
BSQ_RAW_256 = PublishedProtocol("ImageNet val, 256 px, Lanczos; raw weights, not averages", "imagenet-val", 256, {"rfid": PYTORCH_FID})
SEED_256 = PublishedProtocol(
    "ImageNet val, 256 px",
    "imagenet-val",
    256,
    {"rfid": PYTORCH_FID, "psnr": "bytes by truncation", "ssim": UNIFORM, "lpips": "network not named"},
)
LDM_256 = PublishedProtocol("validation set at 256 px; the README does not name the set, the paper says ImageNet", "imagenet-val", 256)
LLAMAGEN_256 = PublishedProtocol("ImageNet val at 256 px, ADM evaluator against the cropped images", "imagenet-val", 256)
LLAMAGEN_384 = PublishedProtocol(LLAMAGEN_256.text + "; encoded at 384 px, resized", "imagenet-val")
LLAMAGEN_512 = PublishedProtocol(LLAMAGEN_256.text + "; encoded at 512 px, resized", "imagenet-val")
SEED_128 = PublishedProtocol("ImageNet val, 128 px", "imagenet-val", 128, SEED_256.differs)
SEED_LARGE = PublishedProtocol("ImageNet val at its own sizes, padded to multiples of 16", None, None, SEED_256.differs)
COCO_LARGE = PublishedProtocol("COCO at its own sizes, padded to multiples of 16", None, None, SEED_256.differs)
COCO_256 = PublishedProtocol("COCO 2017 val, 5000 images at 256 px", "coco-val2017", 256)
VAL_512 = PublishedProtocol("ImageNet val, 512 px", "imagenet-val", 512)
FLOWMO_256 = PublishedProtocol(
    "ImageNet val, 256 px; PSNR over batches of 5, on bytes by truncation; network of LPIPS not named",
    "imagenet-val",
    256,
    {"rfid": PYTORCH_FID, "psnr": "over batches of 5, bytes by truncation", "ssim": UNIFORM, "lpips": "network not named"},
)

IFID_256 = PublishedProtocol("ImageNet, 256 px; FID of images decoded from latents between those of two images", size=256)
MJHQ_1024 = PublishedProtocol("MJHQ, 1024 px", size=1024)
SIMPLE = PublishedProtocol("images not named", differs={"lpips": "network not named"})
DOCUMENTS_256 = PublishedProtocol(
    "OmniDoc-TokenBench, 3042 crops of documents at 256 px", size=256, differs={"lpips": "VGG instead of AlexNet"}
)
QWEN_256 = PublishedProtocol("ImageNet val, 256 px, shortest side and centre; of a user", size=256)
TWO_RANGES = PublishedProtocol(
    "ImageNet val at 256 px; SSIM of images in [0, 1] with a data range of 2", size=256, differs={"ssim": "data range of 2"}
)
MASKBIT_256 = PublishedProtocol("ImageNet val, 256 px; network of LPIPS not named", "imagenet-val", 256, {"lpips": "network not named"})

SOFTVQ_256 = PublishedProtocol(
    "ImageNet val, 256 px; of a user, SSIM of images in [0, 1] with a data range of 2", "imagenet-val", 256, {"ssim": "data range of 2"}
)
LIGHTNING_256 = PublishedProtocol("ImageNet val, 256 px; samples of the posterior", "imagenet-val", 256)
VTP_256 = PublishedProtocol("ImageNet val, 256 px; network of FID not named", "imagenet-val", 256, {"rfid": "network not named"})
EQ_256 = PublishedProtocol(
    LIGHTNING_256.text, "imagenet-val", 256, {"ssim": "range of each image taken from its pixels", "lpips": "network is VGG"}
)

FIGURES: tuple[PublishedFigure, ...] = (
    *_rows("vqgan/imagenet-f16-1024", VAL_256, TAMING, rfid=7.94),
    *_rows("vqgan/imagenet-f16-1024", TRAIN_256, TAMING, rfid=10.54),
    *_rows("vqgan/imagenet-f16-1024", VAL_256, MASKBIT, rfid=7.96, psnr=20.18, ssim=0.52),
    *_rows("vqgan/imagenet-f16-16384", VAL_256, TAMING, rfid=4.98),
    *_rows("vqgan/imagenet-f16-16384", TRAIN_256, TAMING, rfid=7.41),
    *_rows("vqgan/gumbel-f8", VAL_256, TAMING, rfid=1.49),
    *_rows("vqgan/gumbel-f8", TRAIN_256, TAMING, rfid=3.24),
    *_rows("vqgan/ldm-f4", LDM_256, LDM, rfid=0.58, psnr=27.43, psim=0.53),
    *_rows("vqgan/ldm-f4-noattn", LDM_256, LDM, rfid=1.06, psnr=25.21, psim=0.72),
    *_rows("vqgan/ldm-f8", LDM_256, LDM, rfid=1.14, psnr=23.07, psim=1.17),
    *_rows("vqgan/ldm-f8", "ImageNet", "ai-forever/MoVQGAN, README", rfid=1.34, psnr=23.847, ssim=0.65),
    *_rows("vqgan/ldm-f8-n256", LDM_256, LDM, rfid=1.49, psnr=22.35, psim=1.26),
    *_rows("vqgan/ldm-f16", LDM_256, LDM, rfid=5.15, psnr=20.83, psim=1.73),
    *_rows("vae/kl-f4", LDM_256, LDM, rfid=0.27, psnr=27.53, psim=0.55),
    *_rows("vae/kl-f8", LDM_256, LDM, rfid=0.90, psnr=24.19, psim=1.02),
    *_rows("vae/kl-f8", "ImageNet", "ai-forever/MoVQGAN, README", rfid=0.968, psnr=25.112, ssim=0.692),
    *_rows("vae/kl-f16", LDM_256, LDM, rfid=0.87, psnr=24.08, psim=1.07),
    *_rows("vae/kl-f16", "ImageNet", "LTH14/mar, issue 3", rfid=0.82),
    *_rows("vae/kl-f32", LDM_256, LDM, rfid=2.04, psnr=22.27, psim=1.41),
    *_rows("vae/sd", COCO_256, "stabilityai/sd-vae-ft-ema-original, model card", rfid=4.99, psnr=23.4, ssim=0.69, psim=1.01),
    *_rows("vae/sd", SIMPLE, SIMPLE_VAE, psnr=28.10, lpips=0.147),
    *_rows("vae/sd-ft-ema", COCO_256, "stabilityai/sd-vae-ft-ema, model card", rfid=4.42, psnr=23.8, ssim=0.69, psim=0.96),
    *_rows("vae/sd-ft-mse", COCO_256, "stabilityai/sd-vae-ft-mse, model card", rfid=4.70, psnr=24.5, ssim=0.71, psim=0.92),
    *_rows("vae/sd-ft-mse", IFID_256, IFID, ifid=59.91),
    *_rows("vae/e2e-sd", IFID_256, IFID, ifid=36.70),
    *_rows("vae/sdxl", COCO_256, "stabilityai/sdxl-vae, model card", rfid=4.42, psnr=24.7, ssim=0.73, psim=0.88),
    *_rows("vae/sdxl", BSQ_256, BSQ, rfid=0.72, psnr=25.38, ssim=0.7276, lpips=0.0666),
    *_rows("vae/sdxl-fp16-fix", SIMPLE, SIMPLE_VAE, psnr=29.67, lpips=0.124),
    *_rows("vae/sd", VAL_256, DINO_PERCEPTUAL, rfid=0.73, psnr=25.70, ssim=0.702),
    *_rows("vae/sdxl", VAL_256, DINO_PERCEPTUAL, rfid=0.68, psnr=26.04, ssim=0.834),
    *_rows("vae/flux", VAL_256, DINO_PERCEPTUAL, rfid=0.15, psnr=31.10, ssim=0.887),
    *_rows("vae/flux", QWEN_256, "QwenLM/Qwen-Image, issue 16", psnr=32.57, ssim=0.9222),
    *_rows("vae/flux", DOCUMENTS_256, OMNI_DOC, rfid=0.5543, psnr=26.2377, ssim=0.9364, lpips=0.0247),
    *_rows("vae/flux", IFID_256, IFID, ifid=67.41),
    *_rows("vae/sd3", IFID_256, IFID, ifid=37.13),
    *_rows("vae/va", LIGHTNING_256, f"{LIGHTNING}, README", rfid=0.28),
    *_rows("vae/va", f"{LIGHTNING_256.text}; a user's own evaluation", f"{LIGHTNING}, issue 26", rfid=0.344),
    *_rows("vae/va", IFID_256, IFID, ifid=19.57),
    *_rows("vae/eq", EQ_256, EQ_VAE, rfid=0.82, psnr=25.95, ssim=0.72, lpips=0.141),
    *_rows("vae/eq-ema", EQ_256, EQ_VAE, rfid=0.55, psnr=26.15, ssim=0.72, lpips=0.133),
    *_rows("detok/bb-decoder", IFID_256, IFID, ifid=17.51),
    *_rows("softvq/l-64", VAL_256, SOFTVQ, rfid=0.61),
    *_rows("softvq/l-64", SOFTVQ_256, "Hhhhhhao/continuous_tokenizer, issue 13", psnr=22.97, ssim=0.74),
    *_rows("softvq/l-64", IFID_256, IFID, ifid=26.91),
    *_rows("softvq/bl-64", VAL_256, SOFTVQ, rfid=0.65),
    *_rows("softvq/b-64", VAL_256, SOFTVQ, rfid=0.88),
    *_rows("softvq/l-32", VAL_256, SOFTVQ, rfid=0.74),
    *_rows("softvq/bl-32", VAL_256, SOFTVQ, rfid=0.68),
    *_rows("softvq/b-32", VAL_256, SOFTVQ, rfid=0.89),
    *_rows("softvq/bl-64-512", VAL_512, SOFTVQ, rfid=0.71),
    *_rows("softvq/l-32-512", VAL_512, SOFTVQ, rfid=0.64),
    *_rows("maetok/b-128", VAL_256, SOFTVQ, rfid=0.48),
    *_rows("maetok/b-128", IFID_256, IFID, ifid=14.06),
    *_rows("maetok/b-128-512", VAL_512, SOFTVQ, rfid=0.62),
    *_rows("vtp/s", VTP_256, VTP, rfid=0.98),
    *_rows("vtp/b", VTP_256, VTP, rfid=0.74),
    *_rows("vtp/l", VTP_256, VTP, rfid=0.36),
    *_rows("rae/dinov2-b", VAL_256, RAE, rfid=0.57),
    *_rows("rae/dinov2-b", f"{VAL_256.text}; reproduced by its authors", RAE, rfid=0.54),
    *_rows("rae/dinov2-b", f"{VAL_256.text}; a user's own evaluation", "bytetriper/RAE, issue 11", psnr=18.94),
    *_rows("rae/dinov2-b", IFID_256, IFID, ifid=7.68),
    *_rows("dcae/f32c32-sana-1.0", MJHQ_1024, SANA, rfid=0.339, psnr=29.31),
    *_rows("dcae/f32c32-sana-1.1", MJHQ_1024, SANA, rfid=0.314, psnr=29.74),
    *_rows("dcae/f64c128-in-1.0", VAL_512, "dc-ai-projects/DC-Gen, DC-AE.md", rfid=0.2168, psnr=26.1489, ssim=0.7105, lpips=0.0802),
    *_rows("flux/2", VAL_256, DINO_PERCEPTUAL, rfid=0.27, psnr=31.46, ssim=0.904),
    *_rows("flux/2", "2000 images, not named", "data-archetype/full_capacitor, model card", psnr=36.28),
    *_rows("qwen/image", VAL_256, DINO_PERCEPTUAL, rfid=1.32, psnr=30.27, ssim=0.860),
    *_rows("qwen/image", QWEN_256, "QwenLM/Qwen-Image, issue 16", psnr=31.87, ssim=0.9059),
    *_rows("qwen/image", IFID_256, IFID, ifid=30.58),
    *_rows("wan/2.2", SIMPLE, SIMPLE_VAE, psnr=34.25, lpips=0.052),
    *_rows("llamagen/vq-16", LLAMAGEN_256, LLAMAGEN, rfid=2.19),
    *_rows("llamagen/vq-16", TWO_RANGES, LLAMAGEN, ssim=0.675),
    *_rows(
        "llamagen/vq-16", "ImageNet val, 256 px; of a user, rFID by clean-fid", "FoundationVision/LlamaGen, issue 34", rfid=2.11, psnr=20.79
    ),
    *_rows("llamagen/vq-16", TRAIN_256, "FoundationVision/LlamaGen, issue 34", rfid=4.28),
    *_rows("llamagen/vq-16", LLAMAGEN_384, LLAMAGEN, rfid=0.94),
    *_rows("llamagen/vq-16", LLAMAGEN_512, LLAMAGEN, rfid=0.70),
    *_rows("llamagen/vq-8", LLAMAGEN_256, LLAMAGEN, rfid=0.59),
    *_rows("llamagen/vq-8", FLOWMO_256, FLOWMO, rfid=0.59, psnr=24.44, ssim=0.768, lpips=0.064),
    *_rows("llamagen/vq-16-t2i", SEED_256, IBQ_DOC, rfid=2.47, psnr=20.65, ssim=0.54),
    *_rows("llamagen/vq-16-t2i", "COCO, 256 px", IBQ_DOC, rfid=8.40, psnr=20.28, ssim=0.55),
    *_rows("magvit2/imagenet-256", SEED_256, MAGVIT2_DOC, rfid=1.17, psnr=21.90),
    *_rows("magvit2/imagenet-256", FLOWMO_256, FLOWMO, rfid=1.17, psnr=21.63, ssim=0.640, lpips=0.111),
    *_rows("magvit2/imagenet-128", SEED_128, MAGVIT2_DOC, rfid=1.18, psnr=25.08),
    *_rows("magvit2/imagenet-128", SEED_256, MAGVIT2_DOC, rfid=0.34, psnr=26.19),
    *_rows("magvit2/pretrain-16384", SEED_256, MAGVIT2_DOC, rfid=2.55, psnr=22.21, ssim=0.62),
    *_rows("magvit2/pretrain-16384", "COCO, 256 px", MAGVIT2_DOC, rfid=7.93, psnr=22.21, ssim=0.62),
    *_rows("magvit2/pretrain-262144", SEED_256, MAGVIT2_DOC, rfid=1.67, psnr=22.70, ssim=0.64),
    *_rows("magvit2/pretrain-262144", "COCO, 256 px", MAGVIT2_DOC, rfid=6.76, psnr=22.31, ssim=0.65),
    *_rows("magvit2/show-o", SEED_256, IBQ_DOC, rfid=3.50, psnr=21.34, ssim=0.59),
    *_rows("magvit2/show-o", "COCO, 256 px", IBQ_DOC, rfid=9.26, psnr=20.90, ssim=0.59),
    *_rows("ibq/imagenet-1024", SEED_256, IBQ_DOC, rfid=2.24, lpips=0.2580),
    *_rows("ibq/imagenet-8192", SEED_256, IBQ_DOC, rfid=1.87, lpips=0.2437),
    *_rows("ibq/imagenet-16384", SEED_256, IBQ_DOC, rfid=1.37, lpips=0.2235),
    *_rows("ibq/imagenet-262144", SEED_256, IBQ_DOC, rfid=1.00, lpips=0.2030),
    *_rows("ibq/pretrain-16384", SEED_256, IBQ_DOC, rfid=2.06),
    *_rows("ibq/pretrain-262144", SEED_256, IBQ_DOC, rfid=1.53, psnr=22.69, ssim=0.64),
    *_rows("ibq/pretrain-262144", "COCO, 256 px", IBQ_DOC, rfid=6.79, psnr=22.28, ssim=0.65),
    *_rows("ibq/emu3.5", "images of its makers", "baaivision/Emu3.5, issue 13", rfid=0.42, psnr=23.71),
    *_rows("cosmos/di16x16", SEED_256, IBQ_DOC, rfid=4.57, psnr=19.93, ssim=0.49),
    *_rows("cosmos/di16x16", "COCO, 256 px", IBQ_DOC, rfid=11.97, psnr=19.22, ssim=0.48),
    *_rows("cosmos/di16x16", SEED_LARGE, MAGVIT2_DOC, rfid=1.93, psnr=20.56, ssim=0.51),
    *_rows("cosmos/di16x16", COCO_LARGE, MAGVIT2_DOC, rfid=7.51, psnr=20.45, ssim=0.52),
    *_rows("dalle/dvae", VAL_256, TAMING, rfid=32.01),
    *_rows("dalle/dvae", TRAIN_256, TAMING, rfid=33.88),
    *_rows("flowmo/lo", FLOWMO_256, FLOWMO, rfid=0.95, psnr=22.07, ssim=0.649, lpips=0.113),
    *_rows("flowmo/hi", FLOWMO_256, FLOWMO, rfid=0.56, psnr=24.93, ssim=0.785, lpips=0.073),
    *_rows("maskgit/imagenet-f16", VAL_256, "google-research/maskgit, README", rfid=2.28),
    *_rows("maskgit/imagenet-f16", MASKBIT_256, MASKBIT, rfid=1.96, psnr=18.6, ssim=0.47, lpips=0.331),
    *_rows("maskbit/10bit", MASKBIT_256, MASKBIT, rfid=1.76),
    *_rows("maskbit/12bit", MASKBIT_256, MASKBIT, rfid=1.52, psnr=21.2, ssim=0.55, lpips=0.298),
    *_rows("maskbit/14bit", MASKBIT_256, MASKBIT, rfid=1.37, psnr=21.5, ssim=0.56, lpips=0.286),
    *_rows("maskbit/16bit", MASKBIT_256, MASKBIT, rfid=1.29, psnr=21.8, ssim=0.58, lpips=0.278),
    *_rows("maskbit/18bit", MASKBIT_256, MASKBIT, rfid=1.16, psnr=22.0, ssim=0.59, lpips=0.270),
    *_rows("maskbit/vqgan-plus-10bit", MASKBIT_256, MASKBIT, rfid=1.67),
    *_rows("maskbit/vqgan-plus-12bit", MASKBIT_256, MASKBIT, rfid=1.39, psnr=21.0, ssim=0.55),
    *_rows("titok/l-32", VAL_256, TITOK, rfid=2.21),
    *_rows("titok/b-64", VAL_256, TITOK, rfid=1.70),
    *_rows("titok/s-128", VAL_256, TITOK, rfid=1.71),
    *_rows("titok/s-128", "ImageNet val, 256 px; of a user", "bytedance/1d-tokenizer, issue 105", rfid=3.91),
    *_rows("titok/bl-64-vq", VAL_256, TITOK, rfid=2.06),
    *_rows("titok/bl-128-vq", VAL_256, TITOK, rfid=1.49),
    *_rows("titok/sl-256-vq", VAL_256, TITOK, rfid=1.03),
    *_rows("titok/ll-32-vae", VAL_256, TITOK, rfid=1.61),
    *_rows("titok/bl-64-vae", VAL_256, TITOK, rfid=1.25),
    *_rows("titok/bl-128-vae", VAL_256, TITOK, rfid=0.84),
    *_rows("titok/ta-bl-32-vq", VAL_256, MASKGEN, rfid=3.95),
    *_rows("titok/ta-bl-64-vq", VAL_256, MASKGEN, rfid=2.43),
    *_rows("titok/ta-bl-128-vq", VAL_256, MASKGEN, rfid=1.53),
    *_rows("titok/ta-bl-32-vae", VAL_256, MASKGEN, rfid=1.53),
    *_rows("titok/ta-bl-64-vae", VAL_256, MASKGEN, rfid=1.47),
    *_rows("titok/ta-sl-128-vae", VAL_256, MASKGEN, rfid=0.90),
    *_rows("bsq/b18g2", BSQ_256, BSQ, rfid=1.23, psnr=24.80, ssim=0.7314, lpips=0.0820),
    *_rows("bsq/b18g2", BSQ_RAW_256, BSQ, rfid=1.34, psnr=24.79, ssim=0.7319, lpips=0.0836),
    *_rows("bsq/b18g18", BSQ_256, BSQ, rfid=1.30, psnr=25.80, ssim=0.7680, lpips=0.0729),
    *_rows("bsq/b18g18", BSQ_RAW_256, BSQ, rfid=1.14, psnr=25.36, ssim=0.7578, lpips=0.0761),
    *_rows("bsq/b36g36", BSQ_256, BSQ, rfid=0.45, psnr=28.14, ssim=0.8448, lpips=0.0400),
    *_rows("bsq/b36g36", BSQ_RAW_256, BSQ, rfid=0.41, psnr=27.88, ssim=0.8410, lpips=0.0432),
    *_rows("var/ch160", VAL_256, "FoundationVision/UniTok, README", rfid=0.90),
    *_rows("var/ch160", "ImageNet val, 256 px; a user's own evaluation", "FoundationVision/VAR, issue 45", rfid=0.92),
    *_rows("var/ch160", TRAIN_256, "openai/guided-diffusion, issue 161", rfid=2.70),
    *_rows("infinity/d16", VAL_256, INFINITY, rfid=1.22, psnr=20.9),
    *_rows("infinity/d16-512", VAL_512, INFINITY, rfid=0.31, psnr=22.6),
    *_rows("infinity/d24", VAL_256, INFINITY, rfid=0.75, psnr=22.0),
    *_rows("infinity/d24-512", VAL_512, INFINITY, rfid=0.3, psnr=23.5),
    *_rows("infinity/d32", VAL_256, INFINITY, rfid=0.61, psnr=22.7),
    *_rows("infinity/d32-512", VAL_512, INFINITY, rfid=0.23, psnr=24.4),
    *_rows("infinity/d32reg", VAL_256, INFINITY, rfid=0.75, psnr=21.9),
    *_rows("infinity/d32reg-512", VAL_512, INFINITY, rfid=0.32, psnr=23.6),
    *_rows("infinity/d64", VAL_256, INFINITY, rfid=0.33, psnr=24.9),
    *_rows("infinity/d64-512", VAL_512, INFINITY, rfid=0.15, psnr=26.4),
)
"""All rows; a tokenizer has one a metric and protocol."""


def published_figures(key: str | None) -> tuple[PublishedFigure, ...]:
    """Figures under one key.

    Args:
        key: ``Variant.published``; None has no figures.
    """
    return tuple(figure for figure in FIGURES if figure.tokenizer == key)


def headline(key: str | None, metric: str) -> PublishedFigure | None:
    """The one figure of a metric that a list has room for: of ImageNet val at 256 px where there is one, else what comes nearest.

    Args:
        key: ``Variant.published``; None has no figures.
        metric: Such as ``rfid``.
    """
    found = [figure for figure in published_figures(key) if figure.metric == metric]
    return max(found, key=lambda figure: (figure.common, figure.data == COMMON[0], figure.data is not None), default=None)
