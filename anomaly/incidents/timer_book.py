"""The book of the incidents that timers open: apart from the record path's, so that neither disturbs the other."""

from __future__ import annotations

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import IncidentBook
from anomaly.incidents.open_incident import Moment, OpenIncident
from anomaly.incidents.transition import Status, Transition, incident_identity
from anomaly.records import step_millionths


class TimerBook(IncidentBook):
    """The incidents that only time opens: each kind is one of its own, begun and ended by the timers alone.

    Its ordinals count down from -1, so that no identity is ever one of the record path's, and neither book needs to
    know the other.
    """

    def next_ordinal(self, kind: str) -> int:
        """Below all before it."""
        return self.ordinals.get(kind, 0) - 1

    def of_kind(self, kind: str) -> OpenIncident | None:
        """The open incident of a kind."""
        return next((incident for incident in self.open if incident.kind == kind), None)

    def begin(self, run: str, alarm: Alarm, moment: Moment, last_good_step: int | None) -> Transition:
        """Open an incident; the caller knows that there is none of its kind."""
        return self._opened(run, alarm, moment, last_good_step)

    def end(self, run: str, kind: str, moment: Moment) -> list[Transition]:
        """Resolve the open incident of a kind, if there is one."""
        incident = self.of_kind(kind)
        return [] if incident is None else [self._resolved(run, incident, moment)]

    def adopt(self, sent: Transition) -> None:
        """Take in a transition that was sent before a crash and is not in the state that was saved."""
        known = next((incident for incident in self.open if incident.incident == sent.incident), None)
        if known is not None and sent.status is Status.RESOLVED:
            self.open.remove(known)
        ordinal = self.next_ordinal(sent.kind)
        step = step_millionths(sent.step)
        unknown = incident_identity(sent.run, sent.attempt, sent.kind, step, ordinal) == sent.incident
        if unknown and sent.status is Status.OPENED:
            self.ordinals[sent.kind] = ordinal
            self.open.append(_opened_before(sent, step))


def _opened_before(sent: Transition, step: int) -> OpenIncident:
    """The incident whose opening is `sent`. Its readings count from 0: timers do not ask for them."""
    return OpenIncident(
        incident=sent.incident,
        kind=sent.kind,
        severity=sent.severity,
        attempt=sent.attempt,
        first_step=step_millionths(sent.first_step),
        first_reading=0,
        last_good_step=None if sent.last_good_step is None else step_millionths(sent.last_good_step),
        last_checkpoint_step=(
            None if sent.last_checkpoint_step is None else step_millionths(sent.last_checkpoint_step)
        ),
        layers=list(sent.layers),
        ranks=list(sent.ranks),
        evidence=list(sent.evidence),
        opened_time=sent.opened_unix_seconds,
        source=sent.source,
        last_transition_step=step,
    )
