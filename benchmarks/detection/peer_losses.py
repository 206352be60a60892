"""Published rules on a run's loss and total gradient norm, as they are published: judged reading by reading.

Each takes a `View` and its knob, and gives its alarms. Where a publication leaves something open, what flatters the
rule was taken, and is said.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.detection.peer_view import Alarm, View
from benchmarks.detection.series import Floats

Readings = tuple[Floats, Floats]


def kill_loss_spike(view: View, factor: float) -> Iterator[Alarm]:
    """llm-foundry's KillLossSpike: at least `factor` (2) times the mean of the last 100 losses, five in a row.

    Silent until 100 are there; outliers enter the window, and so does a NaN, beside which nothing is a spike.
    """
    steps, losses = view.loss
    mean, _ = before(losses, window=100, least=100)
    row = 0
    for step, spike in zip(steps.tolist(), (losses >= factor * mean).tolist(), strict=True):
        row = row + 1 if spike else 0
        if row >= 5:
            yield Alarm(step)


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
    for steps, values in (view.loss, view.norm):
        mean, std = before(values, window=128, least=64)
        active = np.arange(len(values)) >= 64
        yield from map(Alarm, steps[active & ~(values <= mean + deviations * std)].tolist())


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
    for steps, values in (view.loss, view.norm):
        mean, std = before(values, window=30, least=30)
        yield from map(Alarm, steps[values > mean + threshold * std].tolist())


def wandb_z_once(view: View, threshold: float) -> Iterator[Alarm]:
    """The same with its limit of one message a run in 24 hours; runs of the corpus take less."""
    first = min(wandb_z(view, threshold), key=lambda alarm: alarm.step, default=None)
    return iter(()) if first is None else iter((first,))


def before(values: Floats, window: int, least: int) -> tuple[Floats, Floats]:
    """Mean and sample standard deviation of the last `window` readings before each; NaN until `least` are there.

    A reading in the window that is not finite makes both NaN or infinite, as it does in the rules.
    """
    mean, std = np.full(len(values), np.nan), np.full(len(values), np.nan)
    with np.errstate(invalid="ignore"):
        for at in range(least, min(window, len(values))):
            mean[at], std[at] = values[:at].mean(), values[:at].std(ddof=1)
        if len(values) > window:
            windows = sliding_window_view(values, window)[:-1]
            mean[window:], std[window:] = windows.mean(axis=1), windows.std(axis=1, ddof=1)
    return mean, std


def _readings(readings: Readings) -> Iterator[tuple[float, float]]:
    return zip(readings[0].tolist(), readings[1].tolist(), strict=True)
