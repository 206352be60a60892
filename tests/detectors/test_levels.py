"""The budget as the knob: one factor on every chart, from theory or from measured tails."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.climb import Climb
from detectors.levels import BUDGET, HALF_BELIEVED, LEAST_OF_THEORY, Levels, spike_level
from detectors.profiles import profile_index
from detectors.slab import Slab
from detectors.tails import NO_TAILS, Tail, Tails, tails_of, with_identity
from tests.detectors import series
from tests.detectors.series import THEORY

TAIL = Tail(threshold=8.0, rate=1e-4, shape=0.05, scale=0.7, clusters=180, readings=1e6)


def measured(tail: Tail, chart: str = "spike", kind: str = "gradient") -> Levels:
    return Levels(base=NO_TAILS, tails=with_identity({(chart, kind): tail}))


def test_at_the_default_budget_and_by_theory_nothing_is_scaled() -> None:
    for chart in ("spike", "shift", "climb", "peers"):
        assert THEORY.gain(chart, "gradient", 1000, 300) == 1.0


@pytest.mark.parametrize("chart", ["spike", "shift", "climb", "sparse_spike", "peers"])
def test_every_chart_follows_the_budget_over_four_orders_of_magnitude(chart: str) -> None:
    budgets = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
    gains = [Levels(budget, base=NO_TAILS).gain(chart, "", 100, 10) for budget in budgets]
    assert gains == sorted(gains)
    assert len(set(gains)) == len(gains)
    assert gains[0] < 1.0 < gains[-1] < 5.0


def test_a_fitted_tail_moves_the_level_as_far_as_it_is_believed() -> None:
    few, many = Tail(8.0, 1e-4, 0.05, 0.7, 2, 1e6), Tail(8.0, 1e-4, 0.05, 0.7, 100_000, 1e6)
    theory, level = spike_level(10), TAIL.level(2 * 10 / 2e7)
    assert measured(few).level("spike", "gradient", 10, 1, BUDGET) == pytest.approx(theory, rel=0.12)
    assert measured(many).level("spike", "gradient", 10, 1, BUDGET) == pytest.approx(level, rel=0.01)
    half = Tail(8.0, 1e-4, 0.05, 0.7, int(HALF_BELIEVED), 1e6)
    expected = (theory * level) ** 0.5
    assert measured(half).level("spike", "gradient", 10, 1, BUDGET) == pytest.approx(expected)


def test_a_tail_of_one_chart_and_kind_says_nothing_of_others() -> None:
    assert measured(TAIL).gain("shift", "gradient", 10) == 1.0
    assert measured(TAIL).gain("spike", "loss", 10) == 1.0


def test_no_level_is_below_half_of_theorys() -> None:
    calm = Tail(1.0, 1e-9, 0.0, 0.01, 100_000, 1e9)
    assert measured(calm).level("spike", "gradient", 10, 1, BUDGET) == LEAST_OF_THEORY * spike_level(10)


def test_slots_of_one_kind_that_move_together_need_a_lower_level_each() -> None:
    levels = measured(TAIL)
    alone = levels.level("spike", "gradient", 300, 1, BUDGET)
    assert levels.level("spike", "gradient", 300, 300, BUDGET) < alone


def test_the_slabs_ratios_are_multiplied_by_the_gain_and_nothing_else_changes() -> None:
    r = np.random.default_rng(3)
    profiles = np.full(20, profile_index("gradient"), np.uint8)
    tight, wide = Slab(profiles, THEORY), Slab(profiles, Levels(1000.0, base=NO_TAILS))
    for row in series.linear(series.student(0.3)(r, 300, 20)):
        tight.judge(row)
        spike, shift = tight.spike.copy(), tight.shift.copy()
        wide.judge(row)
        np.testing.assert_allclose(
            wide.spike, spike * wide.levels.gain("spike", "gradient", 20, 20), rtol=1e-5
        )
        np.testing.assert_allclose(
            wide.shift, shift * wide.levels.gain("shift", "gradient", 20, 20), rtol=1e-5
        )
    assert wide.dump() == tight.dump()


def test_a_climb_is_due_where_its_gain_makes_it_an_alarm() -> None:
    rising = [2.0] * 200 + [2.0 * 1.004**i for i in range(200)]
    noisy = np.array(rising) * np.exp2(np.random.default_rng(5).normal(0, 0.03, len(rising)))
    plain, eager = Climb(1), Climb(1)
    eager.gain = 1.5
    for value in noisy.astype(np.float32):
        plain.alarms([value])
        eager.alarms([value])
        assert eager.ratio[0] == pytest.approx(1.5 * plain.ratio[0])
        assert eager.due or eager.ratio[0] < 1.0


def test_a_reading_that_a_climb_is_found_in_is_learned_only_when_it_is_judged() -> None:
    rising = [2.0] * 200 + [2.0 * 1.004**i for i in range(200)]
    noisy = np.array(rising) * np.exp2(np.random.default_rng(5).normal(0, 0.03, len(rising)))
    asked, judged = Climb(1), Climb(1)
    loud = 0
    for value in noisy.tolist():
        before = asked.dump()
        if not asked.calm([value]):
            loud += 1
            assert asked.dump() == before
            assert asked.due
            asked.alarms([value])
        found = judged.alarms([value])
        assert asked.dump() == judged.dump()
        assert asked.due == judged.due
        assert not found or loud
    assert 0 < loud < 200


def test_tails_are_known_by_what_they_say() -> None:
    tails = with_identity({("spike", "loss"): TAIL})
    assert tails_of(tails.as_json()) == tails
    assert tails.identity
    assert tails != with_identity({("spike", "loss"): Tail(8.0, 1e-4, 0.1, 1.6, 180, 1e6)})
    assert Levels(tails=tails).identity != Levels().identity
    assert with_identity({}) == Tails()


ROW = {
    "chart": "spike",
    "kind": "loss",
    "threshold": 8,
    "rate": 1e-4,
    "shape": 0,
    "scale": 1,
    "clusters": 3,
    "readings": 9,
}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({}, "tails: got dict, a list of objects is needed"),
        ([3], r"tails\[0\]: got int, an object is needed"),
        ([{**ROW, "extra": 1}], r"tails\[0\]: extra missing or unknown"),
        ([ROW, ROW], r"tails\[1\]: chart 'spike' of kind 'loss' stands twice"),
        ([{**ROW, "chart": 4}], r"tails\[0\].chart: got 4, text is needed"),
        ([{**ROW, "rate": 0.0}], r"tails\[0\].rate: got 0.0, a number above 0 is needed"),
        ([{**ROW, "scale": float("nan")}], r"tails\[0\].scale: got nan, a finite number is needed"),
        ([{**ROW, "shape": 2.0}], r"tails\[0\].shape: got 2.0, at most 0.8"),
        ([{**ROW, "clusters": 2.5}], r"tails\[0\].clusters: got 2.5, a whole number"),
        ([{**ROW, "threshold": True}], r"tails\[0\].threshold: got True, a finite number is needed"),
    ],
)  # fmt: skip
def test_tails_that_cannot_be_say_what_is_wrong_with_them(rows: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        tails_of(rows)
