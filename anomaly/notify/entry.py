"""What the ledger knows of one incident at one receiver: one record of the compacted notifications topic, JSON.

An entry is written before someone is woken (`pending` says how) and again once the receiver has acknowledged it. So
whoever comes after a crash goes on with the same key, and what is read again changes nothing.
"""

from __future__ import annotations

import enum
import json

import msgspec

from anomaly.errors import NotifyError
from anomaly.incidents.transition import Severity, Status, Transition, decode_transition
from anomaly.notify.delivery import Event

SEPARATOR = "\x00"


class Outcome(enum.StrEnum):
    """What became of the latest transition."""

    DELIVERED = "delivered"
    MUTED = "muted"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED_BY_HAND = "resolved_by_hand"
    OUTSIDE_HOURS = "outside_hours"
    FAILED = "failed"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One incident, one receiver."""

    receiver: str
    transition: Transition
    """The latest one that was dealt with."""
    offset: int
    """Where it lies in the incident's partition."""
    outcome: Outcome = Outcome.DELIVERED
    severity: Severity | None = None
    """As paged last; None while nobody is paged."""
    pending: Event | None = None
    """What is on its way and not acknowledged."""
    receipt: str | None = None
    storm: str | None = None
    number: int = 0
    """Of the storm's delivery that held this incident last."""
    round: int = 0
    """How often it was resolved by hand: a page after that is another one."""
    via: str | None = None
    """The receiver that has it, where that is the fallback."""
    paged_unix_seconds: float | None = None
    """When it was decided to wake someone last."""

    @property
    def incident(self) -> str:
        """The incident's identity."""
        return self.transition.incident

    @property
    def key(self) -> bytes:
        """The record's key."""
        return entry_key(self.receiver, self.incident)

    @property
    def is_open(self) -> bool:
        """Whether the incident itself goes on."""
        return self.transition.status is not Status.RESOLVED

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be said of it."""
        return not self.is_open and self.pending is None and self.outcome is not Outcome.FAILED

    def encode(self) -> bytes:
        """JSON in UTF-8."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "transition"}
        fields["incident"] = self.incident
        return json.dumps(
            {**fields, "transition": json.loads(self.transition.encode())},
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()


def decode_entry(payload: bytes) -> Entry:
    """Read one back. Fields of later versions are ignored. Raises `NotifyError`."""
    try:
        fields = json.loads(payload)
        transition = decode_transition(json.dumps(fields.pop("transition")).encode())
        return msgspec.convert({**fields, "transition": transition}, Entry)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, msgspec.MsgspecError) as error:
        raise NotifyError(f"not an entry of the notifications topic: {error!r}") from None


def entry_key(receiver: str, incident: str) -> bytes:
    """The key of an entry's record."""
    return f"{receiver}{SEPARATOR}{incident}".encode()
