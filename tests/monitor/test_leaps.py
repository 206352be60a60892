"""Updates that leap and are reported at every tenth step, the layers in turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity, Transition
from tests.monitor.logs import transitions_of

NAMES = ["embed", *(f"h.{block}.{part}" for block in range(3) for part in ("qkv", "up")), "head"]


def records(
    times: float, layers: list[str], with_gradients: bool = False, steps: int = 300
) -> list[dict[str, Any]]:
    """A run whose updates wander under a warm-up and a decay; those of some layers change at step 200, by `times`."""
    random = np.random.default_rng(3)
    wander = np.cumsum(0.02 * random.standard_normal((steps, len(NAMES))), axis=0)
    found = []
    for step in range(steps):
        lr = 1e-3 * min(1.0, (step + 1) / 50) * (1 - 0.5 * step / steps)
        of_layers: dict[str, dict[str, float]] = {}
        for at, name in enumerate(NAMES):
            changed = times if step >= 200 and name in layers else 1.0
            gradient = 0.1 * random.lognormal(0.0, 0.1) * (changed if with_gradients else 1.0)
            of_layers[name] = {"grad_norm": float(gradient)}
            if (step + at) % 10 == 0:
                of_layers[name]["update_ratio"] = float(lr * (1 + at % 3) * 2.0 ** wander[step, at] * changed)
        loss = float(4 * (step + 10) ** -0.1 * random.lognormal(0.0, 0.03))
        found.append({"run": "r1", "step": step, "loss": loss, "lr": lr, "layers": of_layers})
    return found


def raised(*given: Any) -> list[Transition]:
    return [
        each
        for each in transitions_of(records(*given))
        if each.severity is not Severity.INFO and each.status == "opened"
    ]


@pytest.mark.parametrize(("times", "kind"), [(4.0, "update_ratio_high"), (0.25, "update_ratio_low")])
@pytest.mark.parametrize("layer", ["head", "h.1.up"])
def test_updates_that_leap_by_a_factor_of_four_are_found_within_sixty_four_steps(
    times: float, kind: str, layer: str
) -> None:
    (first,) = raised(times, [layer])
    assert first.kind == kind
    assert first.layer == layer
    assert 200 < first.step <= 264
    assert first.first_step is not None
    assert 155 <= first.first_step <= first.step
    assert first.expected is not None
    assert first.value == pytest.approx(first.expected * times, rel=0.5)


def test_updates_that_all_leap_are_found_once() -> None:
    (high,), (low,) = raised(4.0, NAMES), raised(0.25, NAMES)
    assert (high.kind, low.kind) == ("update_ratio_high", "update_ratio_low")
    assert 200 < min(high.step, low.step) <= max(high.step, low.step) <= 264


def test_updates_of_a_policy_leap_all_at_once_as_it_meets_other_data() -> None:
    found = transitions_of([{**record, "reward": 0.5} for record in records(6.0, NAMES)])
    assert "leap" not in {entry.detector for each in found for entry in each.evidence}


def test_updates_that_follow_their_gradients_or_stay_are_no_fault() -> None:
    found = transitions_of(records(4.0, ["h.1.up"], True))
    assert "leap" not in {entry.detector for each in found for entry in each.evidence}
    assert raised(1.0, NAMES) == []


def test_where_readings_are_rare_each_is_looked_at() -> None:
    random = np.random.default_rng(4)
    log: list[dict[str, Any]] = []
    for at in range(60):
        wild = 0.3 * np.sin(0.7 * at)
        layers = {name: {"update_ratio": float(1e-3 * random.lognormal(wild, 0.1))} for name in NAMES}
        layers["h.1.up"]["update_ratio"] *= 6.0 if at >= 40 else 1.0
        log.append({"run": "r1", "step": at * 10, "loss": 3.0 * 0.99**at, "lr": 1e-3, "layers": layers})
    found = [each for each in transitions_of(log) if each.severity is not Severity.INFO]
    assert (found[0].kind, found[0].layer, found[0].statistic) == (
        "update_ratio_high",
        "h.1.up",
        "update_ratio",
    )
    assert found[0].step <= 440
