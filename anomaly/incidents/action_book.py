"""What people did with incidents, folded: which action holds for an incident now. Pure: `now` comes in.

Take the actions of a partition in its order; the order among partitions does not matter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from anomaly.incidents.actions import Action, IncidentAction, Match
from anomaly.incidents.transition import Transition

MAX_INCIDENTS = 100_000
MAX_MATCHES = 10_000
MAX_ACTIONS = 64
"""Of one incident; the oldest are forgotten."""

_STRENGTH = {Action.MUTE: 0, Action.ACKNOWLEDGE: 1, Action.RESOLVE: 2, Action.FALSE_ALARM: 3}


class ActionBook:
    """The actions of the topic, by incident and by match."""

    def __init__(self) -> None:
        self._incidents: OrderedDict[str, list[IncidentAction]] = OrderedDict()
        self._mutes: OrderedDict[Match, IncidentAction] = OrderedDict()

    def take(self, action: IncidentAction) -> None:
        """One more action."""
        if action.match is not None:
            self._mutes.pop(action.match, None)
            if action.action is Action.MUTE:
                self._mutes[action.match] = action
                if len(self._mutes) > MAX_MATCHES:
                    self._mutes.popitem(last=False)
        elif action.incident is not None:
            known = self._incidents.setdefault(action.incident, [])
            self._incidents.move_to_end(action.incident)
            known.append(action)
            del known[:-MAX_ACTIONS]
            if len(self._incidents) > MAX_INCIDENTS:
                self._incidents.popitem(last=False)

    def done_with(self, incident: str) -> tuple[IncidentAction, ...]:
        """All that was done with an incident itself, withdrawn or not, in order."""
        return tuple(self._incidents.get(incident, ()))

    def holding(self, of: Transition, now: float) -> tuple[IncidentAction, ...]:
        """What holds for an incident at `now` (unix seconds), the strongest first, of equal ones the newest."""
        found = _standing(self.done_with(of.incident))
        team = (of.tags or {}).get("team")
        found += [mute for match, mute in self._mutes.items() if match.covers(of.run, of.kind, team)]
        found = [action for action in reversed(found) if action.holds(now)]
        return tuple(sorted(found, key=lambda action: -_STRENGTH[action.action]))

    def mutes(self, now: float) -> tuple[IncidentAction, ...]:
        """The mutes by match that hold at `now`, in the order they came."""
        return tuple(mute for mute in self._mutes.values() if mute.holds(now))

    def false_alarms(self) -> tuple[IncidentAction, ...]:
        """The marks that nobody took back."""
        marked = (
            [action for action in _standing(actions) if action.action is Action.FALSE_ALARM]
            for actions in self._incidents.values()
        )
        return tuple(marks[-1] for marks in marked if marks)


def _standing(actions: Iterable[IncidentAction]) -> list[IncidentAction]:
    """Those of one incident that nobody took back, in order."""
    standing: list[IncidentAction] = []
    for action in actions:
        if action.action is Action.WITHDRAW:
            standing.clear()
        else:
            standing.append(action)
    return standing
