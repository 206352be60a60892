"""The fast detectors say what the plain ones say."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.climb import Climb
from detectors.consensus import minority
from detectors.levels import BUDGET
from detectors.profiles import PROFILES, Profile, Transform
from detectors.runlength import RunLength
from detectors.slab import Slab
from tests.detectors.oracles import SeriesOracle, climb_ratio, run_ratio
from tests.detectors.series import BLANK, THEORY, Floats, ar, decay, jump, linear, ramp, spiky, student

STEPS = 700
MAKES = {
    "noise that echoes": ar(0.7, 0.3),
    "heavy tails": student(0.2, 0.3),
    "lone outliers": spiky(),
    "a jump": jump(ar(0.3, 0.2), 3.0, 400),
    "a ramp": ramp(ar(0.3, 0.2), 6.0, 300),
    "a fall": jump(ar(0.3, 0.2), -4.0, 300),
    "a falling loss": decay(0.1),
}


def readings(make: str, profile: Profile, seed: int) -> Floats:
    y = MAKES[make](np.random.default_rng(seed), STEPS, 5)
    x = linear(y)
    if profile.transform is Transform.LOGIT:
        x = (x / (1.0 + x)).astype(np.float32)
    if profile.transform is Transform.LINEAR:
        x = (x - np.float32(1.0)).astype(np.float32)
    x[50, 0], x[51, 0], x[52, 0], x[60:64, 1] = np.nan, BLANK, np.inf, 0.0
    return x


@pytest.mark.parametrize("steps", [1.0, 10.0])
@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_slab_says_what_the_plain_judge_says(profile: Profile, make: str, steps: float) -> None:
    x = readings(make, profile, seed=8)
    slab = Slab(np.full(5, PROFILES.index(profile), np.uint8), THEORY)
    plain = [SeriesOracle(profile, 5, BUDGET) for _ in range(5)]
    for t, row in enumerate(x):
        evidence, offset = (2.0, -3.0) if 200 <= t < 230 else (1.0, 0.0)
        age = 2 * t if make == "a jump" else 0
        slab.judge(row, evidence, offset, age, steps)
        verdicts = [
            oracle.judge(float(value), evidence, offset, age, steps)
            for oracle, value in zip(plain, row, strict=True)
        ]
        for name, tolerance in (("z", 2e-2), ("spike", 2e-3), ("shift", 5e-3), ("small", 5e-3)):
            fast, slow = getattr(slab, name), [getattr(verdict, name) for verdict in verdicts]
            np.testing.assert_allclose(fast, slow, rtol=tolerance, atol=tolerance, err_msg=f"{name} at {t}")
            if name != "z":
                np.testing.assert_array_equal(np.abs(fast) >= 1.0, np.abs(slow) >= 1.0, f"{name} at {t}")


def test_climbs_say_what_the_plain_formula_says_from_scratch() -> None:
    r = np.random.default_rng(3)
    climbing = linear(ramp(decay(0.02), 1.5, 500)(r, 1100, 2))
    drifting = np.cumsum(r.normal(0, 0.05, 1100)).astype(np.float32)
    drifting[600:] += np.linspace(0, 8, 500, dtype=np.float32)
    x = np.column_stack([climbing, drifting, np.where(r.random(1100) < 0.1, np.nan, climbing[:, 0])]).astype(
        np.float32
    )
    chart, highest = Climb(4), np.zeros(4)
    for t, row in enumerate(x):
        chart.alarms(row)
        highest = np.maximum(highest, chart.ratio)
        if t % 8 == 7:
            plain = [climb_ratio(column[: t + 1].tolist()) for column in x.T]
            np.testing.assert_allclose(chart.ratio, plain, rtol=1e-9, atol=1e-9, err_msg=f"at {t}")
    assert (highest >= 1.0).all()


def test_run_lengths_say_what_the_plain_count_says() -> None:
    r = np.random.default_rng(4)
    holds, measured = r.random((300, 6)) < 0.7, r.random((300, 6)) < 0.9
    rule = RunLength(6)
    for t in range(300):
        ratio = rule.judge(holds[t], measured[t])
        for s in range(6):
            past = [
                bool(h) if m else None for h, m in zip(holds[: t + 1, s], measured[: t + 1, s], strict=True)
            ]
            assert ratio[s] == run_ratio(past)


@pytest.mark.parametrize(
    ("hashes", "expected"),
    [([5, 5, 5], []), ([5, 5, 6], [2]), ([5, 6], [0, 1]), ([7, 5, 5, 6], [0, 3]), ([5], []), ([], [])],
)
def test_the_minority_is_named_and_a_tie_names_all(hashes: list[float], expected: list[int]) -> None:
    assert minority(np.array(hashes, np.float32)).tolist() == expected
