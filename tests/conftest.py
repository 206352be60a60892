"""Fixtures for every test: real brokers, and a loud word about those that could not run.

A test that takes ``kafka`` runs on the embedded broker and on Apache Kafka; ``@pytest.mark.kafka("apache")`` asks for
one alone. Both brokers serve the whole session, so a test keeps to topics under its own ``kafka.prefix``; one that
kills a broker starts its own from `tests.kafka_servers`.
"""

from __future__ import annotations

import gc
import logging
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

import pytest

from anomaly import hook
from tests.install_servers import (
    ServerUnavailableError,
    alertmanager,
    faketime,
    in_ci,
    java,
    kafka_jars,
    prometheus,
)
from tests.install_servers import kcat as find_kcat
from tests.kafka_servers import ApacheKafka, EmbeddedKafka

KINDS = ("embedded", "apache")
Server = TypeVar("Server")
UNAVAILABLE = pytest.StashKey[set[str]]()


@dataclass(frozen=True)
class Kafka:
    """A running broker, as one test sees it."""

    kind: str
    bootstrap_servers: str
    prefix: str
    """Begins every topic and group of this test; no other test has it."""

    @property
    def is_development_broker(self) -> bool:
        """Whether a worker on it needs ``--development-broker``."""
        return self.kind == "embedded"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[UNAVAILABLE] = set()
    # Plain SIGTERM would end pytest without its fixtures' ends, and leave the brokers running.
    signal.signal(signal.SIGTERM, _interrupt)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kafka" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("kafka")
        metafunc.parametrize("kafka", marker.args if marker else KINDS, indirect=True)


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets up the process's log: not for the tests that follow."""
    levels, handlers = {each.name: each.level for each in _loggers()}, list(logging.root.handlers)
    yield
    for each in _loggers():  # those that came into being had no level of their own
        each.setLevel(levels.get(each.name, logging.NOTSET))
    for handler in set(logging.root.handlers) - set(handlers):
        logging.root.removeHandler(handler)


def _loggers() -> list[logging.Logger]:
    """All but those that are only the place of others."""
    return [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]


@pytest.fixture(autouse=True)
def _hooks_closed() -> Iterator[None]:
    """A test that fails leaves its hook open, which would go on trying to send while others run."""
    before = set(hook._live)
    yield
    left = [run for run in hook._live if run._open and run not in before]
    for run in left:
        run.close(0)
    if left:
        gc.collect()  # what they leave behind is theirs too


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[EmbeddedKafka]:
    """The session's embedded broker."""
    with EmbeddedKafka() as server:
        yield server


@pytest.fixture(scope="session")
def apache_kafka(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    """The session's Apache Kafka, one broker; topics are not made by themselves."""
    with available(request.config, ApacheKafka) as server:
        yield server


@pytest.fixture(scope="session")
def available_apache_kafka(request: pytest.FixtureRequest) -> None:
    """For tests that start an Apache Kafka of their own."""
    available(request.config, java)
    available(request.config, kafka_jars)


@pytest.fixture
def available_faketime(request: pytest.FixtureRequest) -> None:
    """For tests that move a worker's clock."""
    available(request.config, faketime)


@pytest.fixture
def kafka(request: pytest.FixtureRequest) -> Kafka:
    """A running broker and a topic prefix of this test's own."""
    kind: str = request.param
    server: EmbeddedKafka | ApacheKafka = request.getfixturevalue(f"{kind}_kafka")
    return Kafka(kind, server.bootstrap_servers, f"test-{secrets.token_hex(4)}")


@pytest.fixture
def kcat(request: pytest.FixtureRequest) -> str:
    """The path of kcat."""
    return available(request.config, find_kcat)


@pytest.fixture
def monitoring(request: pytest.FixtureRequest) -> None:
    """For tests that start a Prometheus or an Alertmanager, or run promtool or amtool."""
    available(request.config, prometheus)
    available(request.config, alertmanager)


def available(config: pytest.Config, find: Callable[[], Server]) -> Server:
    """Return what `find` finds; otherwise skip the test and remember it, or in CI fail it."""
    try:
        return find()
    except ServerUnavailableError as error:
        if in_ci():
            pytest.fail(f"this must not be skipped in CI: {error}", pytrace=False)
        config.stash[UNAVAILABLE].add(str(error))
        pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say in red what did not run: a line of dots must not hide it."""
    skipped = config.stash[UNAVAILABLE]
    for reason in sorted(skipped):
        terminalreporter.write_sep("!", "NOT EVERYTHING WAS TESTED", red=True, bold=True)
        terminalreporter.write_line(f"TESTS SKIPPED: {reason}", red=True, bold=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
