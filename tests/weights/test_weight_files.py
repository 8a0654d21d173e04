"""Files and folders of weights in every form their tools write, and what is no weights, through every loader."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

import tokbench
from tokbench.cli import app
from tokbench.errors import TokbenchError
from tokbench.tokenizers.library.config import settings_of
from tokbench.tokenizers.zoo import save_tokenizer
from tokbench.weights.checkpoints import read_state
from tokbench.weights.key_maps.diffusers import from_diffusers, to_diffusers
from tokbench.weights.weight_files import open_weights, read_json

BLOCKS = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
KL: dict[str, Any] = {"block_out_channels": [32, 64], **BLOCKS, "latent_channels": 4, "layers_per_block": 1}
NATIVE = {
    "autoencoder.channels": 32,
    "autoencoder.channel_multipliers": "1,2",
    "autoencoder.num_res_blocks": 1,
}
"""What makes ``vae/sd`` the network of ``KL``."""


@pytest.fixture(scope="module")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def peer(diffusers: Any) -> Any:
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(**KL).eval()


def images() -> Tensor:
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def load_both(place: Path, peer: Any, *, atol: float = 1e-5, **chosen: Any) -> list[str]:
    """Through the library's variant and the native one; what each says of how."""
    with torch.no_grad():
        expected = peer.encode(images()).latent_dist.mean.flatten(2).transpose(1, 2)
    hows = []
    for name, settings in (("diffusers/kl", {}), ("vae/sd", NATIVE)):
        tokenizer = tokbench.load(name, weights=place, config=settings, **chosen)
        torch.testing.assert_close(tokenizer.encode(images()).latents, expected, atol=atol, rtol=0)  # type: ignore[union-attr]
        hows.append(str(tokenizer.weights_how))
    return hows


def refused(place: Path, match: str, **chosen: Any) -> None:
    for name, settings in (("diffusers/kl", {}), ("vae/sd", NATIVE)):
        with pytest.raises(TokbenchError, match=match) as error:
            tokbench.load(name, weights=place, config=settings, **chosen)
        assert "\n" not in str(error.value)


def test_every_form_of_save_pretrained(peer: Any, tmp_path: Path) -> None:
    """16 forms, each in its folder and in a pipeline's, through two tokenizers."""
    number = 0
    for variant in (None, "fp16"):
        for safe in (True, False):
            for size in ("1GB", "400KB"):
                for inside in ("", "vae"):
                    number += 1
                    place = tmp_path / str(number)
                    peer.save_pretrained(place / inside, variant=variant, safe_serialization=safe, max_shard_size=size)
                    if inside:
                        (place / "model_index.json").write_text("{}")
                        (place / "unet").mkdir()
                        (place / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
                    for how in load_both(place, peer):
                        assert how.startswith("safetensors" if safe else "zip")
                        assert ("file diffusion_pytorch_model" in how) == (variant is not None)
                    if size != "1GB":
                        assert len(list((place / inside).glob("*-of-*"))) > 1
    assert number == 16


def test_one_of_several_forms_is_taken_by_rule(peer: Any, tmp_path: Path) -> None:
    peer.save_pretrained(tmp_path)
    good = tmp_path / "diffusion_pytorch_model.safetensors"
    ranks = [
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.bin",
        "diffusion_pytorch_model.fp32.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.fp16.bin",
        "diffusion_pytorch_model.bf16.safetensors",
        "diffusion_pytorch_model.mine.safetensors",
    ]
    state = load_file(good)
    for place, name in enumerate(reversed(ranks)):
        path = tmp_path / name
        torch.save(state, path) if name.endswith(".bin") else shutil.copy(good, path) if path != good else None
        for other in ranks[: len(ranks) - 1 - place]:
            if tmp_path / other != good:
                (tmp_path / other).unlink(missing_ok=True)
    for taken, other in pairwise(ranks):
        for how in load_both(tmp_path, peer):
            assert f"; file {taken} before {other}" in how
        (tmp_path / taken).unlink()


def test_averages_in_files_of_their_own(peer: Any, tmp_path: Path) -> None:
    peer.save_pretrained(tmp_path)
    plain = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(plain).items()}, tmp_path / "diffusion_pytorch_model.non_ema.safetensors")
    for asked in (None, True):
        load_both(tmp_path, peer, averages=asked)
    assert "file diffusion_pytorch_model.non_ema" in str(
        tokbench.load("vae/sd", weights=tmp_path, averages=False, config=NATIVE).weights_how
    )
    (tmp_path / "diffusion_pytorch_model.non_ema.safetensors").unlink()
    refused(tmp_path, "holds no complete averages", averages=True)


@pytest.mark.usefixtures("uncompared")
def test_shards_that_are_not_whole(peer: Any, tmp_path: Path) -> None:
    peer.save_pretrained(tmp_path, max_shard_size="400KB")
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    good = index.read_text()
    shard = sorted(tmp_path.glob("*-of-*"))[1]
    load_both(index, peer)
    for name in ("../a.safetensors", "/etc/passwd", "..", "", "a/b.safetensors", "..\\a.safetensors"):
        values = json.loads(good)
        values["weight_map"][next(iter(values["weight_map"]))] = name
        index.write_text(json.dumps(values))
        refused(tmp_path, "index.json names no files beside it as weight_map; save the model again")
    index.write_text(good)
    shutil.copy(shard, tmp_path / "kept")
    save_file({name: torch.zeros(1) for name in ("encoder.conv_in.weight", "x")}, shard)
    refused(tmp_path, "names two files that hold encoder.conv_in.weight|does not fit")
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refused(tmp_path, rf"{shard.name} holds no weights: it is a Git LFS pointer")
    shard.unlink()
    refused(tmp_path, rf"{shard.name} is not there, although the index beside it names it")
    index.unlink()
    refused(tmp_path, "holds shards such as .* without their index")


def test_settings_that_make_another_network_of_the_same_shapes(diffusers: Any, tmp_path: Path) -> None:
    diffusers.AutoencoderKL(**KL, norm_num_groups=16).save_pretrained(tmp_path)
    with pytest.raises(TokbenchError, match=r"config\.json sets norm_num_groups to 16, here it is 32; load it as diffusers/kl"):
        tokbench.load("vae/sd", weights=tmp_path, config=NATIVE)
    tokbench.load("vae/sd", weights=tmp_path, config=NATIVE | {"autoencoder.norm_groups": 16})
    tokbench.load("diffusers/kl", weights=tmp_path)


FLUX2: dict[str, Any] = {"block_out_channels": (32, 32), "layers_per_block": 1, "latent_channels": 4}
FLUX2 |= {f"{way}_block_types": (f"{name}Block2D",) * 2 for way, name in (("down", "DownEncoder"), ("up", "UpDecoder"))}
FLUX2_OURS = {f"autoencoder.{key}": value for key, value in {"z_channels": 4, "channels": 32, "num_res_blocks": 1}.items()}
FLUX2_OURS |= {"autoencoder.channel_multipliers": (1, 1)}
WAN = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [False], "is_residual": True}
WAN |= {"in_channels": 12, "out_channels": 12, "patch_size": 2, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
WAN_OURS = {"z_channels": 4, "channels": 8, "decoder_channels": 8, "channel_multipliers": (1, 1), "num_res_blocks": 1}
TINY = {f"{way}coder_block_out_channels": (8, 8) for way in ("en", "de")} | {f"num_{way}coder_blocks": (1, 1) for way in ("en", "de")}
ALIKE = {
    "groups": ("AutoencoderKLFlux2", FLUX2, "flux/2", FLUX2_OURS, {"norm_num_groups": 16}, "norm_num_groups to 16, here it is 32"),
    "statistics": ("AutoencoderKLFlux2", FLUX2, "flux/2", FLUX2_OURS, {"batch_norm_eps": 0.1}, "batch_norm_eps to 0.1, here it is 0.0001"),
    "time": (
        "AutoencoderKLWan",
        WAN,
        "wan/2.2",
        {f"network.{key}": value for key, value in WAN_OURS.items()} | {"network.temporal": (False,)},
        {"temperal_downsample": [True]},
        r"temperal_downsample to \[True\], here it is \[False\]",
    ),
    "bends": (
        "AutoencoderTiny",
        TINY,
        "taesd/sd",
        {"widths": (8, 8), "blocks": (1, 1)},
        {"act_fn": "silu"},
        "act_fn to silu, here it is relu",
    ),
}


@pytest.mark.parametrize("case", ALIKE.values(), ids=ALIKE)
def test_settings_that_no_shape_shows_are_heeded_or_refused(diffusers: Any, case: tuple, tmp_path: Path) -> None:
    library_class, theirs, name, ours, change, message = case
    peer = getattr(diffusers, library_class)
    peer(**theirs).save_pretrained(tmp_path / "same")
    tokbench.load(name, weights=tmp_path / "same", config=ours)
    peer(**(theirs | change)).save_pretrained(tmp_path / "other")
    for place in (tmp_path / "other", tmp_path / "other" / "diffusion_pytorch_model.safetensors"):
        with pytest.raises(TokbenchError, match=rf"config\.json sets {message}; load it as diffusers/\w+$"):
            tokbench.load(name, weights=place, config=ours)


def test_heads_that_no_shape_shows_are_refused(tmp_path: Path) -> None:
    peer = pytest.importorskip("transformers")
    shape = {"codebook_size": 16, "base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1, "attn_resolutions": []}
    ours: dict[str, object] = {"codebook_size": 16, "frames": 2, "autoencoder.attn_resolutions": ()}
    ours |= {"autoencoder.channels": 32, "autoencoder.channel_multipliers": (1,), "autoencoder.num_res_blocks": 1}
    config = peer.Emu3VQVAEConfig(**shape, hidden_size=32, temporal_downsample_factor=2, num_attention_heads=2)
    peer.Emu3VQVAE(config).save_pretrained(tmp_path)
    with pytest.raises(TokbenchError, match=r"sets num_attention_heads to 2, here it is 1; load it as transformers/emu3"):
        tokbench.load("emu3/vision", weights=tmp_path, config=ours)
    tokbench.load("emu3/vision", weights=tmp_path, config=ours | {"attention_heads": 2})


def test_single_files_of_original_names_in_the_librarys_variant(peer: Any, tmp_path: Path) -> None:
    state = {name: value.contiguous() for name, value in from_diffusers(peer.state_dict()).items()}
    assert {name: value.shape for name, value in to_diffusers(state).items()} == {n: v.shape for n, v in peer.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"first_stage_model.{name}": value for name, value in state.items()}}, tmp_path / "a.ckpt")
    for name in ("a.safetensors", "a.ckpt"):
        tokenizer = tokbench.load("diffusers/kl", weights=tmp_path / name, config={"settings": settings_of(KL)})
        with torch.no_grad():
            expected = peer.encode(images()).latent_dist.mean.flatten(2).transpose(1, 2)
        torch.testing.assert_close(tokenizer.encode(images()).latents, expected, atol=1e-5, rtol=0)  # type: ignore[union-attr]


# ---- folders of trainers


def test_folders_of_trainers(small_vqvae: Any, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in small_vqvae.state_dict().items()}

    def folder(name: str, **files: object) -> Path:
        place = tmp_path / name
        for path, content in files.items():
            target = place / path.replace("__", ".").replace("_s_", "/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content) if isinstance(content, str) else torch.save(content, target)
        place.mkdir(exist_ok=True)
        return place

    accelerate = folder("accelerate", optimizer__bin={"a": 1}, scheduler__bin={}, random_states_0__pkl={})
    save_file(state, accelerate / "model.safetensors")
    ranks = {"mp_rank_00_model_states__pt": {"module": state, "optimizer": None}, "zero_pp_rank_0_mp_rank_00_optim_states__pt": {}}
    good = (
        accelerate,
        folder("hub", pytorch_model__bin=state),
        folder("lightning", last__ckpt={"state_dict": state}),
        folder("deepspeed", **ranks),
        folder("deepspeed_root", latest="global_step7", **{f"global_step7_s_{name}": value for name, value in ranks.items()}),
    )
    for place in good:
        assert small_vqvae.read_weights(place).tensors.keys() == state.keys()
    for place, match in (
        (folder("fsdp", __0_0__distcp=state), "is a sharded checkpoint of torch.distributed; merge it into one file with: python -m"),
        (folder("fsdp_in", pytorch_model_fsdp_0_s___0_0__distcp=state), "is a sharded checkpoint of torch.distributed"),
        (folder("zero3", zero_pp_rank_0_mp_rank_00_model_states__pt={}), "whose parameters are split .ZeRO 3."),
        (folder("split", mp_rank_00_model_states__pt=state, mp_rank_01_model_states__pt=state), "is split over 2 processes"),
        (folder("peft", adapter_config__json="{}", adapter_model__bin=state), "is an adapter of PEFT, which changes a model"),
        (folder("flax", flax_model__msgpack="\x83abc"), "holds no weights of PyTorch: of flax_model.msgpack"),
        (folder("two", a__ckpt=state, b__ckpt=state), "and their like, it holds a.ckpt, b.ckpt; give the file of weights itself"),
        (folder("nothing"), "it holds nothing"),
    ):
        with pytest.raises(TokbenchError, match=match) as error:
            small_vqvae.read_weights(place)
        assert "\n" not in str(error.value)


# ---- what is no weights


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    elif kind == "npz":
        np.savez(file, a=np.zeros(3))
    else:
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr("readme.txt", "a")
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 334643276\n"
NOT_WEIGHTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "zeros": (bytes(5000), "it begins with nothing but zeros"),
    "pointer": (LFS, "it is a Git LFS pointer; fetch the file itself"),
    "page": (b"<!DOCTYPE html><html><head><title>Virus scan warning</title></head></html>", r'it is a web page \("Virus scan warning"\)'),
    "long page": (b"\n<html lang='en'>" + b"<p>\xc3\xa9</p>" * 3000, "it is a web page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", r'it is XML \("AccessDenied"\)'),
    "json": (b'{"error": "Repository not found"}', r'it is JSON \("Repository not found"\)'),
    "index": (b'{"metadata": {}, "weight_map": {"a": "b"}}', "it is the index of a model in several files; give the folder"),
    "config": (b'{"_class_name": "AutoencoderKL"}', "it is a configuration; give the folder it lies in"),
    "deep json": (b"[" * 100_000, "it is (JSON|text)"),
    "text": (b"Entry not found", r'it is text \("Entry not found"\)'),
    "text with a mark": (b"\xef\xbb\xbfAccess to model x is restricted", "it is text"),
    "gzip": (gzip.compress(b"a" * 99), "it is a gzip archive; unpack it first"),
    "bzip2": (bz2.compress(b"a" * 99), "it is a bzip2 archive"),
    "xz": (lzma.compress(b"a" * 99), "it is an xz archive"),
    "tar": (archive("tar"), "it is a tar archive; unpack it first"),
    "zip": (archive("zip"), r"it is a zip archive of other files \(readme.txt\)"),
    "npz": (archive("npz"), r"it is an archive of arrays of NumPy \(.npz\)"),
    "png": (picture("PNG"), r"it is a picture \(PNG\)"),
    "jpeg": (picture("JPEG"), r"it is a picture \(JPEG\)"),
    "webp": (picture("WEBP"), r"it is a picture \(WebP\)"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(64), "it is a GGUF file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "it is an HDF5 file"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x053.0.0:" + bytes(64), "it is a file of ONNX"),
    "pdf": (b"%PDF-1.7\n" + bytes(64), "it is a PDF document"),
    "parquet": (b"PAR1" + bytes(64), "it is a Parquet table"),
    "program": (b"\x7fELF\x02" + bytes(64), "it is a program"),
}


@pytest.mark.parametrize("kind", NOT_WEIGHTS)
def test_what_is_no_weights_is_named_under_any_suffix(kind: str, tmp_path: Path) -> None:
    """27 kinds under 6 names, and as parts of folders."""
    data, words = NOT_WEIGHTS[kind]
    for suffix in (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ""):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        for read in (read_state, open_weights):
            with pytest.raises(TokbenchError, match=rf"{path} holds no weights: .*{words}") as error:
                read(path)
            assert str(error.value).isprintable()
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(data)
    with pytest.raises(TokbenchError, match=words):
        open_weights(tmp_path)


def test_files_that_may_be_weights_are_read(tmp_path: Path) -> None:
    """Names and sizes at which a header could be taken for text."""
    for count in range(1, 60):
        save_file({"a" * count: torch.zeros(count)}, tmp_path / "a.bin")
        assert read_state(tmp_path / "a.bin")[0]["a" * count].shape == (count,)


def test_settings_of_strangers(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for data, words in (
        (LFS, "it is a Git LFS pointer"),
        (b"[" * 100_000, "is not readable JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    ):
        path.write_bytes(data)
        with pytest.raises(TokbenchError, match=words):
            read_json(path)


# ---- the command line


def test_options_of_every_command_that_takes_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = tokbench.load("vqgan").state_dict()
    raw = {name: value * 0.9 for name, value in state.items()}
    torch.save({"model": raw, "ema": {**state, "teacher.w": torch.zeros(1)}}, tmp_path / "two.pt")
    run, chosen = CliRunner(), ["-t", "vqgan", "--weights", "two.pt", "--drop", "teacher."]
    for averages, expected in (("yes", state), ("no", raw)):
        result = run.invoke(app, ["convert", *chosen, "--averages", averages, "--out", averages], catch_exceptions=False)
        assert result.exit_code == 0
        assert torch.equal(
            load_file(tmp_path / averages / "model.safetensors")["decoder.conv_in.weight"], expected["decoder.conv_in.weight"]
        )
    assert run.invoke(app, ["convert", *chosen, "--averages", "maybe", "--out", "x"], catch_exceptions=False).exit_code == 2
    for command in ("run", "export", "probe", "convert"):
        help_ = run.invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        assert "--drop" in help_
        assert "--averages" in help_
    with pytest.raises(TokbenchError, match="--weights, --drop and --averages belong to one tokenizer, 2 are given"):
        run.invoke(app, ["run", "-t", "vqgan", "-t", "vae", "--averages", "no"], catch_exceptions=False)


def test_saved_folders_with_choices(tmp_path: Path) -> None:
    folder = save_tokenizer(tokbench.load("vae"), tmp_path / "vae")
    with pytest.raises(TokbenchError, match=r"--drop teacher\. is the beginning of no name in model.safetensors"):
        tokbench.load(str(folder), drop="teacher.")


@pytest.mark.usefixtures("uncompared")
def test_a_configuration_too_large_for_memory_is_compared_first() -> None:
    with pytest.raises(TokbenchError, match=r"does not fit VQGAN: .* of another shape"):
        tokbench.load("vqgan", config={"autoencoder.channels": 100_000_000})
