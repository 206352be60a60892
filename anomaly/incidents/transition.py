"""What the incidents topic carries: one transition of one incident, as JSON.

`TRANSITION_SCHEMA` (``incident_transition.schema.json`` beside this file) is the published JSON Schema of the same.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from importlib import resources
from typing import Any

import msgspec

from anomaly.records import is_unicode

Number = int | float
"""A step as people write it: an integer where whole."""
MAX_LAYERS_NAMED = 8
MAX_EVIDENCE = 3
LEARNING_RATE = "learning rate"
"""The explanation by it, as `Considered` names it."""


class Status(enum.StrEnum):
    """Where an incident stands."""

    OPENED = "opened"
    UPDATED = "updated"
    RESOLVED = "resolved"


class Severity(enum.StrEnum):
    """What to do: critical = act now, warning = look today, info = goes to the log only."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for critical."""
        return _RANKS[self]


_RANKS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Source(msgspec.Struct, frozen=True):
    """Where the evidence lies in telemetry."""

    partition: int
    offset: int


class Evidence(msgspec.Struct, frozen=True):
    """One statistic that speaks for an incident: what it is, what was expected, since which step."""

    statistic: str
    value: float
    expected: float | None
    score: float
    detector: str
    layer: str | None = None
    since_step: Number | None = None


class Considered(msgspec.Struct, frozen=True):
    """A benign explanation that was considered, and why it does not do; or that it may, and more evidence was asked."""

    explanation: str
    verdict: str


class Transition(msgspec.Struct, frozen=True):
    """An incident opened, updated or resolved. (`incident`, `transition`) is what every reader de-duplicates by."""

    incident: str
    transition: int
    status: Status
    run: str
    attempt: int
    kind: str
    severity: Severity
    step: Number
    first_step: Number
    last_good_step: Number | None
    last_checkpoint_step: Number | None
    layer: str | None
    layers: tuple[str, ...]
    ranks: tuple[int, ...]
    statistic: str
    value: float
    expected: float | None
    score: float
    detector: str
    evidence: tuple[Evidence, ...]
    summary: str
    advice: str
    runbook: str
    source: Source | None
    opened_unix_seconds: float | None
    updated_unix_seconds: float | None
    tags: dict[str, str] | None = None
    considered: tuple[Considered, ...] = ()

    def encode(self) -> bytes:
        """JSON in UTF-8. A non-finite number is written as "NaN", "Infinity" or "-Infinity": JSON has no token."""
        return json.dumps(
            _finite(msgspec.to_builtins(self)), ensure_ascii=False, separators=(",", ":")
        ).encode()


def decode_transition(payload: bytes) -> Transition:
    """Read a transition back, for readers of the incidents topic. Fields of later versions are ignored.

    Raises `msgspec.MsgspecError` on anything else.
    """
    fields = json.loads(payload)
    if b"\\ud" in payload.lower():
        _check_writable(fields)
    for holder in (fields, *fields.get("evidence", ())):
        for name in ("value", "expected", "score"):
            if isinstance(holder.get(name), str):
                holder[name] = float(holder[name])
    return msgspec.convert(fields, Transition)


def incident_identity(run: str, attempt: int, kind: str, step: int, ordinal: int) -> str:
    """16 hexadecimal digits: the same for a replay, another for a second fault or a cold start.

    `step` is in millionths; `ordinal` counts the incidents of that kind in the run.
    """
    parts = "\x00".join((run, str(attempt), kind, str(step), str(ordinal)))
    return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()


def transition_schema() -> dict[str, Any]:
    """The published JSON Schema."""
    text = resources.files("anomaly.incidents").joinpath("incident_transition.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _check_writable(fields: Any) -> None:
    """A lone surrogate can be written as an escape in JSON, but nowhere else."""
    if not is_unicode(json.dumps(fields, ensure_ascii=False)):
        raise msgspec.ValidationError("got a lone surrogate; texts must be valid Unicode")


def _finite(value: Any) -> Any:
    """`value` with every non-finite float as its token's string."""
    if isinstance(value, float):
        if math.isfinite(value):
            return int(value) if value == int(value) and abs(value) < 1 << 53 else value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
