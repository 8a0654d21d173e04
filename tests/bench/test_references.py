"""References of others: statistics and images, what is compared with them, and what is said of those that mislead."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.bench.context import MetricContext
from tokbench.bench.frechet import frechet_distance, sample_factor
from tokbench.bench.inception_input import BACKENDS
from tokbench.bench.metrics import frechet
from tokbench.bench.metrics.fid import FID
from tokbench.bench.networks import FeatureNetwork, efficientnet_lite0
from tokbench.bench.reference_opening import References, open_reference
from tokbench.bench.runner import RunOptions, run
from tokbench.data.photos import PhotoCrops
from tokbench.errors import TokbenchError
from tokbench.records.protocol import get_protocol

CPU = torch.device("cpu")
COUNT = 16
PROTOCOL = get_protocol(changes={"samples": COUNT})


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(frechet, "MIN_IMAGES", 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As many crops of photos as files."""
    place, source = tmp_path_factory.mktemp("references") / "crops", PhotoCrops("test", 64)
    place.mkdir()
    for number in range(COUNT):
        source.read(number * 3).save(place / f"{number:03d}.png")
    return place


@pytest.fixture(scope="module")
def statistics(folder):
    """Features of these files on EfficientNet-Lite0, with their mean and covariance, by numpy."""
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    features = efficientnet_lite0(CPU).features(torch.from_numpy(images).permute(0, 3, 1, 2)).double().numpy()
    return images, features, {"mu": features.mean(axis=0), "sigma": np.cov(features, rowvar=False)}


def measured(reference, data, **changes):
    options = RunOptions(cache=False, reference=reference)
    return run("patch", data, metrics=("fd_efflite0",), protocol=get_protocol(changes={"samples": COUNT} | changes), options=options).record


def test_the_same_images_as_reference_give_the_same_distance(folder):
    record = measured(folder, folder)
    assert record.metrics["fd_efflite0_reference"].value == pytest.approx(record.metrics["fd_efflite0"].value, rel=1e-9)
    assert record.metrics["fd_efflite0"].value > 0
    named = record.metrics["fd_efflite0_reference"].settings["reference"]
    assert (named["name"], named["kind"], named["images"], named["guards"]) == ("crops", "images", COUNT, [])
    assert re.fullmatch("[0-9a-f]{64}", named["sha256"])


def test_statistics_of_others_are_what_numpy_makes_of_features(folder, statistics, tmp_path):
    images, features, values = statistics
    np.savez(tmp_path / "ours.npz", **values)
    np.savez(tmp_path / "images.npz", images)
    by_statistics, by_images = (measured(tmp_path / f"{name}.npz", folder).metrics["fd_efflite0_reference"] for name in ("ours", "images"))
    made = run("patch", folder, metrics=("fd_efflite0",), protocol=PROTOCOL, options=RunOptions(cache=False)).record.metrics["fd_efflite0"]
    assert by_images.value == pytest.approx(made.value, rel=1e-9)
    assert by_statistics.value == pytest.approx(made.value, rel=1e-4)  # of fewer images than features
    assert by_statistics.settings["reference"]["guards"] == ["sigma has rank 15, so that it is of about 16 images"]
    assert by_statistics.settings["reference"]["images"] is None
    shifted = {"mu": values["mu"] + 1, "sigma": values["sigma"]}
    np.savez(tmp_path / "shifted.npz", **shifted)
    far = measured(tmp_path / "shifted.npz", folder).metrics["fd_efflite0_reference"]
    assert far.value > by_statistics.value + 100
    assert frechet_distance(*sample_factor(features + 1), *sample_factor(features)) == pytest.approx(1280)


def test_files_that_are_not_cut_are_cut_as_the_protocol_does_and_named(folder, tmp_path):
    for path in folder.iterdir():
        image = Image.open(path)
        wide = Image.new("RGB", (100, 64), (200, 30, 30))
        wide.paste(image, (18, 0))
        wide.save(tmp_path / path.name)
    reference = open_reference(tmp_path, PROTOCOL, images=COUNT)
    assert reference.guards == ("16 of 16 files are not 64x64 px but such as 64x100; they are cut as the protocol cuts",)
    assert reference.sha256 == open_reference(folder, PROTOCOL, images=COUNT).sha256


def test_whole_images_are_stretched_as_other_packages_take_folders(folder, tmp_path):
    """Each by itself, by numpy: features of the picture as it is, whatever its shape, in batches of one shape."""
    generator, features = np.random.default_rng(0), []
    network = efficientnet_lite0(CPU)
    for number in range(COUNT):
        shape = ((90, 64), (64, 90), (64, 64))[number % 3]
        pixels = generator.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
        features.append(network.features(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].double().numpy())
    reference = open_reference(f"raw:{tmp_path}", PROTOCOL, images=COUNT)
    assert reference.guards == (
        "11 of 16 files are not 64x64 px but such as 90x64; each is taken whole and stretched to what a network takes, as other packages "
        "take folders, while those measured are cut",
    )
    cut = open_reference(tmp_path, PROTOCOL, images=COUNT)
    assert reference.kind == "images, whole"
    assert reference.sha256 != cut.sha256
    assert reference.identity != cut.identity  # explanations tell them apart
    assert cut.identity == open_reference(tmp_path, get_protocol(changes={"size": 32}), images=COUNT).identity
    mean, covariance = reference.moments(network, None, micro_batch=4, device=CPU).covariance()
    assert mean == pytest.approx(np.mean(features, axis=0), abs=1e-4)
    assert covariance == pytest.approx(np.cov(features, rowvar=False), abs=1e-3)
    found = measured(f"raw:{tmp_path}", folder).metrics["fd_efflite0_reference"]
    assert found.settings["reference"]["kind"] == "images, whole"
    assert found.value > 0
    np.savez(tmp_path / "stats.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(TokbenchError, match="holds statistics, and raw: is for images that are taken whole; leave raw: out"):
        open_reference(f"raw:{tmp_path / 'stats.npz'}", PROTOCOL, images=COUNT)


def test_another_count_and_training_images_are_named(folder, tmp_path, caplog):
    few = tmp_path / "train" / "val"
    few.mkdir(parents=True)
    for path in sorted(folder.iterdir())[:10]:
        (few / path.name).write_bytes(path.read_bytes())
    (few / "cut.png").write_bytes(b"\x89PNG")
    (few / "raw.heic").write_bytes(b"")
    reference = open_reference(few, PROTOCOL, images=COUNT)
    training, count, broken, others = reference.guards
    assert training == "its name says that it is of training images, which are not those that are reconstructed"
    assert count == "it has 10 images, 16 are measured; Fréchet distances compare at equal numbers only"
    assert broken == "1 of its files cannot be read and are left out, the first cut.png"
    assert others == "1 of its files are of kinds that are not read"
    references = References(few)
    assert references.of(PROTOCOL, images=COUNT) is references.of(PROTOCOL, images=COUNT)
    assert len(caplog.messages) == 1
    assert caplog.messages[0] == f"--reference val: {'; '.join(reference.guards)}"
    assert open_reference("photos/train", get_protocol(), images=5).guards[0] == training


def network_of(dim, given=None, sha256="6726825d"):
    return FeatureNetwork("inception", dim, {"weights_sha256": sha256}, lambda images: images, given=given)


def test_the_form_of_adm_is_known_with_what_its_files_mislead_about(tmp_path):
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(100, 8))
    values = {"mu": samples.mean(axis=0), "sigma": np.cov(samples, rowvar=False)}
    spatial = {"mu_s": np.zeros(5), "sigma_s": np.eye(5)}
    path = tmp_path / "VIRTUAL_imagenet256_labeled.npz"
    np.savez(path, arr_0=np.zeros((3, 4, 4, 3), np.uint8), arr_1=np.zeros(3, np.int64), **values, **spatial)
    reference = open_reference(path, PROTOCOL, images=COUNT)
    assert reference.kind == "statistics of ADM's evaluator"
    assert reference.guards == (
        "ADM's VIRTUAL files hold statistics of whole training sets, not of the images that are reconstructed",
        "it holds 3 images too; its statistics are taken, which may be of other images",
    )
    moments = reference.moments(network_of(8), None, micro_batch=4, device=CPU)
    np.testing.assert_allclose(moments.covariance()[1], values["sigma"])
    assert reference.refusal(network_of(2048)) == "the reference holds statistics of 8 features, inception has 2048"
    assert reference.refusal(network_of(8)) is None
    scaled = "its images were scaled as by torch-fidelity, those measured are not: bicubic antialias to 299"
    assert reference.guards_on(network_of(8, BACKENDS["clean-fid"]))[0] == scaled
    weights = "the network here has other weights than the published ones, which statistics of others are of"
    assert reference.guards_on(network_of(8, BACKENDS["torch-fidelity"])) == (weights,)
    named = tmp_path / "ffhq_clean_trainval70k_256.npz"
    np.savez(named, **values)
    clean = open_reference(named, PROTOCOL, images=COUNT)
    assert len(clean.guards) == 1
    assert clean.guards_on(network_of(8, BACKENDS["clean-fid"])) == (weights,)
    assert "as by clean-fid" in clean.guards_on(network_of(8, BACKENDS["torchmetrics"]))[0]


EYE = np.eye(4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mu": np.zeros(4)}, "lacks sigma; statistics are an .npz with mu [d] and sigma [d, d]"),
        ({"sigma": EYE}, "lacks mu"),
        ({"mu": np.zeros(4), "sigma": np.eye(5)}, "holds mu float64 [4] and sigma float64 [5, 5]; statistics are floats [d] and [d, d]"),
        ({"mu": np.zeros((2, 2)), "sigma": EYE}, "holds mu float64 [2, 2]"),
        ({"mu": np.zeros(4, int), "sigma": EYE}, "holds mu int64 [4] and sigma float64 [4, 4]; statistics are floats"),
        ({"mu": np.zeros(4), "sigma": EYE.astype(int)}, "holds mu float64 [4] and sigma int64 [4, 4]; statistics are floats"),
        ({"mu": np.array([0, np.nan, 0, 0]), "sigma": EYE}, "mu holds 1 value that is not finite"),
        ({"mu": np.zeros(4), "sigma": EYE / np.where(EYE > 0, 1, 0)}, "sigma holds 12 values that are not finite"),
        ({"mu": np.zeros(4), "sigma": np.triu(np.ones((4, 4)))}, "sigma differs from its transpose by 1 of its largest value"),
        ({"mu": np.zeros(4), "sigma": -EYE}, "sigma has variances below 0, and is no covariance"),
        ({"mu": np.array([None] * 4), "sigma": EYE}, "holds no statistics that can be read"),
        ({"other": EYE}, "holds other; a reference is statistics (mu and sigma) or images (arr_0)"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
def test_what_can_be_no_statistics_is_refused_in_a_line(values, words, tmp_path):
    np.savez(tmp_path / "stats.npz", **values)
    with pytest.raises(TokbenchError, match=re.escape(words)) as caught:
        open_reference(tmp_path / "stats.npz", PROTOCOL, images=COUNT)
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_references_are_refused(tmp_path):
    np.savez(tmp_path / "stats.npz", mu=np.zeros(400), sigma=np.eye(400))
    data = bytearray((tmp_path / "stats.npz").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "stats.npz").write_bytes(data)
    with pytest.raises(TokbenchError, match=r"holds no statistics that can be read \(Bad CRC-32"):
        open_reference(tmp_path / "stats.npz", PROTOCOL, images=COUNT)
    with pytest.raises(TokbenchError, match=r"--reference .*nothing does not exist; allowed: "):
        open_reference(tmp_path / "nothing", PROTOCOL, images=COUNT)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    with pytest.raises(TokbenchError, match=r"none of the images of --reference .*broken can be read \(the first: a.png: "):
        open_reference(tmp_path / "broken", PROTOCOL, images=COUNT)


def test_covariances_that_are_a_little_off_are_mended_and_named(tmp_path):
    samples = np.random.default_rng(1).normal(size=(50, 6))
    sigma = np.cov(samples, rowvar=False)
    bent = sigma.copy()
    bent[0, 1] += 1e-5
    np.savez(tmp_path / "bent.npz", mu=np.zeros(6), sigma=bent)
    np.savez(tmp_path / "single.npz", mu=np.zeros(6, np.float32), sigma=sigma.astype(np.float32))
    np.savez(tmp_path / "negative.npz", mu=np.zeros(2), sigma=np.array([[1.0, 2.0], [2.0, 1.0]]))
    (guard,) = open_reference(tmp_path / "bent.npz", PROTOCOL, images=COUNT).guards
    assert re.fullmatch(r"sigma is not symmetric, by \de-0[56] of its largest value; its mean with its transpose is taken", guard)
    (guard,) = open_reference(tmp_path / "single.npz", PROTOCOL, images=COUNT).guards
    assert guard == "sigma is of float32, which keeps fewer digits"
    (guard,) = open_reference(tmp_path / "negative.npz", PROTOCOL, images=COUNT).guards
    assert guard == "sigma has eigenvalues down to -0.3 of the largest, which are left out"


def test_fid_without_a_reference_or_weights_says_what_it_needs(tmp_path, monkeypatch, folder):
    with pytest.raises(TokbenchError, match=r"fid compares with a reference: --reference takes .*; rfid takes the originals"):
        FID.create(MetricContext(CPU, micro_batch=4))
    for name in ("TOKBENCH_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    protocol = get_protocol(changes={"samples": 8})
    record = run("patch", metrics=("psnr",), protocol=protocol, options=RunOptions(cache=False, reference=folder)).record
    assert "tokbench weights get inception" in record.metrics["fid"].reason
    assert record.metrics["fd_efflite0_reference"].value > 0
    assert record.metrics["fd_efflite0_reference"].settings["reference"]["guards"] == [
        "it has 16 images, 8 are measured; Fréchet distances compare at equal numbers only"
    ]


def test_parts_merged_with_the_reference_are_the_whole_run(folder, tmp_path, tokbench_cli, monkeypatch):
    monkeypatch.setattr("tokbench.bench.prepared.chunk_size", lambda protocol: 5)
    common = ("-t", "patch", "--limit", "12", "--metrics", "fd_efflite0_reference", "--reference", folder)
    status, _, said = tokbench_cli("run", *common, "--out", "whole")
    assert status == 0
    assert "--reference crops: it has 16 images, 12 are measured; Fréchet distances compare at equal numbers only" in said.splitlines()
    for part in ("1/2", "2/2"):
        assert tokbench_cli("run", *common, "--part", part, "--out", "parts")[0] == 0
    status, _, said = tokbench_cli("merge", "parts", "--out", "merged")
    assert status == 2
    assert "was measured against the reference crops; give it again by --reference" in said
    assert tokbench_cli("merge", "parts", "--reference", folder, "--out", "merged")[0] == 0
    whole, merged = (json.loads(next((tmp_path / name).glob("*.json")).read_text())["metrics"] for name in ("whole", "merged"))
    assert whole == merged
    assert whole["fd_efflite0_reference"]["value"] > 0
