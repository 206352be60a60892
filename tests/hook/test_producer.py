"""What the sending thread promises: order, resending, and an end in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.errors import Reason, RecordError
from anomaly.producer import Pacing
from tests.hook.recording import Broker, in_first_order, read, sequences, telemetry


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), max_size=8), st.booleans(), st.integers(1, 30))
def test_whatever_fails_every_sequence_number_arrives_in_order(
    failing: list[bool], loses_acknowledgements: bool, steps: int
) -> None:
    broker = Broker()
    broker.failures = [OSError("gone") for each in failing if each]
    broker.loses_acknowledgements = loses_acknowledgements
    with telemetry(broker) as run:
        for step in range(steps):
            run.step(step, loss=float(step))
    found = sequences(broker.messages)
    assert in_first_order(found) == list(range(max(found) + 1))
    assert max(found) >= steps - 1


def test_after_a_lost_acknowledgement_the_same_bytes_are_sent_before_anything_else() -> None:
    broker = Broker()
    broker.failures = [OSError("gone")] * 2
    broker.loses_acknowledgements = True
    run = telemetry(broker)
    run.step(0)
    assert run.close()
    layout, record = broker.messages[0], broker.messages[-1]
    assert broker.messages == [layout, layout, layout, record]
    assert broker.connections == 3
    assert run.stats()["failures"] == 2


def test_a_message_that_can_never_be_taken_is_given_up_and_the_next_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Broker()
    broker.leave()
    run = telemetry(broker)
    run.step(0, loss=1.0)
    run.step(1, loss=1.0, another=2.0)
    broker.failures = [RecordError(Reason.TOO_LARGE, "a message of 2,000,000 bytes")] * 2
    broker.come_back()
    assert run.close()
    assert sequences(broker.messages) == [1]
    assert run.stats()["refused_records"] == 1
    assert caplog.text.count("are not sent: too_large") == 1


def test_closing_gives_up_after_its_time_on_a_broker_that_never_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Broker()
    broker.leave()
    run = telemetry(broker)
    run.step(0)
    before = time.monotonic()
    assert not run.close(timeout=0.05)
    assert time.monotonic() - before < 2.0
    assert "ends incomplete" in caplog.text
    assert run.stats()["waiting"] == 1


def test_closing_gives_up_after_its_time_on_a_broker_that_keeps_failing() -> None:
    broker = Broker()
    broker.failures = [OSError("gone")] * 1_000_000
    run = telemetry(broker)
    run.step(0)
    assert not run.close(timeout=0.05)


def test_a_connection_that_hangs_is_given_up_and_made_anew() -> None:
    broker = Broker()
    broker.leave()
    run = telemetry(
        broker, pacing=Pacing(look=0.001, acknowledgement=0.01, first_backoff=0.001, longest_backoff=0.002)
    )
    run.step(0)
    while run.stats()["failures"] < 2:
        pass
    broker.come_back()
    assert run.close()
    assert [record.sequence for record in read(broker.messages)] == [0]
