"""The real commands on names that terminals, Rich and line-based readers would obey: looked at by their bytes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anomaly.monitor import PartitionMonitor, snapshot
from anomaly.topics import Topics
from tests.commands import topics
from tests.commands.transitions import transition
from tests.conftest import Kafka
from tests.fuzz.names import HOSTILE, INVISIBLE, TERMINAL
from tests.monitor.logs import Record, healthy
from tests.repository import REPOSITORY

NAME = "".join(HOSTILE) + "[/red]end"
OBEYED = tuple(each.encode() for each in (*TERMINAL, *INVISIBLE))
RUN = NAME.replace("\x00", "")  # an argument cannot hold it


def run(*arguments: str | Path, colours: bool = False) -> subprocess.CompletedProcess[bytes]:
    """The command as a process; with `colours` as on a terminal."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "4000"}
    environment |= {"FORCE_COLOR": "1", "TERM": "xterm"} if colours else {"NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "anomaly", *map(str, arguments)], capture_output=True, env=environment, timeout=120,
        check=False,
    )  # fmt: skip


def assert_harmless(ended: subprocess.CompletedProcess[bytes]) -> None:
    for stream in (ended.stdout, ended.stderr):
        found = [each for each in OBEYED if each in stream]
        assert not found
        assert all(line.isprintable() or "\x1b[" in line for line in stream.decode().split("\n"))


def hostile_state() -> bytes:
    """The saved state of a run all of whose names are hostile, with an open incident."""
    monitor = PartitionMonitor(0, 1)
    for step in range(40):
        record = {
            **healthy(step, layers=(NAME, "plain")),
            "run": RUN,
            "tags": {NAME: NAME},
            NAME: 1.0 + step / 100,
        }
        if step == 39:
            record["layers"][NAME]["grad_norm"] = float("nan")
        monitor.process([Record(step, json.dumps(record).encode())])
    return snapshot.dump(monitor.runs[RUN])


@pytest.mark.kafka("embedded")
def test_tail_and_runs_show_hostile_names_and_obey_none(kafka: Kafka) -> None:
    names = Topics(kafka.prefix)
    flags = ("--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix)
    topics.make(kafka.bootstrap_servers, names.changelog, 1)
    topics.write(kafka.bootstrap_servers, names.changelog, [(RUN.encode(), hostile_state(), 0)])
    listed, shown = run("runs", "list", *flags), run("runs", "show", RUN, *flags)
    for ended in (listed, shown, run("runs", "show", RUN, *flags, colours=True)):
        assert ended.returncode == 0
        assert_harmless(ended)
    assert rb"\x1b[31m" in shown.stdout
    assert b"[red]" in shown.stdout, "markup is text"
    exact = json.loads(run("runs", "show", RUN, "--json", *flags).stdout)
    assert exact["run"] == RUN
    assert exact["tags"] == {NAME: NAME}
    missing = run("runs", "show", "\x1b[31mnobody\u202e", *flags)
    assert missing.returncode == 1
    assert_harmless(missing)


@pytest.mark.kafka("embedded")
def test_tail_obeys_nothing_of_what_a_topic_holds(kafka: Kafka) -> None:
    topic = Topics(kafka.prefix).incidents
    topics.make(kafka.bootstrap_servers, topic, 1)
    of_names = dict.fromkeys(
        ("run", "layer", "statistic", "summary", "advice", "runbook", "incident", "kind"), NAME
    )
    hostile = transition(layers=(NAME,), tags={NAME: NAME}, **of_names)
    endless = json.loads(transition(incident="endless").encode()) | {"step": 1e999, "first_step": -1e999}
    written = [hostile.encode(), NAME.encode(), b"[1]", b"\x80\x1b[31m", json.dumps(endless).encode()]
    topics.write(kafka.bootstrap_servers, topic, [(None, each, 0) for each in written])
    flags = (
        "--from-beginning",
        "--bootstrap-servers",
        kafka.bootstrap_servers,
        "--topic-prefix",
        kafka.prefix,
    )
    for how in ((), ("--json",)):
        process = subprocess.Popen(
            [sys.executable, "-m", "anomaly", "tail", *how, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "4000"},
        )  # fmt: skip
        assert process.stdout is not None
        lines: list[bytes] = []
        while not any(b"endless" in line for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1]
        process.terminate()
        _, told = process.communicate(timeout=60)
        assert_harmless(subprocess.CompletedProcess((), 0, b"".join(lines), told))
        assert told.count(b"is no transition") == 3
        if how:
            assert json.loads(lines[0])["summary"] == NAME


def test_replay_shows_hostile_names_and_obeys_none(tmp_path: Path) -> None:
    rows = [[NAME, str(step), NAME, "NaN" if step == 5 else "1.0", "1.0"] for step in range(10)]
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    for file, more in ((good, []), (bad, [[NAME, "soon\x1b[31m", NAME, "1.0", "1.0"]])):
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([["run", "step", "layer", "grad_norm", NAME], *rows, *more])
    wrong, ended = run("replay", bad), run("replay", good)
    assert (wrong.returncode, ended.returncode) == (2, 0)
    assert_harmless(wrong)
    assert_harmless(ended)
    assert rb"\x1b[31m" in ended.stdout
    exact = run("replay", "--json", good)
    assert json.loads(exact.stdout.split(b"\n")[0])["run"] == NAME
    assert_harmless(exact)


def test_a_missing_file_of_a_hostile_name_is_told_harmlessly(tmp_path: Path) -> None:
    ended = run("replay", tmp_path / "no\x1b[31m\u202esuch")
    assert ended.returncode == 2
    assert_harmless(ended)
