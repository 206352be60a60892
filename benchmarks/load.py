"""What the measured runs report: healthy telemetry, the same for every program and from a fixed seed.

A record has 8 whole-model signals and 8 signals a layer: magnitudes, shares, a ratio to the learning rate, weights, as
a real hook sends them. Noise is lognormal and independent, which keeps every chart busy and quiet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly import codec
from anomaly.records import MILLIONTHS, Layout, LayoutMessage, Place, StepMessage

MODEL_SIGNALS = {
    "loss": (2.5, 0.02),
    "grad_norm_total": (1.0, 0.1),
    "lr": (3e-4, 0.0),
    "step_seconds": (1.0, 0.02),
    "tokens": (524_288.0, 0.0),
    "data_seconds": (0.01, 0.1),
    "peak_memory_bytes": (6e10, 0.0),
    "clip_coef": (1.0, 0.0),
}
LAYER_SIGNALS = {
    "grad_norm": (0.1, 0.2),
    "grad_absmax": (0.01, 0.3),
    "weight_norm": (30.0, 0.001),
    "update_ratio": (1e-3, 0.1),
    "act_rms": (1.0, 0.03),
    "act_in_rms": (1.0, 0.03),
    "act_absmax": (12.0, 0.1),
    "act_zero_frac": (0.1, 0.1),
}
"""Level and deviation of the logarithm, by signal."""
DIFFERENT_ROWS = 257
"""Records are drawn from so many; a prime, so that a run meets them all, in an order of its own."""
FIRST_TIME = 1_790_000_000.0
RUN = "run-{}"


@dataclass(frozen=True)
class Load:
    """`runs` runs with `layers` layers each report `steps` steps, all runs of a step side by side.

    One record a message, as a hook sends below ten steps a second, or `steps_a_message`. Each of `ranks` ranks sends
    the same values as the others.
    """

    layers: int
    runs: int
    steps: int
    steps_a_message: int = 1
    ranks: int = 1

    @property
    def values(self) -> int:
        """In all records together."""
        return self.runs * self.ranks * self.steps * self.layout.width

    @cached_property
    def layout(self) -> Layout:
        """Of every run."""
        layers = tuple(f"h.{at // 4}.{('attn', 'proj', 'up', 'down')[at % 4]}" for at in range(self.layers))
        return Layout(layers, tuple(LAYER_SIGNALS), tuple(MODEL_SIGNALS))

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """Float32 of shape (DIFFERENT_ROWS, layout.width)."""
        random = np.random.default_rng(1)
        levels = list(MODEL_SIGNALS.values()) + list(LAYER_SIGNALS.values()) * self.layers
        level, deviation = np.array(levels).T
        noise = random.standard_normal((DIFFERENT_ROWS, self.layout.width))
        rows: NDArray[np.float32] = (level * np.exp(deviation * noise)).astype(np.float32)
        return rows

    def row(self, run: int, step: int) -> NDArray[np.float32]:
        """A run's record of one step, float32 of shape (1, layout.width); a view, not to be written to."""
        at = (run * 101 + step * (1 + run % 97)) % DIFFERENT_ROWS
        return self.rows[at : at + 1]

    def layouts(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and message of each run's layout."""
        for run in range(self.runs):
            name = RUN.format(run)
            yield name.encode(), codec.encode_layout(LayoutMessage(name, self.layout))

    def message(
        self, run: int, first: int, times: list[float | None], values: NDArray[np.float32], rank: int = 0
    ) -> tuple[bytes, bytes]:
        """Key and message, as the hook encodes it, of a run's steps from `first` on: one of each times and values."""
        name = RUN.format(run)
        steps = [(first + at) * MILLIONTHS for at in range(len(times))]
        message = StepMessage(
            name, rank, steps, times, values, self.layout.hash, session=run * self.ranks + rank + 1, sequence=first,
            place=Place(self.ranks) if self.ranks > 1 else None,
        )  # fmt: skip
        return name.encode(), codec.encode_steps(message)

    def compact(self, first: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Every message in the compact form from step `first` on; layouts before all."""
        if not first:
            yield from self.layouts()
        for begin in range(first, self.steps, self.steps_a_message):
            steps = range(begin, min(begin + self.steps_a_message, self.steps))
            times: list[float | None] = [FIRST_TIME + step for step in steps]
            for run in range(self.runs):
                values = [self.row(run, step) for step in steps]
                joined = values[0] if len(values) == 1 else np.concatenate(values)
                for rank in range(self.ranks):
                    yield self.message(run, begin, times, joined, rank)

    def json(self) -> Iterator[tuple[bytes, bytes]]:
        """Every value again as the hand-written design sends it: one JSON object a layer, "" for the whole model."""
        encode = msgspec.json.Encoder().encode
        width = len(LAYER_SIGNALS)
        for step in range(self.steps):
            for run in range(self.runs):
                name, values = RUN.format(run), self.row(run, step)[0].tolist()
                signals = dict(zip(MODEL_SIGNALS, values, strict=False))
                yield name.encode(), encode({"run": name, "step": step, "layer": "", "signals": signals})
                for at, layer in enumerate(self.layout.layers):
                    first = len(MODEL_SIGNALS) + at * width
                    signals = dict(zip(LAYER_SIGNALS, values[first : first + width], strict=True))
                    yield (
                        name.encode(),
                        encode({"run": name, "step": step, "layer": layer, "signals": signals}),
                    )
