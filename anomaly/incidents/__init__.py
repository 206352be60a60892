"""From alarms to incidents: one per cause and run, opened, updated, resolved. Pure: no I/O, no clock.

Reading order: transition (what travels), kinds (severity, words, advice), alarm (what comes in), open_incident (what
is kept), cause (which incident an alarm belongs to), origin (which finding names it), safe_step (what to go back to),
book (the rules), timer_book (the same for what only time opens), text (one line for people), actions (what people do
with an incident), action_book (which of that holds).
"""

from anomaly.incidents.action_book import ActionBook
from anomaly.incidents.actions import (
    Action,
    IncidentAction,
    Match,
    action_schema,
    decode_action,
    encode_action,
)
from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import IncidentBook
from anomaly.incidents.kinds import KINDS, Kind
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import (
    Considered,
    Evidence,
    Severity,
    Source,
    Status,
    Transition,
    decode_transition,
    transition_schema,
)

__all__ = [
    "KINDS",
    "Action",
    "ActionBook",
    "Alarm",
    "Considered",
    "Evidence",
    "IncidentAction",
    "IncidentBook",
    "Kind",
    "Match",
    "Moment",
    "Severity",
    "Source",
    "Status",
    "Transition",
    "action_schema",
    "decode_action",
    "decode_transition",
    "encode_action",
    "transition_schema",
]
