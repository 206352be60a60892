"""Published rules on layers and ranks, as far as statistics of layers can state them.

Rules of single elements (SPAM) or of mean magnitudes (SageMaker Debugger) are stated on the layer's norm or largest
magnitude, which is all that telemetry has.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.detection.peer_view import Alarm, View
from benchmarks.detection.series import Floats, RankSeries

TINY = 1e-7


def sagemaker(view: View, save_every: float) -> Iterator[Alarm]:
    """SageMaker Debugger's built-in rules, on what it saves: every `save_every` (500) steps.

    Mean |g| below 1e-7 (here the largest magnitude, else the norm), any NaN or Inf, more than half of a layer's ReLUs
    dead, an update ratio outside 1e-8…10, weights unchanged over 3 saves, a loss that fell by less than 0.1 % since the
    save at least 10 steps before.
    """
    series = view.first
    if series is None:
        return
    saved = series.steps % save_every == 0
    for layer, step in _broken(series, saved):
        yield Alarm(step, layer)
    for signal, low, high in (
        ("grad_absmax" if "grad_absmax" in series.values else "grad_norm", TINY, np.inf),
        ("act_zero_frac", -np.inf, 0.5),
        ("update_ratio", 1e-8, 10.0),
    ):
        yield from _outside(series, saved, signal, low, high)
    yield from _unchanged(series, saved)
    yield from _not_falling(view, save_every)


def _broken(series: RankSeries, saved: NDArray[np.bool_]) -> Iterator[tuple[str, float]]:
    for signal, values in series.values.items():
        there = series.measured[signal] & saved[:, None]
        bad = there & ~np.isfinite(values)
        if signal.endswith("nonfinite"):
            bad |= there & (values > 0)
        for record, layer in np.argwhere(bad).tolist():
            yield series.layers[layer], float(series.steps[record])


def _outside(
    series: RankSeries, saved: NDArray[np.bool_], signal: str, low: float, high: float
) -> Iterator[Alarm]:
    if signal in series.values:
        values = series.values[signal][:, 1:]
        there = series.measured[signal][:, 1:] & saved[:, None] & np.isfinite(values)
        for record, layer in np.argwhere(there & ((values < low) | (values > high))).tolist():
            yield Alarm(float(series.steps[record]), series.layers[layer + 1])


def _unchanged(series: RankSeries, saved: NDArray[np.bool_]) -> Iterator[Alarm]:
    for layer in series.layers[1:]:
        steps, norms = series.column("weight_norm", layer)
        at = np.isin(steps, series.steps[saved])
        steps, norms = steps[at], norms[at]
        same = (norms[2:] == norms[1:-1]) & (norms[1:-1] == norms[:-2])
        for step in steps[2:][same].tolist():
            yield Alarm(step, layer)


def _not_falling(view: View, save_every: float) -> Iterator[Alarm]:
    steps, losses = view.loss
    at = steps % save_every == 0
    steps, losses = steps[at], losses[at]
    for number, step in enumerate(steps.tolist()):
        before = np.flatnonzero(steps[:number] <= step - 10)
        if len(before) and losses[number] > losses[before[-1]] - 1e-3 * abs(losses[before[-1]]):
            yield Alarm(step)


def adagc(view: View, factor: float) -> Iterator[Alarm]:
    """AdaGC: a layer's gradient norm above `factor` (1.05) times its moving average (0.98, of what was clipped)."""
    for layer, steps, norms in _layers(view, "grad_norm"):
        average = np.nan
        for step, norm in zip(steps.tolist(), norms.tolist(), strict=True):
            if np.isnan(average):
                average = norm
                continue
            clipped = min(norm, factor * average)
            if norm > factor * average:
                yield Alarm(step, layer)
            average = 0.98 * average + 0.02 * clipped


def spam(view: View, factor: float) -> Iterator[Alarm]:
    """SPAM: g² above `factor` (5000) times its second moment (0.999), here of the layer's norm."""
    for layer, steps, norms in _layers(view, "grad_norm"):
        moment = 0.0
        for count, (step, square) in enumerate(zip(steps.tolist(), (norms**2).tolist(), strict=True)):
            if count and square > factor * moment / (1 - 0.999**count):
                yield Alarm(step, layer)
            moment = 0.999 * moment + 0.001 * square


def train_sdc(view: View, deviations: float) -> Iterator[Alarm]:
    """TrainSDC: a rank's residual gain, log rms(out) / rms(in), off the other ranks by `deviations` (6) MAD.

    The median over its last 64 gaps to the others' median, against the spread of the others' gaps in that window.
    """
    if len(view.ranks) < 3:
        return
    for layer in view.ranks[0].layers[1:]:
        steps, gains = _gains(view, layer)
        if len(steps) < 64:
            continue
        others = np.stack([np.median(np.delete(gains, rank, axis=0), axis=0) for rank in range(len(gains))])
        windows = sliding_window_view(gains - others, 64, axis=1)
        for rank, series in enumerate(view.ranks):
            rest = np.delete(windows, rank, axis=0)
            spread = 1.4826 * np.median(np.abs(rest), axis=(0, 2)) + 1e-4
            far = np.abs(np.median(windows[rank], axis=1)) > deviations * spread
            for step in steps[63:][far].tolist():
                yield Alarm(step, layer, series.rank)


def _gains(view: View, layer: str) -> tuple[Floats, Floats]:
    """(steps that all ranks report, gains as (ranks, steps)); empty where not measured."""
    pairs = []
    for series in view.ranks:
        steps, out = series.column("act_rms", layer)
        into_steps, into = series.column("act_in_rms", layer)
        if not len(steps) or not np.array_equal(steps, into_steps):
            return np.empty(0), np.empty((0, 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            pairs.append((steps, np.log(out / into)))
    common = pairs[0][0]
    for steps, _ in pairs[1:]:
        common = np.intersect1d(common, steps)
    return common, np.stack([gain[np.searchsorted(steps, common)] for steps, gain in pairs])


def rolling_z(view: View, threshold: float) -> Iterator[Alarm]:
    """What teams write first: z > `threshold` (6) of each layer's raw gradient norm over its last 100 readings."""
    for layer, steps, norms in _layers(view, "grad_norm"):
        if len(norms) > 100:
            windows = sliding_window_view(norms, 100)[:-1]
            with np.errstate(invalid="ignore"):
                high = norms[100:] > windows.mean(axis=1) + threshold * windows.std(axis=1, ddof=1)
            for step in steps[100:][high].tolist():
                yield Alarm(step, layer)


def _layers(view: View, signal: str) -> Iterator[tuple[str, Floats, Floats]]:
    for layer in view.first.layers[1:] if view.first else ():
        steps, values = view.first.column(signal, layer) if view.first else (np.empty(0), np.empty(0))
        if len(steps):
            yield layer, steps, values
