"""Published rules on a run's loss and total gradient norm, as they are published: judged reading by reading.

Each takes a `View` and its knob, and gives its alarms. Where a publication leaves something open, what flatters the
rule was taken, and is said.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import numpy as np

from benchmarks.detection.peer_view import Alarm, View
from benchmarks.detection.series import Floats

Readings = tuple[Floats, Floats]


def kill_loss_spike(view: View, factor: float) -> Iterator[Alarm]:
    """llm-foundry's KillLossSpike: at least `factor` (2) times the mean of the last 100 losses, five in a row.

    Silent until 100 are there; outliers enter the window, and so does a NaN, beside which nothing is a spike.
    """
    window: deque[float] = deque(maxlen=100)
    row = 0
    for step, loss in _readings(view.loss):
        if len(window) == 100:
            row = row + 1 if loss >= factor * math.fsum(window) / 100 else 0
            if row >= 5:
                yield Alarm(step)
        window.append(loss)


def nan_monitor(view: View, _knob: float) -> Iterator[Alarm]:
    """Composer's NaNMonitor: a NaN loss."""
    return (Alarm(step) for step, loss in _readings(view.loss) if math.isnan(loss))


def terminate_on_nan(view: View, _knob: float) -> Iterator[Alarm]:
    """Keras's TerminateOnNaN, MaxText's abort_on_nan: a NaN or infinite loss."""
    return (Alarm(step) for step, loss in _readings(view.loss) if not math.isfinite(loss))


def megatron(view: View, factor: float) -> Iterator[Alarm]:
    """Megatron's rerun validation: NaN, Inf, or at least `factor` (10) times the largest of the first 100 losses."""
    largest = -math.inf
    for at, (step, loss) in enumerate(_readings(view.loss)):
        if not math.isfinite(loss) or (at >= 100 and loss >= factor * largest):
            yield Alarm(step)
        elif at < 100:
            largest = max(largest, loss)


def olmo_skip_step(view: View, deviations: float) -> Iterator[Alarm]:
    """OLMo's SkipStep (MaxText and levanter alike): loss or total norm above mean + `deviations` (6) std.

    Of the last 128 readings, from 64 on; what cannot be compared is an alarm; everything enters the window.
    """
    for readings in (view.loss, view.norm):
        window: deque[float] = deque(maxlen=128)
        for step, value in _readings(readings):
            if len(window) >= 64 and not value <= _mean(window) + deviations * _std(window):
                yield Alarm(step)
            window.append(value)


def lightning(view: View, factor: float) -> Iterator[Alarm]:
    """Lightning's SpikeDetection: worse than the last loss, and off the mean of 10 by `factor` (2) times that mean.

    Or not finite. What alarms is not learned.
    """
    window: deque[float] = deque(maxlen=10)
    for step, loss in _readings(view.loss):
        mean = math.fsum(window) / len(window) if window else math.nan
        worse = bool(window) and loss > window[-1]
        if not math.isfinite(loss) or (worse and abs(loss - mean) >= factor * abs(mean)):
            yield Alarm(step)
        else:
            window.append(loss)


def zclip(view: View, threshold: float) -> Iterator[Alarm]:
    """ZClip: z > `threshold` (2.5) of the total norm against moving averages (0.97) of mean and variance.

    25 readings of warm-up; what is above is learned as clipped, at mean + threshold² / z deviations.
    """
    warm_up: list[float] = []
    mean = variance = math.nan
    for step, norm in _readings(view.norm):
        if len(warm_up) < 25:
            warm_up.append(norm)
            mean, variance = float(np.mean(warm_up)), float(np.var(warm_up))
            continue
        deviation = math.sqrt(variance)
        z = (norm - mean) / (deviation + 1e-6)
        if z > threshold:
            yield Alarm(step)
            norm = mean + threshold**2 / z * deviation
        mean = 0.97 * mean + 0.03 * norm
        variance = 0.97 * variance + 0.03 * (norm - mean) ** 2


def wandb_z(view: View, threshold: float) -> Iterator[Alarm]:
    """W&B's z-score automation, one on the loss and one on the norm: z > `threshold` (3) of the last 30 readings."""
    for readings in (view.loss, view.norm):
        window: deque[float] = deque(maxlen=30)
        for step, value in _readings(readings):
            if len(window) == 30 and value > _mean(window) + threshold * _std(window):
                yield Alarm(step)
            window.append(value)


def wandb_z_once(view: View, threshold: float) -> Iterator[Alarm]:
    """The same with its limit of one message a run in 24 hours; runs of the corpus take less."""
    first = min(wandb_z(view, threshold), key=lambda alarm: alarm.step, default=None)
    return iter(()) if first is None else iter((first,))


def _readings(readings: Readings) -> Iterator[tuple[float, float]]:
    return zip(readings[0].tolist(), readings[1].tolist(), strict=True)


def _mean(window: deque[float]) -> float:
    return sum(window) / len(window)


def _std(window: deque[float]) -> float:
    """The sample standard deviation; NaN where an entry is not finite."""
    mean = _mean(window)
    return math.sqrt(sum((value - mean) ** 2 for value in window) / (len(window) - 1))
