"""What compiled code is made from: numba's cache looks at one file alone, and hears of the others by a closure.

The judge of a record (tiles.py) holds the digits of the modules that it is compiled from in a closure, whose variables
are part of the cache's key; what it calls is not cached by itself. gathered.py, lone.py and unsteady.py do not: touch
them after changing rows.py or lanes.py.
"""

from __future__ import annotations

import hashlib
import inspect
from types import ModuleType

__all__ = ["digits_of"]


def digits_of(*modules: ModuleType) -> str:
    """Hexadecimal digits that change with the source of any of these modules."""
    return hashlib.sha256("".join(map(inspect.getsource, modules)).encode()).hexdigest()
