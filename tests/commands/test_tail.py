"""``anomaly tail`` on real brokers."""

from __future__ import annotations

import json
import signal
from typing import IO, Any

from anomaly.commands.tail import Seen
from anomaly.incidents.transition import Severity, Status
from anomaly.topics import PREFLIGHT_KEY
from tests.commands import topics
from tests.commands.started import start
from tests.commands.transitions import transition
from tests.conftest import Kafka


def taken(lines: IO[str], count: int) -> list[dict[str, Any]]:
    return [json.loads(lines.readline()) for _ in range(count)]


def test_tail_shows_each_transition_once_and_passes_over_what_is_none(kafka: Kafka) -> None:
    topic = f"{kafka.prefix}.incidents"
    topics.make(kafka.bootstrap_servers, topic, 2)
    opened = transition(run="a")
    again = transition(run="a", transition=1, status=Status.UPDATED)
    remark = transition(run="b", severity=Severity.INFO, incident="feed")
    other = transition(run="other", incident="beef")
    written = [
        (PREFLIGHT_KEY, b"", 0),
        *((b"a", one.encode(), 0) for one in (opened, again, opened, again)),
        (b"b", remark.encode(), 0),
        (None, b"not a transition", 0),
        (b"a", None, 0),
        (b"other", other.encode(), 0),
        (b"a", transition(run="last", incident="cafe").encode(), 0),
    ]
    topics.write(kafka.bootstrap_servers, topic, written)
    process = start(
        "tail", "--json", "--from-beginning", "--severity", "warning", "--run", "[al]*",
        "--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix,
    )  # fmt: skip
    assert process.stdout is not None
    found = taken(process.stdout, 3)
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate(timeout=60)
    assert [(one["run"], one["transition"]) for one in found] == [("a", 0), ("a", 1), ("last", 0)]
    assert found[0]["value"] == "NaN"
    assert rest == ""
    assert told.count("is no transition") == 2
    assert process.returncode == 130


def test_tail_waits_for_a_topic_that_does_not_exist_yet_and_misses_nothing(kafka: Kafka) -> None:
    topic = f"{kafka.prefix}.incidents"
    process = start("tail", "--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix)
    assert process.stderr is not None
    assert process.stdout is not None
    assert "does not exist yet; waiting" in process.stderr.readline()
    topics.make(kafka.bootstrap_servers, topic, 1)
    topics.write(kafka.bootstrap_servers, topic, [(b"a", transition(run="a").encode(), 0)])
    card = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert "Non-finite weights" in card


def test_what_was_shown_is_forgotten_only_after_very_many() -> None:
    seen = Seen(remembered=2)
    one, two, three = (transition(incident=name) for name in "abc")
    assert [seen.is_new(each) for each in (one, one, two, one)] == [True, False, True, False]
    assert seen.is_new(three)
    assert not seen.is_new(two)
    assert seen.is_new(one)
