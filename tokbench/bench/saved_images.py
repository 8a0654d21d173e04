"""Reconstructions, and originals as they were measured, as PNG files, for evaluators of others.

    DIR/originals/ID.png    DIR/originals.json      the run: data, protocol; every image's id, file and digest
    DIR/TOKENIZER/ID.png    DIR/TOKENIZER.json      the tokenizer's identity; the same of its reconstructions

A folder is of one run: of the same images under the same protocol, by any number of tokenizers. It can be gone on with.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

import tokbench
from tokbench.bench.observation import Observation
from tokbench.configs import flat, plain
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.files import make_folder, write_bytes, write_text
from tokbench.json_files import read_json
from tokbench.records.naming import file_stem, subject_label
from tokbench.records.protocol import Protocol
from tokbench.records.record import TokenizerInfo

ORIGINALS = "originals"
MOST_INDEX = 2**30
"""Most bytes of an index: one of five million images has no more."""

WHO = ("name", "config", "weights_sha256", "state_sha256", "source_sha256")
"""What of a tokenizer its reconstructions depend on."""


class ImageSaver:
    """Writes the images of one tokenizer's run, and the originals.

    Args:
        folder: Made if missing.
        info: What the record says of the tokenizer.
        protocol: Protocol of the run.
        data: Name of the images.
        ids: Ids of all images asked for.

    Raises:
        TokbenchError: If the folder holds something else, another run, or those of another tokenizer under this name; or cannot be written.
    """

    def __init__(self, folder: Path, info: TokenizerInfo, protocol: Protocol, data: str, ids: Sequence[str]) -> None:
        """Look at the folder, and note in it what will lie there."""
        self.folder = folder
        stem = file_stem(subject_label(info))
        self.own = stem if stem.lower() != ORIGINALS else f"{stem}-tokenizer"
        self._names = file_names(ids)
        self._run = {"data": data, "images": len(ids), "ids_sha256": _ids_digest(ids), "protocol": plain(protocol)}
        self._who = {key: value for key, value in plain(info).items() if key in WHO}
        make_folder(folder)
        run, who = (_read(folder / f"{name}.json") for name in (ORIGINALS, self.own))
        if run is None and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise TokbenchError(f"{folder} holds other files; choose a folder for --save-images that is empty or does not exist")
        if run is not None and (other := _different(run.get("run"), self._run)):
            raise TokbenchError(f"{folder} holds the images of another run ({other}); choose another folder for --save-images")
        if who is not None and (other := _different(who.get("tokenizer"), self._who)):
            raise TokbenchError(f"{folder / self.own} holds the images of another tokenizer ({other}); choose another folder")
        self._before = {} if run is None else {row["id"]: row["pixels_sha256"] for row in run["files"]}
        if run is None:
            self._write(ORIGINALS, {"run": self._run}, {})
        if who is None:
            self._write(self.own, {"tokenizer": self._who}, {})

    def add(self, observation: Observation) -> dict[str, tuple[str, str]]:
        """Write the images of one micro-batch.

        Returns:
            SHA-256 of the pixels of original and reconstruction, by id.

        Raises:
            TokbenchError: If an original is not the one that lies there, or nothing can be written.
        """
        digests = {}
        for name, before, after in zip(observation.ids, _pixels(observation.reference), _pixels(observation.reconstruction), strict=True):
            digest = _digest(before)
            if self._before.get(name, digest) != digest:
                raise TokbenchError(f"{visible(name)} is not the image it was when {self.folder} was written; choose another folder")
            for folder, pixels in ((ORIGINALS, before), (self.own, after)):
                write_bytes(self.folder / folder / self._names[name], _png(pixels))
            digests[name] = digest, _digest(after)
        return digests

    def has(self, name: str) -> bool:
        """Whether both images of an id lie there, as far as names tell."""
        return all((self.folder / folder / self._names[name]).is_file() for folder in (ORIGINALS, self.own))

    def finish(self, digests: Mapping[str, tuple[str, str]]) -> None:
        """Write the indexes, once all images are there.

        Args:
            digests: What ``add`` returned, of all images.
        """
        self._write(ORIGINALS, {"run": self._run}, {name: original for name, (original, _) in digests.items()})
        self._write(self.own, {"tokenizer": self._who}, {name: made for name, (_, made) in digests.items()})

    def _write(self, name: str, what: Mapping[str, Any], digests: Mapping[str, str]) -> None:
        files = [{"id": key, "file": f"{name}/{self._names[key]}", "pixels_sha256": digests[key]} for key in sorted(digests)]
        values = {"tokbench": tokbench.__version__, **what, "complete": bool(files), "files": files}
        write_text(self.folder / f"{name}.json", json.dumps(values, indent=1, allow_nan=False) + "\n")


def file_names(ids: Sequence[str]) -> dict[str, str]:
    """Give every id a file of its own, below a folder, that any system can have.

    Folders of an id stay, its ending goes, and what is no letter, digit or ``._-`` becomes ``_``. Names that so change, are long, or that
    a system without upper and lower case would take for one another, are followed by a digest of the id.

    Args:
        ids: All of a set, each once.

    Returns:
        Paths with slashes, by id; they do not depend on the order of the ids.
    """
    plain_names = {name: _safe(name) for name in ids}
    folders = {str(parent).lower() for path, _ in plain_names.values() for parent in PurePosixPath(path).parents}
    count: dict[str, int] = {}
    for path, _ in plain_names.values():
        count[path.lower()] = count.get(path.lower(), 0) + 1
    found = {}
    for name, (path, exact) in plain_names.items():
        alone = exact and count[path.lower()] == 1 and f"{path}.png".lower() not in folders
        tail = "" if alone else "-" + hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
        found[name] = f"{path}{tail}.png"
    return found


def _safe(name: str) -> tuple[str, bool]:
    """An id as a path without ending, and whether it says all of the id but the ending of an image."""
    base = re.sub(r"\.(png|jpe?g|webp|bmp|tiff?|gif|ppm|pgm|avif)$", "", name, flags=re.IGNORECASE)
    parts = [re.sub(r"[^A-Za-z0-9._-]", "_", part)[:80].strip(".") for part in base.split("/")]
    parts = [f"_{part}" if RESERVED.fullmatch(part) else part for part in parts if part]
    path = "/".join(parts[-12:]) or "image"
    return path, path == base and TAIL.search(path) is None


TAIL = re.compile(r"-[0-9a-f]{16}$", re.IGNORECASE)
"""How the names end that a digest follows; an id that ends so itself is followed by its own, and can take no other's place."""

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""


def _pixels(images: UInt8[Tensor, "b 3 h w"]) -> list[np.ndarray]:
    return list(np.ascontiguousarray(images.cpu().permute(0, 2, 3, 1).numpy()))


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _ids_digest(ids: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(sorted(ids)).encode(errors="surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = read_json(path, most=MOST_INDEX)
        if (
            isinstance(values, dict)
            and isinstance(values["files"], list)
            and all(isinstance(row[key], str) for row in values["files"] for key in ("id", "pixels_sha256"))
        ):
            return values
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise TokbenchError(f"{path} was not written by tokbench run --save-images; choose another folder")


def _different(there: Any, here: Mapping[str, Any]) -> str:
    """What differs, in words; empty if nothing does."""
    old, new = flat(there) if isinstance(there, dict) else {}, flat(json.loads(json.dumps(here)))
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    return "; ".join(f"{visible(key)} {visible(str(old.get(key)))[:40]} there, {visible(str(new.get(key)))[:40]} here" for key in keys[:3])
