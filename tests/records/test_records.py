"""Steps, names, keys and homes."""

from __future__ import annotations

import math

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from anomaly import codec
from anomaly.errors import RecordError
from anomaly.records import (
    MAX_STEP,
    Fork,
    Layout,
    LayoutMessage,
    home_key,
    shared,
    step_millionths,
    step_number,
)
from anomaly.topics import Topics, home_partition, topic_configurations
from tests.records.strategies import layouts, names


@given(st.integers(-MAX_STEP, MAX_STEP))
def test_whole_steps_come_back_as_integers(step: int) -> None:
    back = step_number(step_millionths(step))
    assert back == step
    assert isinstance(back, int)


@given(st.integers(-(10**12), 10**12))
def test_fractions_of_six_digits_come_back(millionths: int) -> None:
    assert step_millionths(step_number(millionths)) == millionths


@given(st.floats(-MAX_STEP, MAX_STEP))
def test_steps_keep_their_order(step: float) -> None:
    try:
        assert abs(step_millionths(step) - step * 1e6) <= max(1.0, abs(step) * 1e-6)
    except RecordError:
        assert abs(step) >= 2**32
        assert step != int(step)


@pytest.mark.parametrize("step", [math.nan, math.inf, MAX_STEP + 1, -MAX_STEP - 1, float(2**60)])
def test_a_step_out_of_range_is_refused(step: float) -> None:
    with pytest.raises(RecordError):
        step_millionths(step)


@given(layouts(), layouts())
def test_layouts_share_a_hash_exactly_when_they_are_equal(one: Layout, other: Layout) -> None:
    assert (one.hash == other.hash) == (one == other)
    assert len(one.hash) == 8
    assert one.width == len(one.model_signals) + len(one.layers) * len(one.signals)


def test_a_fork_is_at_home_with_its_root() -> None:
    assert home_key("r2", Fork("r0", "r1", 0)) == home_key("r0", None) == b"r0"


@given(names, st.integers(1, 100))
def test_the_home_partition_is_one_of_the_topics(run: str, partitions: int) -> None:
    assert 0 <= home_partition(run.encode(), partitions) < partitions


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_the_home_partition_is_what_javas_client_computes(key: bytes, murmur2: int) -> None:
    """The hashes are those of Apache Kafka's own test of its function."""
    for partitions in (1, 7, 32, 1000):
        assert home_partition(key, partitions) == (murmur2 & 0x7FFFFFFF) % partitions
        everything = list(range(partitions))
        assert DefaultPartitioner()(key, everything, everything) == home_partition(key, partitions)


def test_topics_are_named_after_the_prefix_and_the_group() -> None:
    topics = Topics("team")
    assert (topics.telemetry, topics.incidents, topics.incident_actions, topics.deadletter) == (
        "team.telemetry",
        "team.incidents",
        "team.incident-actions",
        "team.deadletter",
    )
    assert topics.changelog == "team.anomaly-state-changelog"
    assert Topics("team", "other").changelog == "other-state-changelog"


def test_a_dead_letter_has_room_for_the_largest_record_and_its_headers() -> None:
    topics = Topics()
    configurations = topic_configurations(topics, 7, 1_000_000)
    assert configurations[topics.telemetry]["max.message.bytes"] == "1000000"
    assert configurations[topics.deadletter]["max.message.bytes"] == str(1_000_000 + 65_536)
    assert configurations[topics.incidents]["retention.ms"] == str(14 * 86_400_000)
    assert configurations[topics.changelog]["cleanup.policy"] == "compact"


def test_layouts_of_one_content_are_one_object_and_others_are_not() -> None:
    names = ("a", "b"), ("grad_norm",), ("loss",)
    first = shared(Layout(*names))
    assert shared(Layout(*names)) is first
    assert shared(Layout(*names, trainable=(True, False))) is not first
    message = codec.decode(codec.encode_layout(LayoutMessage("r1", Layout(*names))))
    assert isinstance(message, LayoutMessage)
    assert message.layout is first
