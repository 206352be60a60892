"""Learning-rate schedules as factors of the base rate."""

from __future__ import annotations

import math

NAMES = ("const", "linear", "cosine", "step", "restarts", "wsd", "wsd_rewarm", "inverse_sqrt")


def factor(kind: str, step: int, total: int, warmup: int) -> float:
    """What the base rate is multiplied by at `step` of `total`, after `warmup` steps of linear increase."""
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    done = min(1.0, step / total)
    if kind == "const":
        return rising
    if kind == "linear":
        return rising * max(1.0 - done, 0.01)
    if kind == "cosine":
        return rising * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))
    if kind == "step":
        return rising * 0.1 ** sum(step >= total * share for share in (0.5, 0.8))
    if kind == "restarts":
        period = max(total // 4, 1)
        return rising * (0.02 + 0.49 * (1 + math.cos(math.pi * (step % period) / period)))
    if kind == "wsd":
        return rising * min(1.0, max(0.01, (total - step) / (0.2 * total)))
    if kind == "wsd_rewarm":
        half, at = total // 2, step % max(total // 2, 1)
        again = min(1.0, (at + 1) / 40) if step >= half else rising
        return again * min(1.0, max(0.05, (half - at) / (0.25 * half)))
    if kind == "inverse_sqrt":
        return rising * math.sqrt(max(warmup, 30) / max(step, warmup, 30))
    raise ValueError(f"schedule: got {kind!r}, one of {', '.join(NAMES)} is needed")


def moments(kind: str, total: int, warmup: int) -> list[tuple[str, int]]:
    """The benign events that the schedule itself brings: name and step."""
    found = [("warmup", 0)] if warmup else []
    if kind == "step":
        found += [("step_decay", math.ceil(total * share)) for share in (0.5, 0.8)]
    if kind == "restarts":
        period = max(total // 4, 1)
        found += [("warm_restart", step) for step in range(period, total, period)]
    if kind == "wsd":
        found.append(("wsd_decay", math.ceil(0.8 * total)))
    if kind == "wsd_rewarm":
        found.append(("wsd_rewarm", total // 2))
    if kind in ("linear", "cosine", "inverse_sqrt"):
        found.append((f"{kind}_decay", warmup))
    return found
