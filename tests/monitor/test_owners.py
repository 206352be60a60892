"""Pipelines: the last stage has the loss, each has its own layers, and all of it is one run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from anomaly import codec
from anomaly.incidents import Severity, Transition
from anomaly.records import NOT_MEASURED, Layout, LayoutMessage, StepMessage
from tests.monitor.logs import Log, healthy, monitor, outcome_of
from tests.monitor.test_stillness import moving

LAST = 2
STAGES = {"embed": 0, "h.0": 0, "h.1": 1, "h.2": LAST, "head": LAST}
MODEL = ("loss", "lr", "grad_norm_total")
SIGNALS = ("grad_norm", "weight_norm", "update_ratio", "act_rms")
LAYOUT = Layout(tuple(STAGES), SIGNALS, MODEL)
Change = Callable[[int, dict[str, Any]], None]


def pipeline(end: int, change: Change, at_once: int = 1, totals: bool = False) -> Log:
    """A log of three stages of one layout, which send `at_once` steps a message; what a stage lacks is not measured.

    change: called with a step and its record, as if one rank had it all.  totals: each stage has a total norm of its
    own, and the last one's leaps.
    """
    log = Log()
    log.add(codec.encode_layout(LayoutMessage("r1", LAYOUT)))
    for begin in range(0, end, at_once):
        steps = range(begin, min(begin + at_once, end))
        for rank in range(LAST + 1):
            values = np.array([as_measured_by(rank, step, change) for step in steps], np.float32)
            values[np.isnan(values)] = NOT_MEASURED
            if totals:
                values[:, MODEL.index("grad_norm_total")] *= (
                    12.0 if rank == LAST and begin >= 200 else rank + 1.0
                )
            numbers = [step * 10**6 for step in steps]
            message = StepMessage("r1", rank, numbers, [None] * len(steps), values, LAYOUT.hash)
            log.add(codec.encode_steps(message))
    return log


def as_measured_by(rank: int, step: int, change: Change) -> list[float]:
    record = healthy(step)
    change(step, record)
    values = [record[name] if name != "loss" or rank == LAST else math.nan for name in MODEL]
    for name, stage in STAGES.items():
        of_layer = record["layers"][name]
        values += [of_layer[signal] if stage == rank else math.nan for signal in SIGNALS]
    return values


def found(log: Log) -> list[Transition]:
    transitions = [each for _, each in outcome_of(log).transitions]
    return [each for each in transitions if each.transition == 0 and each.severity is not Severity.INFO]


def higher(step: int, record: dict[str, Any]) -> None:
    record["loss"] *= 2.0 if step >= 200 else 1.0


def fallen(step: int, record: dict[str, Any]) -> None:
    record["loss"] *= 0.3 if step >= 200 else 1.0


def noisy(step: int, record: dict[str, Any]) -> None:
    swing = np.random.default_rng([7, step]).standard_normal()
    record["layers"]["h.2"]["grad_norm"] *= np.exp(0.5 * swing) if step >= 200 else 1.0


def frozen(step: int, record: dict[str, Any]) -> None:
    for name, of_layer in record["layers"].items():
        of_layer["weight_norm"] = moving(min(step, 200) if name == "h.2" else step) + 0.1 * len(name)


def leapt(step: int, record: dict[str, Any]) -> None:
    record["layers"]["h.2"]["grad_norm"] *= 6.0 if step >= 200 else 1.0


@pytest.mark.parametrize("at_once", [1, 20])
@pytest.mark.parametrize(
    ("change", "kind", "layer", "within"),
    [
        (higher, "loss_spike_persistent", None, 25),
        (fallen, "loss_collapse", None, 25),
        (leapt, "layer_gradient_spike", "h.2", 25),
        (noisy, "gradient_noise", "h.2", 300),
        (frozen, "weights_frozen", "h.2", 40),
    ],
)
def test_a_later_stage_is_watched_as_the_first(
    change: Change, kind: str, layer: str | None, within: int, at_once: int
) -> None:
    incidents = found(pipeline(420, change, at_once))
    assert {(incident.kind, incident.layer) for incident in incidents} == {(kind, layer)}
    incident = incidents[0]
    assert 200 <= incident.step <= 200 + within + 2 * at_once


@pytest.mark.parametrize("at_once", [1, 20])
def test_a_calm_pipeline_is_quiet(at_once: int) -> None:
    assert found(pipeline(420, lambda step, record: None, at_once)) == []


def test_stages_that_tell_no_place_are_no_peers_for_they_report_other_layers() -> None:
    assert found(pipeline(420, lambda step, record: None, totals=True)) == []


@pytest.mark.parametrize("at_once", [1, 20])
def test_a_step_of_several_ranks_is_one_reading(at_once: int) -> None:
    watching = monitor()
    watching.process(pipeline(100, lambda step, record: None, at_once).records)
    history = watching.runs["r1"].history
    assert 100 <= history.seen <= 100 + LAST * at_once  # nobody knew at first who would come
    assert np.isfinite(history.of("loss")).all()
    assert np.isfinite(history.of("grad_norm_total")).all()
    assert (np.diff(history.steps) == 1_000_000).all()
