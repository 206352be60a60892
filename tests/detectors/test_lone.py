"""A series that jumps by itself, and what all do, what is soon over, what drifts and what falls."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.lone import LONGEST, NONE, Leader, Lone
from detectors.unsteady import Unsteady

SERIES = 8
SLOTS = np.arange(2, 2 + SERIES)
BLOCKS = np.array([0, 0, 1, 1, 2, 2, 3, 3], np.int32)
JUMP = 3.5
"""log2; noise is of 0.2, and what all do of 0.4."""


def noise(readings: int = 120, seed: int = 0) -> np.ndarray:
    """log2 [readings, SERIES]."""
    random = np.random.default_rng(seed)
    return 0.2 * random.standard_normal((readings, SERIES)) + 0.4 * random.standard_normal((readings, 1))


def judged(y: np.ndarray, chart: Unsteady | None = None, lone: Lone | None = None) -> list[Leader]:
    """What is found at each of the readings y, log2 [readings, SERIES], NaN where not measured."""
    chart, lone = chart or Unsteady(SERIES), lone or Lone(SERIES)
    found = []
    for reading in y:
        padded = np.full(SERIES + 3, 3.0, np.float32)
        padded[SLOTS] *= np.exp2(reading)
        moves = chart.take(padded, SLOTS)
        due = lone.due
        found.append(lone.take(moves, chart.jumps, BLOCKS, chart.samples))
        assert due or found[-1] is NONE
    return found


def worst(y: np.ndarray) -> float:
    return max(found.ratio for found in judged(y))


@pytest.mark.parametrize("seed", range(5))
def test_one_that_jumps_and_stays_is_named_at_its_third_reading_and_soon_at_home_there(seed: int) -> None:
    y = noise(seed=seed)
    y[90:, 3] += JUMP
    found = judged(y)
    out = [at for at, each in enumerate(found) if each.ratio >= 1]
    assert out == list(range(92, 90 + LONGEST))
    assert [(found[at].series, found[at].readings) for at in out] == [(3, at - 89) for at in out]
    assert found[92].gone == pytest.approx(JUMP, abs=1.0)


def test_it_may_jump_within_the_first_dozens_of_readings() -> None:
    y = noise()
    y[30:36, 3] += 2 * JUMP
    assert judged(y)[32].ratio >= 1


@pytest.mark.parametrize(
    "others",
    [
        pytest.param(range(SERIES), id="all"),
        pytest.param([3, 5], id="two of different blocks"),
    ],
)
def test_several_are_not_alone(others: list[int]) -> None:
    y = noise()
    for each in others:
        y[90:, each] += JUMP
    assert worst(y) < 1


def test_two_of_one_block_are_as_good_as_one() -> None:
    y = noise()
    y[90:, 2] += 0.9 * JUMP
    y[90:, 3] += JUMP
    assert judged(y)[92].series == 3
    assert worst(y) >= 1


def test_one_that_stays_where_all_others_fall_has_not_jumped() -> None:
    y = noise()
    y[90:, [at for at in range(SERIES) if at != 3]] -= JUMP
    assert worst(y) < 1


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_what_is_back_after_two_readings_or_drifts_or_falls_is_none(sign: float) -> None:
    y = noise()
    y[90:92, 3] += sign * JUMP
    y[:, 4] += sign * 0.05 * np.arange(len(y))
    y[60:, 5] -= JUMP
    assert worst(y) < 1


def test_where_jumps_that_last_are_usual_one_must_be_larger() -> None:
    y = noise(400)
    for at in range(40, 340, 20):
        y[at : at + 4, at // 20 % SERIES] += 1.2
    usual = y.copy()
    usual[360:, 3] += 2.2
    alone = noise(400)
    alone[360:, 3] += 2.2
    assert judged(usual)[362].ratio < judged(alone)[362].ratio


@pytest.mark.parametrize("heavy", [False, True])
def test_calm_series_are_none_though_their_tails_are_heavy(heavy: bool) -> None:
    random = np.random.default_rng(1)
    y = 0.2 * random.standard_t(3, (20_000, SERIES)) if heavy else noise(20_000)
    assert worst(y) < 1


def test_too_few_readings_or_series_say_nothing() -> None:
    y = noise(14)
    y[9:, 3] += 3 * JUMP
    assert worst(y) == 0
    y = noise()
    y[:, 2:] = np.nan
    y[90:, 0] += 3 * JUMP
    assert worst(y) == 0


def test_readings_that_are_missing_end_nothing() -> None:
    y = noise()
    y[90:, 3] += JUMP
    y[91] = np.nan
    y[94, 3] = np.nan
    found = judged(y)
    assert [at for at, each in enumerate(found) if each.ratio >= 1] == [93, 96, 97, 98]
    assert found[94] is found[95] is NONE  # it has no move where the reading before is missing


@pytest.mark.parametrize("cut", [89, 90, 91, 92, 93, 99])
def test_a_restored_chart_continues_as_if_never_stopped(cut: int) -> None:
    y = noise()
    y[60:62, 5] += JUMP
    y[90:, 3] += JUMP
    chart, lone = Unsteady(SERIES), Lone(SERIES)
    before = judged(y[:cut], chart, lone)
    assert lone.dump() == Lone.load(lone.dump()).dump()
    after = judged(y[cut:], Unsteady.load(chart.dump()), Lone.load(lone.dump()))
    assert before + after == judged(y)
    with pytest.raises(ValueError, match="was it cut"):
        Lone.load(lone.dump()[:-1])


def test_a_run_that_repeats_steps_begins_anew() -> None:
    y = noise()
    y[90:, 3] += JUMP
    chart, lone = Unsteady(SERIES), Lone(SERIES)
    judged(y[:92], chart, lone)
    assert lone.due
    lone.restart()
    assert not lone.due
    assert not any(each.ratio for each in judged(y[92:], chart, lone))
