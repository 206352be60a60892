"""What can be measured: sections, each with its rows, and what a section is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Broker
from benchmarks.rows import Row


@dataclass(frozen=True)
class Bench:
    """What a section may use. `wanted` are the rows asked for: what only others need may be left out."""

    broker: Broker
    folder: Path
    wanted: frozenset[str]
    quick: bool
    remarks: list[str]
    """Sentences for people, printed under the table."""


@dataclass(frozen=True)
class Section:
    """Rows that are measured together.

    `long`: only when asked for by name, or with ``--long``.  `alone`: after the broker has ended.
    """

    name: str
    rows: tuple[str, ...]
    measure: Callable[[Bench], list[Row]]
    long: bool = False
    alone: bool = False


def wanted_rows(sections: Iterable[Section], only: Collection[str], long: bool) -> list[str]:
    """The rows to measure: all, or those that `only` names, itself or by its section. ValueError for unknown names."""
    sections = list(sections)
    known = {name for section in sections for name in (section.name, *section.rows)}
    if unknown := sorted(set(only) - known):
        raise ValueError(f"unknown row or section {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return [
        row
        for section in sections
        for row in section.rows
        if row in only or section.name in only or (not only and (long or not section.long))
    ]
