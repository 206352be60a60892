"""Layers that leave their siblings early in a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly import codec
from anomaly.incidents import Severity, Transition
from anomaly.monitor.kin import Kin
from anomaly.monitor.numbering import SeriesNames
from anomaly.monitor.series import table_of
from anomaly.records import Layout, LayoutMessage, StepMessage
from tests.monitor.logs import Log, outcome_of, transitions_of

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


def test_updates_that_fall_as_their_gradient_does_follow_it() -> None:
    """As those of an addition that begins at 0: it is learned sooner in one layer than in the next."""

    def found(with_gradient: bool) -> list[str]:
        run = records(120, "h.2.up", "update_ratio", -0.05)
        for record in run if with_gradient else []:
            record["layers"]["h.2.up"]["grad_norm"] *= 0.95 ** max(0, record["step"] - 20)
        return [each.kind for each in transitions_of(run) if each.severity is not Severity.INFO]

    assert "update_ratio_low" in found(with_gradient=False)
    assert "update_ratio_low" not in found(with_gradient=True)


def kin_of(layers: tuple[str, ...]) -> Kin:
    numbers = np.arange(len(layers), dtype="<i4").tobytes()
    signals = np.zeros(len(layers), "<i2").tobytes()
    blank = bytes(len(layers))
    names = SeriesNames(layers, ("grad_norm",), numbers, signals, blank, blank, blank)
    return Kin(table_of(names), "grad_norm")


def alike(layers: tuple[str, ...]) -> list[str]:
    return [name for name, like in zip(layers, kin_of(layers).alike, strict=True) if like]


def test_an_output_layer_an_expert_and_what_has_no_like_are_no_siblings() -> None:
    layers = ("embed", "h.0.up", "h.0.expert.0", "h.1.up", "h.1.expert.0", "h.2.up")
    assert alike(layers) == ["h.0.up", "h.1.up"]
    assert kin_of(layers).blocks.tolist() == [0, 1, 1, 2, 2, 3]


def test_the_first_of_layers_in_a_row_takes_the_input_and_is_no_like_of_the_others() -> None:
    assert alike(("net.0", "net.2", "net.4", "net.6")) == ["net.2", "net.4"]


def test_the_last_of_layers_in_a_row_gives_the_output_where_only_other_rows_follow() -> None:
    assert alike(("policy.0", "policy.2", "policy.4", "value.0", "value.2", "value.4")) == [
        "policy.2",
        "value.2",
    ]
    assert alike(("conv.0", "conv.1", "conv.2", "head")) == ["conv.1", "conv.2"]


@pytest.mark.parametrize("seed", [8, 9, 12])
def test_a_gradient_that_jumps_to_and_fro_in_one_layer_is_noise(seed: int) -> None:
    """Three high readings in a row, which two of these have sooner, are a part of it."""
    noisy = records(400)
    random = np.random.default_rng(seed)
    for record in noisy[200:]:
        record["layers"]["h.1.up"]["grad_norm"] *= float(random.lognormal(0.0, 1.0))
    found = [each for each in transitions_of(noisy) if each.severity is not Severity.INFO]
    assert len({each.incident for each in found}) == 1
    assert {each.layer for each in found} == {"h.1.up"}
    named = next(each for each in found if each.kind == "gradient_noise")
    assert 200 < named.step <= 350


@pytest.mark.parametrize("layer", ["embed", "h.1.up"])
def test_weights_that_grow_by_a_third_of_a_percent_a_step_are_found_within_three_hundred_steps(
    layer: str,
) -> None:
    """So slowly that it is a slope of the series' own; in a layer that has its like or has none."""
    first = raised(320, layer, "weight_norm", 0.0033)[0]
    assert first.kind == "weight_blowup"
    assert first.layer == layer
    assert first.step <= 320


@pytest.mark.parametrize(("parameters", "found"), [(4096, ["gradient_noise"]), (1, [])])
def test_the_gradient_of_a_learned_scale_may_be_all_noise(parameters: int, found: list[str]) -> None:
    layout = Layout(tuple(NAMES), ("grad_norm",), ("loss",), None, tuple(parameters for _ in NAMES))
    log, noise = Log(), np.random.default_rng(8).standard_normal(400)
    log.add(codec.encode_layout(LayoutMessage("r1", layout)))
    for record in records(400):
        step = record["step"]
        norms = [record["layers"][name]["grad_norm"] for name in NAMES]
        norms[2] *= float(np.exp(noise[step])) if step >= 200 else 1.0
        values = np.array([[record["loss"], *norms]], np.float32)
        log.add(codec.encode_steps(StepMessage("r1", 0, [step * 10**6], [None], values, layout.hash)))
    told = [each for _, each in outcome_of(log).transitions if each.severity is not Severity.INFO]
    assert [each.kind for each in told if each.status == "opened"] == found


def test_a_gradient_that_jumps_by_itself_soon_after_the_start_is_found_at_its_third_reading() -> None:
    log = records(60)
    for record in log[40:46]:
        record["layers"]["h.2.up"]["grad_norm"] *= 6
    (found,) = [each for each in transitions_of(log) if each.severity is not Severity.INFO][:1]
    assert (found.kind, found.layer, found.step, found.first_step) == (
        "layer_gradient_spike",
        "h.2.up",
        42,
        40,
    )
    assert found.detector == "lone"


def test_a_gradient_that_shrinks_by_two_percent_a_step_is_found_within_three_hundred_steps() -> None:
    first = raised(320, "h.2.up", "grad_norm", -0.02)[0]
    assert (first.kind, first.layer, first.detector) == ("gradient_vanishing", "h.2.up", "swelling")
    assert first.step <= 320
    assert not raised(320)
