"""Names from outside in what the worker itself shows: its log and /metrics."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from anomaly.logs import Escaped
from anomaly.metrics import RunReading, WorkerMetrics
from tests.fuzz.names import HOSTILE, SCRIPTS

RUNS = tuple(
    dict.fromkeys(
        (
            *HOSTILE,
            *SCRIPTS,
            "".join(HOSTILE),
            'a"b\\n\nc',
            "\\",
            '"',
            "x\r\ny",
            "\x85",
            "\u2029",
            "# HELP",
            "} 1",
        )
    )
)


def test_metrics_of_runs_with_hostile_names_are_read_back_as_they_are() -> None:
    metrics = WorkerMetrics(CollectorRegistry(), len(RUNS))
    metrics.runs.source = lambda: [
        RunReading(run, last_record_unix_seconds=1.0, step=at) for at, run in enumerate(RUNS)
    ]
    for accept, read in (
        ("text/plain", parse),
        ("application/openmetrics-text; version=1.0.0", parse_openmetrics),
    ):
        encode, _ = choose_encoder(accept)
        families = {family.name: family for family in read(encode(metrics.registry).decode())}
        steps = {sample.labels["run"]: sample.value for sample in families["anomaly_run_step"].samples}
        assert steps == {run: float(at) for at, run in enumerate(RUNS)}


def test_a_log_line_that_quotes_a_name_stays_one_line_and_moves_no_terminal() -> None:
    formatter = Escaped("%(levelname)s: %(message)s")
    try:
        raise ValueError("\x1b[31mfrom outside\u202e")
    except ValueError as error:
        record = logging.LogRecord(
            "anomaly", logging.ERROR, "", 0, "%s", ("".join(HOSTILE),), (ValueError, error, None)
        )
    first, *others = formatter.format(record).split("\n")
    assert first.startswith("ERROR: ")
    assert first.isprintable()
    assert others == [r"ValueError: \x1b[31mfrom outside\u202e"]
