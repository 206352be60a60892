"""Transitions made by hand."""

from __future__ import annotations

from anomaly.incidents.transition import Severity, Status, Transition


def transition(
    step: float,
    severity: str = "warning",
    status: str = "opened",
    incident: str = "one",
    kind: str = "gradient_spike",
    layers: tuple[str, ...] = (),
    ranks: tuple[int, ...] = (),
    number: int = 0,
) -> Transition:
    return Transition(
        incident=incident,
        transition=number,
        status=Status(status),
        run="run",
        attempt=0,
        kind=kind,
        severity=Severity(severity),
        step=step,
        first_step=step,
        last_good_step=None,
        last_checkpoint_step=None,
        layer=layers[0] if layers else None,
        layers=layers,
        ranks=ranks,
        statistic="grad_norm",
        value=1.0,
        expected=None,
        score=2.0,
        detector="rule",
        evidence=(),
        summary="",
        advice="",
        runbook="",
        source=None,
        opened_unix_seconds=None,
        updated_unix_seconds=None,
    )
