"""The oracle says "visible" of changes that are there, and hardly ever of nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection.labels import Fault, Label
from benchmarks.detection.oracle import change_p, correlation_length, visible_p
from benchmarks.detection.series import Floats, RankSeries, read
from tests.detection.made_runs import Values, healthy_values, write_run

Draw = Callable[[np.random.Generator, int], Floats]


def independent(random: np.random.Generator, count: int) -> Floats:
    return random.normal(size=count)


def heavy_tailed(random: np.random.Generator, count: int) -> Floats:
    return random.standard_t(3, size=count)


def correlated(random: np.random.Generator, count: int) -> Floats:
    noise = random.normal(size=count)
    for at in range(1, count):
        noise[at] += 0.9 * noise[at - 1]
    return noise


def decaying(random: np.random.Generator, count: int) -> Floats:
    return np.asarray(-0.1 * np.log(1.0 + np.arange(count)) + random.normal(0, 0.03, count))


NOISES = [independent, heavy_tailed, correlated, decaying]


@pytest.mark.parametrize("budget", [5, 25, 300])
@pytest.mark.parametrize("draw", NOISES)
def test_where_nothing_changes_p_is_not_tiny(draw: Draw, budget: int) -> None:
    random = np.random.default_rng(11)
    found = []
    for _ in range(100):
        fault = Fault("F33", "loss_divergence", int(random.integers(150, 500)), budget)
        found.append(change_p(np.arange(900.0), draw(random, 900), fault))
    below = np.array(found)
    # a parabola is not the shape of every trend: a long budget is where that tells
    assert (below < 1e-6).mean() <= (0.05 if draw is decaying and budget == 300 else 0.02)
    assert (below < 1e-3).mean() <= (0.15 if budget == 300 else 0.03)


@pytest.mark.parametrize(
    ("budget", "change"),
    [
        (5, 40 * (np.arange(5) == 0)),
        (25, np.full(25, 4.0)),
        (25, 40 * (np.arange(25) == 3)),
        (300, 0.02 * np.arange(300)),
        (300, np.random.default_rng(5).normal(0, 4, 300)),
    ],
    ids=["one reading", "a level", "one reading later", "a slope", "a spread"],
)
@pytest.mark.parametrize("draw", [independent, heavy_tailed])
def test_what_changes_plainly_is_visible(draw: Draw, budget: int, change: Floats) -> None:
    values = draw(np.random.default_rng(2), 900)
    values[400 : 400 + budget] += change * (2 if draw is heavy_tailed else 1)
    assert change_p(np.arange(900.0), values, Fault("F33", "loss_divergence", 400, budget)) < 1e-6


def test_a_change_that_the_run_has_made_before_without_a_fault_is_not_visible() -> None:
    values = independent(np.random.default_rng(2), 900)
    fault = Fault("F33", "loss_divergence", 400, 25)
    values[400:] += 6
    assert change_p(np.arange(900.0), values, fault) < 1e-6
    earlier = values.copy()
    earlier[250:] += 40
    assert change_p(np.arange(900.0), earlier, fault) == 1.0


def test_readings_count_and_not_steps_and_with_too_few_of_them_nothing_can_be_told() -> None:
    steps, values = np.arange(0, 900, 100.0), np.r_[np.zeros(5), np.full(4, 9.0)]
    assert change_p(steps, values, Fault("F39", "eval_regression", 500, 300)) == 1.0


def test_a_series_that_never_moved_and_then_does_is_visible() -> None:
    steps, values = np.arange(100.0), np.full(100, 3.0)
    fault = Fault("F28", "lr_schedule", 60, 25)
    assert change_p(steps, values, fault) == 1.0
    values[60:] = 9.0
    assert change_p(steps, values, fault) == 0.0


def test_the_correlation_length_is_that_of_the_process() -> None:
    random = np.random.default_rng(4)
    assert correlation_length(independent(random, 4000)) == 1
    assert 12 <= correlation_length(correlated(random, 4000)) <= 26  # (1 + 0.9) / (1 - 0.9) = 19


def series(tmp_path: Path, change: Callable[[Values, Values], None]) -> list[RankSeries]:
    model, layered = healthy_values(400, 4)
    layered["update_ratio"] = np.exp(np.random.default_rng(1).normal(-7, 0.1, (400, 4)))
    label = Label("run", "develop", "model", 400, healthy=False)
    return read(write_run(tmp_path, label, model, layered, change))


def test_a_nan_in_any_series_is_there_or_not(tmp_path: Path) -> None:
    def broken(_model: Values, layered: Values) -> None:
        layered["grad_norm"][300, 2] = np.nan

    found = series(tmp_path, broken)
    assert visible_p(Fault("F02", "nonfinite_gradient", 300, 5), found) == 0.0
    assert visible_p(Fault("F02", "nonfinite_gradient", 301, 5), found) == 1.0


def test_a_frozen_layer_is_there_after_three_zeros(tmp_path: Path) -> None:
    def frozen(_model: Values, layered: Values) -> None:
        layered["update_ratio"][300:303, 1] = 0.0

    found = series(tmp_path, frozen)
    assert visible_p(Fault("F22", "weights_frozen", 300, 5, layer="blocks.1"), found) == 0.0
    assert visible_p(Fault("F22", "weights_frozen", 300, 5, layer="blocks.2"), found) == 1.0


def test_the_true_layer_is_looked_at_and_a_fault_from_the_start_has_no_before(tmp_path: Path) -> None:
    def spiked(_model: Values, layered: Values) -> None:
        layered["grad_norm"][300, 2] *= 1000

    found = series(tmp_path, spiked)
    assert visible_p(Fault("F09", "layer_gradient_spike", 300, 25, layer="blocks.2"), found) == pytest.approx(
        0, abs=1e-6
    )
    other = visible_p(Fault("F09", "layer_gradient_spike", 300, 25, layer="blocks.1"), found)
    assert other is not None
    assert other > 1e-6
    assert visible_p(Fault("F09", "layer_gradient_spike", 3, 25, layer="blocks.2"), found) is None


def test_a_value_that_is_nan_is_told_from_one_that_was_not_measured(tmp_path: Path) -> None:
    def broken(model: Values, _layered: Values) -> None:
        model["loss"][7] = np.nan

    (found,) = series(tmp_path, broken)
    steps, values = found.column("loss")
    assert (len(steps), np.isnan(values[7])) == (400, True)
    assert found.layers == ("", "blocks.0", "blocks.1", "blocks.2", "blocks.3")
    assert not found.has("loss", "blocks.1")
    assert not found.has("grad_norm")
