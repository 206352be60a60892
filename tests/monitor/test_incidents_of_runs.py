"""What becomes of whole runs: which incident, how severe, by which name, since when, with what evidence."""

from __future__ import annotations

import itertools
import json
from typing import Any

import jsonschema
import pytest

from anomaly.incidents import KINDS, Severity, Status, decode_transition, transition_schema
from tests.monitor.logs import LAYERS, log_of, opened, outcome_of, training, transitions_of

NAN = float("nan")


def test_a_healthy_run_says_nothing() -> None:
    assert transitions_of(training(range(400))) == []


def test_one_spike_that_recovers_wakes_nobody() -> None:
    def spike(step: int, record: dict[str, Any]) -> None:
        if step == 200:
            record["loss"] *= 3
            record["grad_norm_total"] *= 20
            for of_layer in record["layers"].values():
                of_layer["grad_norm"] *= 20

    assert all(incident.severity is Severity.INFO for incident in transitions_of(training(range(300), spike)))


@pytest.mark.parametrize(("layers", "severity"), [(LAYERS, Severity.INFO), (LAYERS[2:3], Severity.WARNING)])
def test_a_gradient_out_for_four_steps_is_a_batch_in_most_layers_and_a_fault_in_one(
    layers: tuple[str, ...], severity: Severity
) -> None:
    def spike(step: int, record: dict[str, Any]) -> None:
        if 300 <= step < 304:
            for name in layers:
                record["layers"][name]["grad_norm"] *= 10

    (incident,) = opened(transitions_of(training(range(330), spike)))
    assert (incident.severity, incident.step) == (severity, 302)


def test_a_jump_that_stays_is_one_incident_that_resolves_once_the_new_level_is_known() -> None:
    def jump(step: int, record: dict[str, Any]) -> None:
        if step >= 200:
            record["layers"]["h.1"]["grad_norm"] *= 30

    transitions = transitions_of(training(range(600), jump))
    (incident,) = opened(transitions)
    assert incident.layer == "h.1"
    assert 200 <= incident.step <= 225
    assert abs(incident.first_step - 200) <= 2
    assert incident.last_good_step in (198, 199)
    assert transitions[-1].status is Status.RESOLVED
    assert [transition.transition for transition in transitions] == list(range(len(transitions)))
    assert {transition.incident for transition in transitions} == {incident.incident}


def test_a_learning_rate_times_a_hundred_is_found_by_name() -> None:
    def jump(step: int, record: dict[str, Any]) -> None:
        if step >= 150:
            record["lr"] *= 100

    (incident,) = opened(transitions_of(training(range(200), jump)))
    assert (incident.kind, incident.severity, incident.step) == ("lr_schedule", Severity.WARNING, 150)


def test_warm_up_decay_and_warm_restart_of_the_learning_rate_are_no_faults() -> None:
    def schedule(step: int, record: dict[str, Any]) -> None:
        cycle = step % 200
        lr = 1e-3 * (min(1, (cycle + 1) / 50) if step < 200 else 1) * 0.98**cycle
        record["lr"] = lr
        for of_layer in record["layers"].values():
            of_layer["update_ratio"] *= lr / 1e-3

    assert transitions_of(training(range(800), schedule)) == []


@pytest.mark.parametrize(
    ("signal", "kind"), [("grad_norm", "gradient_dead"), ("update_ratio", "weights_frozen")]
)
def test_exact_zeros_are_found_within_five_steps(signal: str, kind: str) -> None:
    def stop(step: int, record: dict[str, Any]) -> None:
        if step >= 100:
            record["layers"]["h.1"][signal] = 0.0

    (incident,) = opened(transitions_of(training(range(130), stop)))
    assert (incident.kind, incident.layer) == (kind, "h.1")
    assert 100 <= incident.step <= 105
    assert incident.first_step == 100


def test_a_bias_whose_gradient_cancels_may_stand_still() -> None:
    """Under a batch normalisation: what float32 leaves of the gradient moves no weight."""

    def cancel(_: int, record: dict[str, Any]) -> None:
        record["layers"]["h.1"]["grad_norm"] *= 1e-8
        record["layers"]["h.1"]["update_ratio"] = 0.0

    assert transitions_of(training(range(130), cancel)) == []


def test_a_layer_that_never_had_a_gradient_and_no_mask_is_taken_as_frozen_on_purpose() -> None:
    def freeze(_: int, record: dict[str, Any]) -> None:
        record["layers"]["embed"].update(grad_norm=0.0, update_ratio=0.0)

    assert transitions_of(training(range(100), freeze)) == []


def test_a_consequence_joins_the_incident_of_its_cause_and_raises_it() -> None:
    def lr_then_nan(step: int, record: dict[str, Any]) -> None:
        if step >= 150:
            record["lr"] *= 100
        if step >= 170:
            record["loss"] = NAN

    transitions = transitions_of(training(range(200), lr_then_nan))
    (incident,) = opened(transitions)
    assert incident.kind == "lr_schedule"
    rise = next(transition for transition in transitions if transition.severity is Severity.CRITICAL)
    assert rise.status is Status.UPDATED
    assert rise.step == 170
    assert rise.statistic == "loss"


def test_every_transition_follows_the_published_schema_and_reads_back() -> None:
    def faults(step: int, record: dict[str, Any]) -> None:
        if step >= 60:
            record["layers"]["h.1"]["grad_norm"] = float("inf")

    log = log_of(training(range(150), faults, tags={"team": "a"}, time=1.5))
    transitions = [transition for _, transition in outcome_of(log).transitions]
    assert transitions
    for transition in transitions:
        encoded = transition.encode()
        jsonschema.validate(json.loads(encoded), transition_schema())
        assert decode_transition(encoded).encode() == encoded
        assert transition.kind in KINDS


def test_updates_come_at_most_once_in_twenty_steps() -> None:
    def spread(step: int, record: dict[str, Any]) -> None:
        for at, name in enumerate(LAYERS):
            if step >= 200 + 3 * at:
                record["layers"][name]["weight_norm"] *= 4

    transitions = transitions_of(training(range(300), spread))
    steps = [transition.step for transition in transitions if transition.severity is Severity.WARNING]
    assert len(opened(transitions)) == 1
    assert all(later - earlier >= 20 for earlier, later in itertools.pairwise(steps))


def test_a_loss_that_climbs_slowly_is_found_although_no_step_of_it_stands_out() -> None:
    def climb(step: int, record: dict[str, Any]) -> None:
        if step >= 400:
            record["loss"] *= 1.003 ** (step - 400)

    (incident,) = opened(transitions_of(training(range(800), climb)))
    assert incident.kind in ("loss_divergence", "loss_spike_persistent")
    assert 400 <= incident.step <= 700


def test_a_data_mix_that_lifts_the_loss_once_is_no_divergence() -> None:
    def lift(step: int, record: dict[str, Any]) -> None:
        if step >= 400:
            record["loss"] += 0.5

    transitions = transitions_of(training(range(800), lift))
    assert all(incident.kind != "loss_divergence" for incident in transitions)


def test_the_same_loss_again_and_again_is_the_same_batch() -> None:
    def stuck(step: int, record: dict[str, Any]) -> None:
        if step >= 100:
            record["loss"] = 2.5

    (incident,) = opened(transitions_of(training(range(130), stuck)))
    assert incident.kind == "repeated_batch"
    assert 100 <= incident.step <= 105


def test_a_loss_that_may_be_negative_is_charted_anew_and_its_jump_is_found() -> None:
    def signed(step: int, record: dict[str, Any]) -> None:
        record["loss"] = record["loss"] - 3.0 + (20.0 if step >= 300 else 0.0)

    log = log_of(training(range(340), signed))
    outcome = outcome_of(log)
    assert outcome.dead_letters == []
    incident = next(each for _, each in outcome.transitions if each.severity is Severity.WARNING)
    assert incident.kind == "loss_spike_persistent"
    assert 300 <= incident.step <= 325


def test_the_checkpoint_to_go_back_to_is_the_last_before_the_onset_though_a_later_one_was_saved() -> None:
    def climb(step: int, record: dict[str, Any]) -> None:
        if step >= 400:
            record["loss"] *= 1.003 ** (step - 400)
        if step % 50 == 25:
            record["events"] = [{"kind": "checkpoint_end", "step": step}]

    (incident,) = opened(transitions_of(training(range(800), climb)))
    assert incident.step > 425
    checkpoint = incident.last_checkpoint_step
    assert checkpoint is not None
    assert 0 < incident.first_step - checkpoint <= 50


@pytest.mark.parametrize("seconds", [0.2, 0.002])
def test_slow_steps_are_told_once_however_short_they_are(seconds: float) -> None:
    def slow(step: int, record: dict[str, Any]) -> None:
        record["step_seconds"] = seconds * (6.0 if step >= 300 else 1.0) * (1 + 0.01 * (step % 7))

    kinds = [incident.kind for incident in opened(transitions_of(training(range(400), slow)))]
    assert kinds == ["throughput_drop"]


def test_most_layers_jumping_together_is_one_spike_of_the_model_and_one_layer_alone_is_its_own() -> None:
    def jump(layers: tuple[str, ...]) -> str:
        def change(step: int, record: dict[str, Any]) -> None:
            if step >= 300:
                for name in layers:
                    record["layers"][name]["grad_norm"] *= 30

        (incident,) = {each.incident: each for each in transitions_of(training(range(330), change))}.values()
        return incident.kind

    assert jump(LAYERS) == "gradient_spike"
    assert jump(LAYERS[2:3]) == "layer_gradient_spike"
