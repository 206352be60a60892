"""What a figure was measured on: without it no absolute figure means anything."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

BUSY_LOAD = 0.5
"""Above this load average at the start, others are using the machine."""


def describe(broker: str) -> list[str]:
    """Lines for people: processor, memory, versions, the broker, the date, and whether the machine was quiet."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    lines = [
        f"{_cpu_model()}, {cores} cores, {_memory_gib():.0f} GiB of memory",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}",
        f"broker: {broker}",
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    ]
    if load > BUSY_LOAD:
        lines.append(
            f"the machine was busy at the start (load average {load:.1f}): absolute figures are rough"
        )
    return lines


def _cpu_model() -> str:
    lines = _lines("/proc/cpuinfo")
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")


def _memory_gib() -> float:
    kib = (int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:"))
    return next(kib, 0) / 2**20


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
