"""*Training fleet*: every run at a glance."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    FLEET,
    Column,
    Panel,
    Query,
    board,
    graph,
    labels_table,
    laid_out,
    number,
    runs_table,
)

REPORTS = "time() - anomaly_run_last_record_timestamp_seconds < 120"
"""True of runs that sent something in the last two minutes: one that stopped keeps the values it had."""


def fleet() -> Dashboard:
    """The dashboard."""
    made = board("Training fleet", FLEET, "Every training run that the detector watches.", "6h")
    return laid_out(
        made, ("", 4, _numbers()), ("Incidents", 8, _incidents()), ("Runs", 9, _tables()), ("", 8, _rates())
    )


def _numbers() -> list[Panel]:
    return [
        number("Training", "Runs that report.", 'sum(anomaly_runs_in_phase{phase="training"})'),
        number(
            "Paused",
            "Runs in an evaluation, a checkpoint or another pause that they declared.",
            'sum(anomaly_runs_in_phase{phase="paused"})',
        ),
        number(
            "Silent",
            "Runs that should report and do not.",
            'sum(anomaly_runs_in_phase{phase="silent"})',
            red_from=1,
        ),
        number(
            "Finished",
            "Runs that said so, as long as they are known.",
            'sum(anomaly_runs_in_phase{phase="finished"})',
        ),
        number(
            "Critical",
            "Open incidents to act on now.",
            'sum(anomaly_incidents_open{severity="critical"})',
            red_from=1,
        ),
        number(
            "Warnings",
            "Open incidents to look at today.",
            'sum(anomaly_incidents_open{severity="warning"})',
            orange_from=1,
        ),
    ]


def _incidents() -> list[Panel]:
    return [
        labels_table(
            "Open incidents",
            "What is open now, and since when. Click a run for its curves.",
            'max by (run, kind, severity) (anomaly_incident_opened_timestamp_seconds{severity!="info"}) * 1000',
            ["run", "kind", "severity"],
            "opened",
            "dateTimeFromNow",
        ),
        graph(
            "Incidents opened",
            "New incidents by kind and severity.",
            Query(
                'sum by (kind, severity) (increase(anomaly_incidents_total{severity!="info"}[$__rate_interval])) > 0',
                "{{kind}} ({{severity}})",
            ),
            stacked=True,
            bars=True,
        ),
        graph(
            "Incidents open",
            "Open incidents by severity.",
            Query('sum by (severity) (anomaly_incidents_open{severity!="info"})', "{{severity}}"),
        ),
    ]


def _tables() -> list[Panel]:
    return [
        runs_table(
            "Worst runs",
            "The runs whose last record stands out most; a score of 1 raises an alarm.",
            [
                Column("worst score", "topk(20, max by (run) (anomaly_run_worst_score))", decimals=2),
                Column("open incidents", 'sum by (run) (anomaly_incidents_open{severity!="info"})'),
                Column("step", "max by (run) (anomaly_run_step)"),
                Column("loss", "max by (run) (anomaly_run_loss)", decimals=4),
                Column("steps/s", "max by (run) (anomaly_run_steps_per_second)", decimals=2),
                Column(
                    "last record",
                    "max by (run) (anomaly_run_last_record_timestamp_seconds) * 1000",
                    "dateTimeFromNow",
                ),
            ],
        ),
        labels_table(
            "Silent runs",
            "Runs that should report and do not, and since when that is known.",
            'max by (run) (anomaly_incident_opened_timestamp_seconds{kind="run_silent"}) * 1000',
            ["run"],
            "silent",
            "dateTimeFromNow",
        ),
    ]


def _rates() -> list[Panel]:
    return [
        graph(
            "Runs by phase",
            "Where the runs stand.",
            Query("sum by (phase) (anomaly_runs_in_phase)", "{{phase}}"),
            stacked=True,
        ),
        graph(
            "Steps per second",
            "Of all runs that report, together.",
            Query("anomaly:run_steps_per_second:sum", "all runs"),
        ),
        graph(
            "Steps per second by run",
            "The twenty fastest runs that report.",
            Query(f"topk(20, anomaly_run_steps_per_second and on (run, instance) {REPORTS})", "{{run}}"),
        ),
    ]
