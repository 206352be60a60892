"""``anomaly incidents`` on real brokers: transitions as a worker writes them, hostile names included."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from anomaly.cli import main
from anomaly.incidents import Severity, Status, Transition, action_schema, decode_action
from anomaly.topics import Topics
from tests.commands import topics
from tests.commands.transitions import transition
from tests.conftest import Kafka
from tests.worker.topic_tools import Client

HOSTILE = "evil\x1b[31m[red]\u202e\n"
OPEN, OVER, WEAK = "aaaa000000000001", "aaaa000000000002", "bbbb000000000003"
PARTITIONS = 2

LOG = (
    (OPEN, 0, {"severity": Severity.WARNING, "run": HOSTILE, "kind": "loss_divergence"}, 0),
    (OVER, 0, {"run": "gpt-7b"}, 1),
    (OPEN, 1, {"severity": Severity.CRITICAL, "run": HOSTILE, "kind": "loss_divergence", "step": 140}, 0),
    (OVER, 1, {"run": "gpt-7b", "status": Status.RESOLVED}, 1),
    (WEAK, 0, {"severity": Severity.INFO, "run": "bert", "kind": "resize", "tags": {"team": "nlp"}}, 0),
    (OPEN, 0, {"severity": Severity.WARNING, "run": HOSTILE, "kind": "loss_divergence"}, 0),  # sent again
)


def written(incident: str, number: int, fields: dict[str, Any]) -> Transition:
    status = Status.OPENED if number == 0 else Status.UPDATED
    return transition(**{"incident": incident, "transition": number, "status": status, **fields})


def log() -> list[topics.Record]:
    """The transitions, and something that is none."""
    records: list[topics.Record] = []
    for incident, number, fields, partition in LOG:
        one = written(incident, number, fields)
        records.append((b"root of a fork" if incident == OVER else one.run.encode(), one.encode(), partition))
    return [*records, (b"x", b"\x1b[31mno transition", 1)]


class Command:
    """``anomaly incidents …`` on one broker."""

    def __init__(self, kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
        self.kafka, self._capsys = kafka, capsys
        self.topics = Topics(kafka.prefix)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        flags = ["--bootstrap-servers", self.kafka.bootstrap_servers, "--topic-prefix", self.kafka.prefix]
        if arguments[0] not in ("list", "show", "mutes"):
            flags += ["--development-broker"] if self.kafka.is_development_broker else []
        code = main(["incidents", *arguments, *flags])
        told = self._capsys.readouterr()
        return code, told.out, told.err

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        code, out, _ = self("list", "--json", *arguments)
        assert code == 0
        return [json.loads(line) for line in out.splitlines()]

    def sent(self) -> list[tuple[int, Any]]:
        """Partition and record of every action, in the order of partitions."""
        found = asyncio.run(
            Client(self.kafka.bootstrap_servers).read(self.topics.incident_actions, PARTITIONS)
        )
        return [(partition, record) for partition in sorted(found) for record in found[partition]]


@pytest.fixture
def incidents(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> Command:
    command = Command(kafka, capsys)
    topics.make(kafka.bootstrap_servers, command.topics.incidents, PARTITIONS)
    topics.make(kafka.bootstrap_servers, command.topics.incident_actions, PARTITIONS)
    topics.write_a_second_apart(kafka.bootstrap_servers, command.topics.incidents, log())
    return command


def test_open_incidents_are_listed_in_their_last_state_and_chosen_by_what_they_are(
    incidents: Command,
) -> None:
    code, out, told = incidents("list")
    assert code == 0
    assert "aaaa0000" in out
    assert "evil\\x1b[31m[red]\\u202e\\n" in out, "a name is shown, never obeyed"
    assert OVER[-1] not in out.split()
    assert "1 critical, 1 info" in told
    assert "passed over 1 records" in told
    listed = incidents.listed()
    assert [(each["incident"], each["transition"]) for each in listed] == [(OPEN, 1), (WEAK, 0)]
    assert listed[0]["run"] == HOSTILE, "JSON is exact"
    for choice, wanted in (
        (("--all",), [OPEN, OVER, WEAK]),
        (("--severity", "warning"), [OPEN]),
        (("--run", "b*"), [WEAK]),
        (("--kind", "loss_*"), [OPEN]),
        (("--all", "--limit", "1"), [WEAK]),
        (("--since", "1h"), [OPEN, WEAK]),
    ):
        assert [each["incident"] for each in incidents.listed(*choice)] == wanted, choice


def test_one_incident_is_shown_with_all_that_is_known_and_was_done(incidents: Command) -> None:
    assert incidents("ack", "aaaa000000000001", "--why", "on it", "--who", "ada\x1b")[0] == 0
    code, out, _ = incidents("show", "aaaa000000000001")
    assert code == 0
    for part in (
        "Loss climbs",
        "evidence",
        "weight_norm",
        "history",
        "140",
        "acknowledged by ada\\x1b",
        "on it",
    ):
        assert part in out
    shown = json.loads(incidents("show", "bbbb", "--json")[1])
    assert shown["incident"] == WEAK
    assert [each["transition"] for each in shown["transitions"]] == [0]
    assert shown["actions"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "cccc"), "holds no incident cccc"),
        (("show", "aaaa"), "begins 2 incidents: aaaa000000000001, aaaa000000000002"),
        (("show", "aa"), "first 4 or more"),
        (("show", "aaaa.*"), "hexadecimal"),
        (("ack", "bbbb", "aaaa000000000002", "--why", "x"), "is resolved since step 120"),
        (("ack", "bbbb", "--why", " "), "why: got 1 characters"),
        (("ack", "bbbb", "--why", "x", "--until", "2020-01-01"), "after the action itself"),
        (("mute", "--run", "gpt-*", "--why", "x"), "a mute by match needs one"),
        (("mute", "--why", "x"), "give IDs, or one or more of --run"),
        (("mute", "bbbb", "--run", "b", "--why", "x"), "not both"),
        (("withdraw", "bbbb", "--why", "x"), "nothing was done with it"),
        (("withdraw", "--team", "nlp", "--why", "x"), "no such mute holds"),
    ],
)
@pytest.mark.kafka("embedded")
def test_what_cannot_be_done_is_said_and_nothing_is_sent(
    incidents: Command, arguments: tuple[str, ...], said: str
) -> None:
    code, out, told = incidents(*arguments)
    assert (code, out) == (2, "")
    assert said in told
    assert incidents.sent() == []


def test_an_action_lies_where_its_incident_lies_and_says_what_it_was(incidents: Command) -> None:
    code, out, told = incidents("false-alarm", OVER, "--why", "we changed the data", "--who", "ada")
    assert (code, out) == (0, "")
    assert f"{OVER}: Non-finite weights of gpt-7b, marked a false alarm" in told
    ((partition, record),) = incidents.sent()
    assert (partition, record.key) == (1, b"root of a fork")
    action = decode_action(record.value)
    assert (action.incident, action.run, action.kind, action.first_step, action.step) == (
        OVER, "gpt-7b", "nonfinite_weight", 118, 120,
    )  # fmt: skip
    assert set(json.loads(record.value)) <= set(action_schema()["properties"])


def test_what_was_done_holds_until_it_is_withdrawn_and_is_not_done_twice(incidents: Command) -> None:
    assert incidents("resolve", WEAK, "--why", "meant", "--who", "ada")[0] == 0
    listed = {each["incident"]: each["holding"] for each in incidents.listed()}
    assert [(each["action"], each["who"], each["why"]) for each in listed[WEAK]] == [
        ("resolve", "ada", "meant")
    ]
    assert listed[OPEN] == []
    code, _, told = incidents("ack", WEAK, "--why", "again")
    assert code == 2
    assert "was closed by ada already (resolve: meant)" in told
    assert incidents("withdraw", WEAK, "--why", "by mistake")[0] == 0
    shown = json.loads(incidents("show", WEAK, "--json")[1])
    assert shown["holding"] == []
    assert [each["action"] for each in shown["actions"]] == ["resolve", "withdraw"]
    assert incidents("ack", WEAK, "--why", "again")[0] == 0


def test_a_mute_by_match_is_listed_and_covers_what_matches_until_it_is_withdrawn(incidents: Command) -> None:
    muted = ("--team", "nlp", "--kind", "resi*")
    assert incidents("mute", *muted, "--until", "2h", "--why", "moving hosts", "--who", "ada")[0] == 0
    listed = {each["incident"]: each["holding"] for each in incidents.listed()}
    assert [each["match"] for each in listed[WEAK]] == [{"run": None, "team": "nlp", "kind": "resi*"}]
    assert listed[OPEN] == []
    _, out, _ = incidents("mutes")
    assert "kind resi*, team nlp" in out
    assert "moving hosts" in out
    assert json.loads(incidents("mutes", "--json")[1])["who"] == "ada"
    assert incidents("withdraw", *muted, "--why", "moved")[0] == 0
    assert incidents("mutes")[1] == ""


@pytest.mark.kafka("apache")
@pytest.mark.parametrize(
    "arguments", [("list",), ("show", "aaaa"), ("mutes",), ("ack", "aaaa", "--why", "x")]
)
def test_a_topic_that_is_not_there_is_said(
    kafka: Kafka, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, _, told = Command(kafka, capsys)(*arguments)
    assert code == 2
    assert f"topic {kafka.prefix}.incident" in told
    assert "does not exist" in told


@pytest.mark.kafka("embedded")
def test_a_picture_of_evidence_that_is_gone_is_a_clear_word_after_all_else(
    incidents: Command, tmp_path: Path
) -> None:
    code, out, told = incidents("show", OPEN, "--plot", str(tmp_path / "evidence.png"))
    assert code == 2
    assert "Loss climbs" in out
    assert f"topic {incidents.topics.telemetry} has no partition 2" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kafka("embedded")
def test_a_picture_is_written_where_it_was_asked_for_and_nowhere_else(
    incidents: Command, tmp_path: Path
) -> None:
    topics.make(incidents.kafka.bootstrap_servers, incidents.topics.telemetry, 3)
    steps = [json.dumps({"run": HOSTILE, "step": step, "loss": 1.0 + step}).encode() for step in range(42)]
    topics.write(
        incidents.kafka.bootstrap_servers, incidents.topics.telemetry, [(b"", value, 2) for value in steps]
    )
    path = tmp_path / "evidence.png"
    code, _, told = incidents("show", OPEN, "--plot", str(path))
    assert code == 0, told
    assert f"wrote {path}" in told
    assert path.read_bytes().startswith(b"\x89PNG")
    code, _, told = incidents("show", OPEN, "--plot", str(tmp_path / "no" / "such" / "folder.png"))
    assert code == 2
    assert "cannot be written" in told
