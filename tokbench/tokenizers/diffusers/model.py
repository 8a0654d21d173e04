r"""Autoencoders of diffusers behind this package's interface.

Papers: Rombach et al. 2022 (``AutoencoderKL``, ``VQModel``); Chen et al. 2024, "Deep Compression Autoencoder for Efficient
High-Resolution Diffusion Models" (``AutoencoderDC``); Song et al. 2023, "Consistency Models" (``ConsistencyDecoderVAE``).
``AutoencoderTiny`` is TAESD, a distilled autoencoder without a paper.

    images -> encode -> posterior or latents ------> decode -> images
                   \-> nearest of K codes --------/   \-- of a consistency decoder: noise, two steps
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.configs import plain
from tokbench.tokenizers.diffusers.config import FRAMES
from tokbench.tokenizers.library.config import LibraryConfig
from tokbench.tokenizers.library.model import Call, Calls, Generators, LibraryTokenizer
from tokbench.tokenizers.normalisation import Normalisation, from_batch_norm
from tokbench.weights.key_maps.diffusers import is_taming, to_diffusers

DERIVED = ("block_out_channels", "force_upcast")
"""What some classes write into their ``config.json`` although they take no such setting."""

RGBA = "AutoencoderKLQwenImage21"
"""Its images have a fourth channel, opacity, from -1 to 1."""

OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Layers of an attention block in older files, and their names of today."""

_OLD_LAYER = re.compile(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)(\.(?:weight|bias))$")


def _gaussian(tokenizer: DiffusersTokenizer, images: Tensor, generators: Generators) -> Tensor:
    posterior = tokenizer.network.encode(images).latent_dist
    return posterior.sample(generators) if generators else posterior.mode()


def _codes(tokenizer: DiffusersTokenizer, images: Tensor, generators: Generators) -> Tensor:
    latents = tokenizer.network.encode(images).latents  # not quantized: decode would do that
    *_, (_, _, indices) = tokenizer.network.quantize(latents)
    return indices.reshape(len(images), *latents.shape[2:])


def _decoded(tokenizer: DiffusersTokenizer, latents: Tensor, generators: Generators) -> Tensor:
    return tokenizer.network.decode(latents).sample


def _looked_up(tokenizer: DiffusersTokenizer, codes: Tensor, generators: Generators) -> Tensor:
    network = tokenizer.network
    shape = (*codes.shape, network.quantize.vq_embed_dim)
    if network.config.lookup_from_codebook:
        return network.decode(codes, force_not_quantize=True, shape=shape).sample
    return network.decode(network.quantize.get_codebook_entry(codes, shape), force_not_quantize=True).sample


def _denoised(tokenizer: DiffusersTokenizer, latents: Tensor, generators: Generators) -> Tensor:
    return tokenizer.network.decode(latents, generator=generators, num_inference_steps=tokenizer.config.decoder_steps).sample


def _clips(tokenizer: DiffusersTokenizer, images: Tensor, generators: Generators) -> Tensor:
    """Images as clips of one frame, opaque where a network knows opacity."""
    if tokenizer.config.library_class == RGBA:
        images = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
    return _gaussian(tokenizer, images.unsqueeze(2), generators).squeeze(2)


def _first_frames(tokenizer: DiffusersTokenizer, latents: Tensor, generators: Generators) -> Tensor:
    """The frame of every clip, without its opacity."""
    return tokenizer.network.decode(latents.unsqueeze(2)).sample[:, :3, 0]


def _one_by_one(call: Call) -> Call:
    """A call for networks that take one image at a time."""

    def called(tokenizer: DiffusersTokenizer, values: Tensor, generators: Generators) -> Tensor:
        return torch.cat([call(tokenizer, one, generators[place : place + 1]) for place, one in enumerate(values.split(1))])

    return called


class DiffusersTokenizer(LibraryTokenizer):
    """An autoencoder of diffusers: discrete tokens of ``VQModel``, continuous ones of the others."""

    library: ClassVar[str] = "diffusers"
    calls: ClassVar[Mapping[str, Calls]] = {
        "AutoencoderKL": Calls(_gaussian, _decoded),
        "VQModel": Calls(_codes, _looked_up),
        "AutoencoderTiny": Calls(lambda tokenizer, images, _: tokenizer.network.encode(images).latents, _decoded),
        "AutoencoderDC": Calls(lambda tokenizer, images, _: tokenizer.network.encode(images).latent, _decoded),
        "ConsistencyDecoderVAE": Calls(_gaussian, _denoised),
        "AsymmetricAutoencoderKL": Calls(_gaussian, _decoded),
        "AutoencoderKLHunyuanImage": Calls(_gaussian, _decoded),
        "AutoencoderKLKVAE": Calls(_gaussian, _decoded),
        "AutoencoderKLFlux2": Calls(
            lambda tokenizer, images, generators: F.pixel_unshuffle(_gaussian(tokenizer, images, generators), tokenizer.config.patch),
            lambda tokenizer, latents, generators: _decoded(tokenizer, F.pixel_shuffle(latents, tokenizer.config.patch), generators),
        ),
        **dict.fromkeys(FRAMES, Calls(_clips, _first_frames)),
        "AutoencoderKLTemporalDecoder": Calls(
            _gaussian, lambda tokenizer, latents, _: tokenizer.network.decode(latents, num_frames=1).sample
        ),
        "AutoencoderKLHunyuanVideo15": Calls(_one_by_one(_clips), _one_by_one(_first_frames)),  # its masks are not of batches
    }
    config: Any
    network: Any

    @property
    def normalisation(self) -> Normalisation | None:  # type: ignore[override]
        """As the settings say; FLUX.2 has the statistics among its weights."""
        bn = getattr(self.network, "bn", None)
        return self.config.normalisation if bn is None else from_batch_norm(bn)

    @classmethod
    def built(cls, library_class: Any, config: LibraryConfig) -> nn.Module:
        """Build the network from its settings."""
        return library_class(**config.values)

    @classmethod
    def found(cls, values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Class and settings; what begins with an underscore is about the file."""
        name = values.get("_class_name") or values.get("model_type") or ""
        return str(name), {key: value for key, value in values.items() if not key.startswith("_")}

    @classmethod
    def completed(cls, library_class: Any, values: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with the library's defaults.

        Raises:
            ValueError: If there is a setting that the installed version does not know, and that is not None.
        """
        known = {
            name: parameter.default for name, parameter in inspect.signature(library_class.__init__).parameters.items() if name != "self"
        }
        unknown = [key for key, value in values.items() if key not in known and key not in DERIVED and value is not None]
        if unknown:
            raise ValueError(f"the installed {library_class.__name__} knows no {', '.join(unknown)}; update diffusers")
        return plain(known | {key: value for key, value in values.items() if key in known})

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of the library's today, under ``network.``.

        Older files name layers of attention otherwise; single files of latent diffusion have the names of taming-transformers.
        """
        state = to_diffusers(state) if is_taming(state) else state
        return super().own_names({_OLD_LAYER.sub(_of_today, name): value for name, value in state.items()})


def _of_today(layer: re.Match[str]) -> str:
    return layer[1] + OLD_ATTENTION[layer[2]] + layer[3]
