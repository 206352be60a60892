"""Settings: one table, from which flags, environment names, ``anomaly config`` and the documentation follow.

A setting called ``metrics_address`` is ``metrics_address = …`` in ``anomaly.toml``, ``ANOMALY_METRICS_ADDRESS`` in the
environment and ``--metrics-address`` on the command line; the later one wins (`anomaly.settings_sources` reads them).
`Settings` is frozen and checked when it is made: all that is wrong is raised together, as one `SettingsError`.

The hook in a training loop reads the same names: nothing heavier than `anomaly.topics` is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from anomaly.connection import DEFAULT_BOOTSTRAP_SERVERS, Connection, Secret
from anomaly.errors import SettingsError
from anomaly.settings_checks import address, base_url, between, log_level, name, not_empty, watch_tables
from anomaly.settings_receivers import ReceiverSpec, receiver_problems, receiver_specs
from anomaly.settings_routes import RouteSpec, route_problems, route_specs
from anomaly.settings_row import Check, Row
from anomaly.topics import Topics

T = TypeVar("T")
CONNECTION = tuple(entry.name for entry in fields(Connection))
"""The settings that say how to reach Kafka: every command that does takes all of them. `Connection` checks them."""


def _setting(
    default: T, help_text: str, check: Check | None = None, *, secret: bool = False, flag: bool = True
) -> Any:
    """A row of the table. `flag` is False where only ``anomaly.toml`` can hold the value. A secret is no flag either:
    everyone on the machine can read command lines.
    """
    return field(
        default=default, metadata={"help": help_text, "check": check, "secret": secret, "flag": flag}
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its default, its meaning and its limits."""

    bootstrap_servers: str = _setting(
        DEFAULT_BOOTSTRAP_SERVERS, "Kafka brokers to start from, HOST:PORT, separated by commas"
    )
    security_protocol: str = _setting("PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    sasl_mechanism: str = _setting("SCRAM-SHA-512", "SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or OAUTHBEARER")
    sasl_username: str = _setting("", "name to log in with")
    sasl_password: str = _setting("", "its password; better in a file of its own", secret=True)
    sasl_password_file: str = _setting("", "file that holds the password")
    sasl_token_file: str = _setting("", "file that holds the token for OAUTHBEARER; read anew at each login")
    tls_ca_file: str = _setting("", "PEM file of the authorities to trust; empty means the system's")
    tls_certificate_file: str = _setting("", "PEM file of our own certificate, where the broker asks for one")
    tls_key_file: str = _setting("", "PEM file of that certificate's key, if it is in another file")
    topic_prefix: str = _setting("training", "start of every topic's name; a team may have its own", name)
    group: str = _setting("", "the workers' consumer group; empty means <topic_prefix>.anomaly", name)
    data_dir: str = _setting(
        "anomaly-data", "folder for local files that may be deleted at any time", not_empty
    )
    metrics_address: str = _setting(
        "127.0.0.1:9464", "HOST:PORT of /metrics, /healthz and /readyz; port 0 takes a free one", address
    )
    development_broker: bool = _setting(
        False, "the broker is the embedded one: producers are not idempotent and send one record a batch"
    )
    partitions: int = _setting(32, "partitions of topics that the worker creates", between(1, 10_000))
    replication_factor: int = _setting(
        0, "copies of each partition of topics that the worker creates; 0 means 3, or fewer with fewer brokers",
        between(0, 15),
    )  # fmt: skip
    telemetry_retention_days: float = _setting(
        7.0, "days that telemetry is kept in topics that the worker creates", between(0.01, 3650)
    )
    max_message_bytes: int = _setting(
        8 << 20,
        "largest telemetry message in bytes, in topics that the worker creates",
        between(65_536, 15 << 20),
    )
    snapshot_seconds: float = _setting(
        1.0, "seconds between two saves of changed states; more means less writing and a longer replay after a crash",
        between(0.1, 60),
    )  # fmt: skip
    session_timeout_seconds: float = _setting(
        6.0,
        "seconds without a heartbeat after which Kafka gives a worker's partitions to another",
        between(6, 300),
    )
    false_warnings_per_million_steps: float = _setting(
        10.0, "false warnings that a healthy run may raise in a million steps; less means slower detection",
        between(0.01, 10_000),
    )  # fmt: skip
    profile: str = _setting(
        "", "file that anomaly calibrate wrote from your own healthy runs; empty means as shipped"
    )
    max_series_per_run: int = _setting(
        100_000,
        "series (layer times signal) that one run may have; further layers are refused",
        between(1, 100_000),
    )
    max_layers_per_run: int = _setting(
        50_000, "distinct layers that one run may have; further layers are refused", between(1, 100_000)
    )
    max_layouts_per_run: int = _setting(
        256, "layouts that one run may send, and how often its set of series may grow", between(1, 10_000)
    )
    max_events_per_record: int = _setting(64, "events that one record may carry", between(0, 64))
    max_ranks_per_run: int = _setting(16_384, "ranks that one run may have", between(1, 16_384))
    max_sessions_per_rank: int = _setting(
        1_000, "times that one rank of a run may start over with a new session", between(1, 1_000_000)
    )
    max_runs_per_partition: int = _setting(
        5_000, "runs that one partition may have; records of further runs are refused", between(1, 1_000_000)
    )
    idle_run_seconds: float = _setting(
        300.0, "seconds without a record after which a run's state leaves memory for a file in data_dir",
        between(1, 1_000_000),
    )  # fmt: skip
    max_runs_in_memory: int = _setting(
        10_000, "runs whose state may be in memory; the quietest beyond it go to the file earlier",
        between(1, 10_000_000),
    )  # fmt: skip
    finished_run_hours: float = _setting(
        2.0, "hours after the last record of a finished run until what was learned of it is dropped",
        between(0.01, 8760),
    )  # fmt: skip
    silent_run_days: float = _setting(
        3.0, "days of silence after which a run counts as finished and what was learned of it is dropped",
        between(0.01, 3650),
    )  # fmt: skip
    max_metric_runs: int = _setting(
        500,
        "runs with series of their own in /metrics; the longest silent ones make room",
        between(0, 100_000),
    )
    log_level: str = _setting("info", "debug, info, warning or error", log_level)
    grafana_url: str = _setting(
        "", "where people open Grafana, http:// or https://; empty means pages have no link to it", base_url
    )
    runbook_url: str = _setting(
        "", "web address of the folder with the runbooks; empty means their path in this project", base_url
    )
    notify_ca_file: str = _setting(
        "", "PEM file of authorities that receivers' certificates may be signed by, beside the system's"
    )
    notify_in_worker: bool = _setting(
        False, "the worker sends the pages too; false means that anomaly notify does, as a process of its own"
    )
    notify_metrics_address: str = _setting(
        "127.0.0.1:9465", "HOST:PORT of /metrics, /healthz and /readyz of anomaly notify", address
    )
    watch: tuple[dict[str, Any], ...] = _setting(
        (), "[[watch]] tables: a river detector for chosen series", watch_tables, flag=False
    )
    receivers: tuple[dict[str, Any], ...] = _setting(
        (), "[[receivers]] tables: who gets pages, and how", receiver_problems, flag=False
    )
    routes: tuple[dict[str, Any], ...] = _setting(
        (), "[[routes]] tables: which incidents go to which receivers; without one, each gets all", flag=False
    )

    def __post_init__(self) -> None:
        found = ((row.name, row.problem(getattr(self, row.name))) for row in ROWS.values())
        problems = [f"{name}: {each}" for name, problem in found if problem for each in problem.split("\n")]
        if not any(problem.startswith(("receivers: ", "routes: ")) for problem in problems):
            names = [spec.name for spec in self.receiver_specs]
            if self.notify_in_worker and not names:
                problems.append("notify_in_worker: there is no one to notify; give a [[receivers]] table")
            problems += [f"routes: {problem}" for problem in route_problems(self.routes, names)]
        try:
            if not any(ROWS[name].type_problem(getattr(self, name)) for name in CONNECTION):
                object.__setattr__(self, "sasl_password", Secret(self.sasl_password))
                _ = self.connection
        except SettingsError as error:
            problems += error.problems
        if problems:
            raise SettingsError(problems)

    @property
    def connection(self) -> Connection:
        """How to reach Kafka."""
        return Connection(**{name: getattr(self, name) for name in CONNECTION})

    @property
    def receiver_specs(self) -> tuple[ReceiverSpec, ...]:
        """The ``[[receivers]]`` tables, each as what its type is configured by."""
        return receiver_specs(self.receivers)

    @property
    def route_specs(self) -> tuple[RouteSpec, ...]:
        """The ``[[routes]]`` tables."""
        return route_specs(self.routes)

    @property
    def topics(self) -> Topics:
        """The names of the topics and of the consumer group."""
        return Topics(self.topic_prefix, self.group)


def _rows() -> Mapping[str, Row]:
    # The defaults' own types: annotations are strings here, and every default is of exactly the type its setting has.
    return {
        entry.name: Row(entry.name, type(entry.default), entry.default, **entry.metadata)
        for entry in fields(Settings)
    }


ROWS = _rows()
