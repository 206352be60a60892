"""Memory that a backlog took goes back to the system: glibc by itself keeps what was freed amid what was not."""

from __future__ import annotations

import asyncio
import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""None where the C library has none; there, nothing is given back."""


async def give_back() -> None:
    """Hand freed memory back, in a thread: it takes milliseconds for each hundred MiB."""
    if _trim is not None:
        await asyncio.to_thread(_trim, 0)
