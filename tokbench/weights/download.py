"""Download one file: resumed where an earlier try stopped, checked, and in its place only when it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import urllib.error
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from tokbench.errors import TokbenchError
from tokbench.files import cannot_write, make_folder, write_text
from tokbench.weights.web import TIMEOUT, Watch, open_url

Progress = Callable[[int, int], None]

LARGEST_UNANNOUNCED = 8 << 30
"""Bytes after which an answer that does not say how long it is is given up."""
_CHUNK = 1 << 20
_LENGTH = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|script|title|meta|\?xml|!--)", re.IGNORECASE)


class WrongDigest(TokbenchError):
    """A file arrived whole and is not the one expected; it was deleted.

    Args:
        message: Message of the error.
        digest: What it has.
    """

    def __init__(self, message: str, digest: str) -> None:
        super().__init__(message)
        self.digest = digest


class _Misfit(Exception):
    """The answer to a request for the rest of a file is no rest of it."""


@dataclass(frozen=True)
class _Begun:
    """What a partial file is of: where from, which version, and how long it will be (0 if unknown)."""

    url: str
    version: str
    total: int


def download(url: str, path: Path, *, sha256_prefix: str = "", progress: Progress = lambda done, total: None) -> str:
    """Download a file.

    Until it is whole, it grows beside its place as ``.NAME.partial``. A later call goes on from there if the server still has the same
    file (by its ETag or date) and serves just the rest. Otherwise it starts anew.

    Args:
        url: Where from.
        path: Where to; parents are made.
        sha256_prefix: First hex digits of its SHA-256; empty if they are not known.
        progress: Called with bytes done and bytes in all (0 if unknown).

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        OSError: If the network fails; what has arrived is kept, unless it is of no use.
        WrongDigest: If the digest is wrong; then nothing is kept.
        TokbenchError: If another process is at it, the file cannot be written, or a web page or a text came instead.
    """
    from filelock import FileLock, Timeout

    make_folder(path.parent)
    partial, lock = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.lock")
    try:
        with FileLock(lock, blocking=False):
            try:
                _fetch(url, partial, progress)
            except _Misfit:
                _forget(partial)
                _fetch(url, partial, progress)
            digest = _check(url, path, partial, sha256_prefix)
            _note(partial).unlink(missing_ok=True)  # first: nobody looks for it once the file is there
            os.replace(partial, path)
    except Timeout as error:
        raise TokbenchError(f"another process is downloading {path}; wait for it, or stop it and try again") from error
    return digest


def reason(error: BaseException) -> str:
    """Say in words why a download failed, in a line fit for a terminal: parts of it may be the server's."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        text = f"no connection: {error.reason}"
    else:
        text = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _fetch(url: str, partial: Path, progress: Progress) -> None:
    here = partial.stat().st_size if partial.is_file() else 0
    begun = _read_note(partial, url) if here else None
    headers = {"User-Agent": "tokbench"}
    if begun:
        headers |= {"Range": f"bytes={here}-", "If-Range": begun.version}
    with Watch() as watch:
        try:
            response = open_url(url, headers, watch)
        except urllib.error.HTTPError as error:
            if error.code == 416 and begun:  # what is here is no part of the file that is there now
                raise _Misfit from error
            raise
        with response:
            _refuse(url, response)
            resumed = response.status == 206
            if resumed and begun is None:
                raise OSError("the server sends a part of the file that it was not asked for")
            start = here if resumed else 0
            total = _rest(response, start, begun) if resumed and begun else _length(response)
            _check_room(partial, total - start)
            write_text(_note(partial), json.dumps(asdict(_Begun(url, _version(response.headers), total))))
            try:
                file = partial.open("ab" if resumed else "wb")
            except OSError as error:
                raise cannot_write(partial, error) from error
            with file:
                done = _copy(response, file, start, total, watch, progress)
    if not total and done > LARGEST_UNANNOUNCED:
        _forget(partial)
        raise OSError(f"the server sends more than {LARGEST_UNANNOUNCED} bytes without saying how many will come")
    if total and done != total:
        if done > total:
            _forget(partial)
        raise OSError(f"the connection closed after {done} of {total} bytes; run it again to go on")
    if not done:
        _forget(partial)
        raise OSError("the server sent an empty file, which was deleted")


def _copy(response: Any, file: BinaryIO, start: int, total: int, watch: Watch, progress: Progress) -> int:
    done = start
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (HTTPException, OSError, ValueError) as error:
            if watch.gave_up:
                raise OSError(f"the server hardly sends any more after {done} bytes; run it again to go on") from error
            if isinstance(error, TimeoutError):
                raise OSError(f"nothing came for {TIMEOUT:g} s after {done} bytes; run it again to go on") from error
            raise OSError(f"the connection closed after {done} bytes; run it again to go on") from error
        if not chunk:
            if watch.gave_up:
                raise OSError(f"the server hardly sends any more after {done} bytes; run it again to go on")
            return done
        try:
            file.write(chunk)
        except OSError as error:
            raise cannot_write(Path(file.name), error) from error
        done += len(chunk)
        watch.done = done - start
        progress(done, total)
        if not total and done > LARGEST_UNANNOUNCED:
            return done


def _refuse(url: str, response: Any) -> None:
    """Refuse an answer that cannot be the file, before a byte of it is read."""
    if response.status not in (200, 206):
        raise OSError(f"the server answers with status {response.status}, not with a file")
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml") and response.headers.get("Content-Type"):
        raise _no_weights(url, "a web page")
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise OSError(f"the server sends it packed as {encoding[:30]!r}, which was not asked for")
    chunked = response.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
    if not chunked and not _length(response) and response.headers.get("Content-Length", "").strip() != "0":
        raise OSError("the server does not say how long it is, so a part could not be told from the whole")


def _check(url: str, path: Path, partial: Path, sha256_prefix: str) -> str:
    """Compare a whole file with what is known of it; delete it if it is another."""
    with partial.open("rb") as file:
        head = file.read(1024)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    kind = ""
    if _PAGE.match(head):
        kind = "a web page"
    elif head.startswith(b"version https://git-lfs"):
        kind = "a pointer of Git LFS"
    elif head.lstrip()[:1] in (b"{", b"[") and path.suffix not in (".json", ".jsonl"):
        kind = "a JSON text"
    if kind:
        _forget(partial)
        raise _no_weights(url, kind)
    if not digest.startswith(sha256_prefix):
        _forget(partial)
        message = f"{url} has SHA-256 {digest[:16]}, expected {sha256_prefix[:16]}...; it was deleted, try again"
        raise WrongDigest(message, digest)
    return digest


def _no_weights(url: str, kind: str) -> TokbenchError:
    return TokbenchError(f"{url} is {kind}, not a file of weights; nothing was kept. Open it in a browser to see what it says")


def _rest(response: Any, here: int, begun: _Begun) -> int:
    """Bytes in all by an answer that goes on with a file; it must be exactly the rest of the same version."""
    found = _RANGE.fullmatch((response.headers.get("Content-Range") or "").strip())
    if found is None or _version(response.headers) != begun.version:
        raise _Misfit
    first, last, total = (int(number) for number in found.groups())
    length = _length(response)
    if (first, last) != (here, total - 1) or begun.total not in (0, total) or length not in (0, total - here):
        raise _Misfit
    return total


def _length(response: Any) -> int:
    length = (response.headers.get("Content-Length") or "").strip()
    chunked = response.headers.get("Transfer-Encoding")
    return int(length) if _LENGTH.fullmatch(length) and not chunked else 0


def _check_room(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise TokbenchError(
            f"{needed} bytes do not fit into {partial.parent}, where {free} are free; make room or choose another TOKBENCH_CACHE"
        )


def _version(headers: Any) -> str:
    """What tells one version of a file from another; weak tags do not promise equal bytes."""
    tag = headers.get("ETag") or ""
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""


def _note(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)


def _read_note(partial: Path, url: str) -> _Begun | None:
    """What a partial file is of, if it can be gone on with."""
    try:
        note = json.loads(_note(partial).read_text(encoding="utf-8"))
        begun = _Begun(note["url"], note["version"], note["total"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    sound = type(begun.version) is str and re.fullmatch(r"[\x20-\x7e]+", begun.version) and type(begun.total) is int
    return begun if sound and begun.url == url else None
