"""The log of a process that runs for long: ours at its level, what we stand on only where something is wrong, and
not forty times a second.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from anomaly.escapes import escaped, escaped_lines

QUIET_SECONDS = 10.0

_OURS_ON_FAUST = ("anomaly.worker.consumer_thread", "anomaly.worker.transport", "anomaly.worker.store")
"""Subclasses of Faust's services log under our names what Faust's own would."""


class Sparse(logging.Filter):
    """Lets each message of aiokafka, by its text before formatting, pass once in `QUIET_SECONDS`, from `level` up.

    While a broker is away aiokafka logs several errors ten times a second. Its loggers keep their levels: a warning
    may hold the reason that `anomaly.refusals.ThreadLog` is after.
    """

    def __init__(self, level: int = logging.ERROR, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._level = level
        self._clock = clock
        self._passed: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """False for what was said a moment ago; the next one that passes says how often."""
        if not record.name.startswith("aiokafka"):
            return True
        if record.levelno < self._level:
            return False
        kind, now = (record.name, str(record.msg)), self._clock()
        passed, dropped = self._passed.get(kind, (now - QUIET_SECONDS, 0))
        if now - passed < QUIET_SECONDS:
            self._passed[kind] = (passed, dropped + 1)
            return False
        self._passed[kind] = (now, 0)
        if dropped:
            record.msg, record.args = f"{record.getMessage()} (and {dropped} more such)", None
        return True


class Escaped(logging.Formatter):
    """What a message quotes from outside neither moves a terminal nor looks like a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class calls it so
        """One line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the base class calls it so
        """A traceback, in lines."""
        return escaped_lines(super().formatException(ei))


def set_up_log(level: str) -> None:
    """Log to standard error; `level` is debug, info, warning or error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Escaped("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    of_others = logging.INFO if level == "debug" else logging.ERROR
    handler.addFilter(Sparse(of_others))
    logging.getLogger().addHandler(handler)
    logging.getLogger("anomaly").setLevel(level.upper())
    for name in ("faust", "mode", *_OURS_ON_FAUST):
        logging.getLogger(name).setLevel(of_others)
    logging.getLogger("aiokafka").setLevel(min(of_others, logging.WARNING))
