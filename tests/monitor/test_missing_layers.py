"""A layer that no longer reports is missed; one that rarely did, or was meant to go, is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from anomaly import codec
from anomaly.incidents import Severity, Transition
from anomaly.monitor import snapshot
from anomaly.records import NOT_MEASURED, Layout, LayoutMessage, StepMessage
from tests.monitor.logs import Log, monitor, training, transitions_of

NAMES = ("embed", "h.0", "h.1", "h.2", "h.3", "head")
LAYOUT = Layout(NAMES, ("grad_norm", "act_rms"), ("loss",))


def without(name: str, steps: Iterable[int], end: int = 600) -> list[dict[str, Any]]:
    """JSON records in which a layer is left out at some steps."""
    left_out = set(steps)

    def change(step: int, record: dict[str, Any]) -> None:
        if step in left_out:
            del record["layers"][name]

    return training(range(end), change)


def missed(transitions: Iterable[Transition]) -> list[Transition]:
    return [each for each in transitions if each.kind == "partial_telemetry" and each.transition == 0]


def compact(log: Log, step: int, absent: Sequence[str] = (), layout: Layout = LAYOUT, steps: int = 1) -> None:
    """One compact message; the layers in `absent` are in its layout and have no measured value."""
    noise = np.random.default_rng(step)
    values = np.exp(0.1 * noise.standard_normal((steps, layout.width))).astype(np.float32)
    for at, name in enumerate(layout.layers):
        if name in absent:
            values[:, 1 + 2 * at : 3 + 2 * at] = NOT_MEASURED
    numbers = [(step + more) * 10**6 for more in range(steps)]
    log.add(codec.encode_steps(StepMessage("r1", 0, numbers, [None] * steps, values, layout.hash)))


def declared(*layouts: Layout) -> Log:
    log = Log()
    for layout in layouts:
        log.add(codec.encode_layout(LayoutMessage("r1", layout)))
    return log


def told(log: Log) -> list[Transition]:
    return missed(transition for _, transition in monitor().process(log.records).transitions)


def test_a_layer_that_json_records_leave_out_is_named_within_seventy_steps() -> None:
    (incident,) = missed(transitions_of(without("h.1", range(400, 800), end=800)))
    assert (incident.layer, incident.severity) == ("h.1", Severity.WARNING)
    assert 430 <= incident.step <= 470
    assert incident.ranks == ()


@pytest.mark.parametrize("steps", [1, 10])
def test_a_layer_of_the_layout_that_is_no_longer_measured_is_named(steps: int) -> None:
    log = declared(LAYOUT)
    for step in range(0, 800, steps):
        compact(log, step, ("h.2", "h.3") if step >= 400 else (), steps=steps)
    (incident,) = told(log)
    assert incident.layers == ("h.2", "h.3")
    assert 430 <= incident.step <= 500


@pytest.mark.parametrize("every", [7, 24, 50])
def test_a_layer_measured_now_and_then_is_missed_after_ten_of_its_intervals(every: int) -> None:
    log, last = declared(LAYOUT), 25 * max(every, 24)
    for step in range(last + 15 * max(every, 24)):
        compact(log, step, ("h.1",) if step % every or step > last else ())
    (incident,) = told(log)
    assert incident.layer == "h.1"
    assert incident.step >= last + 9 * every
    before = declared(LAYOUT)
    for step in range(60 * every):
        compact(before, step, ("h.1",) if step % every else ())
    assert told(before) == []


def test_a_layer_of_a_log_of_each_fifth_step_is_missed_in_a_short_run() -> None:
    records = [record for record in without("h.1", range(220, 600)) if record["step"] % 5 == 0]
    (incident,) = missed(transitions_of(records))
    assert incident.layer == "h.1"
    assert 220 + 5 * 10 <= incident.step <= 220 + 5 * 72


def test_a_layer_logged_for_a_hundred_steps_at_the_start_only_is_not_missed() -> None:
    assert missed(transitions_of(without("h.1", range(100, 600)))) == []


def test_a_layer_seen_at_evaluations_alone_is_not_missed() -> None:
    log = declared(LAYOUT)
    for step in range(3000):
        compact(log, step, () if step % 1000 < 50 else ("head",))
    assert told(log) == []


def test_a_layer_whose_values_are_zero_or_not_finite_reports() -> None:
    def frozen(step: int, record: dict[str, Any]) -> None:
        if step >= 400:
            record["layers"]["h.1"] = dict.fromkeys(record["layers"]["h.1"], 0.0)
            record["layers"]["h.2"] = dict.fromkeys(record["layers"]["h.2"], float("nan"))

    assert missed(transitions_of(training(range(900), frozen))) == []


def test_a_layer_that_a_new_layout_leaves_out_was_meant_to_go() -> None:
    smaller = Layout(NAMES[:-1], LAYOUT.signals, LAYOUT.model_signals)
    log = declared(LAYOUT, smaller)
    for step in range(1000):
        compact(log, step, layout=LAYOUT if step < 400 else smaller)
    assert told(log) == []


def test_half_of_the_layers_leaving_at_once_is_another_way_of_logging() -> None:
    log = declared(LAYOUT)
    for step in range(1000):
        compact(log, step, NAMES[:3] if step >= 400 else ())
    assert told(log) == []


def test_layers_logged_less_often_from_now_on_are_not_missed() -> None:
    log = declared(LAYOUT)
    for step in range(2500):
        compact(log, step, NAMES if step >= 400 and step % 500 else ())
    assert told(log) == []


def test_a_layer_is_missed_once_and_again_when_it_has_been_back() -> None:
    log = declared(LAYOUT)
    for step in range(3000):
        gone = 400 <= step < 1200 or step >= 2000
        compact(log, step, ("h.2",) if gone else ())
    first, second = told(log)
    assert first.incident != second.incident
    assert 430 <= first.step <= 470
    assert 2030 <= second.step <= 2070


def test_looks_survive_a_snapshot_at_any_step() -> None:
    log = declared(LAYOUT)
    for step in range(720):
        compact(log, step, ("h.2",) if step >= 400 else ())
    whole, cut = monitor(), monitor()
    expected = whole.process(log.records).transitions
    found = []
    for record in log.records:
        found += cut.process([record]).transitions
        cut = monitor(runs={run: snapshot.load(snapshot.dump(state)) for run, state in cut.runs.items()})
    assert [(key, each.encode()) for key, each in found] == [(key, each.encode()) for key, each in expected]
    assert len(missed(each for _, each in found)) == 1


def test_a_layer_whose_readings_were_not_learned_for_long_was_there_all_the_same() -> None:
    """At another level than before they are suspected, for hundreds of readings; and then they are missing."""

    def change(step: int, record: dict[str, Any]) -> None:
        for of_layer in record["layers"].values():
            of_layer.update(dict.fromkeys(of_layer.keys() - {"grad_norm"}))
        record["layers"]["h.1"]["grad_norm"] *= 1.6 if step >= 300 else 1.0
        if step >= 500:
            del record["layers"]["h.1"]

    (incident,) = missed(transitions_of(training(range(620), change)))
    assert (incident.layer, incident.step <= 580) == ("h.1", True)
