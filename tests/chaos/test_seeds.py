"""Ten scenarios of `make chaos`, on two clusters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.campaign import play
from tests.chaos.clusters import ProxiedKafka
from tests.chaos.scenario import draw

SEEDS = (2, 17, 19, 20, 23, 26, 1, 3, 4, 14)
"""Those on one broker first; among them, every kind of fault happens."""


@pytest.fixture(scope="module")
def one_broker(available_apache_kafka: None) -> Iterator[ProxiedKafka]:
    with ProxiedKafka(1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_brokers(available_apache_kafka: None) -> Iterator[ProxiedKafka]:
    with ProxiedKafka(3) as cluster:
        yield cluster


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drawn_scenario_is_exact(seed: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scenario = draw(seed)
    if scenario.clocks_jump:
        request.getfixturevalue("available_faketime")
    cluster = request.getfixturevalue("three_brokers" if scenario.brokers == 3 else "one_broker")
    row = play(scenario, cluster, tmp_path)
    assert not row.problems, f"alone: make chaos SEEDS=1 FIRST_SEED={seed}"
