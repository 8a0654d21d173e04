"""The networks that judge: the right weights, the right input, refusals in one line."""

import pytest
import torch
from safetensors.torch import save_file

import tokbench
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics import frechet
from tokbench.bench.metrics.rfid import RFID
from tokbench.bench.networks import efficientnet_lite0, inception
from tokbench.bench.runner import RunOptions, run
from tokbench.data.face_package import load_face_embedder
from tokbench.errors import TokbenchError
from tokbench.records.protocol import get_protocol
from tokbench.weights.assets import asset_path
from tokbench.weights.checkpoints import sha256
from tokbench.weights.judges import read_judge

CPU = torch.device("cpu")


def test_efficientnet_lite0_sees_what_it_was_trained_for(crops):
    network = efficientnet_lite0(CPU)
    features = network.features(crops[:4])
    assert features.shape == (4, 1280)
    assert features.dtype == torch.float32
    assert torch.equal(features, network.features(crops[:4]))
    assert float((features > 0).float().mean()) > 0.1
    assert network.settings["weights_sha256"].startswith("57934424")


def test_efficientnet_lite0_classifies_real_photos():
    """With wrong padding, scaling or key order the 1000 classes come out unsure."""
    import timm

    from tokbench.bench.networks import _efflite0_path
    from tokbench.data.photos import PhotoCrops

    source = PhotoCrops("test", 128)
    whole = [i for i, name in enumerate(source.ids) if name.endswith("/00")][:24]
    import numpy as np

    images = torch.from_numpy(np.stack([np.asarray(source.read(i)) for i in whole])).permute(0, 3, 1, 2).float()
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(_efflite0_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    with torch.no_grad():
        logits = model((images - 127) / 128)
        pooled = model.forward_head(model.forward_features((images - 127) / 128), pre_logits=True)
    assert float(logits.softmax(1).amax(1).mean()) > 0.4
    torch.testing.assert_close(efficientnet_lite0(CPU).features(images.to(torch.uint8)), pooled, rtol=1e-3, atol=1e-3)


def test_rfid_runs_on_a_file_of_the_published_form(inception_file, tmp_path, crops):
    path, model = inception_file(tmp_path)
    metric = RFID.create(MetricContext(CPU, micro_batch=4, feature_weights=path))
    features = metric.network.features(crops[:4])
    assert features.shape == (4, 2048)
    with torch.no_grad():
        torch.testing.assert_close(features, model.eval()(crops[:4])[0], rtol=1e-3, atol=1e-4)
    assert metric.settings["resize"] == "TF1 bilinear, 299 px"


def test_inception_computes_what_torch_fidelity_does_at_every_size(inception_file, tmp_path, crops):
    path, model = inception_file(tmp_path)
    for name, value in model.state_dict().items():
        if name.endswith("conv.weight"):
            torch.nn.init.kaiming_normal_(value)
    torch.save(model.state_dict(), path)
    network = inception(path, CPU)
    for images in (crops[:2], crops[:2, :, :50, :37]):
        with torch.no_grad():
            wanted = model.eval()(images)[0]
        assert float((network.features(images) - wanted).norm() / wanted.norm()) < 1e-5


def test_weights_of_others_are_never_called_rfid(inception_file, tmp_path, monkeypatch):
    monkeypatch.setattr(frechet, "MIN_IMAGES", 8)
    path, _ = inception_file(tmp_path)
    digest = sha256(path)
    tokenizer, options = tokbench.load("patch"), RunOptions(feature_weights=path, cache=False)
    record = run(tokenizer, metrics=("rfid",), protocol=get_protocol(changes={"samples": 8}), options=options).record
    assert set(record.metrics) == {f"fd[inception:{digest[:8]}]"}
    (figure,) = record.metrics.values()
    assert figure.value > 0
    assert figure.settings["weights_sha256"] == digest
    assert "Inception 2015" not in figure.settings["network"]
    few = run(tokenizer, metrics=("rfid",), protocol=get_protocol(changes={"samples": 4}), options=options).record
    assert few.metrics[f"fd[inception:{digest[:8]}]"].reason


@pytest.mark.parametrize("where", ["TOKBENCH_CACHE", "TORCH_HOME"])
def test_caches_hold_the_published_inception_or_none(inception_file, tmp_path, monkeypatch, where):
    path, _ = inception_file(tmp_path)
    for name in ("TOKBENCH_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    place = (
        asset_path("inception") if where == "TOKBENCH_CACHE" else tmp_path / where / "hub" / "checkpoints" / asset_path("inception").name
    )
    place.parent.mkdir(parents=True)
    path.rename(place)
    with pytest.raises(
        TokbenchError, match=r"is not inception: it has SHA-256 .*, expected 6726825d0af5; run: tokbench weights get inception --renew"
    ):
        RFID.create(MetricContext(CPU, micro_batch=4))


@pytest.mark.parametrize("name", ["lpips-vgg", "inception", "resnet50", "faces"])
def test_other_networks_under_the_name_of_a_judge_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    path = asset_path(name)
    path.parent.mkdir(parents=True)
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(
        TokbenchError, match=f"is not {name}: it has SHA-256|has SHA-256 .*, expected 0d77fffeef36; run: tokbench weights get faces --renew"
    ):
        load_face_embedder() if name == "faces" else read_judge(name)


def test_the_judges_that_ship_are_those_that_are_named():
    assert len(read_judge("lpips-alex")[1]) == 64


def test_rfid_without_weights_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(TokbenchError, match="tokbench weights get inception"):
        RFID.create(MetricContext(CPU, micro_batch=4))
    with pytest.raises(TokbenchError, match="no file at"):
        RFID.create(MetricContext(CPU, micro_batch=4, feature_weights=tmp_path / "none.pth"))


def test_rfid_refuses_a_foreign_file(tmp_path):
    pytest.importorskip("torch_fidelity")
    path = tmp_path / "foreign.pth"
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(TokbenchError, match="does not hold the Inception weights"):
        RFID.create(MetricContext(CPU, micro_batch=4, feature_weights=path))
