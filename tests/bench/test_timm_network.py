"""Fréchet distances on networks of timm: the features are timm's own, and the weights those of their first use."""

import pytest
import torch
from safetensors.torch import save_file

import tokbench
from tokbench.bench.metrics import frechet, select
from tokbench.bench.metrics.fd_dinov2 import DINOV2, FDDINOv2, fd_timm
from tokbench.bench.runner import RunOptions, run
from tokbench.bench.timm_network import timm_network
from tokbench.errors import TokbenchError
from tokbench.records.protocol import get_protocol
from tokbench.weights.assets import asset_path, get_asset
from tokbench.weights.checkpoints import sha256
from tokbench.weights.judges import timm_place

CPU = torch.device("cpu")
RESNET, VIT = "test_resnet.r160_in1k", "test_vit.r160_in1k"
"""Networks that timm has for tests: below half a million weights."""


@pytest.fixture
def random_weights(tmp_path, monkeypatch):
    """Put random weights where those of a network would lie once fetched; returns timm's own network with them."""
    import timm

    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))

    def make(name, seed=0):
        torch.manual_seed(seed)
        model = timm.create_model(name, pretrained=False).eval()
        path = asset_path(f"timm/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path)
        return model

    return make


@pytest.mark.parametrize("name", [RESNET, VIT])
def test_features_are_those_that_timms_classifier_sees(random_weights, crops, name):
    from timm.data import resolve_model_data_config

    model = random_weights(name)
    network = timm_network(name, CPU)
    config = resolve_model_data_config(model)
    assert config["input_size"] == (3, 160, 160)
    pixels = torch.nn.functional.interpolate(crops[:4].float(), (160, 160), mode=config["interpolation"], antialias=True).clamp(0, 255)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        scaled = (pixels / 255 - mean) / std
        wanted = model(scaled)
        features = network.features(crops[:4])
        torch.testing.assert_close(model.get_classifier()(features), wanted, rtol=1e-4, atol=1e-4)
    assert features.shape == (4, network.dim)
    assert float(features.std(dim=0).mean()) > 1e-4
    assert network.settings["weights_sha256"] == sha256(asset_path(f"timm/{name}"))
    assert network.settings["resize"] == f"{config['interpolation']} antialias, 160 px"


def test_a_network_may_see_images_of_another_size(random_weights, crops):
    random_weights(VIT)
    network = timm_network(VIT, CPU, size=96)
    assert network.settings["resize"].endswith("antialias, 96 px")
    assert bool(network.features(crops[:2]).isfinite().all())


def test_dinov2_takes_the_side_that_is_asked_of_it():
    import timm

    with torch.device("meta"):
        model = timm.create_model(DINOV2, pretrained=False, img_size=FDDINOv2.side)
    assert (model.head_hidden_size, model.num_classes) == (1024, 0)
    assert model.patch_embed.num_patches == 16 * 16
    assert get_asset("timm/" + DINOV2).file == f"timm/{DINOV2}/model.safetensors"
    assert str(timm_place("timm/" + DINOV2)) == f"hf:timm/{DINOV2}/model.safetensors"


def test_the_file_must_stay_that_of_its_first_use(random_weights):
    random_weights(RESNET)
    timm_network(RESNET, CPU)
    random_weights(RESNET, seed=1)
    with pytest.raises(
        TokbenchError, match=r"at first use it was .*; it was replaced or is damaged. .*tokbench weights get timm/test_resnet"
    ):
        timm_network(RESNET, CPU)


def test_what_is_no_such_file_is_refused_and_never_run(random_weights):
    random_weights(RESNET)
    path = asset_path(f"timm/{RESNET}")
    save_file({"a": torch.zeros(3)}, path)
    again = rf"does not hold the weights of {RESNET} \(.*\); run: tokbench weights get timm/{RESNET} --renew"
    with pytest.raises(TokbenchError, match=again):
        timm_network(RESNET, CPU)
    (path.parents[2] / "pins").rename(path.parents[2] / "no-pins")
    torch.save({"a": torch.zeros(3)}, path)  # pickled, under a name that says otherwise
    with pytest.raises(TokbenchError, match=again):
        timm_network(RESNET, CPU)


def test_a_run_has_a_figure_that_names_the_network(random_weights, monkeypatch):
    monkeypatch.setattr(frechet, "MIN_IMAGES", 8)
    random_weights(RESNET)
    protocol, options = get_protocol(changes={"samples": 8}), RunOptions(cache=False)
    record = run(tokbench.load("patch"), metrics=(f"fd_timm.{RESNET}", "fd_dinov2"), protocol=protocol, options=options).record
    assert set(record.metrics) == {f"fd[timm:{RESNET}]", "fd_dinov2"}
    figure = record.metrics[f"fd[timm:{RESNET}]"]
    assert figure.value > 0
    assert figure.info.title == f"fd[timm:{RESNET}]"
    assert figure.settings["network"].startswith(RESNET)
    assert record.metrics["fd_dinov2"].reason.startswith(f"timm/{DINOV2} is not here; run: tokbench weights get timm/{DINOV2} (or put")


def test_names_are_checked_before_a_run():
    (one,) = select((f"fd_timm.{RESNET}",))
    assert one is fd_timm(RESNET)
    with pytest.raises(TokbenchError, match=r"unknown network of timm 'resnet50.a1_in2k'; did you mean resnet50.a1_in1k.* Write fd_timm\."):
        select(("fd_timm.resnet50.a1_in2k",))
    with pytest.raises(TokbenchError, match="unknown network of timm 'resnet50'"):
        select(("fd_timm.resnet50",))
    for name in ("timm/../../secret", "timm/", "timm/a/b", "timm/.hidden"):
        with pytest.raises(TokbenchError, match=r"names no network of timm; write timm/ARCHITECTURE\.TAG"):
            asset_path(name)


def test_the_command_finds_what_is_here_and_forgets_its_digest(tokbench_cli, random_weights):
    random_weights(RESNET)
    name = f"timm/{RESNET}"
    assert tokbench_cli("weights", "get", name)[:2] == (0, f"{asset_path(name)}\n")
    assert tokbench_cli("weights", "path", name)[:2] == (0, f"{asset_path(name)}\n")
    assert "so its next file is taken whatever it is" in tokbench_cli("weights", "forget", name)[2]
    timm_network(RESNET, CPU)
    assert f"forgot the digest of {name}" in tokbench_cli("weights", "forget", name)[2]
    status, _, err = tokbench_cli("weights", "get", "timm/../a")
    assert status == 2
    assert "names no network of timm" in err
