"""What a plot shows of one run: loss, gradient norm, and each layer's worst score, thinned while the run is judged."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.series import WHOLE_MODEL
from anomaly.monitor.state import RunState
from anomaly.records import step_number

CURVES = ("loss", "grad_norm_total")
COLUMNS = 600
"""Points that a curve has at most twice as many of: more than a screen can tell apart."""
MAX_LAYERS = 2_000
"""Further layers are not in the strip."""


class Curves:
    """One run's curves: `steps` of each column, `values` {signal: lowest and highest}, `worst` of each layer.

    A column stands for `width` readings; when there are twice as many columns as wanted, two become one.
    """

    def __init__(self) -> None:
        self.width = 1
        self.layers: list[str] = []
        self.steps: list[float] = []
        self.values: dict[str, list[tuple[float, float]]] = {name: [] for name in CURVES}
        self._worst: list[NDArray[np.float32]] = []
        self._in_column = 0
        self._readings = -1

    def note(self, state: RunState) -> None:
        """Take the run's last record."""
        if state.newest_step is None:
            return
        if state.readings != self._readings:  # else it is the same step, from another rank
            self._readings = state.readings
            if not self.steps or self._in_column >= self.width:
                self._open(step_number(state.newest_step))
            self._in_column += 1
        for name in CURVES:
            slot = state.table.model_slots.get(name)
            if slot is not None and math.isfinite(value := state.slab.describe(slot).value):
                low, high = self.values[name][-1]
                self.values[name][-1] = float(np.fmin(low, value)), float(np.fmax(high, value))
        self._note_layers(state)

    def strip(self) -> NDArray[np.float32]:
        """The worst ratio to the level by layer (row, the whole model first) and column; 0 where nothing was."""
        rows = len(self.layers) + 1
        strip = np.zeros((rows, len(self._worst)), np.float32)
        for at, column in enumerate(self._worst):
            strip[: len(column), at] = column
        return strip

    def _open(self, step: float) -> None:
        if len(self.steps) >= 2 * COLUMNS:
            self._halve()
        self.steps.append(step)
        self._in_column = 0
        for pairs in self.values.values():
            pairs.append((np.nan, np.nan))
        self._worst.append(np.zeros(len(self.layers) + 1, np.float32))

    def _halve(self) -> None:
        self.width *= 2
        self.steps = self.steps[::2]
        for name, pairs in self.values.items():
            both = zip(pairs[::2], [*pairs[1::2], (np.nan, np.nan)], strict=False)
            self.values[name] = [(float(np.fmin(a[0], b[0])), float(np.fmax(a[1], b[1]))) for a, b in both]
        merged = []
        for at in range(0, len(self._worst), 2):
            long = self._worst[min(at + 1, len(self._worst) - 1)].copy()
            short = self._worst[at]
            np.maximum(long[: len(short)], short, out=long[: len(short)])
            merged.append(long)
        self._worst = merged

    def _note_layers(self, state: RunState) -> None:
        slab, table = state.slab, state.table
        ratios = np.maximum(np.abs(slab.spike), np.abs(slab.shift))
        if len(table.layers) > len(self.layers):
            self.layers = list(table.layers[:MAX_LAYERS])
        column = self._worst[-1]
        if len(column) <= len(self.layers):
            column = self._worst[-1] = np.append(
                column, np.zeros(len(self.layers) + 1 - len(column), np.float32)
            )
        row = np.where(table.slot_layer == WHOLE_MODEL, 0, table.slot_layer + 1)
        shown = row < len(column)
        np.maximum.at(column, row[shown], ratios[shown])
        column[0] = max(column[0], float(state.climb.ratio.max(initial=0.0)))
