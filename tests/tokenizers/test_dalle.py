"""DALL-E's discrete VAE end to end: outputs of upstream on random weights, and its two pickled modules."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import tokbench
from tokbench.tokenizers.dalle.config import DalleConfig
from tokbench.tokenizers.dalle.model import DalleVAE
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly

MORE = Path(__file__).parents[3] / "shared" / "goldens2" / "dalle_dvae"
golden_sets = pytest.mark.parametrize(
    "folder",
    sorted(path for path in MORE.glob("*") if path.is_dir())
    or [pytest.param(MORE, marks=pytest.mark.skip(reason="the outputs are not here"))],
    ids=lambda folder: folder.name,
)
"""Outputs of upstream, where they are."""

SMALL = {"codes": 24, "hidden": 8, "blocks": 1, "vector": 6}


def loaded(folder: Path) -> DalleVAE:
    config = json.loads((folder / "config.json").read_text())["config"]
    model = DalleVAE(DalleConfig(codes=config["vocab"], hidden=config["n_hid"], blocks=config["n_blk"], vector=config["n_init"]))
    path = folder / "state_dict.safetensors"
    load_strictly(model, model.read_weights(path).tensors, origin=path.name)
    return model.eval()


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@golden_sets
@torch.no_grad()
def test_outputs_are_those_of_upstream(folder: Path) -> None:
    model, io = loaded(folder), load_file(folder / "io.safetensors")
    image = io["image"] * 2 - 1
    close(model.scores(image), io["logits"], 1e-5)
    tokens = model.encode(image)
    assert isinstance(tokens, DiscreteTokens)
    assert tokens.grid == tuple(io["indices"].shape[1:])
    assert torch.equal(tokens.codes.flatten(), io["indices"].flatten())
    close(model.decode(tokens), io["recon"] * 2 - 1, 1e-4)
    chosen = F.one_hot(io["indices"], model.config.codes).permute(0, 3, 1, 2).float()
    close(model.decoder(chosen), io["decoder_raw"], 1e-4)
    close(model.embed(tokens), model.decoder[0](chosen).flatten(2).transpose(1, 2), 1e-6)


@golden_sets
@torch.no_grad()
def test_residual_branches_count(folder: Path) -> None:
    """They are scaled down, so that a missing one would be hard to see in a picture."""
    model, io = loaded(folder), load_file(folder / "io.safetensors")
    for module in model.encoder.modules():
        if hasattr(module, "gain"):
            module.gain = 0.0
    assert float((model.scores(io["image"] * 2 - 1) - io["logits"]).abs().max()) > 0.1


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the two halves as openai/DALL-E does, as modules of classes that are not here when they are read."""

    class Conv2d(nn.Module):
        def __init__(self, convolution: nn.Conv2d) -> None:
            super().__init__()
            assert convolution.bias is not None
            self.w, self.b = nn.Parameter(convolution.weight.detach()), nn.Parameter(convolution.bias.detach())
            self.kernel_size, self.device = convolution.kernel_size, torch.device("cpu")

    class Half(nn.Module):
        def __init__(self, blocks: nn.Module) -> None:
            super().__init__()
            self.blocks = blocks

    def published(network: nn.Module) -> nn.Module:
        for name, part in network.named_children():
            setattr(network, name, Conv2d(part) if isinstance(part, nn.Conv2d) else published(part))
        return network

    def write(model: DalleVAE, *, zipped: bool) -> Path:
        modules = {name: ModuleType(name) for name in ("dall_e", "dall_e.net")}
        with monkeypatch.context() as patch:
            for name, module in modules.items():
                patch.setitem(sys.modules, name, module)
            for kind in (Conv2d, Half):
                kind.__module__, kind.__qualname__ = "dall_e.net", kind.__name__
                setattr(modules["dall_e.net"], kind.__name__, kind)
            for half in ("encoder", "decoder"):
                blocks = published(copy.deepcopy(getattr(model, half)))
                torch.save(Half(blocks), tmp_path / f"{half}.pkl", _use_new_zipfile_serialization=zipped)
        return tmp_path

    return write


@pytest.mark.usefixtures("uncompared")
@pytest.mark.parametrize("zipped", [False, True], ids=["before version 1.6", "since"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_folder_of_both_pickles_is_read_as_data(pickled: Any, zipped: bool) -> None:
    torch.manual_seed(0)
    model = DalleVAE(DalleConfig(**SMALL)).eval()
    folder = pickled(model, zipped=zipped)
    read = tokbench.load("dalle/dvae", weights=folder, config=SMALL)
    image = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = model.encode(image)
    assert torch.equal(read.encode(image).codes, tokens.codes)  # type: ignore[union-attr]
    assert torch.equal(read.decode(tokens), model.decode(tokens))
    assert read.weights_sha256 is not None
    with pytest.raises(tokbench.TokbenchError, match="does not fit DalleVAE"):
        tokbench.load("dalle/dvae", weights=folder / "encoder.pkl", config=SMALL)


@pytest.mark.parametrize("change", [{"codes": 1}, {"hidden": 6}, {"blocks": 0}, {"vector": 0}])
def test_impossible_shapes_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="hidden is a multiple of 4, and all numbers are positive"):
        DalleConfig(**change)
