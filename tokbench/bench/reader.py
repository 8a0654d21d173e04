"""The network that reads: one line of text at a time, by the recognition network that the packages ``rapidocr-onnxruntime`` and ``rapidocr`` bring."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image

from tokbench.errors import TokbenchError, missing_extra
from tokbench.resizing import resized
from tokbench.weights.checkpoints import sha256

PLACES = (
    ("rapidocr_onnxruntime", "ch_PP-OCRv4_rec_infer.onnx"),
    ("rapidocr", "ch_PP-OCRv4_rec_infer.onnx"),
    ("rapidocr", "ch_PP-OCRv4_rec_mobile.onnx"),
)
"""Packages and names under which the file comes; of rapidocr, releases 2.0.7 to 3.8 bring it, later ones another network."""

INSTALL = "pip install 'rapidocr-onnxruntime==1.4.4', or from Python 3.13 on 'rapidocr>=2.0.7,<3.9'"
READER_SHA256 = "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b"

HEIGHT, WIDTH = 48, 320
"""Pixels of the network's input; longer lines make it wider."""


@dataclass(frozen=True)
class LineReader:
    """PP-OCRv4's recognition network (Apache-2.0), on the CPU, one line a pass and one thread: nothing else can change what it reads.

    Args:
        session: The network, as ``open_reader`` opens it.
        alphabet: What each of its outputs stands for; the first is the blank of its CTC code.
        settings: Whatever a reading depends on.
    """

    session: Any
    alphabet: tuple[str, ...]
    settings: dict[str, Any] = field(repr=False)

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Open the network again where this is unpickled: sessions cannot be."""
        return open_reader, ()

    def read(self, line: UInt8[ndarray, "h w 3"]) -> str:
        """Read one line of text.

        Args:
            line: Its rectangle, cut out of a picture.

        Returns:
            What stands there, normalized (NFKC) and without spaces; empty if nothing can be made out.
        """
        (scores,) = self.session.run(None, {self.session.get_inputs()[0].name: _as_input(line)})
        best = scores[0].argmax(axis=1).tolist()
        text = "".join(self.alphabet[number] for number, _ in groupby(best) if number)
        return "".join(unicodedata.normalize("NFKC", text).split())


def open_reader() -> LineReader:
    """Open the network.

    Raises:
        TokbenchError: If the package is missing, or its file is missing or is not the expected one.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnxruntime", "ocr", "reading text") from error
    path = _model_path()
    digest = sha256(path)
    if digest != READER_SHA256:
        raise TokbenchError(f"{path.name} has SHA-256 {digest[:12]}, expected {READER_SHA256[:12]}; run: {INSTALL}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    characters = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    settings = {
        "network": "PP-OCRv4 recognition, CTC, greedy",
        "weights_sha256": digest,
        "input": f"one line, bilinear antialias to {HEIGHT} px high, padded to {WIDTH} px wide",
    }
    return LineReader(session, ("", *characters, " "), settings)


def _model_path() -> Path:
    found = {package: Path(spec.origin).parent for package, _ in PLACES if (spec := find_spec(package)) and spec.origin}
    if not found:
        raise missing_extra("rapidocr-onnxruntime", "ocr", "reading text")
    paths = [found[package] / "models" / name for package, name in PLACES if package in found]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise TokbenchError(f"{' and '.join(found)} as installed brings no PP-OCRv4 recognition network; run: {INSTALL}")
    return path


def _as_input(line: UInt8[ndarray, "h w 3"]) -> Float[ndarray, "1 3 high wide"]:
    """Scale a line to the network's height, to [-1, 1], blue first as it was trained, with zeros on the right."""
    height, width = line.shape[:2]
    scaled = max(1, round(width * HEIGHT / height))
    pixels = np.asarray(resized(Image.fromarray(line), (scaled, HEIGHT), Image.Resampling.BILINEAR), dtype=np.float32)
    padded = np.zeros((1, 3, HEIGHT, max(WIDTH, scaled)), dtype=np.float32)
    padded[0, :, :, :scaled] = pixels[:, :, ::-1].transpose(2, 0, 1) / 127.5 - 1.0
    return padded
