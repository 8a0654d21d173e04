"""Images as files under the probe: its probabilities, step by step, drive a range coder, whose files are read back the same way.

Writer and reader run the network on the same ids in the same shapes, one code after the other, with the keys and values of those before
kept. So on one machine they compute the same frequencies to the last bit. A file is of one image; the text before it, the grid and the
probe are known to both.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from tokbench.feed.job import code_type
from tokbench.feed.probe.network import code_logits
from tokbench.feed.probe.range_coder import RangeDecoder, RangeEncoder, cumulative
from tokbench.feed.probe.sequences import SequenceBatch, Sequences
from tokbench.feed.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

KEPT = 1 << 28
"""Bytes of keys and values, about, of the images that are coded at once."""

Progress = Callable[[int, int], None]


def encode_images(
    model: LlamaForCausalLM, sequences: Sequences, rows: Sequence[int], *, progress: Progress = lambda done, total: None
) -> list[bytes]:
    """Write each image as a file.

    Args:
        model: On its device, in single precision.
        sequences: Sequences of the images.
        rows: Rows of these.
        progress: Called with steps done and in all.

    Returns:
        One file an image, in the order of ``rows``.
    """
    files: dict[int, bytes] = {}
    for group, batch, report in _groups(model, sequences, rows, progress):
        codes = _codes(batch, sequences.vocabulary)
        encoders = [RangeEncoder() for _ in group]
        for step, sums in enumerate(_frequencies(model, batch, sequences.vocabulary)):
            for row, encoder in enumerate(encoders):
                code = codes[row, step]
                encoder.put(int(sums[row, code]), int(sums[row, code + 1]))
            report()
        files |= {place: encoder.finish() for place, encoder in zip(group, encoders, strict=True)}
    return [files[place] for place in range(len(rows))]


def decode_images(
    model: LlamaForCausalLM,
    sequences: Sequences,
    rows: Sequence[int],
    files: Sequence[bytes],
    *,
    progress: Progress = lambda done, total: None,
) -> Int64[ndarray, "b n"]:
    """Read files back.

    Args:
        model: The model that wrote, on the same kind of machine.
        sequences: Say what text stands before each image and in which form; of the codes themselves nothing is looked at.
        rows: Those that were written, in the same order.
        files: What ``encode_images`` returned.
        progress: Called with steps done and in all.

    Returns:
        The codes, position major, codebook last.
    """
    vocabulary = sequences.vocabulary
    found = np.zeros((len(rows), sequences.codes_per_image), dtype=np.int64)
    for group, batch, report in _groups(model, sequences, rows, progress):
        blank = SequenceBatch(batch.ids.scatter(1, batch.where, vocabulary.special.pad), batch.where)
        decoders = [RangeDecoder(files[place]) for place in group]
        for step, sums in enumerate(_frequencies(model, blank, vocabulary)):
            codes = [decoder.get(sums[row]) for row, decoder in enumerate(decoders)]
            found[group, step] = codes
            ids = torch.tensor(codes) + vocabulary.offsets[step % vocabulary.codebooks]
            blank.ids[:, int(blank.where[0, step])] = ids.to(blank.ids)  # the next step reads it
            report()
    return found


def zlib_bits(codes: Int64[ndarray, "n t"], codebook_sizes: tuple[int, ...]) -> list[int]:
    """Bits of each image's codes, in the smallest type that holds them, deflated at the highest level."""
    packed = codes.astype(code_type(codebook_sizes))
    return [8 * len(zlib.compress(row.tobytes(), 9)) for row in packed]


def _groups(
    model: LlamaForCausalLM, sequences: Sequences, rows: Sequence[int], progress: Progress
) -> Iterator[tuple[list[int], SequenceBatch, Callable[[], None]]]:
    """Places among ``rows`` that are coded at once, as their images begin at the same step, and their sequences."""
    config = model.config
    image = 8 * sequences.length * config.num_hidden_layers * config.hidden_size
    at_once = max(1, KEPT // image)
    whole = sequences.batch(rows)
    starts = whole.where[:, 0].tolist()
    groups = []
    for start in sorted(set(starts)):
        places = [place for place, other in enumerate(starts) if other == start]
        groups += [places[first : first + at_once] for first in range(0, len(places), at_once)]
    done, total = 0, len(groups) * sequences.codes_per_image

    def report() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    for group in groups:
        yield group, SequenceBatch(whole.ids[group], whole.where[group]).to(model.device), report


def _frequencies(model: LlamaForCausalLM, batch: SequenceBatch, vocabulary: Vocabulary) -> Iterator[Int64[ndarray, "b s1"]]:
    """Cumulative frequencies of every code in turn; ids are read from the batch only once their turn has come."""
    name = "cache" if "cache" in inspect.signature(type(model.model).forward).parameters else "past_key_values"
    cache, begin = None, 0
    for step, end in enumerate(batch.where[0].tolist()):
        with torch.no_grad():
            output = model.model(input_ids=batch.ids[:, begin:end], use_cache=True, **{name: cache})
            cache = getattr(output, name)
            logits: Tensor = code_logits(model, output.last_hidden_state[:, -1], vocabulary, step % vocabulary.codebooks)
            shares = logits.double().softmax(dim=-1).cpu().numpy()
        yield cumulative(shares)
        begin = end


def _codes(batch: SequenceBatch, vocabulary: Vocabulary) -> Int64[ndarray, "b n"]:
    ids = batch.ids.gather(1, batch.where)
    offsets = ids.new_tensor(vocabulary.offsets).repeat(ids.shape[1] // vocabulary.codebooks)
    return (ids - offsets).cpu().numpy()
