"""How every Kafka client of this project reaches the brokers: the hook, the worker and the commands alike.

aiokafka gives one error for a wrong password, an unknown certificate and a closed port; the reason stands only in its
log. `ThreadLog` keeps that reason, and keeps the log itself quiet where a client of ours is a guest in someone's
training process.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from anomaly.errors import SettingsError

DEFAULT_BOOTSTRAP_SERVERS = "127.0.0.1:9092"
_NOISY = ("aiokafka", "asyncio")


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the brokers are: ``host:port,host:port``. Raises `SettingsError` with every malformed entry."""

    bootstrap_servers: str = DEFAULT_BOOTSTRAP_SERVERS

    def __post_init__(self) -> None:
        problems = [_problem(server) for server in self.servers if _problem(server)]
        if problems:
            raise SettingsError(problems)

    @property
    def servers(self) -> list[str]:
        """The entries, one a server, spaces removed.

        >>> Connection("kafka-1:9092, kafka-2:9092").servers
        ['kafka-1:9092', 'kafka-2:9092']
        """
        return [server.strip() for server in self.bootstrap_servers.split(",")]

    def kafka_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes."""
        return {"bootstrap_servers": self.servers}


def _problem(server: str) -> str:
    host, _, port = server.rpartition(":")
    if host and port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535:
        return ""
    return f"bootstrap_servers: got {server!r}, host:port is needed (several with commas), port 1 to 65535"


class ThreadLog(logging.Filter):
    """While entered, keep what aiokafka logs from this thread out of the log, and remember the latest complaint.

    Other threads' records pass untouched: the training process may use aiokafka for purposes of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.latest = ""
        self._thread: int | None = None
        self._loggers: list[logging.Logger] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """False for this thread's records."""
        if record.thread != self._thread:
            return True
        if record.levelno >= logging.WARNING:
            self.latest = record.getMessage()
        return False

    def __enter__(self) -> Self:
        # A filter acts only on the logger it was added to, so each of aiokafka's needs it; import aiokafka first.
        self._thread = threading.get_ident()
        self._loggers = [logging.getLogger(name) for name in _names()]
        for logger in self._loggers:
            logger.addFilter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for logger in self._loggers:
            logger.removeFilter(self)


def _names() -> list[str]:
    known = list(logging.Logger.manager.loggerDict)
    return [name for name in known if name.partition(".")[0] in _NOISY]
