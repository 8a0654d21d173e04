"""Where weights are, as a user writes it, and how they come here: ``PATH``, ``hf:OWNER/REPO[@REVISION][/FILE]``, or a URL; no torch.

A file of the web is kept in the user's cache. Its digest is noted at first use and must not change afterwards, until it is renewed.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tokbench.errors import TokbenchError, missing_extra
from tokbench.files import atomic_file, write_bytes, write_text
from tokbench.json_files import read_regular
from tokbench.weights.assets import cache_dir, make_cache
from tokbench.weights.download import Progress, WrongDigest, download, reason

FILE_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".jit", ".npy", ".json")
"""What tells a file of a hub repository from a folder."""
TORCHSCRIPT = "torchscript:"
"""What a user writes before a TorchScript archive, to have its tensors taken out of it; the program in it is not run."""
FOLDER_FILES = ("*.json", "*.safetensors")
"""What is fetched of a folder."""
OTHER_COPIES = ("*.fp16.*", "*.non_ema.*")
"""What is not: other precisions and other averages of the same weights."""

LONGEST_PIN = 1 << 16
"""Bytes of what notes a digest: it, and behind it the place."""
LONGEST_NAME = 120
"""Characters of the name a download keeps; locks and parts of it have longer ones."""
MOST_UNPACKED = 1 << 30
"""Bytes that a file in a zip may claim, if that is more than 100 times what the zip has; weights never shrink that far."""

_WEB = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class HubPlace:
    """A file or folder of a model repository on the Hugging Face hub.

    Args:
        repo: ``OWNER/REPO``.
        inside: Path in the repository; empty for the whole of it.
        revision: Branch, tag or commit; None for the default branch.
    """

    repo: str
    inside: str = ""
    revision: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repo}{revision}" + (f"/{self.inside}" if self.inside else "")

    @property
    def is_file(self) -> bool:
        """Whether one file is meant."""
        return self.inside.endswith(FILE_SUFFIXES)


@dataclass(frozen=True)
class WebPlace:
    """A file at a URL.

    Args:
        url: ``http:`` or ``https:``.
        member: File to take out of it, if it is a zip of files.
    """

    url: str
    member: str = ""

    def __str__(self) -> str:
        return self.url + (f"#{self.member}" if self.member else "")

    @property
    def file_name(self) -> str:
        """What to call the download."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", unquote(urlsplit(self.url).path).rstrip("/").rpartition("/")[2]).strip("-.")
        return name[-LONGEST_NAME:].lstrip("-.") if "." in name[-LONGEST_NAME:] else "weights.ckpt"


def parse_place(text: str) -> HubPlace | WebPlace | Path:
    """Read where weights are.

    Args:
        text: ``hf:OWNER/REPO``, ``hf:OWNER/REPO@REVISION/folder/file``, ``https://...`` (``#NAME`` behind it takes that file out of a
            zip), or a path.

    Raises:
        TokbenchError: If it begins like one of these and does not go on like it.
    """
    if text.startswith("hf:") or _WEB.match(text):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TokbenchError(f"{text!r} is not written in UTF-8; write the place in a terminal that is, or percent-encoded") from error
    if text.startswith("hf:"):
        found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(.+))?", text)
        inside = found[3] or "" if found else ""
        if found is None or ".." in inside.split("/"):
            raise TokbenchError(f"{text!r} names no place on the hub; write hf:OWNER/REPO/FILE or hf:OWNER/REPO@REVISION/FILE")
        return HubPlace(found[1], inside.strip("/"), found[2])
    if _WEB.match(text):
        url, _, member = text.partition("#")
        try:
            urlsplit(url)
        except ValueError as error:
            raise TokbenchError(f"{text!r} is no URL ({error}); write https://HOST/FILE") from error
        if ".." in member.split("/"):
            raise TokbenchError(f"{text!r} names no file in a zip; write URL#FOLDER/FILE")
        try:
            known = bool(urlsplit(url).hostname) and urlsplit(url).port != 0
        except ValueError:  # brackets without an address, or a port that is no number
            known = False
        if not known:
            raise TokbenchError(f"{text!r} is no URL; write https://HOST/PATH")
        return WebPlace(url, member)
    if re.match(r"[a-z][a-z0-9+]+://", text, re.IGNORECASE):
        raise TokbenchError(f"{text!r} cannot be fetched; weights are a path, hf:OWNER/REPO/FILE, or a URL of http or https")
    return Path(text)


def from_torchscript(path: Path) -> Path:
    """Take the tensors out of a TorchScript archive; the program that it also is is not loaded.

    Args:
        path: The archive.

    Returns:
        A safetensors file in the user's cache, named by the archive's digest.

    Raises:
        TokbenchError: If it is no TorchScript archive.
    """
    from safetensors.torch import save

    from tokbench.weights.torchfile.script import read_script
    from tokbench.weights.torchfile.words import Unreadable

    if not path.is_file():
        raise TokbenchError(f"no TorchScript archive at {path}; write {TORCHSCRIPT}PATH")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = cache_dir() / "weights" / "torchscript" / f"{digest}.safetensors"
    try:
        state = read_script(path)
    except (Unreadable, OSError, ValueError) as error:
        raise TokbenchError(f"{path} is no TorchScript archive ({reason(error)}); without {TORCHSCRIPT} it is read as weights") from error
    write_bytes(target, save(state))
    return target


def locate(place: str | Path, *, renew: bool = False, progress: Progress = lambda done, total: None) -> Path:
    """Bring weights here, unless they are.

    Args:
        place: A path, or what ``parse_place`` reads; behind ``torchscript:``, an archive whose tensors are wanted.
        renew: Whether to fetch what is there now in any case, and to note its digest instead of the one at first use.
        progress: Called with bytes done and bytes in all (0 if unknown).

    Returns:
        A local file or folder; a path is returned as it is, whether it exists or not.

    Raises:
        TokbenchError: If the place cannot be reached, or what is there has changed since its first use.
    """
    if isinstance(place, str) and place.startswith(TORCHSCRIPT):
        return from_torchscript(locate(place.removeprefix(TORCHSCRIPT), renew=renew, progress=progress))
    parsed = parse_place(place) if isinstance(place, str) else place
    if isinstance(parsed, Path):
        return parsed
    try:
        if isinstance(parsed, HubPlace):
            return _from_hub(parsed, renew=renew)
        folder = cache_dir() / "weights" / "url" / hashlib.sha256(parsed.url.encode()).hexdigest()[:16]
        return fetch(parsed, folder / (Path(parsed.member).name or parsed.file_name), renew=renew, progress=progress)
    except OSError as error:
        raise TokbenchError(f"cannot fetch {parsed} ({reason(error)}); fetch it by other means and pass its path") from error


def fetch(
    place: HubPlace | WebPlace,
    target: Path,
    *,
    name: str = "",
    sha256: str | None = None,
    renew: bool = False,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Fetch one file to a given path, unless it is there.

    Args:
        place: Place of the file.
        target: Where it shall lie; of a file of the hub, ending in its path there.
        name: What ``tokbench weights get`` takes for it; empty for the place itself.
        sha256: Its digest, where it is known; of a file in a zip, its own. None compares with the digest at first use.
        renew: Whether to fetch what is there now in any case, and to note its digest instead of the one at first use.
        progress: Called with bytes done and bytes in all (0 if unknown).

    Returns:
        ``target``.

    Raises:
        OSError: If the network fails, or the hub has no such file for this user.
        TokbenchError: If it is not the file that is known, or that was there at its first use; it is deleted then.
    """
    if target.is_file() and not renew:
        check_pin(str(place), target, name=name, sha256=sha256)
        return target
    make_cache()
    if isinstance(place, HubPlace):
        return _from_hub(place, root=Path(str(target).removesuffix(place.inside)), name=name, sha256=sha256, renew=renew)
    file = target.with_name(place.file_name) if place.member else target
    known = "" if renew else _noted(place.url)
    if sha256 is not None and not place.member:
        known = sha256
    try:
        download(place.url, file, sha256_prefix=known, progress=progress)
    except WrongDigest as error:
        if known == sha256:
            raise _another(place.url, error.digest, sha256, name or str(place), "it was deleted") from error
        raise _changed(place.url, place.url, error.digest, known, name or str(place), "it was deleted") from error
    if place.member:
        try:
            _extract(file, place.member, target)
            _note(place.url, _sha256(file))
        finally:
            file.unlink(missing_ok=True)
    if sha256 is not None:
        if place.member and (digest := _sha256(target)) != sha256:
            target.unlink()
            raise _another(str(place), digest, sha256, name or str(place), "it was deleted")
    elif renew:
        _note(str(place), _sha256(target))
    else:
        check_pin(str(place), target, name=name)
    return target


def check_pin(place: str, path: Path, *, name: str = "", sha256: str | None = None) -> str:
    """Compare the digest of a file with the known one, or with that at its first use, when it is noted.

    Args:
        place: What it is noted under.
        path: The file.
        name: What ``tokbench weights get`` takes for it; empty for the place itself.
        sha256: The digest, where it is known; nothing is noted then.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        TokbenchError: If it differs.
    """
    digest = _sha256(path)
    if sha256 is not None:
        if digest != sha256:
            raise _another(str(path), digest, sha256, name or place, "it was replaced or is damaged")
        return digest
    known = _noted(place)
    if not known:
        _note(place, digest)
    elif known != digest:
        raise _changed(str(path), place, digest, known, name or place, "it was replaced or is damaged")
    return digest


def forget_pin(place: str) -> bool:
    """Forget the digest noted at first use, so that the file that is here is taken at its next use; returns whether one was noted."""
    pins = [pin for pin in {_pin(place), _pin(place.partition("#")[0])} if pin.is_file()]
    for pin in pins:
        pin.unlink(missing_ok=True)
    return bool(pins)


def _changed(what: str, place: str, digest: str, known: str, name: str, fate: str) -> TokbenchError:
    where = "" if what == place else f" ({place})"
    accept = f"tokbench weights get {name} --renew, or to keep a file put there by hand: tokbench weights forget {name}"
    return TokbenchError(
        f"{what}{where} has SHA-256 {digest[:16]}..., at first use it was {known[:16]}...; {fate}. To accept the new one: {accept}"
    )


def _another(what: str, digest: str, known: str, name: str, fate: str) -> TokbenchError:
    return TokbenchError(
        f"{what} has SHA-256 {digest[:16]}..., the published file of {name} has {known[:16]}...; {fate}. To fetch it again: "
        f"tokbench weights get {name} --renew; to use another file: --weights FILE"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _noted(place: str) -> str:
    """The digest noted at first use; empty if there is none, or what is there is none."""
    try:
        found = re.match(rb"[0-9a-f]{64}(?=\s)", read_regular(_pin(place), most=LONGEST_PIN))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except ValueError:  # no file, or one that is too long
        found = None
    if found is None:
        raise TokbenchError(f"{_pin(place)} holds no digest; delete it, or run: tokbench weights forget {place}")
    return found[0].decode()


def _note(place: str, digest: str) -> None:
    make_cache()
    write_text(_pin(place), f"{digest}  {place}\n")


def _pin(place: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", place).strip("-.")[-80:]
    return cache_dir() / "weights" / "pins" / f"{slug}-{hashlib.sha256(place.encode()).hexdigest()[:8]}.sha256"


def _extract(archive: Path, member: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as content:
            claimed = content.getinfo(member).file_size
            if claimed > max(MOST_UNPACKED, 100 * archive.stat().st_size):
                raise zipfile.BadZipFile(f"it claims {claimed} bytes")
            with content.open(member) as source, atomic_file(target) as file:
                while chunk := source.read(1 << 20):
                    file.write(chunk)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise TokbenchError(f"{archive} holds no readable file {member!r} ({reason(error)}); it was deleted, try again") from error


def _from_hub(place: HubPlace, *, root: Path | None = None, name: str = "", sha256: str | None = None, renew: bool = False) -> Path:
    """Through the hub's own library, into its own cache or under ``root``."""
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hf", f"fetching {place}") from error
    options: dict[str, Any] = {"revision": place.revision, "local_dir": root}
    try:
        if place.is_file:
            path = Path(huggingface_hub.hf_hub_download(place.repo, place.inside, force_download=renew, **options))
            digest, known = _sha256(path), sha256 or ("" if renew else _noted(str(place)))
            if known and digest != known:
                path.unlink(missing_ok=True)  # a link, in the hub's own cache; what it leads to may be another revision's
                if known == sha256:
                    raise _another(str(place), digest, known, name or str(place), "it was deleted")
                raise _changed(str(path), str(place), digest, known, name or str(place), "it was deleted")
            if not known:
                _note(str(place), digest)
            return path
        patterns = [f"{place.inside}/{pattern}" if place.inside else pattern for pattern in FOLDER_FILES]
        options |= {"allow_patterns": patterns, "ignore_patterns": list(OTHER_COPIES)}
        return Path(huggingface_hub.snapshot_download(place.repo, **options)) / place.inside
    except (ValueError, HfHubHTTPError) as error:  # no such repository or file, not signed in, not in the cache
        raise OSError(reason(error)) from error
