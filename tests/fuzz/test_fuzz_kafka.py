"""The fuzzer through a real broker and a real worker, in short; `make fuzz KAFKA=100000` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Kafka
from tests.fuzz.kafka import fuzz_kafka


@pytest.mark.kafka("apache")
def test_noise_in_kafka_ends_no_worker_and_is_parked_with_its_reasons(kafka: Kafka, tmp_path: Path) -> None:
    seen = fuzz_kafka(kafka.bootstrap_servers, kafka.prefix, tmp_path, count=3000, seed=5, largest=2000)
    assert not seen.problems
    assert {"undecodable", "invalid_record", "too_large", "wrong_partition"} <= set(seen.parked)
    assert seen.transitions
