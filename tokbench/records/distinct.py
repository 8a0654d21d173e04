"""Names of columns, each once: data sets and figures of others may be called like what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def distinct(columns: Sequence[tuple[str, Iterable[str]]], taken: Iterable[str]) -> list[str]:
    """Give columns names of which none comes twice; what would is numbered: ``data``, ``data_2``.

    Args:
        columns: The name of each, and the endings that further columns add to it, such as ``_low`` and ``_high``.
        taken: Names of other columns, which stay.

    Returns:
        A name for each, in the same order.
    """
    used, found = set(taken), list[str]()
    for name, endings in columns:
        chosen, number, ends = name, 1, ("", *endings)
        while any(f"{chosen}{end}" in used for end in ends):
            number += 1
            chosen = f"{name}_{number}"
        used |= {f"{chosen}{end}" for end in ends}
        found.append(chosen)
    return found
