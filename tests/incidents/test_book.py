from __future__ import annotations

from typing import Any

from anomaly.incidents import Alarm, Considered, Evidence, IncidentBook, Moment, Severity, Status, Transition
from anomaly.incidents.cause import block_of

STEP = 10**6
WARNING, INFO, CRITICAL = Severity.WARNING, Severity.INFO, Severity.CRITICAL


class Run:
    """A run of one reading a step, whose every step before an onset was good."""

    def __init__(self) -> None:
        self.book = IncidentBook()
        self.transitions: list[Transition] = []
        self.step = 0

    def take(self, step: int, *alarms: Alarm, checkpoints: tuple[int, ...] = ()) -> None:
        """Every step up to this one, which has the alarms."""
        for at in range(self.step + 1, step + 1):
            moment = Moment(at * STEP, at, 0, None, None, tuple(each * STEP for each in checkpoints))
            now = list(alarms) if at == step else []
            self.transitions += self.book.take("r", now, moment, lambda before: before - STEP)
        self.step = step

    def told(self, status: Status) -> list[tuple[str, int]]:
        return [(each.kind, int(each.step)) for each in self.transitions if each.status is status]


def alarm(kind: str, first: int, *layers: str, severity: Severity = WARNING, **fields: Any) -> Alarm:
    value, detector = fields.pop("value", 4.0), fields.pop("detector", "shift")
    layer = layers[0] if layers else None
    entry = Evidence(fields.pop("statistic", kind), value, 1.0, 2.0, detector, layer, first)
    return Alarm(kind, severity, first * STEP, (entry,), layers, **fields)


def test_consequences_join_the_incident_of_their_cause() -> None:
    run = Run()
    run.take(100, alarm("lr_schedule", 100))
    run.take(105, alarm("update_ratio_high", 100, "h.1"), alarm("gradient_spike", 102))
    run.take(130, alarm("loss_divergence", 104))
    assert run.told(Status.OPENED) == [("lr_schedule", 100)]
    assert {each.kind for each in run.transitions} == {"lr_schedule"}


def test_the_cause_names_the_incident_though_its_symptoms_came_first() -> None:
    run = Run()
    run.take(100, alarm("loss_spike_persistent", 95))
    run.take(103, alarm("layer_gradient_spike", 95, "h.2"))
    run.take(140)
    (updated,) = (each for each in run.transitions if each.status is Status.UPDATED)
    assert (updated.kind, updated.layer) == ("layer_gradient_spike", "h.2")
    assert updated.step == 120, "at most one update in 20 steps"


def test_an_exact_rule_goes_before_charts_and_zeros_that_come_late_follow_from_something() -> None:
    run = Run()
    run.take(100, alarm("loss_divergence", 60))
    run.take(130, alarm("repeated_batch", 126))
    assert run.book.open[0].kind == "repeated_batch"
    other = Run()
    other.take(100, alarm("gradient_spike", 98))
    other.take(140, alarm("gradient_dead", 138, "h.1"))
    assert other.book.open[0].kind == "gradient_spike"


def test_a_rank_that_stands_out_is_the_cause_of_what_the_charts_of_all_ranks_show() -> None:
    run = Run()
    run.take(100, alarm("layer_gradient_spike", 99, "h.1"))
    run.take(102, alarm("rank_gradient_outlier", 99, "h.1", ranks=(3,)))
    (incident,) = run.book.open
    assert (incident.kind, incident.ranks) == ("rank_gradient_outlier", [3])


def test_one_growth_seen_twice_is_named_by_the_larger() -> None:
    for activations, kind in ((64.0, "outlier_growth"), (4.0, "weight_blowup")):
        run = Run()
        run.take(100, alarm("weight_blowup", 80, "h.1", value=4.0))
        run.take(
            104,
            alarm(
                "outlier_growth",
                84,
                "h.1",
                value=activations,
                severity=INFO,
                symptom=True,
                statistic="act_absmax",
            ),
        )
        assert run.book.open[0].kind == kind


def test_updates_of_one_layer_name_an_incident_until_it_shows_what_they_do_there() -> None:
    for later in (110, 180, 400):
        run = Run()
        run.take(100, alarm("update_ratio_high", 60, "h.1"))
        run.take(later, alarm("update_ratio_high", 60, "h.1"), alarm("variance_collapse", later - 5, "h.1"))
        (incident,) = run.book.open
        assert incident.kind == "variance_collapse", later


def test_updates_of_many_layers_keep_their_name_and_so_do_those_of_another_layer() -> None:
    run = Run()
    run.take(100, alarm("update_ratio_high", 60, "h.1", "h.2", "h.3"))
    run.take(110, alarm("outlier_growth", 105, "h.1"))
    assert run.book.open[0].kind == "update_ratio_high"
    other = Run()
    other.take(100, alarm("update_ratio_high", 60, "h.1"))
    other.take(110, alarm("outlier_growth", 105, "h.1.up"))
    assert other.book.open[0].kind == "update_ratio_high"


def test_a_vanishing_gradient_found_early_began_when_its_slow_chart_says() -> None:
    run = Run()
    run.take(100, alarm("gradient_vanishing", 99, "h.0"))
    run.take(103, alarm("gradient_vanishing", 60, "h.1"))
    run.take(120, alarm("update_ratio_low", 62, "h.0", "h.1", "h.2"))
    assert run.book.open[0].kind == "gradient_vanishing"


def test_a_ranks_gradient_differs_because_its_forward_pass_does() -> None:
    run = Run()
    run.take(100, alarm("rank_gradient_outlier", 98, "h.1", ranks=(3,)))
    run.take(140, alarm("residual_gain_outlier", 120, "h.0", ranks=(3,)))
    (incident,) = run.book.open
    assert (incident.kind, incident.layers[0], incident.ranks) == ("residual_gain_outlier", "h.0", [3])


def test_a_nan_does_not_follow_from_a_gradient_of_0() -> None:
    for later in (140, 400):
        run = Run()
        run.take(100, alarm("gradient_dead", 98, "h.1"))
        run.take(
            later,
            alarm("gradient_dead", 98, "h.1"),
            alarm("nonfinite_weight", later, "h.2", severity=CRITICAL),
        )
        run.take(later + 30, alarm("gradient_dead", 98, "h.1"))
        assert [incident.kind for incident in run.book.open] == ["nonfinite_weight"], later
    run = Run()
    run.take(100, alarm("gradient_explosion", 60))
    run.take(140, alarm("nonfinite_weight", 140, "h.2", severity=CRITICAL))
    assert run.book.open[0].kind == "gradient_explosion"


def test_updates_too_large_of_weights_that_are_scaled_are_the_scaling() -> None:
    for detector, layer, kind in (
        ("scaling", "h.1", "weight_blowup"),
        ("symptom", "h.1", "update_ratio_high"),
        ("scaling", "h.7", "update_ratio_high"),
    ):
        run = Run()
        run.take(100, alarm("update_ratio_high", 80, "h.1"))
        run.take(102, alarm("weight_blowup", 95, layer, severity=INFO, symptom=True))
        run.take(104, alarm("weight_blowup", 95, layer, severity=INFO, symptom=True, detector=detector))
        assert run.book.open[0].kind == kind


def test_updates_too_small_of_a_gradient_that_vanished_follow_from_it() -> None:
    for layer, kind in (("h.1", "gradient_vanishing"), ("h.7", "update_ratio_low")):
        run = Run()
        run.take(100, alarm("update_ratio_low", 80, "h.1"))
        run.take(104, alarm("gradient_vanishing", 95, layer, severity=INFO, symptom=True))
        assert run.book.open[0].kind == kind


def test_symptoms_open_nothing_keep_nothing_open_and_speak_for_their_own_layer_only() -> None:
    run = Run()
    run.take(10, alarm("dead_units", 9, "h.1", severity=INFO, symptom=True))
    assert run.transitions == []
    run.take(100, alarm("weight_blowup", 95, "h.1"))
    run.take(110, alarm("dead_units", 99, "h.7", severity=INFO, symptom=True))
    assert run.book.open[0].kind == "weight_blowup"
    run.take(120, alarm("dead_units", 99, "h.1", severity=INFO, symptom=True))
    assert run.book.open[0].kind == "dead_units"
    run.take(160)
    assert run.told(Status.RESOLVED) == [("dead_units", 150)]


def test_a_second_fault_elsewhere_is_an_incident_of_its_own_though_the_first_is_open() -> None:
    run = Run()
    for step in range(100, 400, 5):
        second = [alarm("layer_gradient_spike", 300, "h.6.up")] if step >= 305 else []
        run.take(step, alarm("weight_blowup", 95, "h.1.qkv"), *second)
    assert run.told(Status.OPENED) == [("weight_blowup", 100), ("layer_gradient_spike", 305)]
    assert len(run.book.open) == 2


def test_a_layer_that_goes_somewhere_does_not_because_nothing_is_learned() -> None:
    rate: dict[str, Any] = {"statistic": "lr", "value": 0.0, "detector": "lr_schedule"}
    for first in (alarm("flat_from_start", 95), alarm("lr_schedule", 95, **rate)):
        run = Run()
        for step in range(100, 400, 5):
            second = [alarm("layer_gradient_spike", 300, "h.6.up")] if step >= 305 else []
            run.take(step, first, *second)
        assert run.told(Status.OPENED) == [(first.kind, 100), ("layer_gradient_spike", 305)]


def test_what_spreads_from_an_open_incident_is_not_a_second_one() -> None:
    run = Run()
    for step in range(100, 400, 5):
        late = [alarm("outlier_growth", 300, "h.1.up"), alarm("loss_divergence", 300)] if step >= 305 else []
        run.take(step, alarm("weight_blowup", 95, "h.1.qkv"), *late)
    assert run.told(Status.OPENED) == [("weight_blowup", 100)]


def test_an_exact_rule_long_after_an_open_incident_is_a_second_one() -> None:
    run = Run()
    for step in range(100, 400, 5):
        second = [alarm("lr_schedule", 300)] if step == 305 else []
        run.take(step, alarm("weight_blowup", 95, "h.1"), *second)
    assert ("lr_schedule", 305) in run.told(Status.OPENED)


def test_an_incident_whose_evidence_comes_and_goes_stays_open_and_does_not_flap() -> None:
    run = Run()
    for step in range(100, 500, 45):
        run.take(step, alarm("layer_gradient_spike", 99, "h.1"))
    last = step
    run.take(last + 134)
    assert run.told(Status.RESOLVED) == []
    run.take(last + 136)
    assert run.told(Status.RESOLVED) == [("layer_gradient_spike", last + 135)]
    assert len(run.told(Status.OPENED)) == 1


def test_an_incident_that_came_back_is_kept_open_longer() -> None:
    run = Run()
    for step in (100, 180, 260, 340, 420):
        run.take(step, alarm("layer_gradient_spike", step - 1, "h.1"))
    assert run.told(Status.OPENED) == [("layer_gradient_spike", 100), ("layer_gradient_spike", 180)]


def test_zeros_long_after_a_divergence_are_where_it_ends() -> None:
    run = Run()
    for step in range(100, 400, 5):
        zeros = [alarm("weights_frozen", 300, "h.7")] if step >= 305 else []
        run.take(step, alarm("gradient_explosion", 95), *zeros)
    assert run.told(Status.OPENED) == [("gradient_explosion", 100)]


def test_what_came_slowly_is_safe_only_well_before_its_estimated_onset() -> None:
    run = Run()
    run.take(200, alarm("weight_blowup", 140, "h.1"), checkpoints=(50, 100, 130))
    incident = run.transitions[0]
    assert (incident.first_step, incident.last_good_step, incident.last_checkpoint_step) == (140, 109, 100)
    jump = Run()
    jump.take(150, alarm("weight_blowup", 140, "h.1"), checkpoints=(50, 100, 130))
    assert (jump.transitions[0].last_good_step, jump.transitions[0].last_checkpoint_step) == (139, 130)


def test_a_cause_that_began_earlier_takes_the_safe_step_back_with_it() -> None:
    run = Run()
    run.take(200, alarm("loss_spike_persistent", 190), checkpoints=(100, 185))
    assert run.book.open[0].last_checkpoint_step == 185 * STEP
    run.take(202, alarm("weight_blowup", 176, "h.1"), checkpoints=(100, 185))
    (incident,) = run.book.open
    assert (incident.kind, incident.first_step) == ("weight_blowup", 176 * STEP)
    assert (incident.last_good_step, incident.last_checkpoint_step) == (175 * STEP, 100 * STEP)


def test_a_later_findings_good_step_is_none_of_an_incident_that_began_before_it() -> None:
    book, checkpoints = IncidentBook(), (100 * STEP, 114 * STEP)
    findings = ((120, alarm("loss_spike_persistent", 112)), (122, alarm("layer_gradient_spike", 118, "h.1")))
    for step, finding in findings:
        moment = Moment(step * STEP, step, 0, None, None, checkpoints)
        book.take("r", [finding], moment, lambda before: before - STEP if before > 115 * STEP else None)
    (incident,) = book.open
    assert (incident.kind, incident.first_step) == ("layer_gradient_spike", 112 * STEP)
    assert (incident.last_good_step, incident.last_checkpoint_step) == (None, 100 * STEP)


def test_an_incident_says_which_benign_explanations_were_considered() -> None:
    book = IncidentBook()
    because = (Considered("restart", "no: none lately"),)
    (opened,) = book.take(
        "r", [alarm("lr_schedule", 5)], Moment(5 * STEP, 5, 0, None, None), lambda _: None, because
    )
    assert opened.considered == because


def test_a_block_is_the_numbered_part_of_the_model() -> None:
    of = {
        "h.3.attn.qkv": "h.3", "h.30.attn": "h.30", "model.layers.12": "model.layers.12", "blocks.0.1.conv": "blocks.0",
        "layer1.0.conv2": "layer1.0", "Block_3.Dense_0": "Block_3", "conv1": "conv1", "head": "head", "": "",
    }  # fmt: skip
    assert {name: block_of(name) for name in of} == of
