"""What the end of a process that runs for long means: the worker's and the notifier's."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """A supervisor starts it again after the last three."""

    STOPPED = 0
    REFUSED = 2
    KAFKA_UNREACHABLE = 69
    INTERNAL_ERROR = 70
    LEASE_LOST = 75
