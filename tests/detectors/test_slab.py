"""The slab's own behaviour: flags, growth, saving, reports, and what becomes of a level that stays."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from detectors import kernel
from detectors.lanes import log2
from detectors.levels import shift_level, spike_level
from detectors.profiles import PROFILES, profile_index
from detectors.rows import PAD_ROWS, Flag, Knob, Row
from detectors.slab import Slab
from tests.detectors.series import BLANK, Floats, iid, jump, linear


def slab_of(name: str, slots: int = 5) -> Slab:
    return Slab(np.full(slots, profile_index(name), np.uint8))


def noise(steps: int, slots: int = 5, seed: int = 0, sigma: float = 0.2) -> Floats:
    return linear(iid(sigma)(np.random.default_rng(seed), steps, slots))


def test_log2_of_every_magnitude_is_right_to_a_millionth() -> None:
    x = np.exp2(np.random.default_rng(0).uniform(-125, 127, 20_000)).astype(np.float32)
    fast = np.array([log2(value) for value in x])
    np.testing.assert_allclose(fast, np.log2(x.astype(np.float64)), rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_flagged_from_the_first_record_on(bad: float) -> None:
    slab = slab_of("gradient")
    x = np.ones(5, np.float32)
    x[3] = bad
    assert slab.judge(x) == Flag.NONFINITE


def test_what_was_not_measured_is_no_nan() -> None:
    assert slab_of("gradient").judge(np.full(5, BLANK, np.float32)) == 0


def test_a_negative_magnitude_is_flagged_and_not_learned() -> None:
    slab = slab_of("loss")
    assert slab.judge(np.array([1, 1, -1, 1, 1], np.float32)) == Flag.NEGATIVE
    assert slab.row(Row.N).tolist() == [1, 1, 0, 1, 1]


def test_what_is_known_of_some_slots_is_what_the_rows_say_and_nothing_where_too_little_is_known() -> None:
    slab, slots = slab_of("gradient", 40), np.array([39, 3, 17, 16, 15])
    for x in noise(5, 40):
        x[17] = BLANK
        slab.judge(x)
    means = slab.known(Row.FAST, slots, 5)
    assert np.isnan(means).tolist() == [False, False, True, False, False]
    others = slots != 17
    np.testing.assert_array_equal(means[others], slab.row(Row.FAST)[slots[others]])
    assert np.isnan(slab.known(Row.FAST, slots, 6)).all()


def test_exact_zeros_are_flagged_from_the_third_on_and_are_no_negative_infinity() -> None:
    slab = slab_of("gradient")
    flags = []
    for _ in range(4):
        x = np.ones(5, np.float32)
        x[2] = 0.0
        flags.append(slab.judge(x))
    assert flags == [0, 0, Flag.ZERO, Flag.ZERO]
    assert slab.dead().tolist() == [2]
    assert slab.zero_run(2) == 4
    slab.judge(np.ones(5, np.float32))
    assert slab.dead().tolist() == []


def test_a_series_that_is_often_zero_needs_three_times_its_longest_run() -> None:
    slab = slab_of("gradient", 1)
    for value in [1.0, 0.0, 0.0, 1.0]:
        slab.judge(np.array([value], np.float32))
    flags = [slab.judge(np.zeros(1, np.float32)) for _ in range(6)]
    assert flags == [0] * 5 + [Flag.ZERO]


def test_a_learning_rate_of_zero_leaves_update_ratios_unjudged() -> None:
    slab = slab_of("update_ratio")
    assert slab.judge(np.ones(5, np.float32), offset=-math.inf) == 0
    assert slab.row(Row.N).sum() == 0


def test_a_learning_rate_of_zero_leaves_what_is_not_taken_over_it_judged() -> None:
    names = ("gradient", "update_ratio", "loss", "activation_share", "signed_loss")
    slab = Slab(np.array([profile_index(name) for name in names], np.uint8))
    slab.judge(np.full(5, 0.5, np.float32), offset=math.nan)
    assert slab.row(Row.N).tolist() == [1, 0, 1, 1, 1]


def test_an_update_ratio_that_follows_the_learning_rate_is_quiet() -> None:
    slab = slab_of("update_ratio")
    x = noise(400)
    for t, row in enumerate(x):
        lr = 1e-3 * (0.01 if t >= 200 else 1.0)
        assert not slab.judge(row * np.float32(lr), offset=math.log2(lr)) & Flag.ALARM


def test_a_lone_outlier_is_no_alarm_but_is_seen_in_z() -> None:
    slab = slab_of("gradient")
    x = noise(200)
    x[150, 1] *= 100
    for t, row in enumerate(x):
        assert not slab.judge(row) & Flag.ALARM
        if t == 150:
            assert slab.z[1] > 20


def test_a_jump_alarms_at_its_third_reading_and_names_onset_and_values() -> None:
    slab = slab_of("gradient")
    x = noise(203)
    x[200:, 1] *= 100
    flags = [slab.judge(row) for row in x]
    assert [t for t, flag in enumerate(flags) if flag & Flag.ALARM] == [202]
    assert np.flatnonzero(np.abs(slab.spike) >= 1).tolist() == [1]
    reading = slab.describe(1)
    assert reading.value == x[202, 1]
    assert reading.expected == pytest.approx(1.0, rel=0.15)
    assert reading.scale == pytest.approx(2**0.2 - 1, rel=0.4)
    assert reading.since == 3
    assert slab.describe(0).since < 10


@pytest.mark.parametrize(("steps", "high", "found"), [(10.0, 1, []), (10.0, 2, [201]), (1.0, 2, [])])
def test_two_readings_last_where_each_stands_for_many_steps(
    steps: float, high: int, found: list[int]
) -> None:
    slab = slab_of("gradient")
    x = noise(206)
    x[200 : 200 + high, 1] *= 100
    flags = [slab.judge(row, steps=steps) for row in x]
    assert [t for t, flag in enumerate(flags) if flag & Flag.ALARM] == found


def test_twice_the_evidence_doubles_the_alarm_level() -> None:
    x = noise(203)
    x[200:, 1] *= 1e5
    spikes = []
    for factor in (2.0, 4.0):
        slab = slab_of("gradient")
        for t, row in enumerate(x):
            slab.judge(row, evidence=factor if t == 202 else 1.0)
        spikes.append(float(slab.spike[1]))
    assert spikes[1] == pytest.approx(spikes[0] / 2, rel=1e-5)


def test_verdicts_are_gone_once_another_slab_has_judged() -> None:
    x = noise(203)
    x[200:, 1] *= 100
    slab, other = slab_of("gradient"), slab_of("gradient", 40)
    for row in x:
        slab.judge(row)
    worst = slab.worst
    assert worst == slab.spike[1] > 1
    other.judge(np.ones(40, np.float32))
    assert not slab.spike.any()
    assert math.isnan(slab.describe(1).value)
    assert slab.worst == worst


@pytest.mark.parametrize("height", [2.2, 3.0, 6.0])
def test_a_level_that_stays_is_learned_within_a_hundred_readings(height: float) -> None:
    slab = slab_of("gradient", 40)
    x = linear(jump(iid(0.2), height, 300)(np.random.default_rng(5), 800, 40))
    alarms = [t for t, row in enumerate(x) if slab.judge(row) & Flag.ALARM]
    assert alarms
    assert 300 <= min(alarms) < max(alarms) < 400
    assert slab.describe(0).expected == pytest.approx(2.0**height, rel=0.3)


def test_growing_keeps_what_is_known() -> None:
    slab = slab_of("gradient", 10)
    for row in noise(50, 10):
        slab.judge(row)
    before = [slab.row(row) for row in Row]
    slab.grow(np.full(30, profile_index("gradient"), np.uint8))
    assert len(slab) == 40
    for row, known in zip(Row, before, strict=True):
        np.testing.assert_array_equal(slab.row(row)[:10], known)
        assert not slab.row(row)[10:].any()
    assert slab.judge(np.ones(40, np.float32)) == 0
    assert slab.row(Row.N)[10:].tolist() == [1.0] * 30


def test_a_restart_keeps_scales_and_learns_levels_anew() -> None:
    slab = slab_of("gradient")
    for row in noise(200):
        slab.judge(row)
    scale = slab.row(Row.SCALE)
    slab.restart()
    assert slab.row(Row.N).max() <= 2
    np.testing.assert_array_equal(slab.row(Row.SCALE), scale)


def test_a_record_of_another_width_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"got shape \(4,\), the slab has 5 slots; grow\(\) it"):
        slab_of("loss").judge(np.ones(4, np.float32))


def test_a_state_of_other_profiles_is_refused() -> None:
    with pytest.raises(ValueError, match="state of 20 slots must have 2048 bytes, got 1024"):
        Slab.load(np.zeros(20, np.uint8), slab_of("loss").dump())


def test_an_unknown_profile_lists_the_known() -> None:
    with pytest.raises(KeyError, match=r"unknown profile 'los'; known: generic, .*loss"):
        profile_index("los")


def test_levels_grow_with_the_number_of_slots_and_fall_with_the_budget() -> None:
    assert spike_level(1000) == pytest.approx(15.3, abs=0.1)
    assert shift_level(1000) == pytest.approx(18.0, abs=0.1)
    assert spike_level(10) < spike_level(1000) < spike_level(1000, budget=0.1)
    with pytest.raises(ValueError, match="budget must be above 0"):
        spike_level(10, budget=0.0)


def test_a_slot_costs_64_bytes_of_state() -> None:
    assert len(slab_of("loss", 1024).dump()) == 64 * 1024
    assert len(Row) == 16


def test_the_compiled_judge_is_vectorised() -> None:
    """Without vectors it is some 8 times slower: the ratio to its own Python tells, whatever the machine."""
    slab = Slab(np.arange(1024, dtype=np.uint8) % len(PROFILES))
    x = noise(60, 1024)
    slab.judge(x[0])
    fast = min(_seconds(lambda row=row: slab.judge(row)) for row in x) / 1024
    state, knobs = np.zeros(256, np.float32), slab._constants.knobs[: len(Knob) * 16]
    pads, told = np.ones(PAD_ROWS * 16, np.float32), np.zeros(80, np.float32)
    zero, one = np.float32(0.0), np.float32(1.0)
    arguments = (state, knobs, pads, told, 0, 0, one, zero, zero, one, False)
    slow = min(_seconds(lambda: kernel.judge_tile.py_func(*arguments)) for _ in range(5)) / 16
    assert slow / fast > 1000


def _seconds(call: object) -> float:
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start
