"""The generator of the corpus: what its runs are, and that a label tells the truth about its trace."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from anomaly.incidents.kinds import KINDS
from anomaly.monitor.limits import Limits
from anomaly.replay.run import Replay
from benchmarks.detection import corpus, drawing, generate, schedules
from benchmarks.detection.catalogue import BY_KIND, FAULTS
from benchmarks.detection.labels import CODES, Label
from benchmarks.detection.plan import Injection, Plan
from tests.detection import short_runs
from tests.detection.short_runs import ONSET, STEPS

ANNOUNCED_AS = {
    "batch_size_ramp": "batch_size",
    "sequence_ramp": "phase",
    "accumulation_change": "batch_size",
    "data_mix": "data_mix",
    "epoch_boundary": "phase",
    "clipping_on": "clipping",
    "clip_saturation": "clipping",
    "resume": "resume",
    "restart_from_checkpoint": "resume",
    "evaluation_pause": "eval_end",
    "checkpoint_pause": "checkpoint_end",
    "pause": "pause",
    "precision_change": "precision",
    "unfreeze": "phase",
    "freeze": "phase",
    "augmentation": "phase",
    "elastic_resize": "world_size",
}
GPT = {"model": "gpt_pre", "size": {"blocks": 1, "width": 16, "tokens": 8, "dropout": 10}}


def every_plan() -> list[Plan]:
    return [corpus.plan_of(part, number) for part, count in corpus.PARTS.items() for number in range(count)]


def test_plans_are_a_pure_function_of_part_and_number() -> None:
    first, second = every_plan(), every_plan()
    assert first == second
    assert len({plan.run for plan in first}) == len({plan.seed for plan in first}) == len(first) >= 300


def test_every_part_is_large_enough_to_say_something() -> None:
    plans = every_plan()
    healthy = [plan for plan in plans if not plan.faults]
    assert len(healthy) >= 120
    assert len(plans) - len(healthy) >= 180
    assert sum(plan.steps for plan in healthy if plan.part == "test") >= 150_000


def test_some_models_faults_and_events_occur_in_the_test_part_alone() -> None:
    plans = every_plan()
    elsewhere = [plan for plan in plans if plan.part != "test"]
    only = {fault.kind for fault in FAULTS if fault.test_only}
    assert not {plan.model for plan in elsewhere} & set(drawing.TEST_MODELS)
    assert not {fault.name for plan in elsewhere for fault in plan.faults} & only
    assert not {event.name for plan in elsewhere for event in plan.benign} & set(corpus.TEST_EVENTS)
    assert not any(plan.optimizer == "muon" for plan in elsewhere)
    test = [plan for plan in plans if plan.part == "test"]
    assert {plan.model for plan in test} >= set(drawing.TEST_MODELS)
    assert {fault.name for plan in test for fault in plan.faults} == {fault.kind for fault in FAULTS}
    assert {event.name for plan in test for event in plan.benign} >= set(corpus.TEST_EVENTS)


def test_every_kind_of_run_that_must_stay_quiet_or_be_found_occurs() -> None:
    plans = every_plan()
    assert {event.name for plan in plans for event in plan.benign} >= set(ANNOUNCED_AS)
    assert {plan.schedule for plan in plans} == set(schedules.NAMES)
    assert {plan.precision for plan in plans} == {"fp32", "bf16", "bf16_weights", "fp16"}
    assert {True, False} == {event.announced for plan in plans for event in plan.benign}
    assert {"layers"} <= {name for plan in plans for name in plan.missing}
    assert any(len(plan.logging) > 1 for plan in plans)
    assert any(plan.sharded for plan in plans)
    assert max(plan.ranks for plan in plans) == 8
    assert any(plan.size.get("blocks", 0) >= 100 for plan in plans)


def test_every_kind_of_incident_is_injected_or_benign() -> None:
    at_info = {"loss_spike_transient", "clip_saturation", "resize"}
    assert set(KINDS) - set(BY_KIND) == at_info
    assert {kind: int(fault.code[1:]) for kind, fault in BY_KIND.items()} == {
        kind: CODES[kind] for kind in BY_KIND
    }


@pytest.mark.parametrize("kind", sorted(BY_KIND))
def test_a_faulty_run_is_its_healthy_twin_bit_for_bit_until_the_onset(kind: str) -> None:
    onset = 0 if BY_KIND[kind].at_start else ONSET
    plan = short_runs.faulty(kind, step=onset)
    twin = short_runs.without_fault(plan) if onset else replace(plan, faults=())
    sick, healthy = short_runs.table(plan), short_runs.table(twin)
    if kind == "series_shift":  # the twin draws another noise for this series
        sick, healthy = sick.drop_columns("coolant_celsius"), healthy.drop_columns("coolant_celsius")
    assert short_runs.rows(sick, onset) == short_runs.rows(healthy, onset)
    if kind != "series_shift":
        assert short_runs.rows(sick, STEPS) != short_runs.rows(healthy, STEPS)


@pytest.mark.parametrize("kind", ["resume_corruption", "gradient_dead", "gradient_noise", "update_ratio_low"])
def test_so_is_the_other_way_in_which_a_fault_happens(kind: str) -> None:
    plan = short_runs.faulty(kind, variant=1)
    sick, healthy = short_runs.table(plan), short_runs.table(short_runs.without_fault(plan))
    assert short_runs.rows(sick, ONSET) == short_runs.rows(healthy, ONSET)
    assert short_runs.rows(sick, STEPS) != short_runs.rows(healthy, STEPS)


@pytest.mark.parametrize("name", sorted(ANNOUNCED_AS))
def test_an_event_is_in_the_trace_where_it_is_announced_and_only_there(name: str) -> None:
    options = GPT if name in ("sequence_ramp", "augmentation") else {}
    for announced in (True, False):
        event = Injection(name, ONSET, 0.5 if name == "augmentation" else 2.0, announced=announced)
        ranks = 3 if name == "elastic_resize" else 1
        found = short_runs.events(short_runs.table(short_runs.plan(**options, ranks=ranks, benign=(event,))))
        at = ONSET - 2 if name == "restart_from_checkpoint" else ONSET
        assert ((at, ANNOUNCED_AS[name]) in found) is announced
        assert bool(found) is announced


def test_a_schedule_is_declared_where_the_plan_announces_it() -> None:
    announced = short_runs.plan(schedule="cosine", warmup=5, announced=True)
    assert short_runs.events(short_runs.table(announced)) == [(0, "lr_schedule")]
    assert short_runs.events(short_runs.table(replace(announced, announced=False))) == []


@pytest.mark.parametrize(("precision", "dtype"), [("bf16_weights", "bfloat16"), ("bf16", "float32")])
def test_a_table_says_the_dtype_of_each_layers_weights_as_the_hook_does(precision: str, dtype: str) -> None:
    table = short_runs.table(short_runs.plan(**GPT, precision=precision))
    of_layers = {row["layer"]: row["dtype"] for row in table.select(["layer", "dtype"]).to_pylist()}
    told = {layer: of_layers.pop(layer) for layer in ("", "h.0")}
    assert set(told.values()) == {None}
    assert set(of_layers.values()) == {dtype}


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    plan = short_runs.plan(ranks=2, hashes=True, precision="bf16", clip=1.0, missing_share=0.1)
    generate.make(plan, tmp_path / "a")
    generate.make(plan, tmp_path / "b")
    for name in ("short.parquet", "short.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_made_run_is_not_made_again_unless_its_plan_has_changed(tmp_path: Path) -> None:
    plan = short_runs.plan(steps=3)
    assert not generate.is_made(plan, tmp_path)
    generate.make(plan, tmp_path)
    assert generate.is_made(plan, tmp_path)
    assert not generate.is_made(replace(plan, lr=0.5), tmp_path)
    (tmp_path / "short.parquet").unlink()
    assert not generate.is_made(plan, tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_a_label_names_the_fault_its_layer_and_when_it_must_be_found(tmp_path: Path) -> None:
    generate.make(short_runs.faulty("weights_frozen"), tmp_path)
    label = msgspec.json.decode((tmp_path / "short.json").read_bytes(), type=Label)
    fault = label.faults[0]
    assert (fault.code, fault.kind, fault.onset_step, fault.budget_steps) == (
        "F22",
        "weights_frozen",
        ONSET,
        10,
    )
    assert not label.healthy
    trace = pq.read_table(tmp_path / "short.parquet").to_pylist()
    moved = [(row["step"], row["update_ratio"]) for row in trace if row["layer"] == fault.layer]
    assert all(ratio > 0 for step, ratio in moved if step < ONSET and ratio is not None)
    after = [ratio for step, ratio in moved if step >= ONSET and ratio is not None]
    assert after == [0.0] * 5


def test_replay_reads_a_trace_and_every_rank_in_it(tmp_path: Path) -> None:
    generate.make(short_runs.plan(ranks=3, hashes=True, sessions=True, timed=True), tmp_path)
    replay = Replay(Limits())
    assert list(replay.transitions([tmp_path / "short.parquet"])) == []
    assert sum(replay.refused_counts.values()) == 0
    table = pq.read_table(tmp_path / "short.parquet")
    whole = table.filter(np.array(table["layer"].to_pylist()) == "")
    assert len(whole) == 3 * STEPS
    assert set(whole["rank"].to_pylist()) == {0, 1, 2}
    places = [json.loads(text) for text in whole["place"].to_pylist() if text]
    assert places == [{"world_size": 3, "data": rank} for rank in [place["data"] for place in places]]


def test_what_a_plan_does_not_report_is_null_and_events_wait_for_the_next_logged_step() -> None:
    event = Injection("resume", 16, announced=True)
    thinned = short_runs.plan(logging=((0, 5),), missing=("weight_norm",), benign=(event,))
    found = short_runs.table(thinned)
    assert {step % 5 for step in found["step"].to_pylist()} == {0}
    assert "weight_norm" not in found.column_names
    assert short_runs.events(found) == [(20, "resume")]
    whole = short_runs.table(short_runs.plan(missing=("layers",)))
    assert set(whole["layer"].to_pylist()) == {""}


def test_ranks_hold_the_same_weights_until_one_of_them_does_not() -> None:
    hashes: dict[int, set[float]] = {}
    for row in short_runs.table(short_runs.faulty("replica_divergence")).to_pylist():
        if row["layer"] == "":
            hashes.setdefault(row["step"], set()).add(row["weight_hash"])
    assert [len(of_step) for _, of_step in sorted(hashes.items())] == [1] * ONSET + [2] * (STEPS - ONSET)
