"""Evidence read again from telemetry on real brokers, among the records of other runs."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from anomaly import codec
from anomaly.incidents import Transition
from anomaly.incidents.transition import Evidence, Source
from anomaly.notify.evidence import Budget, EvidenceMissingError
from anomaly.notify.strips import MAX_ROWS
from anomaly.notify.window import Window
from anomaly.records import MILLIONTHS, Fork, Layout, LayoutMessage
from tests.commands.transitions import transition
from tests.conftest import Kafka
from tests.notify.measured import LAYERS, LAYOUT, NOW_MS, Log, compact, incident


@pytest.fixture
def log(kafka: Kafka) -> Log:
    return Log(kafka)


def values_of(found: Window) -> list[float]:
    return [float(value) for value in found.curves[0].values]


def test_only_the_runs_own_values_come_back_with_those_after_the_onset(log: Log) -> None:
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    for step in range(30):
        log.add(compact(step, run="other", h_2_attn__grad_norm=99.0))
        log.add(b"{not a record")
        source = log.add(compact(step, h_2_attn__grad_norm=math.nan if step == 25 else step + 1.0))
        if step == 25:
            at = source
    log.write()
    found = log.read(incident(25, at))
    assert list(found.steps) == list(range(30))
    assert np.isnan(found.curves[0].values[25])
    assert [value for step, value in enumerate(values_of(found)) if step != 25] == [
        step + 1.0 for step in range(30) if step != 25
    ]
    assert (found.curves[0].statistic, found.curves[0].of, found.curves[0].unit) == (
        "grad_norm", LAYERS[2], "L2, before clipping",
    )  # fmt: skip
    assert found.strip is not None
    assert (found.strip.names, found.strip.suspects) == (LAYERS, (2,))
    assert found.strip.values[0, 4] == pytest.approx(1.004)


@pytest.mark.kafka("apache")
def test_a_layout_sent_hours_before_is_found_by_time(log: Log) -> None:
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)), NOW_MS - 7_200_000)
    for number in range(3000):
        log.add(json.dumps({"run": "other", "step": number, "loss": 1.0}).encode(), NOW_MS - 7_100_000)
    for step in range(20):
        at = log.add(compact(step), NOW_MS + step * 1000)
    log.write()
    found = log.read(incident(19, at))
    assert list(found.steps) == list(range(20))


def test_a_layout_that_is_nowhere_is_the_reason_for_no_picture(log: Log) -> None:
    at = log.add(compact(3))
    log.write()
    with pytest.raises(EvidenceMissingError, match="the layout of this run's records was not found"):
        log.read(incident(3, at))
    assert log.read(incident(3, at), layouts={LAYOUT.hash: LAYOUT}).steps == [3.0]


def test_json_records_do_with_names_that_json_escapes_and_values_that_are_sparse(log: Log) -> None:
    run = "gpt-é/\u202e"
    for step in range(40):
        layers = {"h.0": {"grad_norm": 1.0}, "h.1": {"grad_norm": 2.0}} if step % 4 == 0 else {}
        at = log.add(json.dumps({"run": run, "step": step, "loss": 3.0, "layers": layers}).encode())
    log.write()
    evidence = (Evidence("grad_norm", 2.0, 1.0, 1.0, "spike", "h.1", 36),)
    of = transition(
        run=run, kind="layer_gradient_spike", layer="h.1", layers=("h.1",), ranks=(), statistic="grad_norm",
        evidence=evidence, step=39, first_step=36, source=Source(0, at),
    )  # fmt: skip
    found = log.read(of)
    assert list(found.steps[found.curves[0].measured]) == list(range(0, 40, 4))
    assert found.strip is not None
    assert found.strip.names == ("h.0", "h.1")
    assert not found.strip.measured[:, 1].any()


def test_a_fork_goes_on_from_what_its_parent_measured_before_it(log: Log) -> None:
    fork = Fork("root", "root", 20 * MILLIONTHS)
    log.add(codec.encode_layout(LayoutMessage("root", LAYOUT)))
    for step in range(30):
        log.add(compact(step, run="root", loss=1.0))
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT, fork)))
    for step in range(21, 26):
        at = log.add(compact(step, fork=fork, loss=2.0))
    log.write()
    found = log.read(whole_model(25, at))
    assert list(found.steps) == list(range(26))
    assert values_of(found) == [1.0] * 21 + [2.0] * 5


def whole_model(step: int, source: int, **fields: Any) -> Transition:
    evidence = (Evidence("loss", 9.0, 1.0, 1.0, "climb", None, step),)
    return incident(
        step, source, **{"layer": None, "layers": (), "statistic": "loss", "evidence": evidence, **fields}
    )


def test_an_incident_of_ranks_has_the_ranks_as_rows(log: Log) -> None:
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    for step in range(10):
        for rank in (0, 1, 2, 40):
            at = log.add(compact(step, rank=rank, loss=5.0 if rank == 40 else 1.0))
    log.write()
    found = log.read(whole_model(9, at, kind="bad_batch", ranks=(40,)))
    assert found.strip is not None
    assert (found.strip.of, found.strip.names, found.strip.suspects) == (
        "ranks", ("rank 0", "rank 1", "rank 2", "rank 40"), (3,),
    )  # fmt: skip
    assert (found.curves[0].of, values_of(found)[0]) == ("rank 40", 5.0)


def test_two_statistics_of_the_whole_model_are_two_curves(log: Log) -> None:
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    at = [log.add(compact(step)) for step in range(5)][-1]
    log.write()
    evidence = tuple(Evidence(name, 9.0, 1.0, 1.0, "climb", None, 4) for name in ("loss", "lr"))
    assert [curve.statistic for curve in log.read(whole_model(4, at, evidence=evidence)).curves] == [
        "loss",
        "lr",
    ]


def test_what_another_attempt_measured_is_not_mixed_in(log: Log) -> None:
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    for step in range(30):
        log.add(compact(step, loss=1.0))
    for step in range(10, 21):
        at = log.add(compact(step, loss=2.0))
    for step in range(5, 15):
        log.add(compact(step, loss=3.0))
    log.write()
    found = log.read(whole_model(20, at))
    assert list(found.steps) == list(range(21))
    assert values_of(found) == [1.0] * 10 + [2.0] * 11


@pytest.mark.kafka("apache")
def test_what_is_no_longer_kept_is_said(log: Log) -> None:
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    at = [log.add(compact(step)) for step in range(5)][-1]
    log.write()

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=log.kafka.bootstrap_servers)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(log.topic, 0): RecordsToDelete(before_offset=at + 1)})
        finally:
            await admin.close()

    asyncio.run(delete())
    with pytest.raises(EvidenceMissingError, match="is no longer kept: telemetry_retention_days"):
        log.read(incident(4, at))


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (msgspec.structs.replace(incident(3, 0), source=None), "it is from a replay"),
        (incident(3, 7), "the topic was made anew"),
        (incident(3, 0), "offset 0 holds no record of this run"),
        (msgspec.structs.replace(incident(3, 0), source=Source(5, 0)), "has no partition 5"),
    ],
)
@pytest.mark.kafka("embedded")
def test_a_source_that_leads_nowhere_is_said(log: Log, of: Transition, said: str) -> None:
    log.add(compact(3, run="other"))
    log.write()
    with pytest.raises(EvidenceMissingError, match=said):
        log.read(of)


def test_a_spent_budget_shows_what_was_read_by_then(log: Log) -> None:
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    for number in range(2000):
        log.add(json.dumps({"run": "other", "step": number}).encode())
    log.add(compact(3, loss=1.0))
    log.add(codec.encode_layout(LayoutMessage("gpt", LAYOUT)))
    at = log.add(compact(4, loss=2.0))
    log.write()
    found = log.read(whole_model(4, at), Budget(30.0, 1 << 30, 300))
    assert values_of(found) == [1.0, 2.0]
    assert found.notes == ("there was no time to read more",)
    assert log.read(whole_model(4, at)).notes == ()


def test_of_very_many_layers_those_around_the_suspect_are_kept(log: Log) -> None:
    names = tuple(f"layers.{number}" for number in range(50_000))
    layout = Layout(names, ("grad_norm",))
    log.add(codec.encode_layout(LayoutMessage("gpt", layout)))
    for step in range(3):
        at = log.add(compact(step, layout=layout))
    log.write()
    suspect = names[41_203]
    evidence = (Evidence("grad_norm", 2.0, 1.0, 1.0, "spike", suspect, 2),)
    found = log.read(incident(2, at, layer=suspect, layers=(suspect,), evidence=evidence))
    assert found.strip is not None
    assert len(found.strip.names) == MAX_ROWS
    assert {suspect, names[41_202], names[41_204], names[0]} <= set(found.strip.names)
    assert list(found.strip.names) == sorted(found.strip.names, key=names.index)
    assert found.strip.names[found.strip.suspects[0]] == suspect


def test_not_measured_is_not_nan(log: Log) -> None:
    for step in range(6):
        loss = {"loss": math.nan} if step < 4 else {}
        at = log.add(json.dumps({"run": "gpt", "step": step, "lr": 1.0, **loss}).encode())
    log.write()
    found = log.read(whole_model(5, at))
    assert np.isnan(found.curves[0].values[:4]).all()
    assert list(found.curves[0].measured) == [True] * 4 + [False] * 2


def test_of_a_layer_that_no_longer_reports_the_whole_model_is_shown(log: Log) -> None:
    for step in range(6):
        at = log.add(
            json.dumps(
                {"run": "gpt", "step": step, "loss": 3.0, "layers": {"h.0": {"grad_norm": 1}}}
            ).encode()
        )
    log.write()
    evidence = (Evidence("readings_absent", 400.0, 10.0, 4.0, "missing_layer", "h.1", 2),)
    of = incident(5, at, kind="partial_telemetry", layer="h.1", layers=("h.1",), evidence=evidence)
    found = log.read(of)
    assert (found.curves[0].statistic, found.curves[0].of, found.curves[0].expected) == ("loss", "", None)


def test_ranks_whose_weights_differ_are_marked_where_they_do(log: Log) -> None:
    layout = Layout((), (), ("loss", "weight_hash"))
    log.add(codec.encode_layout(LayoutMessage("gpt", layout)))
    for step in range(6):
        for rank in range(4):
            at = log.add(
                compact(step, rank=rank, layout=layout, weight_hash=7.0 if rank == 2 and step > 3 else 5.0)
            )
    log.write()
    evidence = (Evidence("weight_hash", 7.0, 5.0, 1.0, "vote", None, 4),)
    of = whole_model(5, at, kind="replica_divergence", ranks=(2,), statistic="weight_hash", evidence=evidence)
    found = log.read(of)
    assert found.curves[0].statistic == "loss"
    assert found.strip is not None
    assert (found.strip.signal, found.strip.marks) == ("weight_hash", "not as most have it")
    assert np.argwhere(np.isnan(found.strip.values)).tolist() == [[2, 4], [2, 5]]
