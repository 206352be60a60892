"""What a backlog took from the system is given back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from anomaly.worker import heap


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(heap._trim is None, reason="the C library gives nothing back")
def test_memory_that_was_freed_between_what_is_kept_goes_back_to_the_system() -> None:
    records = [bytes(4000) for _ in range(40_000)]
    kept = records[::50]
    del records
    before = _resident_bytes()
    asyncio.run(heap.give_back())
    assert before - _resident_bytes() > 80 << 20
    assert len(kept) == 800
