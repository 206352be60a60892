"""What people marked as false alarms: there, a run that looks faulty is taken for healthy."""

from __future__ import annotations

from collections.abc import Iterable

from anomaly.incidents import KINDS, IncidentAction, Transition

NEAR_STEPS = 100
"""Other levels open an incident so much earlier or later."""


class Marks:
    """The marks that hold, by run."""

    def __init__(self, marks: Iterable[IncidentAction] = ()) -> None:
        self._of: dict[str, list[IncidentAction]] = {}
        for mark in marks:
            if mark.run is not None:
                self._of.setdefault(mark.run, []).append(mark)

    def of(self, run: str) -> tuple[IncidentAction, ...]:
        """Those on a run's incidents."""
        return tuple(self._of.get(run, ()))

    def covers(self, found: Transition) -> bool:
        """Whether a finding is of an incident that was marked: of its kind or cause, at the same place in the run."""
        return any(_is_of(mark, found) for mark in self.of(found.run))


def _is_of(mark: IncidentAction, found: Transition) -> bool:
    if mark.incident == found.incident:
        return True
    kinds = [KINDS.get(kind) for kind in (mark.kind or "", found.kind)]
    if mark.kind != found.kind and (None in kinds or len({kind.cause_group for kind in kinds if kind}) > 1):
        return False
    if mark.first_step is None or mark.step is None:
        return False
    return found.first_step <= mark.step + NEAR_STEPS and found.step >= mark.first_step - NEAR_STEPS
