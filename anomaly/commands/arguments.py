"""What several commands take on their command lines: lengths of time, counts."""

from __future__ import annotations

import argparse

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def age(text: str) -> float:
    """A length of time in seconds.

    >>> age("90s"), age("2d")
    (90.0, 172800.0)
    """
    unit = _UNITS.get(text[-1:])
    if unit is None or not (text[:-1].isascii() and text[:-1].isdecimal()):
        raise argparse.ArgumentTypeError(f"got {text!r}; a number and s, m, h or d is needed, as in 6h")
    return float(text[:-1]) * unit


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; a number from 1 is needed")
    return int(text)
