"""Where the command begins: ready for Ctrl-C before it loads anything."""

from __future__ import annotations

from tokbench.signals import ending_the_process


def main() -> None:
    """Load the command line and run it."""
    with ending_the_process():
        from tokbench.cli import main as run

        run()
