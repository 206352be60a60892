"""One secured Apache Kafka for all tests of this folder."""

from __future__ import annotations

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
