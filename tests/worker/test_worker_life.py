"""One life of a worker on each broker, from its start to SIGTERM; every test looks at another side of it.

Before it starts, the changelog holds a snapshot that nobody can read. Then come records as aiokafka and kcat would
send them, as librdkafka's default partitioner would, without a key, and rubbish.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from anomaly.errors import Reason
from anomaly.settings import Settings
from anomaly.topics import FORWARDED_OFFSET, FORWARDED_PARTITION, Topics, home_partition
from anomaly.worker.preflight import preflight
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, Record, saved_states, step, undisturbed

PARTITIONS = 4
KEYED = [f"keyed-{number}" for number in range(4)]
FROM_LIBRDKAFKA = [f"librdkafka-{number}" for number in range(8)]
NAN = float("nan")
TOPICS = Topics("life")
RUBBISH = [b"rubbish", b'{"run":"r","step":"twelve"}', None]


@dataclass
class Life:
    """What was seen of it."""

    first_metrics: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    telemetry: dict[int, list[Record]] = field(default_factory=dict)
    incidents: dict[int, list[Record]] = field(default_factory=dict)
    dead_letters: list[Record] = field(default_factory=list)
    changelog: dict[int, list[Record]] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    exit_code: int = -1
    seconds_to_stop: float = -1.0
    log: str = ""

    def transitions(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for records in self.incidents.values() for record in records]


def run_of(number: int, bad_step: int | None) -> list[tuple[int, float]]:
    """(step, loss) of a run that is quiet save at `bad_step`."""
    return [(at, NAN if at == bad_step else 2.0 + 0.01 * ((at * 7 + number) % 5)) for at in range(30)]


async def feed(client: Client) -> None:
    """Everything a producer may send in this life."""
    records: list[tuple[bytes | None, bytes | None]] = []
    for number, run in enumerate(KEYED):
        records += [(run.encode(), step(run, at, loss=loss)) for at, loss in run_of(number, 20)]
    records += [(None, step("no-key", 1, loss=NAN))]
    records += [(b"rubbish", value) for value in RUBBISH]
    records += [(b"damaged", step("damaged", at, loss=2.0 + at / 100)) for at in range(5)]
    await client.produce(TOPICS.telemetry, records)


def feed_with_librdkafka(servers: str) -> None:
    """Another library's default partitioner: CRC32 of the key, which is mostly not where a run is at home."""
    producer = Producer({"bootstrap.servers": servers, "batch.num.messages": 1})
    for number, run in enumerate(FROM_LIBRDKAFKA):
        for at, loss in run_of(number, 20):
            producer.produce(TOPICS.telemetry, step(run, at, loss=loss), run.encode())
    producer.flush()


@pytest.fixture(scope="module", params=["embedded", "apache"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    servers = request.getfixturevalue(f"{request.param}_kafka").bootstrap_servers
    embedded = request.param == "embedded"
    flags = ["--bootstrap-servers", servers, "--topic-prefix", TOPICS.prefix, "--partitions", str(PARTITIONS)]
    flags += ["--development-broker"] if embedded else []
    settings = Settings(
        bootstrap_servers=servers,
        topic_prefix=TOPICS.prefix,
        partitions=PARTITIONS,
        development_broker=embedded,
    )
    return live(servers, flags, settings, tmp_path_factory.mktemp("life"))


def live(servers: str, flags: list[str], settings: Settings, folder: Path) -> Life:
    client, seen = Client(servers), Life()
    asyncio.run(preflight(settings))  # makes the topics
    asyncio.run(client.produce(TOPICS.changelog, [(b"damaged", b"no snapshot at all")]))
    with WorkerProcess(folder, *flags) as worker:
        worker.wait_ready()
        seen.first_metrics = worker.metrics()
        feed_with_librdkafka(servers)
        asyncio.run(feed(client))
        incidents = len(KEYED) + len(FROM_LIBRDKAFKA) + 1
        opened = 'anomaly_transitions_total{status="opened"}'
        eventually("incidents for every run", lambda: worker.metrics()[opened] >= incidents, 20)
        eventually("the run without an incident", lambda: asyncio.run(saved(client, "damaged")), 20)
        eventually("no dirty state", lambda: worker.metrics()["anomaly_snapshot_age_seconds"] == 0, 20)
        seen.metrics = worker.metrics()
        seen.seconds_to_stop = worker.terminate()
        seen.exit_code, seen.log = worker.exit_codes[-1], worker.text
    return asyncio.run(look_back(client, seen))


async def saved(client: Client, run: str) -> bool:
    return run in saved_states(await client.read(TOPICS.changelog, PARTITIONS))


async def look_back(client: Client, seen: Life) -> Life:
    seen.telemetry = await client.read(TOPICS.telemetry, PARTITIONS)
    seen.incidents = await client.read(TOPICS.incidents, PARTITIONS)
    seen.changelog = await client.read(TOPICS.changelog, PARTITIONS)
    parked = await client.read(TOPICS.deadletter, PARTITIONS)
    seen.dead_letters = [record for records in parked.values() for record in records]
    seen.committed = await client.committed(TOPICS, PARTITIONS)
    return seen


def test_a_nan_in_json_gives_exactly_one_incident(life: Life) -> None:
    opened = Counter(each["run"] for each in life.transitions() if each["status"] == "opened")
    assert opened == dict.fromkeys([*KEYED, *FROM_LIBRDKAFKA, "no-key"], 1)
    kinds = {each["kind"] for each in life.transitions()}
    assert kinds == {"nonfinite_loss"}


def test_an_incident_lies_in_its_runs_home_partition_under_its_key(life: Life) -> None:
    for partition, records in life.incidents.items():
        for record in records:
            assert record.key == json.loads(record.value)["run"].encode()
            assert home_partition(record.key, PARTITIONS) == partition


def test_records_of_another_librarys_partitioner_are_forwarded_in_order_counted_and_judged(
    life: Life,
) -> None:
    forwarded = [
        r for records in life.telemetry.values() for r in records if FORWARDED_PARTITION in dict(r.headers)
    ]
    astray = [
        record
        for partition, records in life.telemetry.items()
        for record in records
        if record.value and b"librdkafka" in record.value and FORWARDED_PARTITION not in dict(record.headers)
        if home_partition(json.loads(record.value)["run"].encode(), PARTITIONS) != partition
    ]
    assert len(astray) > 30
    origins = [
        (int(dict(r.headers)[FORWARDED_PARTITION]), int(dict(r.headers)[FORWARDED_OFFSET])) for r in forwarded
    ]
    for origin in astray:
        copy = forwarded[origins.index((origin.partition, origin.offset))]
        assert (copy.value, copy.timestamp) == (origin.value, origin.timestamp)
        assert copy.partition == home_partition(copy.key, PARTITIONS)
    for partition in range(PARTITIONS):
        here = [
            origin for origin, record in zip(origins, forwarded, strict=True) if record.partition == partition
        ]
        for source in range(PARTITIONS):
            offsets = [offset for from_, offset in here if from_ == source]
            assert offsets == sorted(offsets)
    assert life.metrics["anomaly_forwarded_total"] == len(forwarded)


def test_refused_records_keep_their_bytes_and_say_why_and_from_where(life: Life) -> None:
    parked = {dict(record.headers)["reason"].decode(): record for record in life.dead_letters}
    assert parked.keys() == {Reason.UNDECODABLE, Reason.INVALID_RECORD, Reason.SNAPSHOT_UNREADABLE}
    assert Counter(
        record.value for record in life.dead_letters if b"telemetry" in dict(record.headers)["topic"]
    ) == (Counter(RUBBISH))
    for record in life.dead_letters:
        headers = dict(record.headers)
        log = life.telemetry if headers["topic"].decode() == TOPICS.telemetry else life.changelog
        original = {r.offset: r for r in log[int(headers["partition"])]}[int(headers["offset"])]
        assert (record.key, record.value) == (original.key, original.value)
        assert headers["detail"]
    for reason, count in Counter(
        dict(record.headers)["reason"].decode() for record in life.dead_letters
    ).items():
        assert life.metrics[f'anomaly_dead_letters_total{{reason="{reason}"}}'] == count


def test_a_run_whose_snapshot_cannot_be_read_starts_cold_and_is_saved_again(life: Life) -> None:
    assert "damaged" in saved_states(life.changelog)
    assert "starts cold" in life.log


def test_what_came_through_kafka_equals_the_monitor_fed_record_by_record(life: Life) -> None:
    transitions, states = undisturbed(life.telemetry, PARTITIONS)
    sent = {partition: [record.value for record in records] for partition, records in life.incidents.items()}
    assert sent == {partition: values for partition, values in transitions.items() if values}
    assert saved_states(life.changelog) == states


def test_sigterm_ends_it_within_five_seconds_with_everything_committed(life: Life) -> None:
    assert life.exit_code == 0
    assert life.seconds_to_stop < 5
    ends = {partition: records[-1].offset + 1 for partition, records in life.telemetry.items()}
    assert {partition: life.committed[partition] for partition in ends} == ends
    assert all(
        life.committed[partition] >= 0 for partition in range(PARTITIONS)
    )  # also where nothing ever came


def test_metrics_are_there_from_the_start_with_nothing_counted(life: Life) -> None:
    own = {name: value for name, value in life.first_metrics.items() if "_run_" not in name}
    assert own.keys() <= life.metrics.keys() | own.keys()
    for reason in Reason:
        assert own[f'anomaly_dead_letters_total{{reason="{reason}"}}'] == (
            reason is Reason.SNAPSHOT_UNREADABLE
        )
    assert own['anomaly_incidents_total{kind="nonfinite_loss",severity="critical"}'] == 0
    assert {own[f'anomaly_lag_records{{partition="{partition}"}}'] for partition in range(PARTITIONS)} == {0}
    assert own["anomaly_incident_latency_seconds_count"] == 0


def test_a_runs_series_show_its_latest_record_and_its_open_incidents(life: Life) -> None:
    run = KEYED[0]
    shown = {name: value for name, value in life.metrics.items() if f'run="{run}"' in name}
    assert len(shown) <= 12 + 1  # and one for the kind that is open
    assert shown[
        f'anomaly_incident_opened_timestamp_seconds{{kind="nonfinite_loss",run="{run}",severity="critical"}}'
    ]
    assert shown[f'anomaly_run_ranks{{run="{run}"}}'] == 1
    assert shown[f'anomaly_run_step{{run="{run}"}}'] == 29
    assert shown[f'anomaly_run_last_record_timestamp_seconds{{run="{run}"}}'] == 1_790_000_029
    assert shown[f'anomaly_incidents_open{{run="{run}",severity="critical"}}'] == 1


def test_the_log_says_what_it_judges_by_when_it_is_ready_and_when_it_stopped_and_warns_of_nothing(
    life: Life,
) -> None:
    lines = [
        line.partition(" INFO anomaly.worker: ")[2] for line in life.log.splitlines() if " INFO " in line
    ]
    assert [line.split()[0].strip(":") for line in lines] == ["judges", "ready", "stopped"]
    assert "WARNING" not in life.log
