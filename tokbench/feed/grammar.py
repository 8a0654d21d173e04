r"""Which ids may come next, so that every image in a sequence is well formed: a state machine over batches of flat sequences.

::

    text <-> (outside) --BOI--> size --IMG--> codes, EOL after every row --> EOF --> EOI --> (outside), or EOS
                 \--EOS--> PAD, PAD, ...

The state is read off the ids anew at every step, and nothing is carried from step to step. So rows may be reordered (beam search),
dropped or padded on the left at will.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.feed.sequence import image_opening
from tokbench.feed.vocabulary import Vocabulary

NOTHING, OUTSIDE, NO_ROOM_FOR_IMAGES, EOS, PAD, EOL, EOF, EOI, CODES = range(9)
"""States by what they allow; codes of codebook k are allowed in state ``CODES + k``."""

ENDLESS = 2**62


class _Tables(NamedTuple):
    """What the allowed grids need, one row a grid, and what the states allow, one row a state."""

    openings: Int64[Tensor, "g m"]
    """Ids behind BOI: the size and IMG; then -1."""
    opening_lengths: Int64[Tensor, " g"]
    widths: Int64[Tensor, " g"]
    """Ids of a row without EOL."""
    row_lengths: Int64[Tensor, " g"]
    body_lengths: Int64[Tensor, " g"]
    """Ids between IMG and EOF."""
    lengths: Int64[Tensor, " g"]
    """Ids from BOI to EOI."""
    allowed: Bool[Tensor, "s v1"]
    """One column more than there are ids, to write to without effect."""


class ImageGrammar:
    """Says which ids may follow.

    Args:
        vocabulary: Meaning of the ids; flat.
        grids: Sizes an image may have, in positions. With one, its size is forced; with several, the model chooses.
        after_image: ``eos`` ends the sequence behind an image, as Emu3 does; ``continue`` allows more text and images.
        max_length: Ids a row may come to, prompt included, as ``generate`` counts them. No image is begun that would not be done by
            then with EOS behind it, and text ends in time for EOS. None leaves it to the caller that images are not cut short.

    Raises:
        ValueError: If the vocabulary is parallel, there is no grid or one is not of the vocabulary's kind, or another value is wrong.
        TokbenchError: If the text tokenizer cannot write a size.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        grids: Sequence[tuple[int, ...]],
        *,
        after_image: Literal["eos", "continue"] = "eos",
        max_length: int | None = None,
    ) -> None:
        if vocabulary.parallel:
            raise ValueError(
                "constrained decoding is for flat vocabularies; each head of a parallel one can emit other ids in the midst of an image, "
                "so restrict every head to its codes there yourself"
            )
        if not grids:
            raise ValueError("at least one grid must be allowed")
        if after_image not in ("eos", "continue") or (max_length is not None and max_length < 1):
            raise ValueError(f"after_image is eos or continue, max_length positive; got {after_image!r} and {max_length}")
        self.vocabulary, self.grids = vocabulary, tuple(dict.fromkeys(grids))
        self.after_image, self.max_length = after_image, max_length
        self._tables = _make_tables(vocabulary, self.grids)
        self._shortest = int(self._tables.lengths.min())

    def allowed(self, ids: Int64[Tensor, "b t"]) -> Bool[Tensor, "b v"]:
        """Say which ids may follow each row.

        Args:
            ids: Rows of prompt and what was generated; PAD on the left is passed over.

        Returns:
            One column for each of ``vocabulary.size`` ids, on the device of the ids; at least one is True in every row.

        Raises:
            TokbenchError: If an unfinished image has a size that is not allowed, or would not be done within ``max_length``.
            ValueError: If there is not even a prompt.
        """
        if not ids.shape[1]:
            raise ValueError("a row must have at least one id to go on from")
        tables, special = self._on(ids.device), self.vocabulary.special
        boi, eoi, eos, bos = _last(ids, special.boi, special.eoi, special.eos, special.bos)
        done, inside = eos > bos, boi > eoi

        since = ids.shape[1] - 1 - boi  # ids behind BOI
        matching = self._matching(ids, boi)
        if (inside & ~done & ~matching.any(dim=1)).any():
            raise self._impossible(ids, boi, inside & ~done & ~matching.any(dim=1))
        opening = matching & (since[:, None] < tables.opening_lengths)
        opened = matching & ~opening

        state = torch.where(opened.any(dim=1), self._state_in_image(since, opened.long().argmax(dim=1), tables), NOTHING)
        state = torch.where(inside, state, self._state_outside(ids))
        state = torch.where(done, PAD, state)
        mask = tables.allowed[state]
        following = tables.openings.T[since.clamp(max=tables.openings.shape[1] - 1)]
        choosing = opening & (inside & ~done)[:, None]
        mask.scatter_(1, torch.where(choosing, following, self.vocabulary.size), True)
        return mask[:, : self.vocabulary.size]

    def rest(self, ids: Int64[Tensor, " t"]) -> list[Int64[Tensor, " n"]]:
        """List the ids that may come at each step from within an image to the end of its sequence.

        The form alone says what they are, whichever codes are chosen on the way. So who draws one image asks once, and not at every step.

        Args:
            ids: A sequence that ends within an image, from BOI on.

        Returns:
            What ``allowed`` would say step by step, as ids in ascending order; the last one is EOS.

        Raises:
            ValueError: If the ids end outside of an image, several sizes are still possible, or the sequence goes on behind the image.
            TokbenchError: If the image has a size that is not allowed, or would not be done within ``max_length``.
        """
        special, tables = self.vocabulary.special, self._on(ids.device)
        boi, eoi, eos = _last(ids[None], special.boi, special.eoi, special.eos)
        if int(boi) <= max(int(eoi), int(eos)) or self.after_image != "eos":
            raise ValueError("the ids must end within an image, and the sequence behind that image")
        grids = self._matching(ids[None], boi)[0].nonzero()[:, 0]
        if not len(grids):
            raise self._impossible(ids[None], boi, boi >= 0)
        if len(grids) > 1:
            raise ValueError(f"the image may still become one of {len(grids)} sizes; begin it with its size, or allow one grid")
        begun, opening = len(ids) - 1 - int(boi), int(tables.opening_lengths[grids])
        since = torch.arange(max(begun, opening), int(tables.lengths[grids]) - 1, device=ids.device)
        states = [*self._state_in_image(since, grids.expand(len(since)), tables).tolist(), EOS]
        choices = {state: tables.allowed[state, : self.vocabulary.size].nonzero()[:, 0] for state in set(states)}
        return [*tables.openings[int(grids), begun:opening][:, None], *(choices[state] for state in states)]

    def _matching(self, ids: Tensor, boi: Tensor) -> Bool[Tensor, "b g"]:
        """Which grids an image begun there may have."""
        tables = self._on(ids.device)
        fits = boi[:, None] + tables.lengths < (ENDLESS if self.max_length is None else self.max_length)  # EOS too
        return _begins_with(ids, boi, tables) & fits

    def _state_in_image(self, since: Tensor, grid: Tensor, tables: _Tables) -> Tensor:
        behind_img = since - tables.opening_lengths[grid]
        slot = behind_img % tables.row_lengths[grid]
        body, length = torch.where(slot == tables.widths[grid], EOL, CODES + slot % self.vocabulary.codebooks), tables.body_lengths[grid]
        return torch.where(behind_img < length, body, torch.where(behind_img == length, EOF, EOI))

    def _state_outside(self, ids: Tensor) -> Tensor:
        count = ids.shape[1]
        state = torch.full_like(ids[:, -1], OUTSIDE)
        if self.max_length is not None and count + self._shortest >= self.max_length:
            state.fill_(NO_ROOM_FOR_IMAGES if count + 2 <= self.max_length else EOS)
        return torch.where(ids[:, -1] == self.vocabulary.special.eoi, EOS, state) if self.after_image == "eos" else state

    def _on(self, device: torch.device) -> _Tables:
        if self._tables.allowed.device != device:
            self._tables = _Tables(*(table.to(device) for table in self._tables))
        return self._tables

    def _impossible(self, ids: Tensor, boi: Tensor, rows: Tensor) -> TokbenchError:
        row = int(rows.nonzero()[0])
        place = int(boi[row])
        opening = ids[row, place + 1 :]
        size = opening[self.vocabulary.is_text(opening).long().cumprod(dim=0).bool()][:16].tolist()
        given = f"of size {self.vocabulary.text.decode(size)!r}" if size else "without size"
        known = ", ".join("*".join(map(str, grid)) for grid in self.grids[:5]) + (", ..." if len(self.grids) > 5 else "")
        limit = "" if self.max_length is None else f" within {self.max_length} ids"
        return TokbenchError(
            f"row {row} has an image begun at position {place} {given} that cannot become one of the sizes allowed ({known}){limit}; "
            "allow its size, or choose another prompt"
        )


def _make_tables(vocabulary: Vocabulary, grids: tuple[tuple[int, ...], ...]) -> _Tables:
    openings = [image_opening(grid, vocabulary)[1:] for grid in grids]
    opening_lengths = torch.tensor([len(opening) for opening in openings])
    columns, rows = torch.tensor([grid[-1] for grid in grids]), torch.tensor([grid[0] if len(grid) == 2 else 1 for grid in grids])
    widths = columns * vocabulary.codebooks
    row_lengths = widths + (vocabulary.grid_axes == 2)
    body_lengths = rows * row_lengths

    ids, special = torch.arange(vocabulary.size + 1), vocabulary.special
    text, eos = vocabulary.is_text(ids), ids == special.eos
    forced = [ids == number for number in (special.eos, special.pad, special.eol, special.eof, special.eoi)]
    codes = [(ids >= start) & (ids < start + size) for start, size in zip(vocabulary.offsets, vocabulary.codebook_sizes, strict=True)]
    return _Tables(
        torch.nn.utils.rnn.pad_sequence(openings, batch_first=True, padding_value=-1),
        opening_lengths,
        widths,
        row_lengths,
        body_lengths,
        lengths=1 + opening_lengths + body_lengths + 2,
        allowed=torch.stack([ids < 0, text | eos | (ids == special.boi), text | eos, *forced, *codes]),
    )


def _last(ids: Int64[Tensor, "b t"], *numbers: int) -> Int64[Tensor, "n b"]:
    """Where each row has each of some ids last; -1 where it has not."""
    places = torch.arange(ids.shape[1], device=ids.device)
    return torch.where(ids == ids.new_tensor(numbers)[:, None, None], places, -1).amax(dim=2)


def _begins_with(ids: Tensor, boi: Tensor, tables: _Tables) -> Bool[Tensor, "b g"]:
    """Whether what follows BOI, as far as it goes, is the opening of each grid, as far as that goes."""
    places = torch.arange(tables.openings.shape[1], device=ids.device)
    following = (boi[:, None] + 1 + places).clamp(max=ids.shape[1])
    window = torch.nn.functional.pad(ids, (0, 1), value=-1).gather(1, following)
    compared = torch.minimum(ids.shape[1] - 1 - boi[:, None], tables.opening_lengths)
    return ((window[:, None] == tables.openings) | (places >= compared[:, :, None])).all(dim=2)
