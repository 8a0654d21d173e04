"""What computed the figures: versions and processor, no host names or paths."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tokbench.records.record import Environment

PACKAGES = ("torch", "torchmetrics", "lpips", "timm", "numpy", "scipy", "pillow")


def environment() -> Environment:
    """Describe this machine and its packages."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return Environment(
        tokbench=version("tokbench"),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        packages=found,
    )


def processor_name() -> str:
    """What the processor of this machine is called."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
