"""What a file is that is no weights, told by its first bytes: pages and errors saved instead of the file, archives, other frameworks; no torch.

Its name does not matter: a download that failed is called what the weights would have been.
"""

from __future__ import annotations

import re
from mmap import ACCESS_READ, mmap
from pathlib import Path

from tokbench.json_files import read_json

LOOKED_AT = 4096
"""Bytes read of a file to tell what it is."""

MERGE = "merge it into one file with: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE"
"""What to do with sharded checkpoints."""

LFS = b"version https://git-lfs.github.com/spec/"
MAGIC = (
    (b"GGUF", "it is a GGUF file, of llama.cpp; get the model's safetensors or PyTorch file"),
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, of Keras or TensorFlow; get the model's safetensors or PyTorch file"),
    (b"\x93NUMPY", "it is an array of NumPy, without names"),
    (b"PK\x05\x06", "it is an empty zip archive"),
    (b"\x1f\x8b", "it is a gzip archive; unpack it first"),
    (b"BZh", "it is a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ\x00", "it is an xz archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is a zstandard archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-zip archive; unpack it first"),
    (b"Rar!", "it is a rar archive; unpack it first"),
    (b"\x89PNG\r\n\x1a\n", "it is a picture (PNG)"),
    (b"\xff\xd8\xff", "it is a picture (JPEG)"),
    (b"GIF8", "it is a picture (GIF)"),
    (b"BM", "it is a picture (BMP)"),
    (b"%PDF-", "it is a PDF document"),
    (b"PAR1", "it is a Parquet table"),
    (b"SQLite format 3\x00", "it is an SQLite database"),
    (b"\x7fELF", "it is a program"),
    (b"MZ", "it is a program"),
)
"""How files of other kinds begin, and what to say of them."""

FLAX, ONNX, TENSORFLOW = (
    f"it is a file of {name}; get the model's safetensors or PyTorch file" for name in ("Flax (msgpack)", "ONNX", "TensorFlow")
)
SUFFIXES = {".msgpack": FLAX, ".onnx": ONNX, ".pb": TENSORFLOW, ".tflite": TENSORFLOW, ".h5": TENSORFLOW, ".keras": TENSORFLOW}
"""Suffixes of files whose first bytes do not tell what they are."""

_TAG = re.compile(rb"<\s*(!doctype\s+html|html|head|body|title|script|meta|div|h1|p)\b", re.IGNORECASE)
_TITLE = re.compile(r"<(title|code|message|h1)[^>]*>\s*([^<]{1,80}?)\s*<", re.IGNORECASE)


def what_it_is(path: Path) -> str | None:
    """Say what a file is, if it is seen not to hold weights.

    Args:
        path: A file.

    Returns:
        A clause such as ``it is a web page ("Sign in"), not the file``; None if it may be weights.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(LOOKED_AT)
    size = path.stat().st_size
    if not head:
        return "it is empty"
    if head.startswith(LFS):
        return "it is a Git LFS pointer; fetch the file itself, as with: git lfs pull"
    if not head.strip(b"\0"):
        return "it begins with nothing but zeros; the download was not finished"
    if path.suffix == ".distcp":
        return "it is a part of a sharded checkpoint of torch.distributed; " + MERGE
    if int.from_bytes(head[:8], "little") <= size - 8 and head[8:9] == b"{":
        return None  # safetensors
    for magic, words in MAGIC:
        if head.startswith(magic) and (len(magic) > 2 or not _is_text(head)):
            return words
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "it is a picture (WebP)"
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it first"
    if head.startswith(b"PK\x03\x04"):
        return _other_zip(path)
    if head[4:8] == b"TFL3":
        return TENSORFLOW
    if b"onnx" in head[:64].lower() or (head[:1] == b"\x08" and head[2:3] == b"\x12" and b"pytorch" in head[:32]):
        return ONNX
    if _is_text(head):
        return _text(head, path, whole=size <= LOOKED_AT)
    return SUFFIXES.get(path.suffix.lower())


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(head) - 3 or len(head) < LOOKED_AT:  # but not a character that is cut
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)


def _text(head: bytes, path: Path, *, whole: bool) -> str:
    text = head.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if _TAG.search(head[:1024]):
        return f"it is a web page{_quoted(_title(text))}, not the file; the download failed or needs signing in"
    if text.startswith("<"):
        return f"it is XML{_quoted(_title(text))}, not the file; the download failed"
    if text[:1] in "{[" and (whole or path.suffix == ".json"):
        return _json(path)
    return f"it is text{_quoted(text.splitlines()[0] if text else '')}, not the file; the download failed or it is of another kind"


def _json(path: Path) -> str:
    try:
        values = read_json(path)
    except (OSError, ValueError):
        values = None
    if isinstance(values, dict):
        if "weight_map" in values:
            return "it is the index of a model in several files; give the folder it lies in"
        if "_class_name" in values or "model_type" in values or "architectures" in values:
            return "it is a configuration; give the folder it lies in, or the file of weights beside it"
        if said := next((values[key] for key in ("error", "message", "detail") if isinstance(values.get(key), str)), ""):
            return f"it is JSON{_quoted(said)}, not the file; the download failed"
    return "it is JSON, not the file"


def _other_zip(path: Path) -> str | None:
    """What to say of a zip archive that is none of ``torch.save``; None for one that is, or that is damaged."""
    from tokbench.weights.torchfile.archive import Archive
    from tokbench.weights.torchfile.words import Unreadable

    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            names = list(Archive(data).records)
    except (Unreadable, OSError, ValueError):
        return None
    if any(name.endswith("data.pkl") for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "it is an archive of arrays of NumPy (.npz); save them with safetensors.numpy.save_file"
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return TENSORFLOW
    held = ", ".join(name for name in names[:3] if name.isprintable())
    return f"it is a zip archive of other files ({held[:100] or 'none'}); unpack it first"


def _title(text: str) -> str:
    found = _TITLE.search(text)
    return found[2] if found else ""


def _quoted(text: str) -> str:
    text = " ".join(text.split())[:80].replace('"', "'")
    return f' ("{text}")' if text and text.isprintable() else ""
