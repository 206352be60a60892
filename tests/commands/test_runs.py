"""``anomaly runs``: what the saved states say, on real brokers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from anomaly.cli import main
from anomaly.codec import decode
from anomaly.monitor.monitor import PartitionMonitor
from anomaly.monitor.snapshot import dump
from anomaly.topics import PREFLIGHT_KEY, Topics
from tests.commands import topics
from tests.conftest import Kafka


def state_of(run: str, steps: int, broken: bool = False) -> bytes:
    monitor = PartitionMonitor(0, 1)
    rng = np.random.default_rng(5)
    for step in range(steps):
        record: dict[str, Any] = {
            "run": run,
            "step": step,
            "time": 1_790_000_000.0 + step,
            "loss": 2.0 + float(rng.normal(0, 0.02)),
            "lr": 0.001,
            "layers": {
                name: {"grad_norm": float(np.exp(rng.normal(0, 0.1))), "update_ratio": 0.002}
                for name in ("h.0", "h.1")
            },
            "tags": {"owner": "ann"},
        }
        if broken and step == steps - 1:
            record["layers"]["h.1"]["grad_norm"] = float("nan")
        monitor.take(decode(json.dumps(record).encode()))
    return dump(monitor.runs[run])


def shown(capsys: pytest.CaptureFixture[str], kafka: Kafka, *arguments: str) -> tuple[int, str, str]:
    flags = ("--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix)
    code = main(["runs", *arguments, *flags])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_runs_are_listed_and_shown_from_their_newest_saved_state(
    kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    changelog = Topics(kafka.prefix).changelog
    code, out, told = shown(capsys, kafka, "list")
    assert (code, out) == (0, "")
    assert f"topic {changelog} holds no state" in told

    topics.make(kafka.bootstrap_servers, changelog, 2)
    topics.write(
        kafka.bootstrap_servers,
        changelog,
        [
            (PREFLIGHT_KEY, b"", 0),
            (b"gpt", state_of("gpt", 10), 0),
            (b"gone", state_of("gone", 5), 0),
            (b"damaged", b"\x00", 0),
            (b"bert", state_of("bert", 200, broken=True), 1),
            (b"gpt", state_of("gpt", 100), 0),
            (b"gone", None, 0),
        ],
    )
    code, out, told = shown(capsys, kafka, "list", "--json")
    bert, gpt = map(json.loads, out.splitlines())
    assert code == 0
    assert (gpt["run"], gpt["last_step"], gpt["readings"], gpt["partition"]) == ("gpt", 99, 100, 0)
    assert gpt["open"] == []
    assert gpt["series"] == 6
    assert gpt["snapshot_seconds_ago"] < 600
    assert bert["open"][0]["kind"] == "nonfinite_gradient"
    assert gpt["normal"]["loss"]["expected"] == pytest.approx(2.0, abs=0.1)

    code, out, told = shown(capsys, kafka, "list")
    assert "nothing" not in out
    assert "critical: Non-finite gradient" in out

    code, out, told = shown(capsys, kafka, "show", "bert")
    assert "open: critical: Non-finite gradient in h.1 since step 199" in out
    assert "200 steps judged" in out
    assert "h.0" in out
    assert "0.002 ±" in out
    assert "tag owner" in out
    assert "about 26 false warnings per run-month at this run's pace (1 s a step)" in out

    code, out, told = shown(capsys, kafka, "show", "gone")
    assert (code, out) == (1, "")
    assert "run gone is not watched" in told
