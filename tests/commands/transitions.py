"""A transition to show, with any fields of one's own."""

from __future__ import annotations

from typing import Any

import msgspec

from anomaly.incidents.transition import Evidence, Severity, Source, Status, Transition

_ONE = Transition(
    incident="0123456789abcdef",
    transition=0,
    status=Status.OPENED,
    run="gpt-7b",
    attempt=0,
    kind="nonfinite_weight",
    severity=Severity.CRITICAL,
    step=120,
    first_step=118,
    last_good_step=117,
    last_checkpoint_step=100,
    layer="h.3.mlp",
    layers=("h.3.mlp", "h.4.attn"),
    ranks=(3,),
    statistic="weight_norm",
    value=float("nan"),
    expected=19.2,
    score=1.0,
    detector="nonfinite",
    evidence=(Evidence("weight_norm", float("nan"), 19.2, 1.0, "nonfinite", "h.3.mlp", 118),),
    summary="Non-finite weights in h.3.mlp since step 118",
    advice="Stop the run.",
    runbook="docs/runbooks/nonfinite_weight.md",
    source=Source(2, 41),
    opened_unix_seconds=1_790_000_000.0,
    updated_unix_seconds=1_790_000_000.0,
)


def transition(**fields: Any) -> Transition:
    return msgspec.structs.replace(_ONE, **fields)
