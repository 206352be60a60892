"""Layers that leave their siblings early in a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity, Transition
from anomaly.monitor.kin import Kin
from anomaly.monitor.series import SeriesNames, table_of
from tests.monitor.logs import transitions_of

NAMES = ["embed", *(f"h.{block}.{part}" for block in range(4) for part in ("qkv", "up")), "head"]


def records(
    steps: int, layer: str = "", signal: str = "weight_norm", rate: float = 0.0
) -> list[dict[str, Any]]:
    """A run in its warm-up, one layer's signal growing by `rate` a step from step 20 on."""
    random = np.random.default_rng(2)
    found = []
    for step in range(steps):
        layers = {}
        for at, name in enumerate(NAMES):
            noise = random.lognormal(0.0, 0.1, 2)
            grown = {
                "weight_norm": (2 + at % 3) * 1.001**step,
                "grad_norm": 0.1 * (step + 5) ** -0.3 * noise[0],
            }
            grown["update_ratio"] = 1e-3 * min(1.0, (step + 1) / 100) * noise[1]
            if name == layer:
                grown[signal] *= (1 + rate) ** max(0, step - 20)
            layers[name] = grown
        lr = 1e-3 * min(1.0, (step + 1) / 100)
        loss = float(4 * (step + 10) ** -0.1 * random.lognormal(0.0, 0.03))
        found.append({"run": "r1", "step": step, "loss": loss, "lr": lr, "layers": layers})
    return found


def raised(steps: int, *change: Any) -> list[Transition]:
    found = [each for each in transitions_of(records(steps, *change)) if each.severity is not Severity.INFO]
    return [each for each in found if each.status == "opened"]


@pytest.mark.parametrize(
    ("signal", "rate", "kind"),
    [("weight_norm", 0.02, "weight_blowup"), ("grad_norm", 0.1, "layer_gradient_spike")],
)
def test_a_layer_that_grows_in_the_warm_up_is_found_within_a_hundred_steps(
    signal: str, rate: float, kind: str
) -> None:
    first = raised(110, "h.2.up", signal, rate)[0]
    assert first.kind == kind
    assert first.layer == "h.2.up"
    assert first.first_step <= first.step <= 110


def test_neither_a_healthy_warm_up_nor_an_embedding_that_goes_its_way_is_one() -> None:
    assert raised(200) == []
    assert raised(110, "embed", "weight_norm", 0.008) == []


def test_an_output_layer_an_expert_and_what_has_no_like_are_no_siblings() -> None:
    layers = ("embed", "h.0.up", "h.0.expert.0", "h.1.up", "h.1.expert.0", "h.2.up")
    numbers = np.arange(len(layers), dtype="<i4").tobytes()
    signals = np.zeros(len(layers), "<i2").tobytes()
    blank = bytes(len(layers))
    kin = Kin(
        table_of(SeriesNames(layers, ("grad_norm",), numbers, signals, blank, blank, blank)), "grad_norm"
    )
    assert [name for name, alike in zip(layers, kin.alike, strict=True) if alike] == ["h.0.up", "h.1.up"]
    assert kin.blocks.tolist() == [0, 1, 1, 2, 2, 3]


def test_a_gradient_that_jumps_to_and_fro_in_one_layer_is_noise() -> None:
    noisy = records(400)
    random = np.random.default_rng(8)
    for record in noisy[200:]:
        record["layers"]["h.1.up"]["grad_norm"] *= float(random.lognormal(0.0, 1.0))
    found = [each for each in transitions_of(noisy) if each.severity is not Severity.INFO]
    assert found[0].kind == "gradient_noise"
    assert found[0].layer == "h.1.up"
    assert 200 < found[0].step <= 350


@pytest.mark.parametrize("layer", ["embed", "h.1.up"])
def test_weights_that_grow_by_a_third_of_a_percent_a_step_are_found_within_three_hundred_steps(
    layer: str,
) -> None:
    """So slowly that it is a slope of the series' own; in a layer that has its like or has none."""
    first = raised(320, layer, "weight_norm", 0.0033)[0]
    assert first.kind == "weight_blowup"
    assert first.layer == layer
    assert first.step <= 320
