"""Levels that leap, alone or together, and those that drift, are reported in turns, or have an explanation."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.leaps import EFFECT, Leap, Leaps
from detectors.profiles import profile_index
from detectors.slab import Slab

SERIES = 12
BLOCKS = np.arange(SERIES, dtype=np.int32) // 3
NOTHING = np.zeros(SERIES, np.float32)


def found(
    levels: np.ndarray, explained: np.ndarray = NOTHING, care: float = 1.0, chart: Leaps | None = None
) -> list[Leap]:
    """What is found in levels [looks, SERIES], judged at every second look; NaN: no new reading."""
    chart = chart or Leaps(levels.shape[1])
    leaps = []
    for at, row in enumerate(levels.astype(np.float32)):
        marks = np.where(np.isfinite(row), np.float32(at), np.nan).astype(np.float32)
        chart.take(row, marks)
        if at % 2:
            leaps += chart.judge(chart.gaps(), explained, BLOCKS, care)
    return leaps


def wandering(looks: int = 40, step: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.cumsum(step * np.random.default_rng(seed).standard_normal((looks, SERIES)), axis=0)


@pytest.mark.parametrize("at", [8, 9, 20, 21])
def test_one_series_that_leaps_is_named_within_five_looks(at: int) -> None:
    levels = wandering()
    levels[at:, 4] -= 3.0
    assert {leap.series for leap in found(levels[: at + 5])} == {4}
    assert found(levels[: at + 5])[0].by < -EFFECT


def test_a_leap_of_all_is_of_none() -> None:
    levels = wandering()
    levels[20:] += 2.0
    leaps = found(levels)
    assert leaps
    assert {leap.series for leap in leaps} == {-1}


def test_series_reported_in_turns_leap_together() -> None:
    levels = wandering(60)
    levels[30:] += 3.0
    levels[::2, ::2] = np.nan
    levels[1::2, 1::2] = np.nan
    assert {leap.series for leap in found(levels)} == {-1}


@pytest.mark.parametrize("slope", [0.5, 2.0, -5.0])
def test_a_level_that_drifts_does_not_leap(slope: float) -> None:
    levels = wandering()
    levels[:, 4] += slope * np.arange(40)
    assert not found(levels)


def test_a_leap_that_its_gradient_or_clipping_explains_is_none() -> None:
    levels = wandering()
    levels[20:, 4] += 3.0
    explained = NOTHING.copy()
    explained[4] = 2.5
    assert not found(levels, explained)
    assert found(levels, -explained)


def test_two_blocks_that_leap_are_not_one_layer_and_a_series_that_always_leapt_may() -> None:
    levels = wandering()
    levels[20:, [1, 7]] += 3.0
    assert not found(levels)
    restless = wandering(80)
    restless[:, 4] += np.where(np.arange(80) // 5 % 2, 1.1, 0.0)
    restless[72:, 4] += 1.5
    assert not found(restless)
    assert found(np.concatenate([np.repeat(restless[70:71], 12, axis=0), restless[72:]]))


def test_twice_the_evidence_may_be_asked_for() -> None:
    levels = wandering(step=0.01)
    levels[20:, 4] += 1.5 * EFFECT
    assert found(levels)
    assert not found(levels, care=2.0)


def test_healthy_series_leap_in_no_thousand_looks() -> None:
    for seed in range(8):
        assert not found(wandering(1000, 0.1, seed))
        assert not found(np.random.default_rng(seed).standard_normal((1000, SERIES)) * 0.2)


def test_a_restored_chart_goes_on_as_if_never_stopped_and_a_cut_one_is_refused() -> None:
    levels = wandering()
    levels[20:, 4] += 3.0
    whole, first = Leaps(SERIES), Leaps(SERIES)
    found(levels[:22], chart=whole)
    found(levels[:22], chart=first)
    restored = Leaps.load(first.dump())
    assert found(levels[22:] + 1, chart=restored) == found(levels[22:] + 1, chart=whole)
    assert restored.dump() == whole.dump()
    with pytest.raises(ValueError, match="24"):
        Leaps.load(first.dump()[:-1])


def test_readings_that_are_none_change_no_state() -> None:
    chart = Leaps(SERIES)
    found(wandering(), chart=chart)
    before = chart.dump()
    chart.take(np.full(SERIES, 9.0, np.float32), np.full(SERIES, np.nan, np.float32))
    assert chart.dump() == before


def test_a_level_too_far_to_be_known_is_what_its_fast_mean_has_met() -> None:
    chart, far = Leaps(SERIES), np.full(SERIES, np.nan, np.float32)
    level, fast = np.full(SERIES, 2.0, np.float32), np.full(SERIES, 2.0, np.float32)
    for at in range(12):
        if at < 9:
            chart.take(level, fast + np.float32(1e-4 * at))
        else:
            fast = fast + np.float32(0.36) * (np.float32(7.0) - fast)
            chart.take(far, fast, 2)
    assert chart.gaps()[1] == pytest.approx(np.full(SERIES, 5.0), abs=0.05)


def test_a_slab_still_knows_the_last_reading_of_its_slots() -> None:
    slots, levels = np.arange(SERIES), wandering(200, 0.05) + 5.0
    levels[120:, ::2] += 1.5
    slab = Slab(np.full(SERIES, profile_index("update_ratio"), np.uint8))
    assert np.isnan(slab.last(slots)).all()
    off = []
    for at, row in enumerate(levels):
        slab.judge(np.exp2(row).astype(np.float32), age=at + 1)
        off.append(np.abs(slab.last(slots) - row))
    assert np.isfinite(off[1:]).all()
    assert np.median(off) < 1e-4
    assert np.quantile(off, 0.98) < 0.1
