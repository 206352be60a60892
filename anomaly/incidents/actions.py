"""What the incident-actions topic carries: what a person did with an incident, and who and why. JSON, one a record.

An action names one `incident`, or, a mute alone, a `match` of runs, kinds and teams. It holds until its `until`, until
somebody takes it back (`withdraw`), or as long as the topic keeps it. Records of one incident lie in its own partition
in the order in which they were sent, those of one match in one partition: that order is the one that counts.
``incident_action.schema.json`` beside this file is the published JSON Schema.
"""

from __future__ import annotations

import enum
import json
import math
import re
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

import msgspec

from anomaly.errors import ActionError
from anomaly.incidents.transition import Number
from anomaly.records import is_unicode

MAX_WHO = 200
MAX_WHY = 1000
MAX_PATTERN = 200
MAX_DAYS = 30
"""As long as the topic keeps an action: nobody may believe that one holds longer."""
_IDENTITY = re.compile("[0-9a-f]{16}")


class Action(enum.StrEnum):
    """What a person did. `withdraw` takes back all that was done before with the same incident, or match."""

    ACKNOWLEDGE = "acknowledge"
    MUTE = "mute"
    RESOLVE = "resolve"
    FALSE_ALARM = "false_alarm"
    WITHDRAW = "withdraw"


ENDING = (Action.ACKNOWLEDGE, Action.MUTE)
"""What may have an `until`."""
OF_A_MATCH = (Action.MUTE, Action.WITHDRAW)


class Match(msgspec.Struct, frozen=True):
    """Incidents by what they are of; `*` and `?` stand for any text, None for anything."""

    run: str | None = None
    team: str | None = None
    kind: str | None = None

    def covers(self, run: str, kind: str, team: str | None) -> bool:
        """Whether an incident of this run, kind and team (None: the run has no such tag) is meant."""
        return all(
            pattern is None or (text is not None and fnmatchcase(text, pattern))
            for pattern, text in ((self.run, run), (self.kind, kind), (self.team, team))
        )


class IncidentAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One action. `run`, `kind`, `first_step` and `step` say what its incident was, as it stood then."""

    action: Action
    who: str
    why: str
    unix_seconds: float
    until: float | None = None
    """Unix seconds; None: for good."""
    incident: str | None = None
    match: Match | None = None
    run: str | None = None
    kind: str | None = None
    first_step: Number | None = None
    step: Number | None = None

    def holds(self, now: float) -> bool:
        """Whether its time is not over. `now` is in unix seconds."""
        return self.until is None or now < self.until

    def check(self) -> None:
        """Raise `ActionError` where it is none."""
        problem = _problem(self)
        if problem is not None:
            raise ActionError(problem)


def encode_action(action: IncidentAction) -> bytes:
    """JSON in UTF-8. Raises `ActionError` for what `decode_action` would refuse."""
    action.check()
    return msgspec.json.encode(action)


def decode_action(payload: bytes | None) -> IncidentAction:
    """Read an action back. Fields of later versions are ignored. Raises `ActionError`."""
    try:
        action = msgspec.json.decode(payload or b"", type=IncidentAction)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ActionError(f"not an action on an incident: {error}") from None
    action.check()
    return action


def action_schema() -> dict[str, Any]:
    """The published JSON Schema."""
    text = resources.files("anomaly.incidents").joinpath("incident_action.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _problem(action: IncidentAction) -> str | None:
    """What is wrong with it and what to do, or None."""
    if (action.incident is None) == (action.match is None):
        return "incident and match: got both or neither; give one of them"
    if action.incident is not None and not _IDENTITY.fullmatch(action.incident):
        return f"incident: got {action.incident[:40]!r}; 16 hexadecimal digits are needed"
    if action.match is not None and (problem := _match_problem(action.action, action.match)):
        return problem
    for name, text, longest in (("who", action.who, MAX_WHO), ("why", action.why, MAX_WHY)):
        if not text.strip() or len(text) > longest:
            return f"{name}: got {len(text)} characters; a text of 1 to {longest} is needed"
        if not is_unicode(text):
            return f"{name}: got a lone surrogate; valid Unicode is needed"
    for name in ("unix_seconds", "first_step", "step"):
        number = getattr(action, name)
        if number is not None and not math.isfinite(number):
            return f"{name}: got {number}; a finite number is needed"
    return _until_problem(action)


def _match_problem(action: Action, match: Match) -> str | None:
    if action not in OF_A_MATCH:
        return f"match: got one with {action}; only {' and '.join(OF_A_MATCH)} take one: name the incident"
    patterns = [text for text in (match.run, match.team, match.kind) if text is not None]
    if not patterns:
        return "match: got an empty one, which would be every incident; give run, team or kind"
    if not all(1 <= len(text) <= MAX_PATTERN and is_unicode(text) for text in patterns):
        return (
            f"match: got a pattern that is too long or no Unicode; 1 to {MAX_PATTERN} characters are allowed"
        )
    return None


def _until_problem(action: IncidentAction) -> str | None:
    until = action.until
    if until is None:
        if action.match is not None and action.action is Action.MUTE:
            return f"until: a mute by match needs one, at most {MAX_DAYS} days ahead"
        return None
    if action.action not in ENDING:
        return f"until: got one with {action.action}; only {' and '.join(ENDING)} end by themselves"
    if not action.unix_seconds < until <= action.unix_seconds + MAX_DAYS * 86_400:
        return f"until: got {until}; a time after the action itself, and at most {MAX_DAYS} days after it, is needed"
    return None
