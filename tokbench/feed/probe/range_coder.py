"""A range coder in exact integer arithmetic: symbols and their frequencies to bytes and back.

The coder narrows an interval [low, low + range) by every symbol's share of it. It writes the leading byte of ``low`` whenever the range
has become small; a carry runs back through bytes written. Source: G. N. N. Martin, Range encoding: an algorithm for removing redundancy
from a digitised message, 1979.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

TOTAL_BITS = 32
"""Frequencies of all symbols add up to 2 to this power."""

_WIDTH, _BYTE = 64, 8
_FULL, _SMALL = 1 << _WIDTH, 1 << (_WIDTH - _BYTE)


def cumulative(probabilities: Float64[ndarray, "*b s"]) -> Int64[ndarray, "*b s1"]:
    """Turn probabilities into whole frequencies, none of them 0, that add up to ``2 ** TOTAL_BITS``.

    Args:
        probabilities: Not negative, adding up to 1 but for rounding.

    Returns:
        For every symbol the sum of the frequencies before it; behind the last one the sum of all.

    Raises:
        ValueError: If a probability is negative or not finite, or there are more symbols than frequencies.
    """
    size, total = probabilities.shape[-1], 1 << TOTAL_BITS
    if size > total >> 8:
        raise ValueError(f"{size} symbols are too many to share {total} evenly enough")
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise ValueError("probabilities must be finite and not negative")
    shares = probabilities / probabilities.sum(axis=-1, keepdims=True)
    frequencies = 1 + np.floor(shares * (total - size)).astype(np.int64)
    rest = total - frequencies.sum(axis=-1, keepdims=True)
    likeliest = frequencies.argmax(axis=-1)[..., None]
    np.put_along_axis(frequencies, likeliest, np.take_along_axis(frequencies, likeliest, axis=-1) + rest, axis=-1)
    if (frequencies < 1).any():
        raise ValueError("probabilities do not add up to 1")
    sums = np.zeros((*frequencies.shape[:-1], size + 1), dtype=np.int64)
    np.cumsum(frequencies, axis=-1, out=sums[..., 1:])
    return sums


class RangeEncoder:
    """Writes symbols."""

    def __init__(self) -> None:
        self._low, self._range, self._written = 0, _FULL, bytearray()

    def put(self, start: int, stop: int) -> None:
        """Write a symbol.

        Args:
            start: Sum of the frequencies before it.
            stop: Frequencies of all symbols before it, and its own.

        Raises:
            ValueError: If the frequency is not positive, or beyond the total.
        """
        if not 0 <= start < stop <= 1 << TOTAL_BITS:
            raise ValueError(f"frequencies must satisfy 0 <= start < stop <= 2**{TOTAL_BITS}, got {start} and {stop}")
        unit = self._range >> TOTAL_BITS
        self._low += unit * start
        self._range = unit * (stop - start)
        self._carry()
        while self._range <= _SMALL:
            self._written.append(self._low >> (_WIDTH - _BYTE))
            self._low = (self._low << _BYTE) & (_FULL - 1)
            self._range <<= _BYTE

    def finish(self) -> bytes:
        """End with as few bytes as leave no doubt in which interval the symbols lie, whatever stood behind them.

        So no file is the begin of another one, and its length says nothing that is not counted. Over all messages of as many symbols, 2
        to the power of minus their bits adds up to at most 1.

        Returns:
            All that was written.
        """
        for kept in range(0, _WIDTH + 1, _BYTE):
            unit = 1 << (_WIDTH - kept)
            value = -(-self._low // unit) * unit
            if value + unit <= self._low + self._range:
                self._low = value
                self._carry()
                self._written += (self._low >> (_WIDTH - kept)).to_bytes(kept // _BYTE, "big") if kept else b""
                return bytes(self._written)
        raise AssertionError("an interval holds at least one number")

    def _carry(self) -> None:
        if self._low < _FULL:
            return
        self._low -= _FULL
        place = len(self._written) - 1
        while self._written[place] == 255:
            self._written[place] = 0
            place -= 1
        self._written[place] += 1


class RangeDecoder:
    """Reads symbols back, given the same frequencies.

    Args:
        data: What an encoder wrote.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._range = data, _WIDTH // _BYTE, _FULL
        self._offset = int.from_bytes(data[: _WIDTH // _BYTE].ljust(_WIDTH // _BYTE, b"\0"), "big")

    def get(self, sums: Int64[ndarray, " s1"]) -> int:
        """Read a symbol.

        Args:
            sums: As ``cumulative`` makes them.

        Raises:
            ValueError: If the data are not what an encoder wrote with these frequencies.
        """
        unit = self._range >> TOTAL_BITS
        point = self._offset // unit
        if point >> TOTAL_BITS:
            raise ValueError("the data were not written with these frequencies")
        symbol = int(np.searchsorted(sums, point, side="right")) - 1
        start, stop = int(sums[symbol]), int(sums[symbol + 1])
        self._offset -= unit * start
        self._range = unit * (stop - start)
        while self._range <= _SMALL:
            following = self._data[self._at] if self._at < len(self._data) else 0
            self._offset = (self._offset << _BYTE) | following
            self._range <<= _BYTE
            self._at += 1
        return symbol
