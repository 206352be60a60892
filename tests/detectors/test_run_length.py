"""How often the charts alarm on healthy series, and how soon on faulty ones: the figures their docstrings state.

One simulated run has 1,000 slots of one family. Alarms of a slot within 50 readings count once.
`python -m tests.detectors.test_run_length` prints the table over 5,000 steps.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.climb import Climb
from detectors.profiles import profile_index
from detectors.slab import Slab
from tests.detectors import series
from tests.detectors.series import HEALTHY, THEORY, Floats, Make

SLOTS = 1000
LOUD = {"ar .9 wide": 4, "spiky": 4, "loss noisy": 6, "loss two level": 30}
QUIET = [name for name in HEALTHY if name not in LOUD]
"""Families that give (almost) no alarm. The others wander by more than a fault would; figures below."""


def alarms(profile: str, x: Floats) -> NDArray[np.bool_]:
    """bool [steps, slots]: where a chart alarms."""
    slab = Slab(np.full(x.shape[1], profile_index(profile), np.uint8), THEORY)
    out = np.zeros(x.shape, np.bool_)
    for t, row in enumerate(x):
        slab.judge(row)
        out[t] = (np.abs(slab.spike) >= 1) | (np.abs(slab.shift) >= 1)
    return out


def climbs(x: Floats) -> NDArray[np.bool_]:
    """bool [steps, series]: where the climb chart alarms."""
    chart, out = Climb(x.shape[1]), np.zeros(x.shape, np.bool_)
    for t, row in enumerate(x):
        chart.alarms(row)
        out[t] = chart.ratio >= 1
    return out


def episodes(alarmed: NDArray[np.bool_], gap: int = 50) -> int:
    """Alarms with none of the same slot in the `gap` readings before."""
    last, count = np.full(alarmed.shape[1], -gap - 1), 0
    for t in np.flatnonzero(alarmed.any(axis=1)):
        count += int(np.count_nonzero(alarmed[t] & (t - last > gap)))
        last[alarmed[t]] = t
    return count


def delays(alarmed: NDArray[np.bool_], onset: int) -> NDArray[np.float64]:
    """Readings from the onset to the first alarm per slot, infinity where there is none."""
    after = alarmed[onset:]
    return np.where(after.any(axis=0), after.argmax(axis=0), np.inf)


@pytest.mark.parametrize("name", QUIET)
def test_a_healthy_run_of_a_thousand_slots_is_quiet(name: str) -> None:
    profile, make = HEALTHY[name]
    x = series.linear(make(np.random.default_rng(1), 2000, SLOTS))
    assert episodes(alarms(profile, x)) <= 1


@pytest.mark.parametrize(("name", "bound"), LOUD.items())
def test_a_series_that_wanders_like_a_fault_alarms_a_few_times_and_is_learned(name: str, bound: int) -> None:
    profile, make = HEALTHY[name]
    x = series.linear(make(np.random.default_rng(1), 2000, SLOTS))
    assert episodes(alarms(profile, x)) <= bound


def test_series_reported_in_one_step_of_ten_are_quiet() -> None:
    r = np.random.default_rng(2)
    x = series.linear(series.student(0.2)(r, 5000, 300))
    x[np.arange(5000) % 10 > 0] = series.BLANK
    assert episodes(alarms("gradient", x)) == 0


JUMPS = {  # base, height in log2 units, readings within which nine in ten are found
    "3 over noise .3": (series.iid(0.3), 3.0, 6),
    "6 over noise .3": (series.iid(0.3), 6.0, 3),
    "-4 over noise .3": (series.iid(0.3), -4.0, 8),
    "4 over noise 1": (series.iid(1.0), 4.0, 10),
    "4 over heavy tails": (series.student(0.2), 4.0, 6),
    "5 over echoes": (series.ar(0.9, 0.3), 5.0, 10),
}


@pytest.mark.parametrize("name", JUMPS)
def test_a_jump_is_found_within_a_few_readings(name: str) -> None:
    base, height, within = JUMPS[name]
    x = series.linear(series.jump(base, height, 1000)(np.random.default_rng(3), 1100, 200))
    found = alarms("gradient", x)
    assert not found[:1000].any()
    assert np.quantile(delays(found, 1000), 0.9) <= within


@pytest.mark.parametrize("onset", [32, 40, 80])
def test_a_jump_in_the_first_hundred_readings_is_found_within_a_few(onset: int) -> None:
    x = series.linear(series.jump(series.iid(0.1), 3.0, onset)(np.random.default_rng(3), onset + 30, 200))
    found = alarms("gradient", x)
    assert not found[:onset].any()
    assert np.quantile(delays(found, onset), 0.9) <= 8


@pytest.mark.parametrize(
    ("base", "height"), [(series.iid(0.1), 6.0), (series.iid(0.3), 6.0), (series.iid(0.3), -7.0)]
)
def test_a_ramp_over_three_hundred_readings_is_found_within_them(base: Make, height: float) -> None:
    x = series.linear(series.ramp(base, height, 1000)(np.random.default_rng(4), 1350, 200))
    assert np.quantile(delays(alarms("gradient", x), 1000), 0.9) <= 230


LOSSES: dict[str, Make] = {
    "falls": series.decay(),
    "falls calmly": series.decay(0.01),
    "falls with noise": series.decay(0.3),
    "moves at data mixes": series.loss_shift(),
    "moves calmly at data mixes": series.loss_shift(0.005),
    "echoes": series.ar(0.9, 0.1),
    "has heavy tails": series.student(0.2, 0.5),
    "has two levels": series.two_level(0.2, 0.7),
    "has spikes": series.spiky(0.05),
    "falls in steps": series.step_decay(0.05),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_healthy_loss_does_not_climb(name: str) -> None:
    x = series.linear(LOSSES[name](np.random.default_rng(5), 2500, 200))
    assert episodes(climbs(x)) <= 1


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_a_healthy_loss_that_changes_sign_does_not_climb(phi: float) -> None:
    x = series.ar(phi, 1.0)(np.random.default_rng(6), 2500, 200).astype(np.float32)
    assert episodes(climbs(x)) == 0


@pytest.mark.parametrize(
    ("base", "height", "length", "within"),
    [
        (series.decay(0.01), 1.0, 100, 80),
        (series.decay(0.05), 1.0, 100, 100),
        (series.decay(0.05), 1.0, 300, 220),
        (series.decay(0.05), 0.5, 300, 300),
        (series.decay(0.05), 2.0, 1000, 300),
    ],
)
def test_a_climb_is_found(base: Make, height: float, length: int, within: int) -> None:
    x = series.linear(series.ramp(base, height, 1000, length)(np.random.default_rng(7), 1000 + within, 200))
    found = climbs(x)
    assert not found[:1000].any()
    assert np.quantile(delays(found, 1000), 0.9) <= within


def test_a_signed_loss_that_climbs_is_found() -> None:
    y = series.ar(0.0, 1.0)(np.random.default_rng(8), 1600, 100)
    y += np.clip((np.arange(1600)[:, None] - 1000) / 300, 0, 1) * 8
    found = climbs(y.astype(np.float32))
    assert not found[:1000].any()
    assert np.median(delays(found, 1000)) <= 300


def test_the_onset_of_a_climb_is_told_to_within_a_few_blocks() -> None:
    x = series.linear(series.ramp(series.decay(0.01), 1.0, 1000, 100)(np.random.default_rng(9), 1100, 1))
    chart = Climb(1)
    t = next(t for t, row in enumerate(x) if chart.alarms(row))
    assert t - chart.since[0] == pytest.approx(1000, abs=16)


def main() -> None:
    print(f"{'healthy, 1,000 slots x 5,000 steps':36} alarms   per 10,000 steps")
    for name, (profile, make) in HEALTHY.items():
        count = episodes(alarms(profile, series.linear(make(np.random.default_rng(1), 5000, SLOTS))))
        print(f"{name:36} {count:6} {count * 2:12}")


if __name__ == "__main__":
    main()
