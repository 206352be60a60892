"""``[[routes]]`` of ``anomaly.toml``: which incidents go to which receivers, and `Hours`, when a route holds.

Every route that matches applies; a key that is left out matches everything, save `severity`: warning and critical.
Info is never sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from anomaly.settings_tables import each_of, key, made, nearest, problems_of

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS = re.compile(r"([A-Za-z,-]+) +(\d\d:\d\d)-(\d\d:\d\d) +(\S+)")
_EXAMPLE = "Mon-Fri 08:00-18:00 Europe/Berlin"


@dataclass(frozen=True, slots=True)
class Hours:
    """Days of the week (0 = Monday) on which the time begins, its first and last minute of the day, and the zone.

    A span whose end is not after its beginning runs over midnight: ``Fri 18:00-08:00`` ends on Saturday.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: str

    def contain(self, weekday: int, minute: int) -> bool:
        """Whether this minute of this local day is within.

        >>> parsed_hours("Fri 18:00-08:00 UTC").contain(5, 7 * 60 + 59)
        True
        """
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return weekday in self.days
        return minute < self.end and (weekday - 1) % 7 in self.days


def parsed_hours(text: str) -> Hours:
    """``Mon-Fri 08:00-18:00 Europe/Berlin``. Raises `ValueError`, which says what to do."""
    found = _HOURS.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"got {text!r}; give days, a time span and a zone, such as {_EXAMPLE}")
    days, start, end, zone = found.groups()
    return Hours(_days(days), _minute(start), _minute(end), _zone(zone))


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            low, high = DAYS.index(first.title()), DAYS.index((last or first).title())
        except ValueError:
            raise ValueError(
                f"got {part!r} as days; give {', '.join(DAYS)}, or a span such as Mon-Fri"
            ) from None
        found |= {day % 7 for day in range(low, high + 1 if low <= high else high + 8)}
    return frozenset(found)


def _minute(text: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    if hour * 60 + minute > 24 * 60 or minute > 59:
        raise ValueError(f"got {text!r} as a time; 00:00 to 24:00 is allowed")
    return hour * 60 + minute


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        hint = nearest(name, available_timezones(), "give a name such as Europe/Berlin or UTC")
        raise ValueError(f"got {name!r} as a time zone; {hint}") from None
    return name


def _hours(value: str) -> str | None:
    try:
        parsed_hours(value)
    except ValueError as error:
        return str(error)
    return None


def _severity(value: str) -> str | None:
    if value in ("warning", "critical"):
        return None
    never = "info is never sent; " if value == "info" else ""
    return f"got {value!r}; {never}give warning, critical or both"


def _kind(pattern: str) -> str | None:
    from anomaly.incidents.kinds import KINDS  # not at the top: the hook's side never needs it

    if any(fnmatchcase(name, pattern) for name in KINDS):
        return None
    return f"got {pattern!r}, which is no kind of incident; {nearest(pattern, KINDS, 'docs/kinds.md lists them')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """Who gets what. `kind`, `team`, `project`, `run` and the values of `tags` are patterns with ``*`` and ``?``."""

    receivers: tuple[str, ...] = key(tuple)
    severity: tuple[str, ...] = key(tuple, ("warning", "critical"), each_of(_severity))
    kind: tuple[str, ...] = key(tuple, ("*",), each_of(_kind))
    team: tuple[str, ...] = key(tuple, ())
    project: tuple[str, ...] = key(tuple, ())
    run: tuple[str, ...] = key(tuple, ("*",))
    tags: Mapping[str, str] = key(dict, None)
    hours: str = key(str, "", _hours)


def route_specs(tables: Iterable[Mapping[str, Any]]) -> tuple[RouteSpec, ...]:
    """The tables, in which nothing is wrong."""
    return tuple(made(RouteSpec, table) for table in tables)


def route_problems(tables: Iterable[Any], receivers: Iterable[str]) -> list[str]:
    """Everything that is wrong with ``[[routes]]``; `receivers` are the names there are."""
    receivers = list(receivers)
    there_are = f"there are {', '.join(receivers)}" if receivers else "there is no [[receivers]] table"
    problems = []
    for number, table in enumerate(tables, 1):
        if not isinstance(table, Mapping):
            problems.append(f"number {number}: must be a table; write it as [[routes]]")
            continue
        found = problems_of(RouteSpec, table)
        if not any(problem.startswith("receivers: ") for problem in found):
            found += [
                f"receivers: got {name!r}, which is no receiver; {nearest(name, receivers, there_are)}"
                for name in table.get("receivers", ())
                if name not in receivers
            ]
        problems += [f"number {number}: {problem}" for problem in found]
    return problems
