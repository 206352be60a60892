"""``anomaly replay``: the same transitions as the worker's monitor, for machines and for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from anomaly.cli import main
from anomaly.incidents.transition import Transition, decode_transition
from anomaly.monitor.monitor import PartitionMonitor
from anomaly.replay.run import Replay
from tests.replay.files import csv, parquet

LAYERS = ("h.0.attn", "h.0.mlp", "h.1.attn", "h.1.mlp")
Record = dict[str, Any]


def healthy(run: str, steps: Iterable[int], seed: int, rank: int = 0) -> Iterator[Record]:
    """Noisy but healthy records; the same step always has the same values."""
    for step in steps:
        rng = np.random.default_rng((seed, rank, step))
        yield {
            "run": run,
            "rank": rank,
            "step": step,
            "time": 1_790_000_000.0 + step,
            "loss": 2.0 + float(rng.normal(0, 0.02)),
            "lr": 0.001,
            "layers": {
                layer: {
                    "grad_norm": float(np.exp(rng.normal(0, 0.1))),
                    "act_rms": 1.0 + float(rng.normal(0, 0.02)),
                }
                for layer in LAYERS
            },
        }


def eventful() -> list[Record]:
    """Two ranks of one run, a restart without sessions, events, and two faults."""
    records: list[Record] = []
    for step in (*range(1, 120), *range(100, 180)):
        records += [next(healthy("two-ranks", [step], 1, rank)) for rank in (0, 1)]
    records[100]["events"] = [{"kind": "checkpoint_end", "step": 50}]
    records[300]["layers"]["h.1.attn"]["act_rms"] = float("nan")
    records[301]["loss"] = float("nan")
    spiked = list(healthy("spiked", range(1, 200), 2))
    for record in spiked[150:]:
        record["loss"] *= 4
    return records + spiked


@dataclass
class Logged:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def through_the_log(records: Iterable[Record], batch: int) -> list[Transition]:
    log = [
        Logged(number, 0, record["run"].encode(), json.dumps(record).encode())
        for number, record in enumerate(records)
    ]
    monitor = PartitionMonitor(0, 1)
    found: list[Transition] = []
    for start in range(0, len(log), batch):
        found += [transition for _, transition in monitor.process(log[start : start + batch]).transitions]
    return found


def in_long_form(records: Iterable[Record], with_time: bool = True) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("run", "rank", "step", "time", "events", "layer", "loss", "lr", "grad_norm", "act_rms")
    }
    if not with_time:
        del columns["time"]
    for record in records:
        own = {name: value for name, value in record.items() if name not in ("layers", "events")}
        if "events" in record:
            own["events"] = json.dumps(record["events"])
        key = {name: record[name] for name in ("run", "rank", "step")}
        rows = [own, *({**key, "layer": layer, **values} for layer, values in record["layers"].items())]
        for row in rows:
            for name, column in columns.items():
                column.append(row.get(name))
    return columns


def bare(transition: Transition) -> Transition:
    """Without what a file cannot know."""
    return msgspec.structs.replace(transition, source=None)


def encoded(transitions: Iterable[Transition]) -> list[bytes]:
    return [bare(transition).encode() for transition in transitions]


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_the_same_input_gives_the_same_transitions_through_the_log_and_through_replay(
    tmp_path: Path, batch: int
) -> None:
    records = eventful()
    path = parquet(tmp_path / "runs.parquet", row_group_rows=97, **in_long_form(records))
    replayed = list(Replay().transitions([path]))
    assert {transition.run for transition in replayed} == {"two-ranks", "spiked"}
    assert all(transition.source is None for transition in replayed)
    assert encoded(replayed) == encoded(through_the_log(records, batch))


def test_csv_and_parquet_give_the_same_transitions(tmp_path: Path) -> None:
    columns = in_long_form(eventful())
    as_csv = "\n".join(
        [
            ",".join(columns),
            *(",".join(map(cell, row)) for row in zip(*columns.values(), strict=True)),
            "",
        ]
    )
    one = Replay().transitions([parquet(tmp_path / "runs.parquet", **columns)])
    other = Replay().transitions([csv(tmp_path / "runs.csv", as_csv)])
    assert encoded(one) == encoded(other)


def cell(value: Any) -> str:
    if value is None:
        return ""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text


def test_without_time_the_seconds_are_null(tmp_path: Path) -> None:
    path = parquet(tmp_path / "runs.parquet", **in_long_form(eventful(), with_time=False))
    found = list(Replay().transitions([path]))
    assert found
    assert {transition.opened_unix_seconds for transition in found} == {None}
    assert {transition.updated_unix_seconds for transition in found} == {None}


def test_the_end_of_a_file_ends_nothing(tmp_path: Path) -> None:
    records = eventful()
    whole = parquet(tmp_path / "whole.parquet", **in_long_form(records))
    first = parquet(tmp_path / "1.parquet", **in_long_form(records[:310]))
    second = parquet(tmp_path / "2.parquet", **in_long_form(records[310:]))
    assert encoded(Replay().transitions([first, second])) == encoded(Replay().transitions([whole]))


def test_json_to_stdout_is_transitions_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = parquet(tmp_path / "runs.parquet", **in_long_form(eventful()))
    assert main(["replay", "--json", str(path)]) == 0
    told = capsys.readouterr()
    found = [decode_transition(text.encode()) for text in told.out.splitlines()]
    assert encoded(found) == encoded(Replay().transitions([path]))
    assert "2 runs, 597 records" in told.err


def test_people_see_cards_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = parquet(tmp_path / "runs.parquet", **in_long_form(eventful()))
    assert main(["replay", str(path)]) == 0
    told = capsys.readouterr()
    assert "Non-finite activation" in told.out
    assert "h.1.attn" in told.out
    assert "2 critical" in told.err


def test_many_incidents_are_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = csv(tmp_path / "many.csv", "run,step,loss\n" + "".join(f"run-{n},1,NaN\n" for n in range(20)))
    assert main(["replay", str(path)]) == 0
    told = capsys.readouterr()
    assert told.out.count("Non-finite loss") == 20
    assert "╭" not in told.out


def test_a_file_with_a_mistake_exits_with_2_after_what_came_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = csv(tmp_path / "good.csv", "run,step,loss\nr,1,NaN\nr,2,NaN\n")
    bad = csv(tmp_path / "bad.csv", "run,step,loss\nr,three,1\n")
    assert main(["replay", "--json", str(good), str(bad)]) == 2
    told = capsys.readouterr()
    assert [json.loads(text)["kind"] for text in told.out.splitlines()] == ["nonfinite_loss"]
    assert f"anomaly: {bad}: row 1, column 'step': got 'three'" in told.err


def test_a_wide_public_log_replays_as_it_is(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "wide.parquet",
        run=["a"] * 300,
        step=[100 * number for number in range(300)],
        loss=[3.0 * 0.999**number for number in range(299)] + [float("nan")],
        grad_norm_total=[1.0] * 299 + [None],
    )
    (opened,) = Replay().transitions([path])
    assert (opened.kind, opened.first_step, opened.layer) == ("nonfinite_loss", 29_900, None)


def silent(gap_seconds: float, paused: bool = False) -> list[Record]:
    """Forty steps, a second each, with a gap after the twentieth."""
    records = list(healthy("quiet", range(40), 3))
    for record in records[20:]:
        record["time"] += gap_seconds
    if paused:
        records[19]["events"] = [{"kind": "pause", "seconds": 2 * gap_seconds}]
    return records


def test_a_gap_in_the_records_own_time_is_a_silent_run_that_came_back(tmp_path: Path) -> None:
    opened, resolved = Replay().transitions(
        [parquet(tmp_path / "silent.parquet", **in_long_form(silent(300.0)))]
    )

    assert (opened.kind, opened.status, opened.step) == ("run_silent", "opened", 19)
    assert (resolved.kind, resolved.status, resolved.step) == ("run_silent", "resolved", 20)
    assert opened.updated_unix_seconds is not None
    assert 60 < opened.updated_unix_seconds - 1_790_000_019 < 62  # a minute, not when the silence was over
    assert opened.source is None


@pytest.mark.parametrize(
    ("records", "with_time"),
    [(silent(300.0), False), (silent(300.0, paused=True), True), (silent(30.0), True)],
    ids=["without time", "declared pause", "short"],
)
def test_a_gap_that_is_short_declared_or_without_time_is_no_silence(
    tmp_path: Path, records: list[Record], with_time: bool
) -> None:
    path = parquet(tmp_path / "silent.parquet", **in_long_form(records, with_time))

    assert list(Replay().transitions([path])) == []
