"""Bumps against the definition in plain Python, and on losses that have and have none."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest

from detectors.bumps import (
    BEFORE,
    EDGE,
    EFFECT,
    FLOOR,
    HALF,
    LEAST,
    LEAST_MEAN,
    MEAN,
    MOST_EFFECT,
    NATS,
    REFERENCE,
    SUDDEN,
    TAIL_FACTOR,
    bump,
)
from tests.detectors.series import Floats

LEVEL = 10.0


def loss(seed: int, readings: int = 64, spread: float = 0.03) -> Floats:
    noise = np.random.default_rng(seed).standard_normal(readings)
    return (4.0 * np.exp(spread * noise)).astype(np.float32)


def plainly(x: Floats, level: float, lasting: int) -> float:
    w = [math.log2(value) for value in x.tolist() if math.isfinite(value) and value > 0]
    calm, high = w[:-lasting], w[-lasting:]
    if len(calm) < LEAST:
        return 0.0
    ref = statistics.median(calm[-REFERENCE:])
    least, rise = min(high) - ref, statistics.median(high) - ref
    if least <= 0 or rise < EFFECT:
        return 0.0
    steps = statistics.median(abs(b - a) for a, b in itertools.pairwise(calm)) / 0.954
    spread = statistics.median(abs(y - ref) for y in calm[-REFERENCE:]) / 0.6745
    tail = max(0.0, *(calm[i] - statistics.median(calm[i - BEFORE : i]) for i in range(BEFORE, len(calm))))
    noise = max(steps, spread, FLOOR)
    ratio = min(least / (level * noise), least / EFFECT, least / (TAIL_FACTOR * tail + 1e-9))
    edge = statistics.median(high[:EDGE]) - statistics.median(calm[-EDGE:])
    if sum(y >= ref + HALF * rise for y in high) < LEAST_MEAN or edge < SUDDEN * rise:
        return ratio
    eights = [statistics.median(calm[end - BEFORE : end]) for end in range(len(calm), BEFORE - 1, -BEFORE)]
    wander = max(0.0, statistics.pvariance(eights) - 1.57 * noise**2 / BEFORE)
    error = math.sqrt(1.57 * noise**2 * (1 / lasting + 1 / REFERENCE) + wander)
    effect = min(max(math.log2(1 + NATS / 2**ref), EFFECT), MOST_EFFECT)
    lasted = max(
        0.0,
        *(
            statistics.median(calm[i : i + LEAST_MEAN]) - statistics.median(calm[i - BEFORE : i])
            for i in range(BEFORE, len(calm) - LEAST_MEAN + 1)
        ),
    )
    own = TAIL_FACTOR * lasted + 1e-9
    return max(ratio, min(rise / (MEAN * level * error), rise / effect, rise / own))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("lasting", [1, 6])
def test_it_equals_its_definition(seed: int, lasting: int) -> None:
    x = loss(seed)
    x[-lasting:] *= np.float32(1.0 + seed / 10)
    x[5] = np.nan
    assert bump(x, LEVEL, lasting)[0] == pytest.approx(plainly(x, LEVEL, lasting), rel=1e-5)


def test_a_reading_twice_as_high_is_a_bump_and_tells_what_was_expected() -> None:
    x = loss(1)
    x[-1] *= 2
    ratio, value, expected, readings = bump(x, LEVEL)
    assert ratio > 1
    assert value == pytest.approx(float(x[-1]))
    assert expected == pytest.approx(4.0, rel=0.03)
    assert readings == 1


def test_one_high_reading_is_none_where_six_are_asked_for() -> None:
    x = loss(1)
    x[-1] *= 2
    assert bump(x, LEVEL, 6)[0] == 0.0


@pytest.mark.parametrize("since", range(6, 14))
def test_a_bump_that_began_before_the_last_look_is_found_as_well(since: int) -> None:
    x = loss(1)
    x[-since:] *= 2
    assert bump(x, LEVEL, 6, 7)[0] > 1


def test_many_readings_that_are_a_little_higher_are_a_bump_where_each_is_within_its_noise() -> None:
    x = loss(1, spread=0.06)
    x[-14:] *= np.float32(1.35)
    assert bump(x, LEVEL, 6)[0] < 1
    assert bump(x, LEVEL, 6, 8)[0] > 1


@pytest.mark.parametrize("since", [6, 15, 23, 32])
def test_what_only_many_readings_show_is_found_however_long_ago_it_began_in_the_window(since: int) -> None:
    x = loss(1, spread=0.06)
    x[-since:] *= np.float32(1.35)
    ratio, _, _, readings = bump(x, LEVEL, 6, 26)
    assert ratio > 1
    assert abs(readings - since) <= 2


@pytest.mark.parametrize("ago", [1, 7, 15])
@pytest.mark.parametrize("readings", [6, 9])
def test_one_that_is_over_by_the_next_look_is_found_then(ago: int, readings: int) -> None:
    x = loss(1)
    x[-ago - readings : -ago] *= 2
    ratio, value, expected, since = bump(x, LEVEL, 6, 26, 15)
    assert ratio > 1
    assert value == pytest.approx(8.0, rel=0.05)
    assert expected == pytest.approx(4.0, rel=0.05)
    assert abs(since - ago - readings) <= 1
    if ago == 15:
        assert bump(x, LEVEL, 6, 26)[0] < 1


@pytest.mark.parametrize("ago", [1, 7, 15])
def test_five_high_readings_that_are_over_are_none(ago: int) -> None:
    x = loss(1)
    x[-ago - 5 : -ago] *= 2
    assert bump(x, LEVEL, 6, 26, 15)[0] < 1


def test_nor_is_it_one_where_the_loss_was_as_high_for_as_long_before() -> None:
    x = loss(1, spread=0.06)
    x[12:20] *= np.float32(1.35)
    x[-14:] *= np.float32(1.35)
    assert bump(x, LEVEL, 6, 8)[0] < 1


@pytest.mark.parametrize("late", [0, 15])
def test_data_that_move_a_loss_by_half_a_nat_make_none(late: int) -> None:
    x = loss(1, spread=0.01)
    x[-14:] += np.float32(0.45)
    assert bump(x, LEVEL, 6, late)[0] < 1


def test_a_loss_that_has_had_such_spikes_while_healthy_has_no_bump() -> None:
    x = loss(2)
    x[[20, -1]] *= 2
    assert bump(x, LEVEL)[0] < 1


@pytest.mark.parametrize("seed", range(200))
@pytest.mark.parametrize("spread", [0.01, 0.1, 0.4])
def test_noise_alone_is_none(seed: int, spread: float) -> None:
    assert bump(loss(seed, spread=spread), LEVEL)[0] < 1
    assert bump(loss(seed, spread=spread), LEVEL, 6, 26, 15)[0] < 1


def test_a_window_too_short_or_whose_last_reading_is_no_magnitude_is_none() -> None:
    x = loss(3)
    x[-1] = 100.0
    assert bump(x[-20:], LEVEL)[0] == 0.0
    for bad in (np.nan, np.inf, -1.0, 0.0):
        x[-1] = bad
        assert bump(x, LEVEL)[0] == 0.0
    assert bump(np.zeros(0, np.float32), LEVEL)[0] == 0.0
