"""From what a training loop hands over to one row of float32: names find their place, wrong values are left out.

Without a declared layout the names seen so far make the layout; new ones go last and make a new layout, so the first
few steps settle it. With a declared layout the layers and their signals are fixed and only whole-model signals grow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.errors import Reason, RecordError
from anomaly.records import MAX_LAYERS, MAX_SIGNALS, NOT_MEASURED, Layout, check_name

LayerValues = Mapping[str, Mapping[str, Any]]
"""``{layer: {signal: number or None}}``."""


class Rows:
    """Makes rows, and the layout they follow.

    ``layout`` is a new object exactly when the names have changed. What cannot be used is left out (not measured) and
    reported in ``refused``, one sentence each, which the caller takes away.
    """

    def __init__(self) -> None:
        self.refused: list[str] = []
        self._declared = False
        self._use(Layout((), ()))

    def declare(self, layout: Layout) -> None:
        """Follow `layout` from now on. Raises `RecordError` if it is not a valid one."""
        layout.check()
        self._declared = True
        known = set(layout.model_signals)
        grown = tuple(name for name in self.layout.model_signals if name not in known)
        self._use(msgspec.structs.replace(layout, model_signals=layout.model_signals + grown))

    def make(self, model: Mapping[str, Any], layers: LayerValues | Any | None) -> NDArray[np.float32]:
        """One row, float32 of shape (layout.width,), freshly allocated."""
        named = layers if isinstance(layers, Mapping) else {}
        row = self._template.copy()
        try:
            self._fill(_view(row), model, named)
        except Exception:  # a new name or a wrong value: rare, so only then look at each
            self._grow({name: value for name, value in model.items() if value is not None}, named)
            row = self._template.copy()
            self._fill_carefully(_view(row), model, named)
        if layers is not None and layers is not named:
            self._copy(row, layers)
        return row

    def _use(self, layout: Layout) -> None:
        self.layout = layout
        model = len(layout.model_signals)
        self._columns = {name: at for at, name in enumerate(layout.model_signals)}
        self._layers = {name: model + at * len(layout.signals) for at, name in enumerate(layout.layers)}
        self._signals = {name: at for at, name in enumerate(layout.signals)}
        self._template = np.repeat(NOT_MEASURED, layout.width)

    def _fill(self, view: memoryview[float], model: Mapping[str, Any], layers: LayerValues) -> None:
        # Assigning through a memoryview casts as C does: what is beyond float32 is infinity, without a warning.
        for name, value in model.items():
            if value is not None:
                if value.__class__ is not float and hasattr(value, "detach"):
                    value = (
                        value.detach()
                    )  # PyTorch warns about a number read off a tensor that has a gradient
                view[self._columns[name]] = value
        bases, signals = self._layers, self._signals
        for layer, values in layers.items():
            base = bases[layer]
            for signal, value in values.items():
                if value is not None:
                    view[base + signals[signal]] = value

    def _fill_carefully(self, view: memoryview[float], model: Mapping[str, Any], layers: LayerValues) -> None:
        """As `_fill`, leaving out what `_grow` has refused."""
        for name, value in model.items():
            if name in self._columns:
                self._set(view, self._columns[name], name, value)
        for layer, values in layers.items():
            if layer in self._layers and isinstance(values, Mapping):
                for signal, value in values.items():
                    if signal in self._signals:
                        self._set(view, self._layers[layer] + self._signals[signal], signal, value)

    def _set(self, view: memoryview[float], at: int, name: str, value: Any) -> None:
        if value is None:
            return
        try:
            if isinstance(value, str | bytes):
                raise TypeError
            view[at] = float(value)
        except OverflowError:  # an integer beyond every float
            view[at] = math.inf if value > 0 else -math.inf
        except Exception:
            self.refused.append(f"{name}: got {type(value).__name__}, a number is needed")

    def _copy(self, row: NDArray[np.float32], layers: Any) -> None:
        matrix = np.asarray(layers)
        expected = (len(self.layout.layers), len(self.layout.signals))
        if matrix.shape != expected or not self._declared:
            wanted = (
                f"shape {expected} of the declared layout"
                if self._declared
                else "a call of layout() before it"
            )
            self.refused.append(f"layers: got a matrix of shape {matrix.shape}, {wanted} is needed")
            return
        if matrix.dtype != np.float32:
            with np.errstate(all="ignore"):
                matrix = matrix.astype(np.float32)
        row[len(self.layout.model_signals) :] = matrix.reshape(-1)

    def _grow(self, model: Mapping[str, Any], layers: LayerValues) -> None:
        """Take names not seen before into the layout."""
        columns = self._new(model, self._columns, MAX_SIGNALS)
        new_layers: list[str] = []
        new_signals: list[str] = []
        usable = {}
        for layer, values in layers.items():
            if isinstance(values, Mapping):
                usable[layer] = values
            else:
                self.refused.append(f"layers: got {type(values).__name__}, {{signal: number}} is needed")
        names = dict.fromkeys(signal for values in usable.values() for signal in values)
        if self._declared:
            unknown = [name for name in usable if name not in self._layers]
            unknown += [name for name in names if name not in self._signals]
            self.refused += [f"layers: {name!r} is not in the declared layout" for name in unknown]
        else:
            new_layers = self._new(usable, self._layers, MAX_LAYERS)
            new_signals = self._new(names, self._signals, MAX_SIGNALS)
        if columns or new_layers or new_signals:
            self._use(
                msgspec.structs.replace(
                    self.layout,
                    model_signals=(*self.layout.model_signals, *columns),
                    layers=(*self.layout.layers, *new_layers),
                    signals=(*self.layout.signals, *new_signals),
                )
            )

    def _new(self, names: Mapping[Any, Any], known: Mapping[str, int], most: int) -> list[str]:
        """The names of `names` that are not known yet and may be taken in."""
        new: list[str] = []
        for name in names:
            if name in known:
                continue
            try:
                if not isinstance(name, str):
                    raise RecordError(Reason.INVALID_RECORD, f"a name: got {name!r}, a string is needed")
                if len(known) + len(new) >= most:
                    raise RecordError(
                        Reason.INVALID_RECORD, f"{name!r}: more than {most} names; it is left out"
                    )
                new.append(check_name("a name", name))
            except RecordError as error:
                self.refused.append(error.detail)
        return new


def _view(row: NDArray[np.float32]) -> memoryview[float]:
    return cast("memoryview[float]", row.data)
