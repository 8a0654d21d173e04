"""Folders and files that another library's models are saved in: where weights and settings are found, and what is refused.

``AutoencoderKL`` of diffusers stands for all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

import tokbench
from tokbench.errors import TokbenchError
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.diffusers.model import OLD_ATTENTION
from tokbench.tokenizers.library.config import settings_of
from tokbench.tokens import ContinuousTokens
from tokbench.weights.checkpoints import sha256


def convolutional(*widths: int, **settings: object) -> dict[str, Any]:
    down, up = ["AttnDownEncoderBlock2D"] * len(widths), ["AttnUpDecoderBlock2D"] * len(widths)
    blocks = {"down_block_types": down, "up_block_types": up}
    return {"block_out_channels": list(widths), **blocks, "norm_num_groups": 8, "latent_channels": 3, **settings}


SETTINGS = convolutional(8, 16)


@pytest.fixture(scope="module")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


def small(diffusers: Any) -> Any:
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(**SETTINGS).eval()


def load(place: Path, **config: Any) -> Tokenizer:
    return tokbench.load("diffusers/kl", weights=place, config=config)


def images() -> Tensor:
    return torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def on_grid(tokens: Any) -> Tensor:
    assert isinstance(tokens, ContinuousTokens)
    return rearrange(tokens.latents, "b (h w) d -> b d h w", h=tokens.grid[0])


class TestFiles:
    """Where a model may be, and in how many files; one class of diffusers stands for all."""

    @pytest.fixture
    def peer(self, diffusers: Any) -> Any:
        return small(diffusers)

    def same(self, peer: Any, place: Path, **config: Any) -> Tokenizer:
        model = load(place, **config)
        tokens = model.encode(images())
        with torch.no_grad():
            close(on_grid(tokens), peer.encode(images()).latent_dist.mean, 1e-6)
        return model

    def test_shards(self, peer: Any, tmp_path: Path) -> None:
        peer.save_pretrained(tmp_path, max_shard_size="40KB")
        shards = sorted(tmp_path.glob("*.safetensors"))
        assert len(shards) > 2
        model = self.same(peer, tmp_path)
        lines = "".join(f"{sha256(shard)}  {shard.name}\n" for shard in shards)
        assert model.weights_sha256 == hashlib.sha256(lines.encode()).hexdigest()
        shards[1].unlink()
        with pytest.raises(TokbenchError, match=rf"{shards[1].name} is not there, although the index beside it names it"):
            load(tmp_path)

    @pytest.mark.parametrize("wrong", [{"a": "../elsewhere.safetensors"}, {"a": 3}, {}, [1]])
    def test_an_index_that_names_other_places(self, peer: Any, tmp_path: Path, wrong: object) -> None:
        peer.save_pretrained(tmp_path, max_shard_size="40KB")
        (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(TokbenchError, match=r"index.json names no files beside it as weight_map; save the model again"):
            load(tmp_path)

    def test_a_pickle_is_read_without_running_it(self, peer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        peer.save_pretrained(tmp_path, safe_serialization=False)
        assert (tmp_path / "diffusion_pytorch_model.bin").is_file()
        monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("torch.load was called"))
        assert (self.same(peer, tmp_path).weights_how or "").startswith("zip, ")

    def test_half_precision(self, peer: Any, tmp_path: Path) -> None:
        peer.half().save_pretrained(tmp_path, variant="fp16")
        model = self.same(peer.float(), tmp_path)
        assert {value.dtype for value in model.parameters()} == {torch.float32}

    def test_full_precision_before_half(self, peer: Any, tmp_path: Path) -> None:
        peer.save_pretrained(tmp_path)
        shutil.copy(tmp_path / "diffusion_pytorch_model.safetensors", tmp_path / "diffusion_pytorch_model.fp16.safetensors")
        (tmp_path / "diffusion_pytorch_model.bin").write_text("not this one")
        self.same(peer, tmp_path)

    def test_within_the_folder_of_a_pipeline(self, peer: Any, tmp_path: Path) -> None:
        peer.save_pretrained(tmp_path / "vae")
        (tmp_path / "unet").mkdir()
        (tmp_path / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
        (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        self.same(peer, tmp_path)
        peer.save_pretrained(tmp_path / "vae_2")
        with pytest.raises(TokbenchError, match=r"holds several models, vae, vae_2; give the folder of one of them"):
            load(tmp_path)

    def test_a_file_beside_its_configuration(self, peer: Any, tmp_path: Path) -> None:
        peer.save_pretrained(tmp_path)
        self.same(peer, tmp_path / "diffusion_pytorch_model.safetensors")
        shutil.move(tmp_path / "diffusion_pytorch_model.safetensors", tmp_path / "by_another_name.safetensors")
        self.same(peer, tmp_path)

    def test_a_file_alone_has_the_settings_of_the_row_or_those_given(self, peer: Any, tmp_path: Path) -> None:
        peer.save_pretrained(tmp_path)
        for config in ("", '{"_class_name": "UNet2DModel"}'):
            (tmp_path / "config.json").write_text(config) if config else (tmp_path / "config.json").unlink()
            self.same(peer, tmp_path / "diffusion_pytorch_model.safetensors", settings=settings_of(SETTINGS))
        row = zoo.resolve("diffusers/kl")[1].config
        build = import_class("tokbench.tokenizers.diffusers.model:DiffusersTokenizer")
        alone = build.configured(tmp_path / "diffusion_pytorch_model.safetensors", row)
        assert row.values.items() <= alone.values.items()
        assert alone.values["use_quant_conv"] is True  # the library's default, written out

    def test_old_names_of_attention(self, peer: Any, tmp_path: Path) -> None:
        peer.save_pretrained(tmp_path)
        path = tmp_path / "diffusion_pytorch_model.safetensors"
        state = {}
        for name, value in load_file(path).items():
            for old, new in OLD_ATTENTION.items():
                name = name.replace(f".{new}.", f".{old}.") if ".attentions." in name else name
            state[name] = value
        assert sum(".attentions.0.proj_attn." in name for name in state) == 12
        save_file(state, path)
        self.same(peer, tmp_path)

    def test_files_with_other_names_that_are_several(self, peer: Any, tmp_path: Path) -> None:
        peer.save_pretrained(tmp_path)
        path = tmp_path / "diffusion_pytorch_model.safetensors"
        shutil.copy(path, tmp_path / "one.safetensors")
        shutil.move(path, tmp_path / "two.safetensors")
        with pytest.raises(
            TokbenchError, match=r"has none of diffusion_pytorch_model.safetensors, .*, it holds one.safetensors, two.safetensors"
        ):
            load(tmp_path)


class TestRefusals:
    def one_line(self, place: Path, text: str) -> None:
        with pytest.raises(TokbenchError, match=text) as error:
            load(place)
        assert "\n" not in str(error.value)

    def config(self, folder: Path, values: object) -> Path:
        (folder / "config.json").write_text(values if isinstance(values, str) else json.dumps(values))
        return folder

    def test_nothing_there(self, tmp_path: Path) -> None:
        self.one_line(tmp_path / "nowhere", "no weights at .*nowhere; give a folder that save_pretrained wrote, or a .safetensors file")
        self.one_line(tmp_path, "has no config.json of such a model, it holds nothing; give the folder that save_pretrained wrote")

    def test_a_folder_of_something_else(self, tmp_path: Path) -> None:
        for name in ("b.txt", "a.png"):
            (tmp_path / name).touch()
        self.one_line(tmp_path, "has no config.json of such a model, it holds a.png, b.txt; give")

    @pytest.mark.parametrize(
        ("found", "said"),
        [
            ({"_class_name": "VQModel"}, "is of VQModel, not of AutoencoderKL; load it as diffusers/vq"),
            ({"_class_name": "AutoencoderDC"}, "is of AutoencoderDC, not of AutoencoderKL; load it as diffusers/dc"),
            (
                {"model_type": "Emu3VisionVQ"},
                "is of Emu3VisionVQ, not of AutoencoderKL; load it as emu3/vision, with its model.safetensors",
            ),
            (
                {"_class_name": "UNet2DModel"},
                "is of UNet2DModel, not of AutoencoderKL; there are tokenizers for AsymmetricAutoencoderKL, AutoencoderDC, AutoencoderKL, ",
            ),
            ({"a": 1}, "is of no class, not of AutoencoderKL; there are tokenizers for"),
            ({"_class_name": "AutoencoderVidTok"}, "is of AutoencoderVidTok, .*; it takes clips of several frames, and an image is none; "),
            ({"_class_name": "AutoencoderKLMiniMaxH3"}, "take the autoencoder of an image model"),
            ([1], "config.json holds a list, not an object of settings"),
            ("{", "config.json is not readable JSON"),
        ],
    )
    def test_another_class(self, tmp_path: Path, found: object, said: str) -> None:
        self.one_line(self.config(tmp_path, found), said)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"in_channels": 4}, "config.json does not do: images have 3 channels, AutoencoderKL is set to in_channels 4"),
            (
                {"tomorrow": 1, "soon": [2]},
                "config.json does not do: the installed AutoencoderKL knows no tomorrow, soon; update diffusers",
            ),
            ({"block_out_channels": 8}, "config.json does not do: block_out_channels of AutoencoderKL must be a list"),
            ({"norm_num_groups": 3}, "AutoencoderKL of diffusers cannot be built from these settings"),
            ({"act_fn": "loud"}, "AutoencoderKL of diffusers cannot be built from these settings"),
        ],
    )
    def test_settings_that_do_not_do(self, diffusers: Any, tmp_path: Path, changes: dict[str, object], said: str) -> None:
        self.one_line(self.config(tmp_path, {"_class_name": "AutoencoderKL"} | convolutional(8, 16) | changes), said)

    def test_no_weights(self, diffusers: Any, tmp_path: Path) -> None:
        self.one_line(
            self.config(tmp_path, {"_class_name": "AutoencoderKL"} | convolutional(8)), "has none of .* it holds config.json; give the file"
        )

    @pytest.mark.usefixtures("uncompared")
    def test_weights_of_another_configuration(self, diffusers: Any, tmp_path: Path) -> None:
        diffusers.AutoencoderKL(**convolutional(8, 16)).save_pretrained(tmp_path)
        self.config(tmp_path, {"_class_name": "AutoencoderKL"} | convolutional(8, 24, use_quant_conv=False))
        self.one_line(
            tmp_path, r"does not fit DiffusersTokenizer: 2 unknown: network.quant_conv.bias, network.quant_conv.weight; \d+ of ano"
        )

    def test_without_the_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config(tmp_path, {"_class_name": "AutoencoderKL"} | convolutional(8))
        monkeypatch.setitem(sys.modules, "diffusers", None)
        self.one_line(
            tmp_path,
            r"every tokenizer of diffusers needs the package diffusers, which is not installed; "
            r"install it with: pip install 'tokbench\[diffusers\]'",
        )
        assert "diffusers/kl" in zoo.names()

    def test_a_version_without_the_class(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config(tmp_path, {"_class_name": "AutoencoderKL"} | convolutional(8))
        old = type(sys)("diffusers")
        old.__version__ = "0.1"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "diffusers", old)
        self.one_line(tmp_path, r"diffusers 0.1 has no usable AutoencoderKL here \(.*\); a newer one may: pip install -U diffusers")

    def test_no_folder_at_all(self) -> None:
        with pytest.raises(TokbenchError, match=r"diffusers/kl ships without weights; pass weights=PATH"):
            tokbench.load("diffusers")
