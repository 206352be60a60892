"""What a training loop can expect of `Telemetry`, with a broker that only remembers."""

from __future__ import annotations

import contextlib
import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly import Fork, Layout, Place, SettingsError, Telemetry, codec
from anomaly.outbox import LAYOUT_SECONDS
from anomaly.records import NOT_MEASURED, StepMessage
from tests.hook.recording import Broker, Time, read, telemetry, wait_until

LAYOUT = Layout(("a", "b"), ("grad_norm", "weight_norm"))


def test_each_step_arrives_in_order_after_its_layout(broker: Broker) -> None:
    with telemetry(broker) as run:
        for step in range(50):
            run.step(step, loss=2.0, layers={"h.0": {"grad_norm": 0.5}}, time=1.5)
    records = read(broker.messages)
    assert [(record.sequence, record.step) for record in records[:50]] == [(n, n) for n in range(50)]
    assert records[0].model == {"loss": 2.0}
    assert records[0].layers == {"h.0": {"grad_norm": 0.5}}
    assert records[0].time == 1.5
    assert set(broker.keys) == {b"r1"}


def test_not_measured_and_measured_nan_stay_apart(broker: Broker) -> None:
    with telemetry(broker) as run:
        run.step(0, loss=math.nan, lr=None, layers={"a": {"x": None, "y": math.nan}, "b": {"x": 1.0}})
    record = read(broker.messages)[0]
    assert math.isnan(record.model["loss"])
    assert "lr" not in record.model
    assert list(record.layers["a"]) == ["y"]
    assert math.isnan(record.layers["a"]["y"])
    assert record.layers["b"] == {"x": 1.0}


def test_what_float32_cannot_hold_becomes_infinity_without_a_warning(broker: Broker) -> None:
    with telemetry(broker) as run:
        run.layout(LAYOUT)
        run.step(0, loss=1e300, lr=-(10**400), layers=np.full((2, 2), 1e300))
    record = read(broker.messages)[0]
    assert record.model == {"loss": math.inf, "lr": -math.inf}
    assert record.layers["b"]["weight_norm"] == math.inf


def test_numbers_of_numpy_and_booleans_are_numbers(broker: Broker) -> None:
    with telemetry(broker) as run:
        run.step(np.int64(3), loss=np.float32(0.5), skipped=True, tokens=np.int64(512), x=np.array(2.0))
    record = read(broker.messages)[0]
    assert record.step == 3
    assert record.model == {"loss": 0.5, "skipped": 1.0, "tokens": 512.0, "x": 2.0}


def test_fractional_steps_are_kept(broker: Broker) -> None:
    with telemetry(broker) as run:
        run.step(0.5)
        run.step(np.float32(0.75))
    assert [record.step for record in read(broker.messages)][:2] == [0.5, 0.75]


def test_names_seen_later_go_last_and_their_layout_comes_before_them(broker: Broker) -> None:
    with telemetry(broker) as run:
        run.step(0, loss=1.0, layers={"b": {"x": 1.0}})
        run.step(1, eval_loss=2.0, layers={"a": {"y": 3.0}, "b": {"x": 4.0}})
        run.step(2, loss=5.0)
    records = read(broker.messages)
    assert records[0].layout.layers == ("b",)
    assert records[1].layout.layers == ("b", "a")
    assert records[1].layout.signals == ("x", "y")
    assert records[1].layout.model_signals == ("loss", "eval_loss")
    assert records[1].model == {"eval_loss": 2.0}
    assert records[1].layers == {"b": {"x": 4.0}, "a": {"y": 3.0}}
    assert records[2].model == {"loss": 5.0}


def test_a_matrix_follows_the_declared_layout_and_may_be_reused(broker: Broker) -> None:
    matrix = np.array([[1, 2], [3, 4]], dtype=np.float32)
    matrix[0, 1] = NOT_MEASURED[0]
    with telemetry(broker) as run:
        run.layout(LAYOUT)
        run.step(0, loss=1.0, layers=matrix)
        matrix[:] = 9
        run.step(1, layers=matrix.tolist())
    records = read(broker.messages)
    assert records[0].layers == {"a": {"grad_norm": 1.0}, "b": {"grad_norm": 3.0, "weight_norm": 4.0}}
    assert records[1].layers["a"] == {"grad_norm": 9.0, "weight_norm": 9.0}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layers": np.zeros((3, 2))}, "(2, 2) of the declared layout"),
        ({"layers": {"c": {"grad_norm": 1.0}}}, "'c' is not in the declared layout"),
        ({"layers": {"a": 3.0}}, "{signal: number} is needed"),
        ({"layers": {"a": {"grad_norm": "high"}}}, "got str, a number is needed"),
        ({"loss": "1.5"}, "got str, a number is needed"),
        ({"loss": np.zeros(3)}, "got ndarray, a number is needed"),
        ({"": 1.0}, "1 to 200 are allowed"),
    ],
)
def test_a_wrong_value_is_left_out_counted_and_said_once(
    broker: Broker, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any], said: str
) -> None:
    with telemetry(broker) as run:
        run.layout(LAYOUT)
        for step in range(3):
            run.step(step, lr=0.1, **wrong)
        assert run.stats()["refused_values"] == 3
    assert [record.model for record in read(broker.messages)[:3]] == [{"lr": pytest.approx(0.1)}] * 3
    assert len(caplog.messages) == 1
    assert said in caplog.messages[0]


def test_a_matrix_without_a_layout_is_refused_with_what_to_do(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    with telemetry(broker) as run:
        run.step(0, loss=1.0, layers=np.zeros((2, 2)))
    assert "a call of layout() before it is needed" in caplog.text
    assert read(broker.messages)[0].model == {"loss": 1.0}


@pytest.mark.parametrize("step", [math.nan, "12", None, 2**50, object()])
def test_a_wrong_step_is_refused_and_leaves_no_gap(broker: Broker, step: Any) -> None:
    with telemetry(broker) as run:
        run.step(0, loss=1.0)
        run.step(step, loss=2.0)
        run.step(1, loss=3.0)
        assert run.stats()["refused_records"] == 1
    assert [(record.sequence, record.step) for record in read(broker.messages)][:2] == [(0, 0), (1, 1)]


def test_a_wrong_layout_is_refused_and_training_goes_on(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    with telemetry(broker) as run:
        run.layout(Layout(("a", "a"), ("x",)))
        run.step(0, loss=1.0)
    assert "a name stands twice" in caplog.text
    assert read(broker.messages)[0].model == {"loss": 1.0}


def test_an_event_travels_with_the_next_record(broker: Broker) -> None:
    with telemetry(broker) as run:
        run.event("resume")
        run.step(7, loss=1.0)
        run.event("checkpoint_end", step=np.int64(7), path=Path("/x"))
        run.event("phase", name="b")
        run.step(8, loss=1.0)
        run.step(9, loss=1.0)
    records = read(broker.messages)
    assert records[0].events == ({"kind": "resume"},)
    assert records[1].events == (
        {"kind": "checkpoint_end", "step": 7, "path": "/x"},
        {"kind": "phase", "name": "b"},
    )
    assert [record.step for record in records if record.model] == [7, 8, 9]


def test_an_event_no_record_follows_within_a_second_goes_alone(broker: Broker) -> None:
    time = Time()
    run = telemetry(broker, clock=time.clock())
    run.event("resume")
    time.seconds += 5  # before the first step there is no step to file it under
    run.step(3, loss=1.0)
    run.event("eval_start")
    wait_until(lambda: run.stats()["acknowledged"] == 1)
    time.seconds += 1.1
    wait_until(lambda: run.stats()["acknowledged"] == 2)
    run.close()
    first, alone = read(broker.messages)
    assert first.events == ({"kind": "resume"},)
    assert (alone.step, alone.model, alone.layers) == (3, {}, {})
    assert alone.events == ({"kind": "eval_start"},)


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "completed"), (ValueError, "failed"), (KeyboardInterrupt, "stopped")]
)
def test_leaving_the_block_says_how_the_run_ended(
    broker: Broker, error: type[BaseException] | None, outcome: str
) -> None:
    with contextlib.suppress(ValueError, KeyboardInterrupt), telemetry(broker) as run:
        run.step(4)
        if error:
            raise error
    (event,) = read(broker.messages)[-1].events
    assert (event["kind"], event["outcome"]) == ("finished", outcome)


def test_an_outcome_the_caller_reported_is_not_repeated(broker: Broker) -> None:
    with telemetry(broker) as run:
        run.event("finished", outcome="stopped")
    assert [event for record in read(broker.messages) for event in record.events] == [
        {"kind": "finished", "outcome": "stopped"}
    ]


def test_closing_says_nothing_about_the_outcome(broker: Broker) -> None:
    run = telemetry(broker)
    run.step(0)
    assert run.close()
    assert [record.events for record in read(broker.messages)] == [()]


def test_events_that_cannot_be_written_are_refused(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with telemetry(broker) as run:
        run.event("phase", name="\ud800")
        run.event(3)  # type: ignore[arg-type]
        run.step(0)
        assert run.stats()["refused_values"] == 2
    assert [event["kind"] for record in read(broker.messages) for event in record.events] == ["finished"]
    assert len(caplog.messages) == 1


def test_tags_and_place_come_with_the_layout_and_again_every_minute(broker: Broker) -> None:
    time, place = Time(), Place(world_size=4, data=1)
    run = telemetry(
        broker, clock=time.clock(), tags={"team": "x"}, place=place, fork=Fork("root", "parent", 5)
    )
    for seconds in (0.0, 1.0, LAYOUT_SECONDS):
        time.seconds += seconds
        before = run.stats()["acknowledged"]
        run.step(seconds)
        wait_until(lambda before=before: run.stats()["acknowledged"] > before)  # type: ignore[misc]
    run.close()
    records = read(broker.messages)
    assert [record.tags for record in records] == [{"team": "x"}, None, {"team": "x"}]
    assert [record.place for record in records] == [place, None, place]
    assert {record.fork for record in records} == {Fork("root", "parent", 5)}
    assert set(broker.keys) == {b"root"}
    assert len(broker.messages) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run": ""}, "run: got a name of 0 characters"),
        ({"run": "x" * 201}, "1 to 200 are allowed"),
        ({"run": 3}, "strings are needed"),
        ({"rank": -1}, "rank: got -1"),
        ({"tags": {"team": 3}}, "tags.team: got 3"),
        ({"tags": {f"t{n}": "" for n in range(33)}}, "at most 32"),
        ({"fork": Fork("", "p", 0)}, "fork.root"),
        ({"queue_records": 0}, "at least 1 each is needed"),
        ({"sender": None, "bootstrap_servers": "kafka"}, "got 'kafka'; give HOST:PORT"),
        ({"sender": None, "bootstrap_servers": "a:1,b:70000"}, "got 'b:70000'; give HOST:PORT"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match="^.*" + re.escape(said)):
        Telemetry(**{"run": "r1", "sender": Broker().connect, **options})


def test_all_wrong_arguments_are_listed_together() -> None:
    with pytest.raises(SettingsError) as caught:
        telemetry(Broker(), "", rank=-1)
    assert len(caught.value.problems) == 2


def test_two_objects_have_different_sessions(broker: Broker) -> None:
    for _ in range(2):
        with telemetry(broker) as run:
            run.step(0)
    messages = [codec.decode(message) for message in broker.messages]
    assert len({message.session for message in messages if isinstance(message, StepMessage)}) == 2


def test_reporting_uses_no_random_numbers_of_the_training(broker: Broker) -> None:
    random.seed(1)
    expected = random.getstate()
    broker.failures = [OSError("gone")] * 3
    with telemetry(broker) as run:
        run.step(0)
    assert random.getstate() == expected
