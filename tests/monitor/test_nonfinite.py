"""NaN and infinity: at once, by the first layer, and blinding nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from anomaly.incidents import Severity
from tests.monitor.logs import LAYERS, opened, training, transitions_of

NAN = float("nan")


def test_a_nan_loss_is_critical_at_once_even_in_the_first_record() -> None:
    (incident,) = transitions_of([{"run": "r1", "step": 0, "loss": NAN}])
    assert (incident.kind, incident.severity, incident.step) == ("nonfinite_loss", Severity.CRITICAL, 0)
    assert incident.layer is None
    assert incident.layers == ()


def test_nan_weights_in_one_layer_name_that_layer_although_everything_after_is_nan_too() -> None:
    def poison(step: int, record: dict[str, Any]) -> None:
        if step < 100:
            return
        record["loss"] = record["grad_norm_total"] = NAN
        for at, name in enumerate(LAYERS):
            record["layers"][name]["grad_norm"] = NAN
            if at >= 2:
                record["layers"][name]["act_rms"] = NAN
        record["layers"]["h.1"]["weight_norm"] = NAN

    transitions = transitions_of(training(range(120), poison))
    (incident,) = opened(transitions)
    assert (incident.kind, incident.layer, incident.step) == ("nonfinite_weight", "h.1", 100)
    assert incident.last_good_step == 99
    assert len(transitions) == 1, "how a NaN spreads is no news"


def test_nan_activations_name_the_first_layer_in_forward_order() -> None:
    def poison(step: int, record: dict[str, Any]) -> None:
        if step >= 50:
            for name in LAYERS[3:]:
                record["layers"][name]["act_rms"] = NAN
            for name in LAYERS:
                record["layers"][name]["grad_norm"] = NAN
            record["loss"] = NAN

    (incident,) = transitions_of(training(range(60), poison))
    assert (incident.kind, incident.layer) == ("nonfinite_activation", "h.2")


def test_nan_activations_name_their_layer_though_it_reports_after_the_loss_was_lost() -> None:
    def poison(from_layer: int) -> Callable[[int, dict[str, Any]], None]:
        def of(step: int, record: dict[str, Any]) -> None:
            if step >= 51:
                record["loss"] = NAN
            for at, name in enumerate(LAYERS):
                if step % 10:
                    del record["layers"][name]["act_rms"]
                elif step >= 51 and at >= from_layer:
                    record["layers"][name]["act_rms"] = NAN

        return of

    first, named = transitions_of(training(range(90), poison(3)))
    assert (first.kind, first.step, first.layer) == ("nonfinite_loss", 51, None)
    assert (named.kind, named.layer, named.first_step) == ("nonfinite_activation", "h.2", 51)
    (everywhere,) = transitions_of(training(range(90), poison(0)))
    assert (everywhere.kind, everywhere.layer) == ("nonfinite_loss", None)


def test_nan_gradients_name_the_last_layer_in_backward_order_whose_incoming_gradient_is_finite() -> None:
    def poison(step: int, record: dict[str, Any]) -> None:
        if step >= 50:
            for name in LAYERS[:3]:
                record["layers"][name]["grad_norm"] = NAN

    (incident,) = transitions_of(training(range(60), poison))
    assert (incident.kind, incident.layer) == ("nonfinite_gradient", "h.1")
    assert incident.layers == ("h.1", "h.2", "h.0", "embed"), "the gradient came through h.2"


def test_a_nan_blinds_no_chart() -> None:
    def two_faults(step: int, record: dict[str, Any]) -> None:
        if step == 100:
            record["loss"] = record["layers"]["h.0"]["grad_norm"] = NAN
        if step >= 300:
            record["layers"]["h.2"]["grad_norm"] *= 100

    first, second = opened(transitions_of(training(range(330), two_faults)))
    assert first.kind.startswith("nonfinite")
    assert (second.kind, second.layer) == ("layer_gradient_spike", "h.2")
    assert 300 <= second.step <= 310


def test_an_overflow_that_the_loss_scaler_skipped_is_a_remark() -> None:
    def skip(step: int, record: dict[str, Any]) -> None:
        record["loss_scale"], record["skipped"] = 65536.0, 0
        if step == 100:
            record["skipped"], record["grad_norm_total"] = 1, float("inf")

    (incident,) = opened(transitions_of(training(range(120), skip)))
    assert incident.severity is Severity.INFO


@pytest.mark.parametrize(
    ("signal", "kind"), [("weight_nonfinite", "nonfinite_weight"), ("nonfinite", "nonfinite_unknown")]
)
def test_a_count_of_non_finite_values_above_zero_is_one_and_zero_is_none(signal: str, kind: str) -> None:
    def count(step: int, record: dict[str, Any]) -> None:
        for name, of_layer in record["layers"].items():
            of_layer[signal] = 3 if step >= 50 and name == "h.1" else 0

    (incident,) = transitions_of(training(range(60), count))
    assert (incident.kind, incident.layer, incident.step) == (kind, "h.1", 50)
