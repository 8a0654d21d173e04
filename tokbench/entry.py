"""Where the command begins: ready for Ctrl-C before it loads anything."""

from __future__ import annotations

from tokbench.signals import ending_at_signals


def main() -> None:
    """Load the command line and run it."""
    with ending_at_signals():
        from tokbench.cli import main as run

        run()
