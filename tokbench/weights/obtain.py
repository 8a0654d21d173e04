"""Where the weights of a variant are: shipped with the package, fetched into the user's cache, or still to come; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, runtime_checkable

from tokbench.errors import TokbenchError
from tokbench.files import write_copy
from tokbench.weights.assets import cache_dir
from tokbench.weights.download import Progress, reason
from tokbench.weights.places import HubPlace, WebPlace, check_pin, fetch, forget_pin, parse_place


@runtime_checkable
class Named(Protocol):
    """A family of the zoo, as far as the places of its weights go."""

    @property
    def name(self) -> str:
        """Name of the family."""
        ...

    @property
    def variants(self) -> Sequence[Row]:
        """Its rows."""
        ...


@runtime_checkable
class Row(Protocol):
    """A variant of the zoo, as far as the places of its weights go; ``tokbench.tokenizers.family.Variant`` says what they mean."""

    @property
    def name(self) -> str:
        """Without the family."""
        ...

    @property
    def weights(self) -> str | None:
        """File that ships with the package."""
        ...

    @property
    def needs_weights(self) -> bool:
        """Whether it is useless without weights."""
        ...

    @property
    def file(self) -> str | None:
        """Where its published weights can be fetched."""
        ...

    @property
    def sha256(self) -> str | None:
        """Digest of that file, where it is known."""
        ...

    @property
    def beside(self) -> str | None:
        """Name of a file in the same folder that says how latents are normalised."""
        ...

    @property
    def source(self) -> str:
        """Where architecture and weights come from."""
        ...


State = Literal["embedded", "here", "to fetch", "to be given", "none needed"]


def weights_path(variant: Row) -> Path | None:
    """Where the weights that ship with the package lie; None if the variant has none."""
    if variant.weights is None:
        return None
    return Path(str(resources.files("tokbench.weights") / "embedded" / variant.weights))


def cache_path(family: Named, variant: Row) -> Path | None:
    """Where the published file of a variant lies, or would lie once fetched; None if nobody publishes one."""
    place = _place(variant)
    if place is None:
        return None
    name = place.inside if isinstance(place, HubPlace) else place.member or place.file_name
    return cache_dir() / "weights" / family.name / variant.name / name


def twin_path(family: Named, variant: Row) -> Path | None:
    """Where the file of a variant lies for another row of its family, which is of the same file; None if it is not here so."""
    for row in family.variants:
        path = cache_path(family, row) if row.file == variant.file and row.name != variant.name else None
        if path is not None and path.is_file():
            return path
    return None


def beside_path(family: Named, variant: Row) -> Path | None:
    """Where the file lies, or would lie, that says how latents of published weights are normalised; None if there is none beside them."""
    path = cache_path(family, variant)
    return None if path is None or variant.beside is None else path.with_name(variant.beside)


def lacks_beside(family: Named, variant: Row) -> bool:
    """Whether the file that says how latents are normalised is still to be fetched."""
    path = beside_path(family, variant)
    return path is not None and not path.is_file()


def weights_state(family: Named, variant: Row) -> State:
    """Whether a variant's weights are at hand."""
    if variant.weights is not None:
        return "embedded"
    if not variant.needs_weights:
        return "none needed"
    path = cache_path(family, variant)
    return "to be given" if path is None else "here" if path.is_file() else "to fetch"


def own_weights(family: Named, variant: Row) -> Path | None:
    """Find the weights of a variant that the user names no file for.

    Returns:
        Their file; None if the variant needs none.

    Raises:
        TokbenchError: If they are not here, or not the file that is published or was here at first use.
    """
    if variant.weights is not None or not variant.needs_weights:
        return weights_path(variant)
    name, path = f"{family.name}/{variant.name}", cache_path(family, variant)
    if path is None:
        raise TokbenchError(f"{name} ships without weights; pass weights=PATH (command line: --weights PATH)")
    if not path.is_file():
        raise TokbenchError(f"the weights of {name} are not here; run: tokbench weights get {name} (or pass --weights FILE)")
    check_pin(str(_place(variant)), path, name=name, sha256=variant.sha256)
    beside = beside_path(family, variant)
    if beside is not None and beside.is_file():
        check_pin(str(_beside(variant)), beside, name=name)
    return path


def fetch_weights(family: Named, variant: Row, *, renew: bool = False, progress: Progress = lambda done, total: None) -> Path:
    """Fetch the published weights of a variant into the user's cache, and what lies beside them, unless they are there.

    Args:
        family: Family of the variant.
        variant: Whose weights.
        renew: Whether to fetch what is published now in any case, and to note its digest instead of the one at first use. A digest that
            is known must be that of the file in any case.
        progress: Called with bytes done and bytes in all (0 if unknown).

    Returns:
        Their file.

    Raises:
        TokbenchError: If nobody publishes any, they cannot be had (says where to put them by hand), or what came is another file.
    """
    path = _fetch_file(family, variant, renew=renew, progress=progress)
    place, target = _beside(variant), beside_path(family, variant)
    if place is not None and target is not None:
        try:
            fetch(place, target, name=f"{family.name}/{variant.name}", renew=renew, progress=progress)
        except OSError as error:
            raise TokbenchError(
                f"cannot fetch {place} ({reason(error)}), which says how latents are normalised; the weights are here and load without it. "
                f"Fetch it by other means and put it at {target}"
            ) from error
    return path


def _fetch_file(family: Named, variant: Row, *, renew: bool, progress: Progress) -> Path:
    """Fetch the weights alone."""
    name, place, path = f"{family.name}/{variant.name}", _place(variant), cache_path(family, variant)
    if place is None or path is None:
        if variant.weights is not None or not variant.needs_weights:
            raise TokbenchError(f"{name} needs no fetching: its weights are {weights_state(family, variant)}")
        raise TokbenchError(f"no file of {name} is known; get one from {variant.source}, and pass --weights FILE")
    if path.is_file() and not renew:
        check_pin(str(place), path, name=name, sha256=variant.sha256)
        return path
    twin = None if renew else twin_path(family, variant)
    if twin is not None:
        check_pin(str(place), twin, name=name, sha256=variant.sha256)
        write_copy(twin, path)
        return path
    try:
        return fetch(place, path, name=name, sha256=variant.sha256, renew=renew, progress=progress)
    except OSError as error:
        raise TokbenchError(f"cannot fetch {place} ({reason(error)}); fetch it by other means and put it at {path}") from error


def forget_weights(variant: Row) -> bool:
    """Forget the digests of a variant's weights, and of what lies beside them, noted at first use; returns whether one was noted."""
    known = [forget_pin(str(place)) for place in (_place(variant), _beside(variant)) if place is not None]
    return any(known)


def _place(variant: Row) -> HubPlace | WebPlace | None:
    place = None if variant.file is None else parse_place(variant.file)
    assert not isinstance(place, Path), f"{variant.file} is no place of the web"
    return place


def _beside(variant: Row) -> HubPlace | None:
    """Place of the file that lies beside the weights; such rows are of the hub."""
    place = _place(variant)
    if variant.beside is None or not isinstance(place, HubPlace):
        return None
    return replace(place, inside=str(PurePosixPath(place.inside).with_name(variant.beside)))
