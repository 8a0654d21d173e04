"""From what an export or a model says of itself back to its tokenizer and its images, where they are at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tokbench.bench.loader import choose
from tokbench.configs import differences, flat, plain
from tokbench.counting import counted
from tokbench.data.open import TRAINING_PHOTOS, comes_with_the_package, open_source, open_training_source
from tokbench.data.public import as_called
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.encoding import identify
from tokbench.feed.job import SCHEMA, DataIdentity, ExportJob, TokenizerIdentity, digest_of_ids
from tokbench.feed.views import ViewIds
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import load, names, usable_device


def tokenizer_of(job: ExportJob, *, device: str = "cpu") -> Tokenizer:
    """Load the tokenizer that made an export, by its name in the zoo.

    Args:
        job: The export.
        device: Where it shall run.

    Returns:
        A tokenizer with the configuration and the weights of the export.

    Raises:
        TokbenchError: If it is not of the zoo, its weights are not at hand or others, or the device is of another kind.
    """
    if usable_device(device).type != job.preparation.device:
        kind = job.preparation.device
        raise TokbenchError(f"the tokens were made on {kind} and {device} may round otherwise (--device {kind} compares)")
    model = _load(job.tokenizer, device, job.schema)
    if different := differences(job, replace(job, tokenizer=identify(model, schema=job.schema))):
        raise TokbenchError(f"{job.tokenizer.name} was another one: {different}")
    return model


def tokenizer_called(identity: TokenizerIdentity, *, device: str = "cpu") -> Tokenizer:
    """Load the tokenizer of an identity, by its name in the zoo.

    Args:
        identity: Which tokenizer.
        device: Where it shall run.

    Returns:
        A tokenizer with that configuration and those weights.

    Raises:
        TokbenchError: If it is not of the zoo, or its weights are not at hand or others.
    """
    model = _load(identity, device, SCHEMA)
    check_same_tokenizer(model, identity)
    return model


def check_same_tokenizer(tokenizer: Tokenizer, identity: TokenizerIdentity) -> None:
    """Refuse a tokenizer whose codes mean something else: another configuration, or other weights, whatever file those came from.

    Raises:
        TokbenchError: If it is; both are named.
    """
    here = identify(tokenizer)
    if not same_codes(identity, here):
        different = differences(identity, here)
        raise TokbenchError(f"the codes are those of {identity.name}, and {here.name} is another tokenizer: {different}")


def same_codes(one: TokenizerIdentity, other: TokenizerIdentity) -> bool:
    """Whether codes of two tokenizers mean the same: equal configuration and weights, whatever they are called."""
    weights = {"state_sha256"} if one.state_sha256 and other.state_sha256 else {"weights_sha256", "state_sha256", "source_sha256"}
    told, found = ({key: value for key, value in plain(part).items() if key in ("config", *weights)} for part in (one, other))
    return bool(told == found)


def _load(identity: TokenizerIdentity, device: str, schema: int) -> Tokenizer:
    """Load what has the name of an identity, with its configuration."""
    name = identity.name
    if name not in names():  # neither modules nor places: an export of somebody else must not choose what is imported
        raise TokbenchError(f"{name} is no tokenizer of the zoo")
    model = load(name, None, device)
    there, here = flat(identity.config), flat(identify(model, schema=schema).config)
    changed = {key: value for key, value in there.items() if here.get(key) != value}
    return load(name, None, device, config=changed) if changed else model


def source_of(job: ExportJob) -> ImageSource:
    """Open the images an export was made from: what comes with the package, or what has their name in the current folder.

    Args:
        job: The export.

    Returns:
        A source in which the export's protocol chooses images of the same ids; their bytes are not looked at.

    Raises:
        TokbenchError: If there is none, or it cannot be opened or has other images.
    """
    name, called = job.data.name, as_called(job.data.name)
    places = [name] if comes_with_the_package(name) else []
    if Path(called).name == called and Path(called).exists():
        places.append(f"./{called}")
    openings: list[tuple[str, Callable[[], ImageSource]]] = []
    if name == TRAINING_PHOTOS:  # whole, where they were encoded to be trained on
        openings.append((name, partial(open_training_source, name)))
    openings += [(place, partial(open_source, place, size=job.preparation.size, scaled=job.preparation.scaled)) for place in places]
    reason = f"its images, {name}, are not in this folder"
    for place, opened in openings:
        try:
            source = opened()
        except TokbenchError as error:  # another place may hold them
            reason = str(error)
            continue
        if replace(identity_of(source, job), name=name) == job.data and (place != name or source.name == name):
            return source
        reason = f"{place} does not hold the {counted(job.data.count, 'image')} asked for"
    raise TokbenchError(reason)


def identity_of(source: ImageSource, job: ExportJob) -> DataIdentity:
    """Which images an export would be of, had it been made of a source.

    Args:
        source: The images.
        job: Says how they are chosen.
    """
    how = job.preparation
    chosen = choose(source, get_protocol(changes={"size": how.size, "samples": how.samples, "seed": how.seed}))
    ids = ViewIds(source.ids, chosen, job.views) if job.views > 1 else [source.ids[index] for index in chosen]
    return DataIdentity(source.name, len(ids), digest_of_ids(ids))
