"""What a number format costs on the processor at hand, said before hours are spent on it."""

from __future__ import annotations

from collections.abc import Mapping

from tokbench.commands.console import say

ARITHMETIC = ("avx512_bf16", "amx_bf16")
"""What x86-64 processors multiply bfloat16 by, as ``torch.cpu.get_capabilities`` names it."""


def remark_on(precision: str, device: str, *, instead: str) -> None:
    """Say that bf16 is slow where the processor has no arithmetic of it; nothing on other devices, or where that is not known.

    Args:
        precision: Number format that is going to be used.
        device: Device that it is used on, such as ``cpu``.
        instead: Option that chooses fp32.
    """
    if precision == "bf16" and device.partition(":")[0] == "cpu" and _without(_capabilities()):
        say(f"this processor has no bfloat16 arithmetic, so bf16 is several times slower on it; {instead} avoids it, and is recorded")


def _without(capabilities: Mapping[str, object]) -> bool:
    """Whether a processor is known to have no bfloat16 arithmetic."""
    return capabilities.get("architecture") == "x86_64" and not any(capabilities.get(name) for name in ARITHMETIC)


def _capabilities() -> Mapping[str, object]:
    """What torch knows of the processor; older versions do not tell."""
    import torch

    tell = getattr(torch.cpu, "get_capabilities", dict)
    return dict(tell())
