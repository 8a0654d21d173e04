"""Presets from files to figures, against what the repositories they repeat do: each in the libraries that it is written in."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tokbench import Tokenizer, TokenLayout
from tokbench.bench.prepared import RunOptions
from tokbench.bench.runner import run
from tokbench.records.protocol import EARLIER, PRESETS, get_protocol
from tokbench.tokens import ContinuousTokens

SIDE, COUNT = 48, 7


class Louder(Tokenizer):
    """Pixels as latents; what comes back has more contrast, and leaves [-1, 1]."""

    trained_with = ()

    def layout(self, height: int, width: int) -> TokenLayout:
        return TokenLayout((height, width), (height, width), (), channels=3)

    def _encode(self, images: Tensor, seeds: list[int]) -> ContinuousTokens:
        return ContinuousTokens(images.flatten(2).transpose(1, 2).contiguous(), tuple(images.shape[2:]))

    def _decode(self, tokens: ContinuousTokens, seeds: list[int]) -> Tensor:
        return restored(tokens.latents.transpose(1, 2).unflatten(2, tokens.grid))


def restored(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    waves = 0.11 * torch.cos(0.37 * torch.arange(height * width, dtype=torch.float32).view(height, width))
    return 1.13 * images + waves


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of pictures of uneven sides, and they."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(11)
    for place in range(COUNT):
        width, height = (int(side) for side in rng.integers(50, 240, 2))
        smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth).astype(int) + rng.integers(-20, 21, (height, width, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{place}.png")
    return folder, [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]


def measured(folder, name, metrics=("psnr", "ssim"), **changes):
    protocol = get_protocol(name, {"size": SIDE, **changes})
    record = run(Louder(), str(folder), metrics=metrics, protocol=protocol, options=RunOptions(cache=False)).record
    return [record.metrics[key].value for key in metrics]


def crops(pictures, mode, side=SIDE):
    """As torchvision scales the short side and cuts, bytes ``[N, 3, H, W]``."""
    transforms = pytest.importorskip("torchvision.transforms")
    cut = transforms.Compose([transforms.Resize(side, transforms.InterpolationMode[mode]), transforms.CenterCrop(side)])
    return stacked(cut(picture) for picture in pictures)


def stacked(images):
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])


def halved(pictures):
    """Halves by blocks, a cubic filter, and the upper or left of two middles."""
    found = []
    for picture in pictures:
        while min(picture.size) >= 2 * SIDE:
            picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
        factor = SIDE / min(picture.size)
        picture = picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BICUBIC)
        left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
        found.append(picture.crop((left, top, left + SIDE, top + SIDE)))
    return stacked(found)


def signed(images):
    return (images.double() / 127.5 - 1).float()


def mean_decibels(before, after, most=math.inf):
    errors = ((before.double() - after.double()) ** 2).mean(dim=(1, 2, 3))
    return float((10 * torch.log10(255.0**2 / errors)).clamp_max(most).mean())


def bordered(before, after, data_range=255.0):
    """SSIM of torchmetrics, one value an image."""
    package = pytest.importorskip("torchmetrics.functional.image")
    given = {"data_range": data_range, "reduction": "none"}
    return package.structural_similarity_index_measure(after.double(), before.double(), **given)


def uniform(before, after, data_range):
    """SSIM of scikit-image as it is by default, of values in [0, 1]."""
    package = pytest.importorskip("skimage.metrics")
    pairs = zip(*(side.permute(0, 2, 3, 1).double().numpy() / 255 for side in (before, after)), strict=True)
    return float(np.mean([package.structural_similarity(a, b, data_range=data_range, channel_axis=-1) for a, b in pairs]))


def test_rae_cuts_reconstructions_off(photos):
    folder, pictures = photos
    before = halved(pictures)
    share = ((restored(signed(before)) + 1) / 2).clamp(0, 1)
    after = share.mul(255).to(torch.uint8)
    assert measured(folder, "rae") == pytest.approx([mean_decibels(before, after, 100.0), float(bordered(before, after).mean())], abs=1e-5)


def test_dc_ae_rounds_half_up(photos):
    folder, pictures = photos
    before = halved(pictures)
    after = (255 * (restored(signed(before)) + 1) / 2 + 0.5).clamp(0, 255).to(torch.uint8)
    wanted = [mean_decibels(before, after), float(bordered(before, after).mean())]
    assert measured(folder, "dcae-512") == pytest.approx(wanted, abs=1e-4)


def test_llamagen_takes_twice_the_range(photos):
    folder, pictures = photos
    before = halved(pictures)
    after = torch.clamp(127.5 * restored(signed(before)) + 128.0, 0, 255).to(torch.uint8)
    assert measured(folder, "llamagen") == pytest.approx([mean_decibels(before, after), uniform(before, after, 2.0)], abs=1e-4)


def test_seed_voken_and_flowmo_cut_both_sides_off(photos):
    folder, pictures = photos
    before = signed(crops(pictures, "BILINEAR"))
    low = [((side + 1) / 2 * 255.0).to(torch.uint8) for side in (before, restored(before).clamp(-1, 1))]
    assert measured(folder, "seed-voken") == pytest.approx([mean_decibels(*low), uniform(*low, 1.0)], abs=1e-5)
    errors = [float(((a.double() - b.double()) ** 2).mean()) for a, b in zip(low[0].split(5), low[1].split(5), strict=True)]
    wanted = float(np.mean([10 * math.log10(255.0**2 / error) for error in errors]))
    assert measured(folder, "flowmo", precision="fp32") == pytest.approx([wanted, uniform(*low, 1.0)], abs=1e-5)


def test_maskbit_never_makes_bytes(photos):
    folder, pictures = photos
    before = crops(pictures, "BILINEAR")
    after = ((restored(signed(before)) + 1) * 127.5).clamp(0, 255)
    assert measured(folder, "maskbit") == pytest.approx([mean_decibels(before, after), float(bordered(before, after).mean())], abs=1e-4)


def test_bsq_vit_neither_clamps_nor_makes_bytes_in_all_scales(photos):
    package, (folder, pictures) = pytest.importorskip("pytorch_msssim"), photos
    side = 176  # the window fits into the coarsest of five scales
    before = crops(pictures, "LANCZOS", side)
    after = (restored(signed(before)) + 1) * 127.5
    assert float(after.max()) > 255
    given = {"data_range": 255, "size_average": False}
    wanted = [float(of(before.float(), after, **given).mean()) for of in (package.ssim, package.ms_ssim)]
    found = measured(folder, "bsq-lanczos", ("psnr", "ssim", "ms_ssim"), size=side)
    assert found == pytest.approx([mean_decibels(before, after), *wanted], abs=1e-4)
    clamped = float(package.ms_ssim(before.float(), after.clamp(0, 255).round(), **given).mean())
    assert clamped != pytest.approx(found[2], abs=3e-4)


def test_vtbench_cuts_both_sides_off_and_judges_at_256_px(photos):
    folder, pictures = photos
    cut = []
    for picture in pictures:
        factor = SIDE / min(picture.size)
        picture = picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.LANCZOS)
        left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
        cut.append(picture.crop((left, top, left + SIDE, top + SIDE)))
    before = signed(stacked(cut))
    low = [((side.clamp(-1, 1) + 1) / 2 * 255).to(torch.uint8) for side in (before, restored(before))]
    judged = [
        stacked(Image.fromarray(one.permute(1, 2, 0).numpy()).resize((256, 256), Image.Resampling.BILINEAR) for one in side) for side in low
    ]
    error = float(((judged[0].double() - judged[1].double()) ** 2).mean())
    similar = bordered(*judged, data_range=None)  # one batch of seven
    wanted = [10 * math.log10(float(judged[0].max()) ** 2 / error), float(similar.mean())]
    assert measured(folder, "vtbench") == pytest.approx(wanted, abs=1e-5)


def test_what_presets_were_before_is_known_by_their_versions():
    assert (PRESETS["rae"].version, PRESETS["vtbench"].version, PRESETS["bsq-lanczos"].version) == (2, 2, 2)
    assert EARLIER["rae", 1] == replace(PRESETS["rae"], version=1, uint8="round")
    assert EARLIER["vtbench", 1] == replace(PRESETS["vtbench"], version=1, originals="as read")
    assert EARLIER["rae", 1].label == "rae"
    assert replace(PRESETS["rae"], uint8="round").label == "rae+uint8=round"
    assert replace(PRESETS["bsq-lanczos"], version=1).label == "bsq-lanczos"
