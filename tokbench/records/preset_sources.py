"""What each preset is for, and where in the code of others each of its settings was read; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from tokbench.records.protocol import PRESETS, Protocol

HERE = "this package"
"""Where a setting comes from that the repository does not have, as it does not measure that."""

INPUT = ("size", "resize", "antialias", "crop")
SSIM = ("ssim_window", "ssim_covariance", "ssim_border", "ssim_range", "ssim_colour")
PSNR = ("psnr_averaging", "psnr_range", "psnr_ceiling")
LPIPS = ("lpips_nets", "lpips_range", "lpips_pixels")
FID = ("fid_network", "fid_resize", "fid_scaling", "fid_pixels", "reference")
BYTES = ("uint8", "originals", "judged_size", "pixels", "batch")


@dataclass(frozen=True)
class Origin:
    """Where some settings of a preset were read.

    Args:
        settings: Their names.
        file: File of the repository, and what in it.
        verified: Whether it was read there; else it is what is known from elsewhere, and ``why`` says so.
        why: What is not certain.
    """

    settings: tuple[str, ...]
    file: str
    verified: bool = True
    why: str = ""


@dataclass(frozen=True)
class PresetInfo:
    """What there is to say of a preset beside its settings.

    Args:
        purpose: What it is for, in a line.
        repository: Whose evaluation it repeats, as GitHub names it, at a commit; empty of this package's own.
        origins: Where its settings were read.
        bugs: Settings that repeat what no one would choose today, each with what is wrong with it.
        reports: Figures that the repository reports; the others are measured as this package measures them.
        not_repeated: What the repository also does that no protocol here repeats, and why.
    """

    purpose: str
    repository: str = ""
    origins: tuple[Origin, ...] = ()
    bugs: Mapping[str, str] = field(default_factory=dict)
    reports: tuple[str, ...] = ()
    not_repeated: tuple[str, ...] = ()

    def origin(self, setting: str) -> Origin:
        """Where a setting was read."""
        return next((origin for origin in self.origins if setting in origin.settings), Origin((setting,), HERE))

    @property
    def unverified(self) -> tuple[str, ...]:
        """What is not certain."""
        return tuple(f"{', '.join(origin.settings)}: {origin.why}" for origin in self.origins if not origin.verified)


TRUNCATED = "cutting off lowers 95 of the 256 grey levels by one, even of an untouched image"
RECONSTRUCTIONS_TRUNCATED = "cutting off darkens reconstructions, by half a grey level on average"
NO_BYTES = "Inception sees floats that no image file holds"
TORCHMETRICS_BORDER = "torchmetrics counts positions at the border since 2024 (pull request 2721); before, it left them out"
PADDED = "DistributedSampler shows some images twice where their number is no multiple of the processes; here each is seen once"
SAMPLES_POSTERIOR = "continuous autoencoders are sampled there; here that is the tokenizer's setting: --set posterior=sample"

_SEED = "evaluation_image.py"

PRESET_INFOS: dict[str, PresetInfo] = {
    "photos-64": PresetInfo("the crops of the embedded photos at 64 px, and all that comes ready with the package"),
    "tokbench-256": PresetInfo("the clean default for folders and data sets"),
    "tokbench-512": PresetInfo("the clean default for folders and data sets, at 512 px"),
    "llamagen": PresetInfo(
        "figures as LlamaGen reports them",
        "FoundationVision/LlamaGen@5a50452db783",
        (
            Origin(INPUT, "dataset/augmentation.py, center_crop_arr"),
            Origin((*BYTES, *PSNR, *SSIM), "tokenizer/tokenizer_image/reconstruction_vq_ddp.py"),
            Origin(
                FID,
                "evaluations/c2i/evaluator.py",
                verified=False,
                why="the evaluator runs TensorFlow's graph; here the same weights run in PyTorch, as torch-fidelity has them",
            ),
        ),
        {"ssim_range": "pixels are in [0, 1] and the range is given as 2, which raises SSIM"},
        ("psnr", "ssim", "rfid"),
        (
            PADDED,
            SAMPLES_POSTERIOR,
            "what runs at 384 or 512 px is scaled to 256 px as floats, by F.interpolate's bicubic filter; here it is judged at its own size",
            "usage is of the last 65,536 codes of training; here it is of all codes measured",
        ),
    ),
    "seed-voken": PresetInfo(
        "figures as Open-MAGVIT2 and IBQ report them",
        "TencentARC/SEED-Voken@4a0b9c155161",
        (
            Origin(INPUT, "src/Open_MAGVIT2/data/imagenet.py", verified=False, why="--image_size is 128 unless it is given"),
            Origin((*BYTES, *PSNR, *SSIM, *LPIPS), _SEED),
            Origin(FID, f"{_SEED}, metrics/inception.py"),
        ),
        {"uint8": TRUNCATED, "originals": TRUNCATED, "fid_pixels": NO_BYTES},
        ("psnr", "ssim", "lpips", "lpips_vgg", "rfid", "usage"),
        ("figures are means of the means of batches, so the last, smaller batch weighs more; here every image weighs the same",),
    ),
    "flowmo": PresetInfo(
        "figures as FlowMo reports them, of others too",
        "kylesargent/FlowMo@d15029f7ff1d",
        (
            Origin((*INPUT, "precision"), "flowmo/data.py, flowmo/evaluate.py"),
            Origin((*BYTES, *PSNR, *SSIM, *LPIPS), "flowmo/evaluate.py, eval_imagenet; flowmo/configs/base.yaml, eval_batch_size"),
            Origin(FID, "flowmo/evaluate.py, flowmo/inception.py"),
        ),
        {
            "uint8": TRUNCATED,
            "originals": TRUNCATED,
            "fid_pixels": NO_BYTES,
            "psnr_averaging": "PSNR of the whole batch is counted for each of its images, which lowers it and makes it depend on the batch",
        },
        ("psnr", "ssim", "lpips", "lpips_vgg", "rfid"),
        (
            SAMPLES_POSTERIOR,
            "of others only Cosmos and FLUX.1 run in bfloat16 there; --precision fp32 measures the rest as it does",
            "it refuses data whose number is no multiple of processes and batch; here the last batch may be smaller",
        ),
    ),
    "titok": PresetInfo(
        "rFID as TiTok and its kin report it",
        "bytedance/1d-tokenizer@942a96fbdd87",
        (
            Origin(INPUT, "data/webdataset_reader.py"),
            Origin(BYTES, "utils/train_utils.py, evaluator/evaluator.py"),
            Origin(FID, "evaluator/evaluator.py, evaluator/inception.py"),
        ),
        reports=("rfid", "usage", "entropy_bits"),
        not_repeated=("features are computed in double precision there; in single precision here",),
    ),
    "maskbit": PresetInfo(
        "figures as MaskBit reports them",
        "markweberdev/maskbit@42f8bb01688e",
        (
            Origin(
                INPUT, "data/webdataset_reader.py", verified=False, why="the filter is set by configurations; bilinear is the default there"
            ),
            Origin((*BYTES, *PSNR, *SSIM), "evaluator/evaluator.py; scripts/eval_tokenizer.py"),
            Origin(LPIPS, "evaluator/evaluator.py; modeling/modules/lpips.py"),
            Origin(FID, "evaluator/evaluator.py, metrics/inception.py"),
        ),
        {"uint8": TRUNCATED, "pixels": "PSNR and SSIM see floats that no image file holds"},
        ("psnr", "ssim", "lpips_vgg", "rfid", "usage", "entropy_bits"),
        ("1e-10 is added to the mean squared error there; here decibels end at 100",),
    ),
    "bsq-lanczos": PresetInfo(
        "figures as BSQ-ViT reports them with --interpolation lanczos",
        "zhaoyue-zephyrus/bsq-vit@35a5d9284f4a",
        (
            Origin(INPUT, "scripts/evaluate_public_tokenizer.py"),
            Origin((*BYTES, *PSNR), "transcoder/evaluations/psnr.py"),
            Origin(SSIM, "transcoder/evaluations/ssim.py"),
            Origin(LPIPS, "transcoder/evaluations/lpips.py"),
            Origin(FID, "transcoder/evaluations/fid/inception.py; scripts/evaluate_public_tokenizer.py"),
        ),
        {
            "pixels": "reconstructions are neither clamped nor made bytes",
            "lpips_pixels": "reconstructions are neither clamped nor made bytes",
            "fid_pixels": "reconstructions are neither clamped nor made bytes",
        },
        ("psnr", "ssim", "ms_ssim", "lpips", "rfid"),
        (PADDED,),
    ),
    "rae": PresetInfo(
        "figures as RAE reports them",
        "bytetriper/RAE@a4d18c4db766",
        (
            Origin(INPUT, "pack_images.py, center_crop_arr"),
            Origin(BYTES, "src/stage1_sample_ddp.py; src/eval/__init__.py, evaluate_reconstruction_distributed"),
            Origin((*PSNR, *LPIPS), "src/eval/ref_iqa.py, src/eval/utils.py"),
            Origin(SSIM, "src/eval/ref_iqa.py", verified=False, why=TORCHMETRICS_BORDER),
            Origin(FID, "src/eval/fid.py, calculate_rfid"),
        ),
        {"uint8": RECONSTRUCTIONS_TRUNCATED},
        ("psnr", "ssim", "lpips_vgg", "rfid"),
        ("products of matrices may be rounded to TensorFloat-32 there, on GPUs that have it; here they are of single precision",),
    ),
    "dcae-512": PresetInfo(
        "figures as DC-AE reports them at 512 px",
        "mit-han-lab/efficientvit@8d60c1c69dde",
        (
            Origin(INPUT, "efficientvit/apps/utils/image.py, DMCrop"),
            Origin((*BYTES, *LPIPS), "efficientvit/aecore/evaluator.py"),
            Origin(PSNR, "efficientvit/apps/metrics/psnr/psnr.py"),
            Origin(SSIM, "efficientvit/aecore/evaluator.py", verified=False, why=TORCHMETRICS_BORDER),
            Origin(FID, "efficientvit/apps/metrics/fid/fid.py"),
        ),
        reports=("psnr", "ssim", "lpips", "rfid"),
        not_repeated=("the reference is a file of statistics that the user makes; here it is the same crops",),
    ),
    "vtbench": PresetInfo(
        "figures as VTBench computes them",
        "xingjianleng/VTBench@2bb09452deeb",
        (
            Origin(INPUT, "src/data_processing.py, pil_to_tensor"),
            Origin(("uint8", "originals"), "src/data_processing.py, tensor_to_pil"),
            Origin(("judged_size", "pixels", "batch", *LPIPS), "evaluations/evaluate_images.py"),
            Origin(
                PSNR,
                "evaluations/evaluate_images.py",
                verified=False,
                why="torchmetrics refuses PSNR without a range since 2026; older versions took the largest original less 0",
            ),
            Origin(SSIM, "evaluations/evaluate_images.py", verified=False, why=TORCHMETRICS_BORDER),
            Origin(
                FID,
                "evaluations/evaluate_images.py",
                verified=False,
                why="torchmetrics resizes with antialias since 2025 unless told not to",
            ),
        ),
        {
            "uint8": TRUNCATED,
            "originals": TRUNCATED,
            "judged_size": "what runs at 1024 px is judged at 256 px, which hides its errors and its tokens",
            "psnr_averaging": "one error of all images, whose decibels are below the mean of theirs",
            "ssim_range": "the range is that of each batch, and changes with the images in it",
            "lpips_range": "pixels are in [0, 1] where [-1, 1] is expected",
        },
        ("psnr", "ssim", "lpips", "rfid"),
        (
            "the repository is a fork; the original cannot be read",
            "tokenizers run at sizes of their own, 256 to 1024 px; here --size says at which, and they are judged at 256 px all the same",
            "originals of those that take [0, 1], such as TiTok, BSQ-ViT and MaskBit, come back whole; here those of all are cut off",
            "images are padded with black to a square for Janus, VAR, Infinity, SD3.5 and FLUX.1; here the centre is cut for all",
        ),
    ),
    "taming": PresetInfo(
        "rFID of VQGAN as its authors report it",
        "CompVis/taming-transformers@d89a56dedda3",
        (
            Origin(INPUT, "taming/data/base.py, ImagePaths"),
            Origin(("uint8",), "README.md", verified=False, why="how files were written is not said; its scripts cut off"),
            Origin(FID, "README.md", verified=False, why="it names torch-fidelity, and no command"),
        ),
        {
            "antialias": "OpenCV's bilinear filter leaves out pixels between those it reads",
            "uint8": TRUNCATED,
        },
        ("rfid",),
        ("figures of the training images are reported beside those of validation",),
    ),
    "ldm": PresetInfo(
        "figures of the first stages of latent diffusion as their authors report them",
        "CompVis/latent-diffusion@a506df5",
        (
            Origin(
                INPUT, "ldm/data/imagenet.py, README.md", verified=False, why="the loaders of taming-transformers, as far as it is said"
            ),
            Origin(("uint8",), "README.md", verified=False, why="how files were written is not said"),
            Origin(FID, "README.md", verified=False, why="torch-fidelity, as far as it is known"),
            Origin(LPIPS, "README.md", verified=False, why="PSIM is taken for LPIPS on VGG16, which training uses"),
        ),
        {
            "antialias": "OpenCV's bilinear filter leaves out pixels between those it reads",
            "uint8": TRUNCATED,
        },
        ("psnr", "lpips_vgg", "rfid"),
    ),
}
"""By name of the preset, in the order of ``PRESETS``."""


def preset_facts(name: str) -> dict[str, object]:
    """A preset as plain values: settings with their sources and marks, and what there is to say of it.

    Args:
        name: One of ``PRESETS``.
    """
    protocol, info = PRESETS[name], PRESET_INFOS[name]
    settings = {
        item.name: {
            "value": getattr(protocol, item.name),
            "source": info.origin(item.name).file,
            "verified": info.origin(item.name).verified,
            "bug": info.bugs.get(item.name),
        }
        for item in fields(Protocol)
        if item.name not in ("name", "version")
    }
    return {
        "name": name,
        "version": protocol.version,
        "purpose": info.purpose,
        "repository": info.repository or None,
        "bug_compatible": dict(info.bugs),
        "reports": list(info.reports),
        "unverified": list(info.unverified),
        "not_repeated": list(info.not_repeated),
        "settings": settings,
    }
