"""How every Kafka client of this project reaches the brokers: the hook, the worker and the commands alike.

`Connection` is the one place that knows addresses and logins, and `anomaly.credentials.kafka_options` makes of it what
a client takes. Its fields are settings of the same names (`anomaly.settings`), so one vocabulary holds for
``anomaly.toml``, the environment and flags; `connection_from` reads it for the hook, which has the environment alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from anomaly.errors import SettingsError
from anomaly.settings_checks import servers as check_servers

DEFAULT_BOOTSTRAP_SERVERS = "127.0.0.1:9092"
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER")
MASKED = "********"
_READABLE = ("PLAIN", "OAUTHBEARER")  # mechanisms whose secret travels as it is


class Secret(str):
    """A text whose `repr` is stars, so that no dataclass, dictionary or traceback with local variables shows it.

    >>> {"password": Secret("hunter2")}
    {'password': '********'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASKED) if self else "''"


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the brokers are and how to log in. Raises `SettingsError` with everything that is wrong.

    ``bootstrap_servers``      ``host:port,host:port``
    ``security_protocol``      one of `PROTOCOLS`, as Kafka names its listeners: TLS or not, login or not
    ``sasl_mechanism``         one of `MECHANISMS`; the last two only over TLS
    ``sasl_username``          with ``sasl_password`` or, better, ``sasl_password_file``, whose last line end is dropped
    ``sasl_token_file``        for OAUTHBEARER; read anew for each connection
    ``tls_ca_file``            PEM, the authorities to trust; empty: the system's
    ``tls_certificate_file``   PEM, our own certificate (mutual TLS), with ``tls_key_file`` unless the key is in it
    """

    bootstrap_servers: str = DEFAULT_BOOTSTRAP_SERVERS
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = Secret()
    sasl_password_file: str = ""
    sasl_token_file: str = ""
    tls_ca_file: str = ""
    tls_certificate_file: str = ""
    tls_key_file: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sasl_password", Secret(self.sasl_password))
        problems = self._problems()
        if problems:
            raise SettingsError(problems)

    @property
    def servers(self) -> list[str]:
        """The entries, one a server, spaces removed.

        >>> Connection("kafka-1:9092, kafka-2:9092").servers
        ['kafka-1:9092', 'kafka-2:9092']
        """
        return [server.strip() for server in self.bootstrap_servers.split(",")]

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and the broker's certificate checked."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        """Whether the client logs in by name or token."""
        return self.security_protocol.startswith("SASL_")

    def _problems(self) -> list[str]:
        problems = []
        wrong = check_servers(self.bootstrap_servers)
        if wrong:
            problems.append(f"bootstrap_servers: {wrong}")
        if self.security_protocol not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            return [*problems, f"security_protocol: got {self.security_protocol!r}; give one of {known}"]
        unused = self._unused()
        if unused:
            problems.append(
                f"security_protocol: {self.security_protocol} makes no use of {', '.join(unused)}; give SASL_SSL (or "
                "what the listener is), or leave them out"
            )
        if self.tls_key_file and not self.tls_certificate_file:
            problems.append("tls_key_file: is the key of no certificate; give tls_certificate_file too")
        return problems + (self._login_problems() if self.sasl else [])

    def _unused(self) -> list[str]:
        """Settings for encryption or login that the protocol would silently not use."""
        names = [field.name for field in fields(self)]
        given = {name for name in names if name != "sasl_mechanism" and getattr(self, name)}
        unused = set() if self.sasl else {name for name in given if name.startswith("sasl_")}
        return sorted(unused if self.tls else unused | {name for name in given if name.startswith("tls_")})

    def _login_problems(self) -> list[str]:
        mechanism = self.sasl_mechanism
        if mechanism not in MECHANISMS:
            return [f"sasl_mechanism: got {mechanism!r}; give one of {', '.join(MECHANISMS)}"]
        problems = []
        if mechanism in _READABLE and not self.tls:
            problems.append(
                f"sasl_mechanism: {mechanism} sends the secret as it is, and {self.security_protocol} does not encrypt "
                "it; use SASL_SSL, or SCRAM-SHA-512"
            )
        if mechanism == "OAUTHBEARER":
            if not self.sasl_token_file:
                problems.append(
                    "sasl_token_file: is needed for OAUTHBEARER; give the file that holds the token"
                )
            return problems
        if not self.sasl_username:
            problems.append(f"sasl_username: is needed for {self.security_protocol}")
        if bool(self.sasl_password) == bool(self.sasl_password_file):
            which = "both are given" if self.sasl_password else "neither is given"
            problems.append(
                f"sasl_password: {which}; give either ANOMALY_SASL_PASSWORD or sasl_password_file"
            )
        return problems


def connection_from(
    environment: Mapping[str, str], bootstrap_servers: str | None = None, connection: Connection | None = None
) -> Connection:
    """`connection`, or what ``ANOMALY_BOOTSTRAP_SERVERS``, ``ANOMALY_SECURITY_PROTOCOL``, … say; an argument wins."""
    if connection is not None:
        if bootstrap_servers is not None:
            raise SettingsError(["bootstrap_servers: is in connection too; give one of the two"])
        return connection
    given = {field.name: environment.get(f"ANOMALY_{field.name.upper()}", "") for field in fields(Connection)}
    if bootstrap_servers is not None:
        given["bootstrap_servers"] = bootstrap_servers
    return Connection(**{name: text for name, text in given.items() if text})
