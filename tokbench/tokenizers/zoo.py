"""Names to tokenizers: every folder beside this file that has a ``variants`` module is a family; no torch until ``load``."""

from __future__ import annotations

import hashlib
import inspect
import logging
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.configs import plain, with_overrides
from tokbench.errors import TokbenchError, brief, unknown_name
from tokbench.plugins import hint, import_class
from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.weights.choice import DEFAULT, Choice
from tokbench.weights.obtain import cache_path, own_weights, weights_path
from tokbench.weights.places import locate
from tokbench.weights.saved import CONFIG, WEIGHTS, find_saved, write_saved
from tokbench.weights.training import Training, training_of

if TYPE_CHECKING:
    import torch

    from tokbench.tokenizers.base import Tokenizer
    from tokbench.weights.checkpoints import Checkpoint
    from tokbench.weights.likeness import Candidate

logger = logging.getLogger(__name__)

ENTRY_POINTS = "tokbench.tokenizers"
"""Entry-point group under which other packages offer a ``Family``."""


@cache
def families() -> dict[str, Family]:
    """All families, by name: this package's folders, then those of installed entry points."""
    import tokbench.tokenizers as package

    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        rows = f"tokbench.tokenizers.{module.name}.variants"
        if module.ispkg and find_spec(rows) is not None:
            family = import_module(rows).FAMILY
            found[family.name] = family
    for point in entry_points(group=ENTRY_POINTS):
        try:
            family = point.load()
        except (Exception, SystemExit) as error:  # another package's import may fail in any way
            raise TokbenchError(f"the tokenizer plug-in {point.name!r} ({point.value}) cannot be imported: {brief(error)}") from error
        if not isinstance(family, Family):
            raise TokbenchError(f"the tokenizer plug-in {point.name!r} must name a tokbench Family, got {type(family).__name__}")
        found.setdefault(family.name, family)
    return dict(sorted(found.items()))


def names() -> list[str]:
    """Every ``family/variant``."""
    return [f"{family.name}/{variant.name}" for family in families().values() for variant in family.variants]


def ready() -> list[str]:
    """Those that work without any download: their weights ship with the package, or they need none."""
    variants = [(name, resolve(name)[1]) for name in names()]
    return [name for name, variant in variants if variant.weights is not None or not variant.needs_weights]


def resolve(name: str) -> tuple[Family, Variant]:
    """Find a family and a variant; a bare family name means its default variant.

    Raises:
        TokbenchError: If there is none of that name; the nearest are named.
    """
    family_name, _, variant_name = name.partition("/")
    family = families().get(family_name)
    if family is not None:
        for variant in family.variants:
            if variant.name == (variant_name or family.default):
                return family, variant
    raise unknown_name("tokenizer", name, [*names(), *families()], hint=hint(name, "Tokenizer") or "See: tokbench list")


def load(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    *,
    config: Mapping[str, object] | None = None,
    drop: Sequence[str] = (),
    averages: bool | None = None,
) -> Tokenizer:
    """Load a tokenizer, ready to encode and decode.

    Args:
        name: ``family/variant``, a family (its default variant), a folder or file of ``save_tokenizer``, ``hf:OWNER/REPO`` of such a
            folder, or ``package.module:Class`` of your own.
        weights: A weights file to use instead of the variant's own: a path, ``hf:OWNER/REPO/FILE``, or a URL.
        device: Where it shall run.
        config: Fields of its configuration to change, such as ``{"autoencoder.channels": 64}``.
        drop: Beginnings of names in the weights to leave out, such as ``("foundation_model.",)``; the tokenizer must not need them.
        averages: Whether to take averaged weights (EMA); None takes them where the file holds a complete set, otherwise the raw ones.

    Returns:
        The tokenizer in evaluation mode.

    Raises:
        TokbenchError: If the name is unknown, a field does not fit, or the weights are missing or do not fit.
    """
    from tokbench.tokenizers.plugin import is_plugin

    choice = Choice((drop,) if isinstance(drop, str) else tuple(drop), averages)
    changes = dict(config or {})
    if is_plugin(name):
        return _load_plugin(name, None if weights is None else locate(weights), changes, usable_device(device), choice)
    family, variant, path = _find(name, weights)
    build = import_class(family.model)
    own: Any = variant.config
    if path is not None and hasattr(build, "configured"):  # a class, not a function that chooses one
        own = build.configured(path, own)
    own = with_overrides(own, changes)
    if changes and path is not None:
        _check_before(build, own, path, choice)
    model: Tokenizer = build(own)
    if variant.normalisation is not None:
        model.normalisation, model.normalisation_told = variant.normalisation, _is_told(family, variant)
    model.statistics_alone = variant.statistics_alone
    load_weights(model, path, choice)  # whose settings may say another
    model.name = f"{family.name}/{variant.name}"
    note_training(model, family, variant, path)
    return model.to(usable_device(device)).eval()


def _is_told(family: Family, variant: Variant) -> bool:
    """Whether the normalisation of a row is what a saved tokenizer says, not that of the zoo."""
    return all(row.normalisation != variant.normalisation for row in family.variants if row.name == variant.name)


def _load_plugin(name: str, weights: Path | None, changes: dict[str, object], device: torch.device, choice: Choice) -> Tokenizer:
    """Build a tokenizer from ``package.module:Class``, with its weights, on a device; arguments are those of ``load``."""
    from tokbench.conduct import blamed
    from tokbench.tokenizers.plugin import build_plugin, settle

    model = build_plugin(name, changes, taken=families())
    with blamed(name, "read_weights", may_refuse=True):
        load_weights(model, weights, choice)
    if weights is not None:
        model.own_weights = False
        training = training_of(weights)
        model.trained_with, model.training_sets = training.used, training.sets
    return settle(model, name, device)


def _check_before(build: Any, config: Any, path: Path, choice: Choice) -> None:
    """See that weights fit a changed configuration before memory is taken for it: a mistyped number may ask for terabytes."""
    from tokbench.shapes import shapes_only
    from tokbench.weights.checkpoints import DoesNotFit

    try:
        with shapes_only():
            draft = build(config)
        _read(draft, path, choice)
    except DoesNotFit:
        raise
    except Exception as error:  # not every network can be built without memory; building it in earnest says what is wrong
        logger.debug("%s is not compared beforehand: %s", path.name, error)


def _read(model: Tokenizer, path: Path, choice: Choice) -> Checkpoint:
    """Read weights for a tokenizer; if they do not fit, say which variants they look like."""
    from tokbench.weights.checkpoints import DoesNotFit
    from tokbench.weights.likeness import looks_like

    try:
        if choice == DEFAULT:
            return model.read_weights(path)
        _check_takes_choice(model)
        return model.read_weights(path, choice)
    except DoesNotFit as error:
        raise DoesNotFit(f"{error} {looks_like(error.state, candidates(families().values()), wholly=error.complete)}".rstrip()) from error


def _check_takes_choice(model: Tokenizer) -> None:
    """Refuse a choice among weights for a tokenizer whose own ``read_weights`` takes the path alone."""
    try:
        inspect.signature(model.read_weights).bind("path", "choice")
    except TypeError as error:
        raise TokbenchError(
            f"{model.name or type(model).__name__} reads weights in a way of its own, which takes no --drop and --averages "
            "(drop, averages); leave them out, or let its read_weights(path, choice) heed them"
        ) from error


def load_weights(model: Tokenizer, path: Path | None, choice: Choice = DEFAULT) -> None:
    """Read weights into a tokenizer, and note in it which they were.

    Args:
        model: Filled in place.
        path: A file or folder; None if the tokenizer has no weights.
        choice: What to leave out, and whether to take averages.

    Raises:
        TokbenchError: If they cannot be read or do not fit; says which variants they look like. Or if there are none to choose from.
    """
    from tokbench.weights.checkpoints import load_strictly

    if path is None:
        if choice != DEFAULT:
            raise TokbenchError("--drop and --averages (drop, averages) choose among weights, and here are none; leave them out")
        return
    checkpoint = _read(model, path, choice)
    load_strictly(model, checkpoint.tensors, origin=path.name)
    model.weights_sha256, model.weights_how = checkpoint.sha256, checkpoint.how


def _find(name: str, weights: str | Path | None) -> tuple[Family, Variant, Path | None]:
    """Row and weights file of what a user names; names of the zoo come before folders."""
    given = None if weights is None else locate(weights)
    if name.startswith("hf:") or (name and name.partition("/")[0] not in families() and Path(name).exists()):
        place = locate(name)
        saved = _saved(place)
        if saved is None:
            if place.suffix == ".py":
                raise TokbenchError(f"{name} is a file of Python, no tokenizer saved by tokbench. {hint(name, 'Tokenizer')}")
            raise TokbenchError(f"{name} holds no tokenizer saved by tokbench; load its family by name, with weights={name}")
        return saved[0], saved[1], given or saved[2]
    family, variant = resolve(name)
    if given is not None and given.is_dir() and (saved := _saved(given)):
        if saved[0] != family:
            raise TokbenchError(f"{weights} holds {saved[0].name}/{saved[1].name}, not a {family.name}; load it by its place alone")
        return family, saved[1], saved[2]
    return family, variant, own_weights(family, variant) if given is None else given


def _saved(place: Path) -> tuple[Family, Variant, Path] | None:
    """Family, row and weights file of a saved tokenizer; None if the place holds something else."""
    found = find_saved(place)
    if found is None:
        return None
    family, row = resolve(found.tokenizer)
    config = with_overrides(row.config, found.settings)
    if not found.weights.is_file():
        raise TokbenchError(f"{place} holds {CONFIG} without {WEIGHTS}; copy both")
    row = replace(row, config=config, trained_with=found.trained_with or row.trained_with)
    if found.normalisation is not None:
        row = replace(row, normalisation=with_overrides(Normalisation(), found.normalisation))
    return family, row, found.weights


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
    """Write a tokenizer as a folder that ``load`` reads.

    Args:
        tokenizer: A tokenizer of a family of the zoo.
        folder: Made if missing; what it holds must not be another tokenizer.
        dtype: Weights are stored as this; None keeps theirs.

    Returns:
        The folder.

    Raises:
        TokbenchError: If it is no tokenizer of the zoo, or the folder is taken or cannot be written.
    """
    if tokenizer.name.partition("/")[0] not in families():
        name = tokenizer.name or type(tokenizer).__name__
        raise TokbenchError(f"{name} is not of a family of the zoo, and only those can be found again by name; save its state_dict instead")
    about = {
        "tokenizer": tokenizer.name,
        "config": plain(tokenizer.config),
        **Training(tuple(tokenizer.trained_with), tuple(tokenizer.training_sets)).header(),
        "weights": {"made_from_sha256": tokenizer.weights_sha256, "how": tokenizer.weights_how},
    }
    if _is_told_by_settings(tokenizer):
        about["normalisation"] = plain(tokenizer.normalisation)
    write_saved(Path(folder), tokenizer.state_dict(), about, dtype=dtype)
    return Path(folder)


def _is_told_by_settings(tokenizer: Tokenizer) -> bool:
    """Whether settings beside the weights said the normalisation, so that neither the weights nor the configuration or class hold it."""
    from tokbench.tokenizers.library.config import LibraryConfig

    return tokenizer.normalisation_told and not type(tokenizer).normalisation_told and not isinstance(tokenizer.config, LibraryConfig)


def candidates(families: Iterable[Family]) -> Iterator[Candidate]:
    """List what tensors of unknown origin may be of: every variant whose network is written here."""
    from tokbench.tokenizers.library.config import LibraryConfig
    from tokbench.weights.likeness import Candidate

    for family in families:
        for variant in family.variants:
            if not isinstance(variant.config, LibraryConfig):  # nobody else has its names, and its library takes seconds to import
                yield Candidate(f"{family.name}/{variant.name}", partial(_build, family, variant))


def _build(family: Family, variant: Variant) -> Tokenizer:
    model: Tokenizer = import_class(family.model)(variant.config)
    return model


def note_training(model: Tokenizer, family: Family, variant: Variant, path: Path | None) -> None:
    """Note in a tokenizer what is known of its training: what its row says if it has the row's own weights, else what its file says.

    Args:
        model: As loaded.
        family: Family of the row.
        variant: The row.
        path: Where its weights were read from; None if it needs none.
    """
    own = [place for place in (weights_path(variant), cache_path(family, variant)) if place is not None]
    model.own_weights = path is None or any(_same_file(path, place) for place in own)
    if path is None or model.own_weights:
        model.trained_with, model.training_sets = variant.trained_with, ()
    else:
        training = training_of(path)
        model.trained_with, model.training_sets = training.used, training.sets


def _same_file(one: Path, other: Path) -> bool:
    """Whether two places hold the same bytes."""
    if one == other:
        return True
    if not (one.is_file() and other.is_file()) or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        return hashlib.file_digest(a, "sha256").digest() == hashlib.file_digest(b, "sha256").digest()


def usable_device(device: str | torch.device) -> torch.device:
    """Turn a device's name into the device.

    Raises:
        TokbenchError: If there is none of that name here.
    """
    import torch

    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TokbenchError(f"device {str(device)!r} cannot be used here ({reason}); allowed: cpu, cuda, cuda:0, mps") from error
    return chosen
