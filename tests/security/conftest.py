"""One secured Apache Kafka for all tests of this folder."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Iterator

import pytest

from anomaly.topics import Topics
from tests.conftest import available
from tests.security.cluster import SecureKafka


@pytest.fixture(scope="session")
def secure(request: pytest.FixtureRequest) -> Iterator[SecureKafka]:
    """A broker that wants TLS and logins; permits nothing that no ACL allows."""
    with available(request.config, SecureKafka) as cluster:
        yield cluster


@pytest.fixture
def topics() -> Topics:
    """Names that no other test has."""
    return Topics(f"test-{secrets.token_hex(4)}")


@pytest.fixture
def connections_left() -> Iterator[None]:
    """aiokafka leaves connections that the broker refused or ended to the garbage collector: they go with their test.

    They are closed with a warning, which such tests ignore (`LEAVES_CONNECTIONS`).
    """
    yield
    gc.collect()
