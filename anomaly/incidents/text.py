"""The words of an incident: one line for someone who has just been woken."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anomaly.incidents.kinds import Kind
from anomaly.incidents.transition import Evidence
from anomaly.records import step_number


def summary_of(
    kind: Kind, layer: str | None, ranks: Sequence[int], first_step: int, strongest: Evidence
) -> str:
    """What, where, since when, and the value against what was expected. `first_step` is in millionths."""
    where = f" in {layer}" if layer is not None else ""
    of = "" if not ranks else f" on rank {ranks[0]}" if len(ranks) == 1 else f" on {len(ranks)} ranks"
    step = step_number(first_step)
    since = f"{step:,}" if isinstance(step, int) else f"{step:,.6f}".rstrip("0")
    of_layer = f" of {strongest.layer}" if strongest.layer is not None and strongest.layer != layer else ""
    against = "" if strongest.expected is None else f", expected about {number_text(strongest.expected)}"
    return (
        f"{kind.title}{where}{of} since step {since}: "
        f"{strongest.statistic}{of_layer} is {number_text(strongest.value)}{against}"
    )


def number_text(value: float) -> str:
    """A number as people read it.

    >>> number_text(float("nan")), number_text(0.00012345), number_text(41203.0), number_text(1.5e9)
    ('NaN', '0.0001234', '41,203', '1.5e+09')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.4g}"
