"""The budget as people think of it: false warnings in a month of one run, at its own pace."""

from __future__ import annotations

import math

MONTH_SECONDS = 30 * 86_400


def per_run_month(per_million_steps: float, seconds_a_step: float) -> float:
    """False warnings in 30 days of one run.

    >>> round(per_run_month(10.0, 2.0), 2)
    12.96
    """
    return per_million_steps / 1e6 * MONTH_SECONDS / seconds_a_step


def budget_text(per_million_steps: float, seconds_a_step: float | None = None) -> str:
    """The budget for people, at a run's pace where that is known.

    >>> print(budget_text(10.0, 25.92))
    about 1 false warning per run-month at this run's pace (26 s a step)
    >>> print(budget_text(10.0))
    10 false warnings per million steps: about 26 per run-month at one step a second
    """
    if seconds_a_step is None or not 0.0 < seconds_a_step < math.inf:
        month = count_text(per_run_month(per_million_steps, 1.0))
        asked = f"{per_million_steps:g} false warnings per million steps"
        return f"{asked}: about {month} per run-month at one step a second"
    month = count_text(per_run_month(per_million_steps, seconds_a_step))
    warnings = "false warning" if month == "1" else "false warnings"
    return f"about {month} {warnings} per run-month at this run's pace ({seconds_a_step:.2g} s a step)"


def count_text(count: float) -> str:
    """A rate for people.

    >>> count_text(0.034), count_text(1.04), count_text(26.2), count_text(12345.6)
    ('0.034', '1', '26', '12,346')
    """
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"
