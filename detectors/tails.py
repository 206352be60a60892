"""How healthy charts really behave: the fitted tail of a chart's score, and a set of them as read from JSON.

A *score* is a chart's ratio at the default budget and theory's level, times that level (levels.py), so it depends on no
setting. Its tail, for one chart and one kind of series (a profile's name), over readings in which the run was healthy:

    rate(u)  = rate * (1 + shape * (u - threshold) / scale) ** (-1 / shape)      generalised Pareto above `threshold`
    rate(u)  = rate * exp((threshold - u) / scale)                               below it, and for shape 0

in *clusters* per reading and slot: scores above u closer than 50 readings, in whichever slots of the run, are one.
Slots of a run neither move alike nor apart: n of them have n ** TOGETHER times the clusters of one.

`detectors.tail_fits` fits them. Source: Pickands 1975 (peaks over threshold), Leadbetter 1983 (clusters).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import Any, Final

__all__ = ["CHARTS_VERSION", "NO_TAILS", "TOGETHER", "Tail", "Tails", "shipped", "tails_of", "with_identity"]

TOGETHER: Final = 0.5
"""Exponent of the number of slots: 1 would be slots that never exceed together, 0 ones that always do."""
SHAPE_BOUND: Final = 0.8
SHIPPED_FILE: Final = "tails.json"
CHARTS_VERSION: Final = 1
"""Goes up when a chart's score comes to mean something else: tails fitted before say nothing of it."""


@dataclass(frozen=True, slots=True)
class Tail:
    """One fitted tail; threshold and scale in units of the score, rate per reading and slot ** TOGETHER.

    `rate`, `shape` and `scale` are the upper ends of what the data allow, not their centre. `clusters` is the number
    fitted: how far it is to be believed. `readings` is the exposure, in readings times slots ** TOGETHER.
    """

    threshold: float
    rate: float
    shape: float
    scale: float
    clusters: int
    readings: float

    def level(self, rate: float) -> float:
        """The score that clusters exceed at this rate, per reading and slot ** TOGETHER."""
        above = math.log(self.rate / rate)
        if above <= 0.0 or abs(self.shape) < 1e-6:
            return self.threshold + self.scale * above
        return self.threshold + self.scale * math.expm1(self.shape * above) / self.shape


@dataclass(frozen=True)
class Tails:
    """Tails by (chart, kind); `identity` is a hash of all they say, "" of none."""

    by_chart: Mapping[tuple[str, str], Tail] = field(default_factory=dict)
    identity: str = ""

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tails) and self.identity == other.identity

    def as_json(self) -> list[dict[str, Any]]:
        """What `tails_of` reads."""
        return [
            {"chart": chart, "kind": kind, **asdict(tail)}
            for (chart, kind), tail in sorted(self.by_chart.items())
        ]


NO_TAILS: Final = Tails()
_FIELDS = tuple(entry.name for entry in fields(Tail))
_POSITIVE = frozenset(("rate", "scale", "readings"))


def tails_of(rows: object) -> Tails:
    """Tails of a list of JSON objects. ValueError says which of them is wrong, what it got and what is needed."""
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise ValueError(f"tails: got {type(rows).__name__}, a list of objects is needed")
    found: dict[tuple[str, str], Tail] = {}
    for at, row in enumerate(rows):
        key, tail = _tail_of(at, row)
        if key in found:
            raise ValueError(f"tails[{at}]: chart {key[0]!r} of kind {key[1]!r} stands twice")
        found[key] = tail
    return with_identity(found)


def with_identity(by_chart: Mapping[tuple[str, str], Tail]) -> Tails:
    """These tails, known by what they say."""
    if not by_chart:
        return NO_TAILS
    text = json.dumps(Tails(by_chart).as_json(), sort_keys=True)
    return Tails(by_chart, hashlib.sha256(text.encode()).hexdigest()[:12])


@cache
def shipped() -> Tails:
    """The tails of healthy training runs that nothing else of this package was made by."""
    text = files("detectors").joinpath(SHIPPED_FILE).read_text("utf-8")
    return tails_of(json.loads(text)["tails"])


def _tail_of(at: int, row: object) -> tuple[tuple[str, str], Tail]:
    if not isinstance(row, Mapping):
        raise ValueError(f"tails[{at}]: got {type(row).__name__}, an object is needed")
    wanted = {"chart", "kind", *_FIELDS}
    if row.keys() != wanted:
        wrong = ", ".join(sorted(row.keys() ^ wanted))
        raise ValueError(f"tails[{at}]: {wrong} missing or unknown; needed are {', '.join(sorted(wanted))}")
    for name in ("chart", "kind"):
        if not isinstance(row[name], str):
            raise ValueError(f"tails[{at}].{name}: got {row[name]!r}, text is needed")
    for name in _FIELDS:
        _check_number(f"tails[{at}].{name}", name, row[name])
    return (row["chart"], row["kind"]), Tail(**{name: row[name] for name in _FIELDS})


def _check_number(where: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: got {value!r}, a finite number is needed")
    if name in _POSITIVE and not value > 0.0:
        raise ValueError(f"{where}: got {value}, a number above 0 is needed")
    if name == "shape" and abs(value) > SHAPE_BOUND:
        raise ValueError(f"{where}: got {value}, at most {SHAPE_BOUND} either way is allowed")
    if name == "clusters" and (value < 0 or not isinstance(value, int)):
        raise ValueError(f"{where}: got {value}, a whole number of 0 or more is needed")
