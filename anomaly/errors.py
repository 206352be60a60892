"""Every error this project raises on purpose.

    AnomalyError
    ├── MissingExtraError         an optional part is not installed; the message says what to install
    ├── SettingsError             one or more settings are wrong; all of them are listed together
    ├── RecordError               one record or layout is refused; ``reason`` says why (also a metric label)
    │   └── LayoutMissingError    a compact record came before its layout; it is held, not refused
    ├── SnapshotError             a saved state cannot be read; its run starts cold
    ├── ReplayFileError           a file to replay cannot be read on; the message names file, row and column
    ├── ActionError               an action on an incident is none, or cannot be done
    ├── PreflightError            Kafka is reachable but not as this worker needs it
    └── KafkaUnreachableError     no broker answers; ``retriable``

``retriable`` says whether trying the same call again can help. Messages say what was wrong, what was got, the limit
where there is one, and what to do.
"""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Why a record was refused: the dead letter's header, the metric's label and the tests' expectation."""

    UNDECODABLE = "undecodable"
    UNSUPPORTED_VERSION = "unsupported_version"
    TOO_LARGE = "too_large"
    INVALID_RECORD = "invalid_record"
    INVALID_LAYOUT = "invalid_layout"
    LAYOUT_CONTRADICTION = "layout_contradiction"
    LAYOUT_MISSING = "layout_missing"
    LAYOUT_LIMIT = "layout_limit"
    RUN_LIMIT = "run_limit"
    RANK_LIMIT = "rank_limit"
    SESSION_LIMIT = "session_limit"
    EVENT_LIMIT = "event_limit"
    WRONG_PARTITION = "wrong_partition"
    PROCESSING_ERROR = "processing_error"
    SNAPSHOT_UNREADABLE = "snapshot_unreadable"


class AnomalyError(Exception):
    """Root of this project's errors."""

    retriable = False


class MissingExtraError(AnomalyError):
    """An optional part is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed, and this part needs it: run pip install 'training-anomaly[{extra}]'"
        )


class SettingsError(AnomalyError):
    """One or more settings are wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RecordError(AnomalyError):
    """One message is refused; the stream goes on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class LayoutMissingError(RecordError):
    """A compact record refers to a layout that has not come yet."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.LAYOUT_MISSING, detail)


class SnapshotError(AnomalyError):
    """A saved state cannot be read."""


class ReplayFileError(AnomalyError):
    """A file to replay cannot be read, or a row of it breaks a rule."""


class ActionError(AnomalyError):
    """An action on an incident is none, or cannot be done with it."""


class NotifyError(AnomalyError):
    """Something that a notifier reads is not what it should be."""


class PreflightError(AnomalyError):
    """Kafka answers, but not as who asks needs it."""


class KafkaUnreachableError(AnomalyError):
    """No broker answers."""

    retriable = True
