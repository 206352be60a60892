"""What several readings of a run say together: a firing time and a silent time for each rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from anomaly.incidents import Severity
from tests.monitor.logs import healthy, training, transitions_of
from tests.monitor.survey_logs import falling, kinds, model_only, serious


@pytest.mark.parametrize(("event", "kinds_found"), [("data_mix", []), ("pause", ["loss_spike_persistent"])])
def test_a_small_loss_may_treble_with_data_that_are_said_to_change(
    event: str, kinds_found: list[str]
) -> None:
    records = model_only(lambda step: 0.1 * (3 if step >= 300 else 1), range(380))
    records[300]["events"] = [{"kind": event, "name": "b"}]
    assert [kind for kind, _ in kinds(records)] == kinds_found


def scaled(overflows: Callable[[int], bool], steps: range) -> list[dict[str, Any]]:
    scale, records = 65536.0, model_only(falling, steps)
    for record in records:
        record |= {"loss_scale": scale, "skipped": int(overflows(record["step"]))}
        scale = scale / 2 if record["skipped"] else scale
    return records


def test_a_loss_scale_that_halves_again_and_again_collapses() -> None:
    ((kind, step),) = kinds(scaled(lambda step: step >= 300 and step % 3 == 0, range(360)))
    assert kind == "loss_scale_collapse"
    assert 309 <= step <= 328


@pytest.mark.parametrize(
    "overflows", [lambda step: step < 60 and step % 6 == 0, lambda step: step % 100 == 99]
)
def test_the_search_for_a_scale_and_rare_overflows_are_quiet(overflows: Callable[[int], bool]) -> None:
    assert kinds(scaled(overflows, range(800))) == []


def test_gradients_that_are_never_cleared_add_up() -> None:
    def adding(step: int, record: dict[str, Any]) -> None:
        record["grad_norm_total"] = 1 + 0.5 * max(0, step - 299) + 0.02 * math.sin(step)

    records = [{k: v for k, v in each.items() if k != "layers"} for each in training(range(340), adding)]
    found = [each.kind for each in transitions_of(records)]
    assert "missing_zero_grad" in found or "gradient_spike" in found


def test_gradients_that_double_again_and_again_explode() -> None:
    def growing(step: int, record: dict[str, Any]) -> None:
        record["grad_norm_total"] *= 1.05 ** max(0, step - 400)

    assert serious(transitions_of(training(range(500), growing)))


@pytest.mark.parametrize(("factor", "found"), [(3.0, True), (1.2, False)])
def test_gradients_far_beyond_all_there_was_explode_where_a_log_has_few_readings(
    factor: float, found: bool
) -> None:
    def growing(step: int, record: dict[str, Any]) -> None:
        record["grad_norm_total"] *= factor ** max(0, step // 50 - 10)
        del record["layers"]

    assert bool(kinds(training(range(0, 1100, 50), growing))) == found


def test_a_layer_far_off_its_siblings_in_the_first_steps_is_poorly_initialised() -> None:
    layers = tuple(f"h.{at}" for at in range(12))

    def large(step: int, record: dict[str, Any]) -> None:
        record["layers"]["h.7"]["weight_norm"] *= 10

    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    assert kinds(records) == []
    for record in records:
        large(record["step"], record)
    (incident,) = serious(transitions_of(records))
    assert (incident.kind, incident.layer) == ("poor_initialisation", "h.7")
    assert incident.step <= 20


@pytest.mark.parametrize(
    ("signal", "at", "found"),
    [("act_rms", 0, []), ("act_rms", 11, []), ("grad_norm", 11, []), ("act_rms", 5, ["poor_initialisation"])],
)
def test_the_first_and_the_last_of_layers_in_a_row_may_be_of_another_size(
    signal: str, at: int, found: list[str]
) -> None:
    layers = tuple(f"h.{each}" for each in range(12))
    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    for record in records:
        record["layers"][layers[at]][signal] *= 14
    assert [kind for kind, _ in kinds(records)] == found


@pytest.mark.parametrize(
    ("names", "layer", "found"),
    [
        ("layer_{}", 1, []),
        ("layer_{}", 11, []),
        ("layer_{}", 5, ["poor_initialisation"]),
        ("params/{}", 0, []),
        ("params/{}", 11, []),
    ],
)
def test_embeddings_and_ends_are_no_siblings_where_names_hold_but_numbers(
    names: str, layer: int, found: list[str]
) -> None:
    layers = [names.format(at) for at in range(12)]
    records = []
    for step in range(40):
        record = {"run": "r1", **healthy(step, layers=layers)}
        record["layers"][names.format(layer)]["weight_norm"] *= 9
        records.append(record)
    assert [kind for kind, _ in kinds(records)] == found


@pytest.mark.parametrize(("block", "found"), [(0, []), (4, ["poor_initialisation"])])
def test_what_a_first_block_puts_out_is_no_like_of_the_others(block: int, found: list[str]) -> None:
    layers = tuple(f"h.{at}.attn" for at in range(8))
    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    for record in records:
        record["layers"][layers[block]]["act_rms"] /= 14
    assert [kind for kind, _ in kinds(records)] == found


@pytest.mark.parametrize(("gain", "found"), [(1.2, []), (1.8, ["poor_initialisation"])])
def test_activations_that_grow_wild_with_depth_are_poorly_initialised(gain: float, found: list[str]) -> None:
    layers = tuple(f"h.{at}" for at in range(14))
    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    for record in records:
        for depth, name in enumerate(layers):
            record["layers"][name]["act_rms"] *= gain**depth
    assert [kind for kind, _ in kinds(records)] == found


@pytest.mark.parametrize(
    ("layers", "odd"),
    [(("h.0.up", "h.1.up", "h.2.up", "head"), "h.1.up"), (("conv.0", "conv.1", "head"), "conv.0")],
)
def test_so_is_one_that_has_only_one_or_two_of_its_like(layers: tuple[str, ...], odd: str) -> None:
    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    assert kinds(records) == []
    for record in records:
        record["layers"][odd]["weight_norm"] *= 10
    (incident,) = serious(transitions_of(records))
    assert incident.kind == "poor_initialisation"
    assert odd in incident.layers


def test_a_small_head_is_no_like_of_the_one_layer_before_it() -> None:
    records = [{"run": "r1", **healthy(step, layers=("pi.0", "pi.2", "vf.0", "vf.2"))} for step in range(30)]
    for record in records:
        for name, norm in (("pi.0", 4.6), ("pi.2", 1.0), ("vf.0", 4.6), ("vf.2", 0.3)):
            record["layers"][name]["weight_norm"] = norm
    assert kinds(records) == []


@pytest.mark.parametrize(
    ("stem", "rows", "weights", "found"),
    [
        ("stem", 4, False, []),
        ("stem", 12, False, ["poor_initialisation"]),
        ("stem", 12, True, []),
        ("12", 12, False, []),
    ],
)
def test_few_layers_in_a_row_or_those_without_names_or_with_weights_as_the_others_may_be_of_other_kinds(
    stem: str, rows: int, weights: bool, found: list[str]
) -> None:
    layers = (stem, *(str(at) for at in range(rows)))
    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    for record in records:
        record["layers"]["2"]["grad_norm"] /= 6  # as a normalisation's among linear layers
        for of_layer in record["layers"].values():
            of_layer["weight_norm"] = 3.0 if weights else None
    assert [kind for kind, _ in kinds(records)] == found


@pytest.mark.parametrize(("layer", "found"), [("head", []), ("h.1", ["weight_blowup"])])
def test_the_weights_of_a_head_may_double_as_it_learns(layer: str, found: list[str]) -> None:
    def growing(step: int, record: dict[str, Any]) -> None:
        record["layers"][layer]["weight_norm"] = 2.0 ** (1.0 + 0.006 * step)

    assert [kind for kind, _ in kinds(training(range(280), growing))] == found


@pytest.mark.parametrize(("readings", "found"), [(60, ["update_ratio_high"]), (300, [])])
def test_updates_that_creep_up_are_quiet_while_the_loss_does_not_rise(
    readings: int, found: list[str]
) -> None:
    def creeping(step: int, record: dict[str, Any]) -> None:
        record["layers"]["h.1"]["update_ratio"] *= 10.0 ** min(1.0, max(0, step - 300) / readings)
        if step % 10:
            for of_layer in record["layers"].values():
                del of_layer["update_ratio"]

    assert [kind for kind, _ in kinds(training(range(900), creeping))] == found


def test_clipping_at_each_step_where_it_was_rare_is_a_remark() -> None:
    records = model_only(falling, range(600))
    for record in records:
        record["clip_coef"] = 0.5 if record["step"] >= 400 or record["step"] % 10 == 0 else 1.0
    transitions = transitions_of(records)
    assert {(each.kind, each.severity) for each in transitions} == {("clip_saturation", Severity.INFO)}


@pytest.mark.parametrize("total", [True, False])
def test_gradients_that_grow_slowly_for_two_hundred_steps_explode(total: bool) -> None:
    def growing(step: int, record: dict[str, Any]) -> None:
        factor = 1.02 ** max(0, step - 300)
        record["grad_norm_total"] *= factor
        for of_layer in record["layers"].values():
            of_layer["grad_norm"] *= factor
        if not total:  # then that of all layers is what they say together
            del record["grad_norm_total"]

    assert "gradient_explosion" in {each.kind for each in transitions_of(training(range(560), growing))}


@pytest.mark.parametrize("falls", [True, False])
def test_gradients_that_grow_while_the_loss_falls_must_grow_twice_as_far(falls: bool) -> None:
    def leaving(step: int, record: dict[str, Any]) -> None:
        record["grad_norm_total"] *= 1.05 ** min(max(0, step - 300), 80)
        if falls:
            record["loss"] *= 0.995 ** max(0, step - 300)

    told = transitions_of(training(range(400), leaving))
    assert ("gradient_explosion" in {each.kind for each in told}) is not falls


@pytest.mark.parametrize("name", ["h.{}", "params/h_{}"])
@pytest.mark.parametrize(("puts_out", "found"), [(True, ["poor_initialisation"]), (False, [])])
def test_one_of_three_blocks_with_six_times_the_weights_is_off_if_it_puts_out_as_much_more(
    name: str, puts_out: bool, found: list[str]
) -> None:
    layers = ("embed", *(name.format(at) for at in range(3)), "norm", "head")
    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    for record in records:
        record["layers"][layers[1]]["weight_norm"] *= 6
        record["layers"][layers[1]]["act_rms"] *= 8 if puts_out else 1
    assert [kind for kind, _ in kinds(records)] == found


@pytest.mark.parametrize(("reached", "found"), [(0.6, []), (30.0, ["weight_blowup"])])
def test_weights_that_begin_at_nothing_may_grow_a_thousandfold_not_beyond_the_others(
    reached: float, found: list[str]
) -> None:
    def grow(step: int, record: dict[str, Any]) -> None:
        record["layers"]["h.1"]["weight_norm"] = 2e-4 + reached * min(step / 400, 1.0)

    assert [kind for kind, _ in kinds(training(range(0, 800, 50), grow))] == found


@pytest.mark.parametrize("shrinks", [True, False])
def test_updates_that_are_large_only_beside_weights_next_to_nothing_are_none(shrinks: bool) -> None:
    def through_zero(step: int, record: dict[str, Any]) -> None:
        of_layer = record["layers"]["h.1"]
        share = max(min(abs(step - 150) / 8, 1.0), 0.01)
        of_layer["weight_norm"] *= share if shrinks else 1.0
        of_layer["update_ratio"] /= share

    found = [kind for kind, _ in kinds(training(range(156), through_zero))]
    assert ("update_ratio_high" in found) != shrinks


@pytest.mark.parametrize(("rose", "every"), [(False, 10), (True, 1), (True, 10)])
def test_a_scale_that_has_settled_or_risen_may_collapse_in_a_log_of_few_readings(
    rose: bool, every: int
) -> None:
    def scaled(step: int, record: dict[str, Any]) -> None:
        reading = step // every
        lost = max(0, reading - 30)
        record["loss_scale"] = max(2.0 ** (14 + (rose and reading > 20)) / 8.0**lost, 1.0)
        record["skipped"] = int(lost > 0)

    found = kinds(training(range(0, 50 * every, every), scaled))
    assert [kind for kind, _ in found] == ["loss_scale_collapse"]


def test_growth_by_half_with_each_rare_reading_explodes_though_it_is_no_jump() -> None:
    def growing(step: int, record: dict[str, Any]) -> None:
        record["grad_norm_total"] *= 1.45 ** max(0, step // 10 - 22)
        del record["layers"]

    found = [kind for kind, _ in kinds(training(range(0, 800, 10), growing))]
    assert found
    assert set(found) <= {"gradient_explosion", "gradient_spike"}
