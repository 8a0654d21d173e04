"""Download one file: resumed where an earlier try stopped, checked, and in its place only when it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.files import make_folder, write_text

Progress = Callable[[int, int], None]

TIMEOUT = 20.0
"""Seconds without an answer after which a connection is given up."""
_CHUNK = 1 << 20


def download(url: str, path: Path, *, sha256_prefix: str = "", progress: Progress = lambda done, total: None) -> str:
    """Download a file.

    Until it is whole, it grows beside its place as ``.NAME.partial``; a later call goes on from there if the server still has the
    same file (by its ETag or date) and serves ranges, and starts anew otherwise.

    Args:
        url: Where from.
        path: Where to; parents are made.
        sha256_prefix: First hex digits of its SHA-256; empty if they are not known.
        progress: Called with bytes done and bytes in all (0 if unknown).

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        OSError: If the network fails; what has arrived is kept.
        TokbenchError: If another process is at it, or the digest is wrong; then nothing is kept.
    """
    from filelock import FileLock, Timeout

    make_folder(path.parent)
    partial, lock = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.lock")
    try:
        with FileLock(lock, blocking=False):
            _fetch(url, partial, progress)
            with partial.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest.startswith(sha256_prefix):
                    os.fsync(file.fileno())
            if not digest.startswith(sha256_prefix):
                partial.unlink()
                raise TokbenchError(f"{url} has SHA-256 {digest[:16]}, expected {sha256_prefix}...; it was not kept, try again")
            os.replace(partial, path)
            _note(partial).unlink(missing_ok=True)
    except Timeout as error:
        raise TokbenchError(f"another process is downloading {path}; wait for it, or stop it and try again") from error
    return digest


def reason(error: BaseException) -> str:
    """Say in words why a download failed."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return f"no connection: {error.reason}"
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _fetch(url: str, partial: Path, progress: Progress) -> None:
    here = partial.stat().st_size if partial.is_file() else 0
    version = _read_note(partial, url)
    headers = {"User-Agent": "tokbench"}
    if here and version:
        headers |= {"Range": f"bytes={here}-", "If-Range": version}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not here:  # what is here is no part of the file that is there now
            raise
        partial.unlink()
        return _fetch(url, partial, progress)
    except (HTTPException, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    with response:
        resumed = response.status == 206
        done = here if resumed else 0
        total = _total(response, done)
        write_text(_note(partial), json.dumps({"url": url, "version": _version(response.headers)}))
        with partial.open("ab" if resumed else "wb") as file:
            try:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    progress(done, total)
            except HTTPException as error:
                raise OSError(f"the connection closed after {done} bytes; run it again to go on") from error
    if total and done != total:
        raise OSError(f"the connection closed after {done} of {total} bytes; run it again to go on")


def _total(response: Any, start: int) -> int:
    length = response.headers.get("Content-Length") or ""
    return start + int(length) if length.isdigit() else 0


def _version(headers: Any) -> str:
    """What tells one version of a file from another; weak tags do not promise equal bytes."""
    tag = headers.get("ETag") or ""
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""


def _note(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _read_note(partial: Path, url: str) -> str:
    try:
        note = json.loads(_note(partial).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(note.get("version") or "") if isinstance(note, dict) and note.get("url") == url else ""
