"""*One run*: its curves, with its incidents over them."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import VariableRefresh, VariableSort

from deploy.grafana.panels import ONE_RUN, SOURCE, Panel, Query, board, graph, labels_table, laid_out, number

INCIDENTS = 'anomaly_incident_opened_timestamp_seconds{run="$run",severity!="info"}'


def one_run() -> Dashboard:
    """The dashboard. Its annotations are finished by `deploy.grafana.__main__`."""
    made = board("One run", ONE_RUN, "What the detector knows of one training run.", "3h")
    made.with_variable(
        dashboard.QueryVariable("run")
        .label("Run")
        .datasource(SOURCE)
        .query("label_values(anomaly_run_step, run)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )
    made.annotation(
        dashboard.AnnotationQuery()
        .name("Incidents")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("red")
        .expr(INCIDENTS)
    )
    return laid_out(
        made, ("", 4, _numbers()), ("Training", 9, _training()), ("", 9, _scores()), ("Pace", 8, _pace())
    )


def _of(metric: str) -> str:
    # One value, also in the moment in which the run moves from one worker to another.
    return f'max(anomaly_run_{metric}{{run="$run"}})'


def _numbers() -> list[Panel]:
    return [
        number("Step", "The latest optimiser step.", _of("step")),
        number("Loss", "Of the latest record.", _of("loss"), decimals=4),
        number("Attempt", "How often it has started over.", _of("attempt")),
        number("Ranks", "Ranks that report.", _of("ranks")),
        number(
            "Last record",
            "When it came.",
            f"{_of('last_record_timestamp_seconds')} * 1000",
            "dateTimeFromNow",
        ),
        number(
            "Open incidents",
            "Warnings and critical ones.",
            'sum(anomaly_incidents_open{run="$run",severity!="info"})',
            red_from=1,
        ),
    ]


def _training() -> list[Panel]:
    return [
        graph("Loss", "Training loss, in its own unit.", Query(_of("loss"), "loss"), from_zero=False),
        graph(
            "Gradient norm",
            "L2 norm of the whole gradient, before clipping.",
            Query(_of("grad_norm"), "norm"),
        ),
        graph("Learning rate", "Of the first parameter group.", Query(_of("learning_rate"), "rate")),
    ]


def _scores() -> list[Panel]:
    return [
        graph(
            "Worst score",
            "Of all series of the latest record, the largest score; 1 raises an alarm.",
            Query(_of("worst_score"), "score"),
            limit=1,
        ),
        labels_table(
            "Open incidents",
            "What is open now; `anomaly incidents list` has the rest.",
            f"max by (kind, severity) ({INCIDENTS}) * 1000",
            ["kind", "severity"],
            "opened",
            "dateTimeFromNow",
        ),
    ]


def _pace() -> list[Panel]:
    return [
        graph("Steps per second", "Optimiser steps in a second.", Query(_of("steps_per_second"), "steps/s")),
        graph(
            "Step",
            "A line that turns down is a restart from a checkpoint.",
            Query(_of("step"), "step"),
            from_zero=False,
        ),
        graph("Ranks", "Ranks that report.", Query(_of("ranks"), "ranks")),
    ]
