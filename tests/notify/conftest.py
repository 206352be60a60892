"""A notifier's world, made anew for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Kafka
from tests.notify.stage import Stage


@pytest.fixture
def stage(kafka: Kafka, tmp_path: Path) -> Stage:
    return Stage(kafka.bootstrap_servers, kafka.prefix, tmp_path)
