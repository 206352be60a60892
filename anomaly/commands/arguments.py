"""What several commands take on their command lines: lengths of time, counts, what chooses among runs and incidents."""

from __future__ import annotations

import argparse

from anomaly.incidents.transition import Severity

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


def add_run_filter(parser: argparse.ArgumentParser, meant: str) -> None:
    """``--run``, a pattern; `meant` says what is chosen by it."""
    parser.add_argument("--run", metavar="PATTERN", default="*", help=f"{meant}; * and ? stand for any text")


def add_since(parser: argparse.ArgumentParser, happened: str) -> None:
    """``--since``, an age in seconds; `happened` says what did."""
    parser.add_argument(
        "--since", type=age, metavar="AGE", default=float("inf"),
        help=f"{happened} at most so long ago: 90s, 30m, 6h, 2d",
    )  # fmt: skip


def add_limit(parser: argparse.ArgumentParser, default: int, meant: str = "the newest so many") -> None:
    """``--limit``, a count from 1."""
    parser.add_argument("--limit", type=count, default=default, help=f"{meant} (default: %(default)s)")


def add_severity(parser: argparse.ArgumentParser) -> None:
    """``--severity``, the least."""
    parser.add_argument(
        "--severity", type=Severity, choices=list(Severity), default=Severity.INFO,
        metavar="info|warning|critical", help="this severity and above (default: info)",
    )  # fmt: skip
