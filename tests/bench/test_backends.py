"""FID as four implementations take it: features of random weights against the installed packages, and one run with all of them."""

import numpy as np
import pytest
import torch
from torch import nn

from tokbench.bench import inception as inception_module
from tokbench.bench.context import MetricContext
from tokbench.bench.inception_input import BACKENDS, InceptionInput
from tokbench.bench.metrics import frechet, select
from tokbench.bench.networks import Inception, read_inception
from tokbench.bench.runner import RunOptions, run
from tokbench.records.protocol import get_protocol

CPU = torch.device("cpu")
ALL = ("rfid", "rfid_torchmetrics", "rfid_pytorch_fid", "rfid_clean_fid")


@pytest.fixture(scope="module")
def weights(lively_inception):
    return read_inception(lively_inception[0], CPU)


@pytest.fixture(scope="module")
def pictures():
    """Bytes of pictures that are enlarged, and of one that is made smaller."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)) for shape in ((2, 3, 64, 80), (1, 3, 420, 350))]


@pytest.fixture(scope="module")
def ours(weights, pictures):
    """Features of each of the pictures, by implementation."""
    return {name: [weights.network(given).features(images) for images in pictures] for name, given in BACKENDS.items()}


def by_torch_fidelity(path, model, tmp_path, monkeypatch):
    return lambda images: model(images)[0]


def by_torchmetrics(path, model, tmp_path, monkeypatch):
    package = pytest.importorskip("torchmetrics.image.fid")
    return package.NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))


def by_pytorch_fid(path, model, tmp_path, monkeypatch):
    package = pytest.importorskip("pytorch_fid.inception")
    monkeypatch.setattr(package, "load_state_dict_from_url", lambda url, progress: torch.load(path, weights_only=True))
    network = package.InceptionV3().eval()
    return lambda images: network(images.float() / 255)[0].flatten(1)  # as ToTensor gives them


def by_clean_fid(path, model, tmp_path, monkeypatch):
    resize = pytest.importorskip("cleanfid.resize").build_resizer("clean")
    package = pytest.importorskip("cleanfid.inception_torchscript")

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*list(model.children())[:-1])

        def forward(self, x):
            return self.layers(x)

    torch.jit.trace(Whole().eval(), torch.zeros(1, 3, 299, 299)).save(tmp_path / "inception-2015-12-05.pt")
    network = package.InceptionV3W(str(tmp_path), download=False)

    def features(images):
        scaled = np.stack([resize(image) for image in images.permute(0, 2, 3, 1).numpy()])
        return network(torch.from_numpy(scaled).permute(0, 3, 1, 2))

    return features


THEIRS = {
    "torch-fidelity": by_torch_fidelity,
    "torchmetrics": by_torchmetrics,
    "pytorch-fid": by_pytorch_fid,
    "clean-fid": by_clean_fid,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", THEIRS)
def test_features_are_those_of_the_package(name, lively_inception, ours, pictures, tmp_path, monkeypatch):
    theirs = THEIRS[name](*lively_inception, tmp_path, monkeypatch)
    for number, images in enumerate(pictures):
        with torch.no_grad():
            wanted = theirs(images)
        far = {backend: float((found[number] - wanted).norm() / wanted.norm()) for backend, found in ours.items()}
        assert far[name] < 1e-5, far
        other = min(value for backend, value in far.items() if backend != name and not alike(backend, name, images))
        assert other > 10 * far[name], far


def alike(one, other, images):
    """Whether two scale an image alike: torchmetrics widens its filter only where it makes images smaller."""
    return {one, other} == {"torchmetrics", "pytorch-fid"} and min(images.shape[2:]) < 299


class Sampled(nn.Module):
    """Every 131st value of the input in the place of features, so that they are 2048; counts its passes."""

    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        return x.flatten(1)[:, ::131, None, None]


@pytest.fixture
def sampled(monkeypatch):
    trunk = Sampled()
    pretended = Inception(trunk, torch.zeros(1, 2048), "ab" * 32, CPU)
    monkeypatch.setattr(inception_module, "read_inception", lambda path, device: pretended)
    monkeypatch.setattr(inception_module, "_given", lambda path: path)
    return trunk


@pytest.mark.parametrize(("side", "passes"), [(64, 8), (299, 4)])
def test_one_pass_does_where_what_the_network_sees_is_the_same(side, passes, sampled, observe):
    context = MetricContext(CPU, micro_batch=2, feature_weights="given")
    metrics = [cls.create(context) for cls in select(ALL)]
    generator = torch.Generator().manual_seed(0)
    seen = observe(*torch.randint(0, 256, (2, 2, 3, side, side), dtype=torch.uint8, generator=generator))
    for metric in metrics:
        metric.update(seen)
    assert sampled.passes == passes  # at 299 px all but pytorch-fid, whose range is another, see the same
    by_name = {metric.name: metric.all_rows("features") for metric in metrics}
    same = torch.equal(by_name["rfid"], by_name["rfid_torchmetrics"]), torch.equal(by_name["rfid"], by_name["rfid_clean_fid"])
    assert same == ((True, True) if side == 299 else (False, False))


def test_all_of_them_stand_side_by_side_in_one_record(sampled, monkeypatch, tmp_path):
    monkeypatch.setattr(frechet, "MIN_IMAGES", 8)
    options = RunOptions(feature_weights="given", cache=False)
    protocol = get_protocol(changes={"samples": 8})
    found = run("patch", metrics=ALL, protocol=protocol, options=options).record.metrics
    keys = [f"{name}[inception:abababab]" for name in ("fd", "fd_torchmetrics", "fd_pytorch_fid", "fd_clean_fid")]
    assert set(found) == set(keys)
    assert len({round(found[key].value, 6) for key in keys}) == 4
    assert [found[key].settings["resize"] for key in keys] == [
        "TF1 bilinear, 299 px",
        "bilinear antialias, 299 px",
        "bilinear, 299 px",
        "bicubic antialias, 299 px",
    ]
    alone = run("patch", metrics=("rfid_clean_fid",), protocol=protocol, options=options).record.metrics
    assert alone[keys[3]] == found[keys[3]]


def test_an_image_does_not_see_the_others_of_its_batch(pictures):
    images = pictures[0].float()
    for given in BACKENDS.values():
        assert torch.equal(given(images), torch.cat([given(image[None]) for image in images]))


def test_clean_fid_cuts_what_overshoots_and_does_not_round():
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 255
    x = BACKENDS["clean-fid"](edge) * 128 + 128
    assert (float(x.min()), float(x.max())) == (0, 255)
    assert bool((x != x.round()).any())
    assert InceptionInput("bicubic antialias to 299", "x / 127.5 - 1")(edge).max() == 1
