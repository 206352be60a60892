"""What Kafka's refusals mean: the sentence that a person can act on, in place of one error for every cause.

aiokafka gives one error for a wrong password, an unknown certificate and a closed port; the reason stands only in its
log. `ThreadLog` keeps that reason, and keeps the log itself quiet where a client of ours is a guest in someone's
training process.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from types import TracebackType
from typing import Self

from anomaly.connection import Connection
from anomaly.credentials import kafka_options
from anomaly.errors import AnomalyError, KafkaUnreachableError, PreflightError

_NOISY = ("aiokafka", "asyncio")
_PROBE_SECONDS = 5.0

_UNKNOWN = "the broker's certificate is signed by no authority in tls_ca_file (if empty: the system's)"
_CERTIFICATE = (
    "the broker refused our certificate; give one in tls_certificate_file that is valid now and signed by an authority "
    "that the broker trusts"
)
_MECHANISM = "the broker does not offer this sasl_mechanism on that port; give one that it offers"
_NO_LOGIN = "the listener on that port takes no login; give security_protocol PLAINTEXT or SSL, or the port for logins"
_OTHER_NAME = (
    "the broker's certificate is for another host name; put the name that it is for into bootstrap_servers"
)
_NO_ACL = "this user may not do that with this topic; allow it WRITE (to send there) or READ (to read there)"
_CLOSED = (
    "if a broker is there, its listener wants another security_protocol, or a certificate that it did not get"
)
# What stands in aiokafka's words, and what it means. These are answers: asking again gives the same one.
_ANSWERS = (
    ("SaslAuthenticationFailed", "the login was refused; correct sasl_username and its password"),
    ("TokenRefused", "the token was refused; see that the file of sasl_token_file holds a valid one"),
    ("UnsupportedSaslMechanism", _MECHANISM),
    ("IllegalSaslState", _NO_LOGIN),
    ("certificate is not valid for", _OTHER_NAME),
    ("self-signed certificate", _UNKNOWN),
    ("unable to get local issuer", _UNKNOWN),
    ("ALERT", _CERTIFICATE),  # in any version's words: ours is what the broker looks at last
    ("TopicAuthorizationFailed", _NO_ACL),
    ("ClusterAuthorizationFailed", "this user may write to no topic; allow it WRITE on telemetry"),
)
# And what may be over the next time.
_HINTS = (
    ("certificate has expired", "the broker's certificate has expired; renew it there"),
    (
        "from []",
        "the broker refused the login by token, see that sasl_token_file holds a valid one; or is not up yet",
    ),
    ("closed", _CLOSED),
)


def explained(reason: str) -> str:
    """`reason`, in aiokafka's words, after what it means where that is known; those words themselves otherwise.

    >>> print(explained("verify failed: certificate has expired"))
    the broker's certificate has expired; renew it there (verify failed: certificate has expired)
    """
    reason += (
        "closed, or no answer in time" if reason.endswith(": ") else ""
    )  # what two errors without text mean
    for words, meaning in (*_ANSWERS, *_HINTS):
        if words in reason:
            return f"{meaning} ({reason})"
    return reason


def reason_of(error: BaseException, logged: str) -> str:
    """In aiokafka's words: its log says more than its errors, save where an error is an answer of the broker."""
    if getattr(error, "errno", None) or isinstance(error, AnomalyError):
        return str(error)
    return logged or str(error) or f"no answer ({type(error).__name__})"


async def unreachable(connection: Connection, logged: str, error: BaseException) -> AnomalyError:
    """The error to raise where a client could not start: `logged` is what aiokafka said last (`ThreadLog`).

    `PreflightError` where the broker gave an answer, such as a wrong password; `KafkaUnreachableError` otherwise.
    """
    if isinstance(error, AnomalyError):
        return error
    reason = reason_of(error, logged)
    if connection.tls and "closed" in reason:
        reason = await _certificate_alert(connection) or reason
    if connection.sasl_token_file and ("id None" in reason or "from []" in reason):
        # aiokafka takes a refused token for a login; what it reads next is the refusal, and no brokers are in it.
        reason = f"TokenRefused: {reason}"
    if any(words in reason for words, _ in _ANSWERS):
        return PreflightError(f"Kafka at {connection.bootstrap_servers}: {explained(reason)}")
    if explained(reason) != reason:
        return KafkaUnreachableError(f"Kafka at {connection.bootstrap_servers}: {explained(reason)}")
    return KafkaUnreachableError(
        f"no Kafka broker answers at {connection.bootstrap_servers} ({reason}); start it, or correct bootstrap_servers"
    )


async def _certificate_alert(connection: Connection) -> str:
    """What the broker says of our certificate, from a connection of our own: aiokafka drops it. Empty: nothing."""
    context = kafka_options(connection)["ssl_context"]
    host, _, port = connection.servers[0].rpartition(":")
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
            try:
                await reader.read(1)  # TLS 1.3: the broker looks at it after our handshake
            finally:
                writer.close()
    except ssl.SSLError as error:
        return str(error)
    except OSError:  # also the time-out
        return ""
    return ""


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
