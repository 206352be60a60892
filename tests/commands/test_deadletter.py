"""``anomaly deadletter`` on real brokers: what the monitor refused, as the worker writes it, hostile names included."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from anomaly.cli import main
from anomaly.monitor import PartitionMonitor
from anomaly.monitor.limits import Limits
from anomaly.topics import Topics
from anomaly.worker.letters import dead_letter
from tests.commands import topics
from tests.conftest import Kafka
from tests.worker.topic_tools import Client, step

HOSTILE = "evil\x1b[31m[red]\u202e\n"
SENT_MS = 1_790_000_000_123


def refused(telemetry: str) -> list[Any]:
    """Dead letters of what a monitor with small limits refuses, as the worker would write them."""
    values = [
        (b"r1", step("r1", 1, loss=1.0), ()),
        (b"r2", step("r2", 1, loss=2.0, note=HOSTILE), (("of-the-producer", b"x"), ("null", None))),
        (b"junk\xff", b"\x1b[31mnot a record", ()),
        (None, None, ()),
        (HOSTILE.encode(), json.dumps({"run": HOSTILE, "step": "soon"}).encode(), ()),
        (b"large", b"x" * 3000, ()),
    ]
    monitor = PartitionMonitor(0, 1, Limits(max_message_bytes=2000, runs_per_partition=1))
    records: list[ConsumerRecord[bytes, bytes]] = [
        ConsumerRecord(telemetry, 0, offset, SENT_MS, 0, key, value, None, 0, 0, headers)
        for offset, (key, value, headers) in enumerate(values)
    ]
    letters = monitor.process(records).dead_letters
    names = Topics(telemetry.removesuffix(".telemetry"))
    return [dead_letter(names, each.record, each.reason, each.detail, 2000) for each in letters]


async def write(servers: str, letters: list[Any]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=1)
    await producer.start()
    try:
        for each in letters:
            await producer.send_and_wait(each.topic, each.value, each.key, 0, headers=each.headers)
    finally:
        await producer.stop()


class Command:
    """``anomaly deadletter …`` on one broker."""

    def __init__(self, kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
        self._kafka, self._capsys = kafka, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        flags = ["--bootstrap-servers", self._kafka.bootstrap_servers, "--topic-prefix", self._kafka.prefix]
        if arguments[0] == "requeue" and self._kafka.is_development_broker:
            flags.append("--development-broker")
        code = main(["deadletter", *arguments, *flags])
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def deadletter(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> Command:
    names = Topics(kafka.prefix)
    for topic in (names.telemetry, names.deadletter):
        topics.make(kafka.bootstrap_servers, topic, 1)
    asyncio.run(write(kafka.bootstrap_servers, refused(names.telemetry)))
    return Command(kafka, capsys)


def test_letters_are_listed_with_their_reasons_and_chosen_by_them(deadletter: Command) -> None:
    code, out, told = deadletter("list", "--json")
    letters = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [each["letter"] for each in letters] == [f"0:{at}" for at in range(5)], "the newest is the last"
    assert [each["reason"] for each in letters] == [
        "run_limit", "undecodable", "undecodable", "invalid_record", "too_large",
    ]  # fmt: skip
    assert "2 undecodable, 1 run_limit" in told
    assert letters[0]["run"] == "r2"
    assert letters[3]["run"] == HOSTILE, "JSON is exact"
    assert letters[4]["omitted_bytes"] == 3005
    assert letters[0]["record_unix_seconds"] == SENT_MS / 1000
    assert {each["sent_again"] for each in letters} == {False}
    for choice, wanted in (
        (("--reason", "undecodable"), ["0:1", "0:2"]),
        (("--run", "evil*"), ["0:3"]),
        (("--limit", "2"), ["0:3", "0:4"]),
        (("--since", "1h"), ["0:0", "0:1", "0:2", "0:3", "0:4"]),
        (("--until", "1h"), []),
    ):
        _, out, _ = deadletter("list", "--json", *choice)
        assert [json.loads(line)["letter"] for line in out.splitlines()] == wanted


def test_one_letter_is_shown_with_what_can_be_read_of_it(deadletter: Command) -> None:
    _, out, _ = deadletter("show", "0:0")
    for part in (
        "run_limit",
        "JSON, rank 0, steps 1 to 1",
        "offset 1",
        "header of-the-producer",
        "2026-09-21",
        "7b 22 72 75",
    ):
        assert part in out
    assert (
        "MessagePack that is no record" in deadletter("show", "0:1")[1]
        or "neither" in deadletter("show", "0:1")[1]
    )
    assert "left where it lay" in deadletter("show", "0:4")[1]
    code, out, told = deadletter("show", "0:99")
    assert (code, out) == (1, "")
    assert "holds no letter 0:99" in told


def test_nothing_in_a_letter_moves_a_terminal(deadletter: Command) -> None:
    for command in (("list",), ("show", "0:1"), ("show", "0:3"), ("list", "--json"), ("requeue",)):
        _, out, told = deadletter(*command)
        assert not {"\x1b", "\u202e", "\x07"} & set(out + told)
    assert r"evil\x1b[31m[red]\u202e\n" in deadletter("show", "0:3")[1]


def test_a_letter_goes_back_once_as_it_was_and_marked(deadletter: Command, kafka: Kafka) -> None:
    client, names = Client(kafka.bootstrap_servers), Topics(kafka.prefix)
    _, out, told = deadletter("requeue", "0:0")
    assert "would be sent again: 0:0 run_limit of run r2 -> partition 0" in out
    assert "nothing was sent; --yes sends 1 of 1 dead letters" in told
    assert asyncio.run(client.read(names.telemetry, 1)) == {}
    _, _, told = deadletter("requeue", "0:0", "--yes")
    assert "sent 1 of 1" in told
    _, _, told = deadletter("requeue", "0:0", "--yes")
    assert "it was sent again before" in told
    assert json.loads(deadletter("list", "--json")[1].splitlines()[0])["sent_again"] is True
    ((again,),) = asyncio.run(client.read(names.telemetry, 1)).values()
    assert (again.key, again.value) == (b"r2", step("r2", 1, loss=2.0, note=HOSTILE))
    assert again.timestamp == SENT_MS
    assert list(again.headers) == [("of-the-producer", b"x"), ("null", None), ("requeued", b"0:0")]
    assert PartitionMonitor(0, 1).process([again]).counts["judged"] == 1
    deadletter("requeue", "0:0", "--yes", "--force")
    assert len(asyncio.run(client.read(names.telemetry, 1))[0]) == 2


def test_all_that_a_filter_chooses_goes_back_up_to_the_limit(deadletter: Command, kafka: Kafka) -> None:
    _, _, told = deadletter("requeue", "--reason", "undecodable", "--limit", "1", "--yes")
    assert "sent 1 of 2 dead letters, 1 more are beyond --limit" in told
    _, _, told = deadletter("requeue", "--yes")
    assert "left: 0:1 undecodable" in told, "that one was sent before"
    assert "left: 0:4 too_large" in told
    assert "bytes were left where it lay" in told
    read = asyncio.run(Client(kafka.bootstrap_servers).read(Topics(kafka.prefix).telemetry, 1))
    assert [record.headers[-1][1] for record in read[0]] == [b"0:1", b"0:0", b"0:2", b"0:3"]


@pytest.mark.kafka("embedded")
def test_wrong_usage_says_what_is_needed(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, needed in (
        (["show", "3"], "PARTITION:OFFSET is needed"),
        (["list", "--since", "soon"], "a number and s, m, h or d is needed"),
        (["list", "--limit", "0"], "a number from 1 is needed"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["deadletter", *arguments])
        assert ended.value.code == 2
        assert needed in capsys.readouterr().err
    assert Command(kafka, capsys)("list") == (0, "", f"{kafka.prefix}.deadletter holds no such dead letter\n")
