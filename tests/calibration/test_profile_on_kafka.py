"""A profile learned from the topic, and a worker that judges by it, on real brokers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from anomaly import cli
from anomaly.calibration.marks import Marks
from anomaly.incidents import Action, IncidentAction, encode_action
from anomaly.monitor import snapshot
from anomaly.profile import read_tails
from anomaly.settings import Settings
from anomaly.topics import Topics
from anomaly.worker.preflight import preflight
from detectors.levels import Levels
from tests.calibration.runs import curves
from tests.commands.topics import make
from tests.commands.transitions import transition
from tests.conftest import Kafka
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, step


def records(run: str, steps: int) -> list[tuple[bytes | None, bytes | None]]:
    loss, gradients = curves(steps, 8, 0.5)
    found = []
    for at in range(steps):
        layers = {f"h.{layer}": {"grad_norm": float(gradients[at, layer])} for layer in range(3)}
        found.append((run.encode(), step(run, at, loss=float(loss[at]), layers=layers)))
    return [*found, (b"other", step("other", 1, loss=float("nan"))), (run.encode(), b"rubbish")]


def test_a_profile_is_learned_from_the_topic_and_the_worker_judges_by_it(
    kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topics, embedded = Topics(kafka.prefix), kafka.kind == "embedded"
    flags = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix]
    settings = Settings(
        bootstrap_servers=kafka.bootstrap_servers,
        topic_prefix=kafka.prefix,
        partitions=1,
        development_broker=embedded,
    )
    asyncio.run(preflight(settings))  # makes the topics
    client = Client(kafka.bootstrap_servers)
    asyncio.run(client.produce(topics.telemetry, records("calm", 1200)))

    path = str(tmp_path / "profile.json")
    assert cli.main(["calibrate", "--from-topic", "cal*", "--output", path, *flags]) == 0
    told = capsys.readouterr().err
    assert "learned from 1 runs, 1,200 steps" in told
    assert "passed over 1 messages, the first: undecodable" in told
    assert json.loads(Path(path).read_text())["learned_from"]["runs"] == ["calm"]
    tails = read_tails(path)
    assert tails.by_chart

    flags += ["--partitions", "1", "--profile", path, *(["--development-broker"] if embedded else [])]
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        assert (
            f"judges profile {tails.identity}, with a budget of 10 false warnings per million steps"
            in worker.text
        )
        lag = 'anomaly_lag_records{partition="0"}'
        eventually("all is judged", lambda: worker.metrics().get(lag) == 0)
        eventually("no dirty state", lambda: worker.metrics()["anomaly_snapshot_age_seconds"] == 0)
        worker.terminate()
    saved = asyncio.run(client.read(topics.changelog, 1))[0]
    states = {
        record.key: snapshot.load(record.value) for record in saved if record.key in (b"calm", b"other")
    }
    assert {state.tails for state in states.values()} == {Levels(tails=tails).identity}


def test_a_run_with_a_false_alarm_marked_by_a_person_is_learned_from(
    kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = Topics(kafka.prefix)
    flags = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix]
    for topic in (topics.telemetry, topics.incident_actions):
        make(kafka.bootstrap_servers, topic, 1)
    client = Client(kafka.bootstrap_servers)
    loss, gradients = curves(900, 4, 0.15)
    gradients[500:, 1] *= 60  # another data mix, which nobody had told of
    jumped = [
        step(
            "jumps",
            at,
            loss=float(loss[at]),
            layers={f"h.{layer}": {"grad_norm": float(gradients[at, layer])} for layer in range(3)},
        )
        for at in range(900)
    ]
    asyncio.run(client.produce(topics.telemetry, [(b"jumps", value) for value in jumped]))
    command = ["calibrate", "--from-topic", "--output", str(tmp_path / "profile.json"), *flags]
    assert cli.main(command) == 2
    left_out = capsys.readouterr().err
    assert "left out jumps: layer_gradient_spike at step 50" in left_out

    mark = IncidentAction(
        action=Action.FALSE_ALARM, who="ada", why="we changed\x1b the data", unix_seconds=1_790_000_000.0,
        incident="0123456789abcdef", run="jumps", kind="gradient_spike", first_step=480, step=620,
    )  # fmt: skip
    asyncio.run(
        client.produce(topics.incident_actions, [(b"jumps", b"rubbish"), (b"jumps", encode_action(mark))])
    )
    assert cli.main(command) == 0
    told = capsys.readouterr().err
    assert (
        "taken for healthy jumps: gradient_spike at step 480, marked a false alarm by ada: we changed\\x1b"
        in told
    )
    assert "learned from 1 runs, 900 steps" in told

    back = msgspec.structs.replace(mark, action=Action.WITHDRAW)
    asyncio.run(client.produce(topics.incident_actions, [(b"jumps", encode_action(back))]))
    assert cli.main(command) == 2
    assert "left out jumps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "covered"),
    [
        ({}, True),
        ({"kind": "loss_divergence"}, True),
        ({"kind": "straggler"}, False),
        ({"run": "another"}, False),
        ({"first_step": 721, "step": 800}, False),
        ({"first_step": 100, "step": 379}, False),
        ({"incident": "0123456789abcdef", "first_step": 5000, "step": 5001}, True),
    ],
)
def test_a_mark_covers_what_is_of_its_cause_at_its_place(fields: dict[str, Any], covered: bool) -> None:
    mark = IncidentAction(
        action=Action.FALSE_ALARM, who="ada", why="x", unix_seconds=0.0, incident="0123456789abcdef", run="jumps",
        kind="gradient_spike", first_step=480, step=620,
    )  # fmt: skip
    given = {
        "incident": "f" * 16,
        "run": "jumps",
        "kind": "gradient_spike",
        "first_step": 500,
        "step": 510,
        **fields,
    }
    assert Marks([mark]).covers(transition(**given)) is covered
