"""Which receivers an incident goes to, by severity, kind, team, project, run, tags and hours. Pure: `now` comes in."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from anomaly.incidents.transition import Severity, Transition
from anomaly.settings_routes import RouteSpec, parsed_hours

DEFAULT_SEVERITIES = ("warning", "critical")


class Routed(enum.Enum):
    """Whether an incident goes to a receiver."""

    YES = "yes"
    LATER = "later"
    """A route is for it, at other hours."""
    NO = "no"


class Route:
    """One ``[[routes]]`` table, ready to be asked."""

    def __init__(self, spec: RouteSpec) -> None:
        self.receivers = frozenset(spec.receivers)
        self._spec = spec
        self._hours = parsed_hours(spec.hours) if spec.hours else None
        self._zone = None if self._hours is None else ZoneInfo(self._hours.zone)

    def matches(self, transition: Transition) -> bool:
        """Whether it is for this incident, at whatever hour."""
        spec, tags = self._spec, transition.tags or {}
        return (
            transition.severity in spec.severity
            and _any(spec.kind, transition.kind)
            and _any(spec.run, transition.run)
            and (not spec.team or _any(spec.team, tags.get("team")))
            and (not spec.project or _any(spec.project, tags.get("project")))
            and all(_any((pattern,), tags.get(name)) for name, pattern in (spec.tags or {}).items())
        )

    def is_open(self, now: float) -> bool:
        """Whether its hours contain `now`, in unix seconds."""
        if self._hours is None:
            return True
        local = datetime.fromtimestamp(now, UTC).astimezone(self._zone)
        return self._hours.contain(local.weekday(), local.hour * 60 + local.minute)


class Routes:
    """Every ``[[routes]]`` table; without one, every receiver gets warnings and criticals."""

    def __init__(self, specs: Iterable[RouteSpec]) -> None:
        self._routes = [Route(spec) for spec in specs]

    def routed(self, transition: Transition, receiver: str, now: float) -> Routed:
        """Whether `transition` goes to `receiver` at `now` (unix seconds)."""
        if not self._routes:
            return Routed.YES if transition.severity in DEFAULT_SEVERITIES else Routed.NO
        found = [route for route in self._routes if receiver in route.receivers and route.matches(transition)]
        if any(route.is_open(now) for route in found):
            return Routed.YES
        return Routed.LATER if found else Routed.NO

    def misses(self, receivers: Mapping[str, object]) -> list[str]:
        """Receivers that no route names: they only ever stand in for others, or were forgotten."""
        if not self._routes:
            return []
        named = frozenset().union(*(route.receivers for route in self._routes))
        return [name for name in receivers if name not in named]


def _any(patterns: Iterable[str], text: str | None) -> bool:
    return text is not None and any(fnmatchcase(text, pattern) for pattern in patterns)


def worst(severities: Iterable[Severity]) -> Severity:
    """The highest of at least one."""
    return max(severities, key=lambda severity: severity.rank)
