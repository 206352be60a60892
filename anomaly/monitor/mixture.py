"""Which layers are the parallel parts of a mixture of experts: they get what a router sends them, or nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_EXPERT = "expert"
"""How every framework names them; smaller codes say `mlp.w1.3`, beside a router."""
_SIGNS = (_EXPERT, "router", "moe")
_NUMBERED = re.compile(r"(.*\d.*[._/])\d+((?:[._/](?:weight|bias|kernel))?)")
"""A name that ends in a number, but for its tensor's, and has another one before: of the block that it is in."""
_MANY = 3


def is_mixture(layers: Sequence[str], signals: Sequence[str]) -> bool:
    """Whether anything says that a run's model routes."""
    return "router_entropy" in signals or any(sign in name.lower() for name in layers for sign in _SIGNS)


def parts_of(layers: Sequence[str], signals: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each layer is one of an expert's, bool [layers].

    Those with "expert" in their names; where there are none, but a router is, those numbered within their block.
    """
    parts = np.array([_EXPERT in name.lower() for name in layers], np.bool_)
    if parts.any() or not is_mixture(layers, signals):
        return parts
    rows = [match.groups() if (match := _NUMBERED.fullmatch(name)) else None for name in layers]
    counts = Counter(rows)
    return np.array([row is not None and counts[row] >= _MANY for row in rows], np.bool_)


def is_nameless(layers: Sequence[str]) -> bool:
    """Whether no name says what its layer is: they differ by numbers alone."""
    return len({re.sub(r"\d+", "", name) for name in layers}) == 1
