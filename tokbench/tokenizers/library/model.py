"""The adapter to this package's interface: builds another library's network from settings, and reads the folders that bring them.

    images -> network.encode -> codes [B, H, W] or latents [B, C, H, W] -> tokens -> network.decode -> images

The network is the library's own class with its own parameter names, under ``network.``; how its class is called is data, ``Calls``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from tokbench.errors import TokbenchError, missing_extra
from tokbench.linear import multiplying
from tokbench.quantizers.base import check_finite
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.library.config import LibraryConfig, settings_of
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokens import ContinuousTokens, DiscreteTokens
from tokbench.weights.weight_files import CONFIG, Opened, model_folder, read_json

NETWORK = "network."

ELSEWHERE = {"Emu3VisionVQ": "emu3/vision, with its model.safetensors as weights"}
"""Models that no library of the zoo builds, and what reads them."""

CLIPS = ("AutoencoderKLAllegro", "AutoencoderVidTok", "AutoencoderKLMiniMaxH3")
"""Models of video whose networks do not take a clip of one frame."""

Generators = list[torch.Generator]
"""One an image; empty where no noise is drawn."""


Call = Callable[[Any, Tensor, Generators], Tensor]
"""Tokenizer, a batch and generators to a batch."""


@dataclass(frozen=True)
class Calls:
    """How a class of the library is called.

    Args:
        encode: Tokenizer, images and generators to codes ``[B, H, W]`` or latents ``[B, C, H, W]``.
        decode: Tokenizer, such codes or latents and generators to images.
    """

    encode: Call
    decode: Call


class LibraryTokenizer(Tokenizer):
    """A network of another library; a subclass knows the library.

    Args:
        config: The library's class and its settings.

    Raises:
        TokbenchError: If the library is missing, or refuses the settings.
    """

    library: ClassVar[str]
    calls: ClassVar[Mapping[str, Calls]]
    config: LibraryConfig
    network: Any  # of the library's class

    def __init__(self, config: LibraryConfig) -> None:
        super().__init__()
        self.config = config
        cls = self.imported(config.library_class)
        try:
            self.network = multiplying(self.built(cls, config))
        except Exception as error:  # whatever the library's own checks raise
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise TokbenchError(f"{config.library_class} of {self.library} cannot be built from these settings ({reason})") from error
        if any(value.is_meta for value in self.network.parameters()):
            self.network.to("meta")  # some classes make a few values without asking where
        quantizer = getattr(self.network, "quantize", None)
        if isinstance(quantizer, nn.Module):
            quantizer.register_forward_pre_hook(_check_features)

    @property
    def normalisation(self) -> Normalisation | None:  # type: ignore[override]
        """As the settings say."""
        return self.config.normalisation

    @property
    def encode_is_stochastic(self) -> bool:  # type: ignore[override]  # depends on the configuration here
        """As the configuration says."""
        return self.config.encode_is_stochastic

    @property
    def decode_is_stochastic(self) -> bool:  # type: ignore[override]
        """As the configuration says."""
        return self.config.decode_is_stochastic

    def note_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Note whether the normalisation is what the settings beside the weights say, or that of the row."""
        self.normalisation_told = self.found(settings)[0] == self.config.library_class

    @classmethod
    @abstractmethod
    def built(cls, library_class: Any, config: LibraryConfig) -> nn.Module:
        """Build the network, with whatever weights it starts from."""

    @classmethod
    @abstractmethod
    def found(cls, values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Name of the library's class that a ``config.json`` is of, and the settings it has for it."""

    @classmethod
    @abstractmethod
    def completed(cls, library_class: Any, values: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with the library's defaults for what they do not say; ``row`` has those of the variant.

        Raises:
            ValueError: If they say what this class does not know.
        """

    @classmethod
    def imported(cls, name: str) -> Any:
        """Import a class of the library.

        Raises:
            TokbenchError: If the library is not installed, or has no such class.
        """
        try:
            module = import_module(cls.library)
            return getattr(module, name)
        except ModuleNotFoundError as error:
            if error.name != cls.library:
                raise TokbenchError(f"{cls.library} cannot be imported here ({error}); install what it needs") from error
            raise missing_extra(cls.library, cls.library, f"every tokenizer of {cls.library}") from error
        except (AttributeError, ImportError, RuntimeError) as error:
            version = getattr(module, "__version__", "")
            update = f"pip install -U {cls.library}"
            raise TokbenchError(f"{cls.library} {version} has no usable {name} here ({error}); a newer one may: {update}") from error

    @classmethod
    def configured(cls, place: Path, config: LibraryConfig) -> LibraryConfig:
        """Take the settings that the ``config.json`` in a folder, or beside a file, has.

        Args:
            place: Folder of the model or around it, or a file of weights; a file with no ``config.json`` of its class beside it has
                the settings of ``config``.
            config: That of the variant asked for.

        Raises:
            TokbenchError: If the folder holds no model, or one of another class; says which variant is for that.
        """
        folder = model_folder(place, cls._is_read)
        path, values = folder / CONFIG, config.values
        if place.is_dir() or (path.is_file() and cls.found(read_json(path))[0] == config.library_class):
            name, values = cls.found(read_json(path))
            if name != config.library_class:
                raise TokbenchError(f"{path} is of {name or 'no class'}, not of {config.library_class}; {_advice(name)}")
        try:
            return replace(config, settings=settings_of(cls.completed(cls.imported(config.library_class), values, config.values)))
        except ValueError as error:
            raise TokbenchError(f"{path if place.is_dir() else place} does not do: {error}") from error

    @classmethod
    def open_place(cls, place: Path, averages: bool | None) -> Opened:
        """Open the weights in a folder, or a file of them."""
        return super().open_place(place if place.is_file() else model_folder(place, cls._is_read), averages)

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of the library, under ``network.``."""
        return {name if name.startswith(NETWORK) else NETWORK + name: value for name, value in state.items()}

    @classmethod
    def _is_read(cls, values: Mapping[str, Any]) -> bool:
        return cls.found(values)[0] in cls.calls

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens | ContinuousTokens:
        layout = self.layout(*images.shape[2:])
        expected = layout.grid if layout.discrete else (layout.channels, *layout.grid)
        if len(images):
            found = self.calls[self.config.library_class].encode(self, images, _generators(seeds))
        else:  # some of the networks cannot reshape nothing
            found = images.new_zeros((0, *expected))
        if found.shape[1:] != expected:  # the settings have a meaning that this package does not know of
            message = f"{self.name} made {tuple(found.shape[1:])} of images of {layout.image_size}, by its settings it should be {expected}"
            raise TokbenchError(f"{message}; this model cannot be used")
        if layout.discrete:
            return DiscreteTokens(rearrange(found.long(), "b h w -> b (h w) 1").contiguous(), layout.grid, layout.codebook_sizes)
        latents = rearrange(found, "b c h w -> b (h w) c").to(next(self.parameters()).dtype)  # under autocast it has another
        check_finite(latents, "latents")
        return ContinuousTokens(latents.contiguous(), layout.grid)

    def _decode(self, tokens: DiscreteTokens | ContinuousTokens, seeds: list[int]) -> Tensor:
        height, width = tokens.grid
        if not len(tokens):
            return next(self.parameters()).new_zeros((0, 3, height * self.stride, width * self.stride))
        if isinstance(tokens, DiscreteTokens):
            values = rearrange(tokens.codes, "b (h w) 1 -> b h w", h=height, w=width)
        else:
            values = rearrange(tokens.latents, "b (h w) c -> b c h w", h=height, w=width)
        return self.calls[self.config.library_class].decode(self, values, _generators(seeds))

    def _embed(self, codes: Tensor) -> Tensor:
        return self.network.quantize.embedding(codes.squeeze(-1))


def _check_features(quantizer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse what is not finite before the library's own search makes some code of it."""
    check_finite(inputs[0], "features")


def _generators(seeds: list[int]) -> Generators:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _advice(name: str) -> str:
    """What to load a model of some class as."""
    from tokbench.tokenizers.zoo import families

    rows = [(family.name, variant) for family in families().values() for variant in family.variants]
    read = ELSEWHERE | {
        variant.config.library_class: f"{family}/{variant.name}" for family, variant in rows if isinstance(variant.config, LibraryConfig)
    }
    if name in CLIPS:
        return "it takes clips of several frames, and an image is none; take the autoencoder of an image model"
    return f"load it as {read[name]}" if name in read else f"there are tokenizers for {', '.join(sorted(read.keys() - ELSEWHERE))}"
