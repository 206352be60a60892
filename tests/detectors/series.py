"""Simulated series, healthy and faulty: generators of float32 [steps, slots], all from a seed.

Healthy families are what a training run shows while nothing is wrong, unannounced; faults change a healthy
family from step `onset` on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.levels import Levels
from detectors.rows import NOT_MEASURED
from detectors.tails import NO_TAILS

Floats = NDArray[np.float32]
Make = Callable[[np.random.Generator, int, int], NDArray[np.float64]]

THEORY = Levels(base=NO_TAILS)
"""What charts are designed for; measured tails move it."""
BLANK = np.array([NOT_MEASURED], np.uint32).view(np.float32)[0]


def _ar(
    r: np.random.Generator, steps: int, slots: int, phi: float, noise: NDArray[np.float64]
) -> NDArray[np.float64]:
    y = np.empty((steps, slots))
    last = noise[0].copy()
    gain = np.sqrt(1.0 - phi * phi)
    for t in range(steps):
        last = phi * last + gain * noise[t]
        y[t] = last
    return y


def iid(sigma: float) -> Make:
    return lambda r, steps, slots: r.normal(0.0, sigma, (steps, slots))


def ar(phi: float, sigma: float = 0.3) -> Make:
    return lambda r, steps, slots: _ar(r, steps, slots, phi, r.normal(0.0, sigma, (steps, slots)))


def student(sigma: float = 0.2, phi: float = 0.0) -> Make:
    return lambda r, steps, slots: _ar(r, steps, slots, phi, sigma * r.standard_t(3, (steps, slots)))


def spiky(sigma: float = 0.2, share: float = 0.01, height: float = 3.0) -> Make:
    """One reading in a hundred is 8 times too large, alone."""
    return lambda r, steps, slots: (
        r.normal(0.0, sigma, (steps, slots)) + height * (r.random((steps, slots)) < share)
    )


def walk(sigma: float = 0.2, step: float = 0.01) -> Make:
    """The level wanders: 1 log2 unit in 10,000 readings at step 0.01."""
    return lambda r, steps, slots: (
        r.normal(0.0, sigma, (steps, slots)) + np.cumsum(r.normal(0.0, step, (steps, slots)), axis=0)
    )


def moody(sigma: float = 0.2) -> Make:
    """The noise's own size wanders slowly between a half and twice its mean."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        mood = _ar(r, steps, slots, 0.99, r.normal(0.0, 0.5, (steps, slots)))
        return sigma * np.exp2(mood) * r.normal(0.0, 1.0, (steps, slots))

    return make


def seasonal(sigma: float = 0.2, height: float = 0.4) -> Make:
    """A period of 100 to 1,000 readings, as epochs give."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        period = np.exp(r.uniform(np.log(100), np.log(1000), slots))
        phase = 2 * np.pi * (np.arange(steps)[:, None] / period + r.random(slots))
        return r.normal(0.0, sigma, (steps, slots)) + height * np.sin(phase)

    return make


def decay(sigma: float = 0.05) -> Make:
    """A loss: 11 -> about 3 nats by a power law, with noise in the log."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        t = np.arange(steps)[:, None] + 1.0
        power = r.uniform(0.2, 0.7, slots)
        knee = r.uniform(1, 100, slots)
        floor = r.uniform(0.05, 3.0, slots)
        return np.log2(floor + 8.0 * (1 + t / knee) ** -power) + r.normal(0.0, sigma, (steps, slots))

    return make


def warm_up(sigma: float = 0.25) -> Make:
    """A gradient norm: starts high, falls by 2^1 .. 2^5 within 20 .. 400 steps, then settles."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        t = np.arange(steps)[:, None]
        fall, span = r.uniform(-2, 5, slots), r.uniform(20, 400, slots)
        return fall * np.exp(-t / span) + r.normal(0.0, sigma, (steps, slots))

    return make


def step_decay(sigma: float = 0.2, drop: float = 1.0) -> Make:
    """Three unannounced drops by 2^drop, as a learning-rate schedule gives."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        t = np.arange(steps)[:, None]
        return r.normal(0.0, sigma, (steps, slots)) - drop * sum(t > steps * k / 4 for k in (1, 2, 3))

    return make


def loss_shift(sigma: float = 0.03) -> Make:
    """A loss of 1.5 to 4 nats that is moved by -0.5 .. +0.5 nats for 500 steps and back: data-mix boundaries."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        base = r.uniform(1.5, 4.0, slots)
        moved = (np.arange(steps)[:, None] // 500) % 2
        return np.log2(base + moved * r.uniform(-0.5, 0.5, slots)) + r.normal(0.0, sigma, (steps, slots))

    return make


def two_level(sigma: float = 0.2, gap: float = 1.0) -> Make:
    """Jumps between two levels, staying 20 readings on average: adversarial losses."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        side = np.cumsum(r.random((steps, slots)) < 0.05, axis=0) % 2
        return r.normal(0.0, sigma, (steps, slots)) + gap * side

    return make


HEALTHY: dict[str, tuple[str, Make]] = {
    "iid 0.1": ("gradient", iid(0.1)),
    "iid 0.3": ("gradient", iid(0.3)),
    "iid 1.0": ("gradient", iid(1.0)),
    "ar .5": ("gradient", ar(0.5)),
    "ar .9": ("gradient", ar(0.9)),
    "ar .9 wide": ("gradient", ar(0.9, 1.0)),
    "ar .98": ("gradient", ar(0.98, 0.5)),
    "student": ("gradient", student()),
    "student ar .5": ("gradient", student(0.3, 0.5)),
    "spiky": ("gradient", spiky()),
    "walk": ("gradient", walk()),
    "walk fast": ("gradient", walk(0.2, 0.03)),
    "moody": ("gradient", moody()),
    "seasonal": ("gradient", seasonal()),
    "warm up": ("gradient", warm_up()),
    "step decay": ("gradient", step_decay()),
    "two level": ("gradient", two_level()),
    "weight drift": ("weight", walk(0.002, 0.001)),
    "activation iid": ("activation", iid(0.15)),
    "activation ar": ("activation", ar(0.9, 0.2)),
    "update schedule": ("update_ratio", iid(0.2)),
    "loss decay": ("loss", decay()),
    "loss decay calm": ("loss", decay(0.01)),
    "loss shift": ("loss", loss_shift()),
    "loss ar": ("loss", ar(0.9, 0.1)),
    "loss noisy": ("loss", student(0.2, 0.5)),
    "loss two level": ("loss", two_level(0.2, 0.7)),
    "seconds": ("seconds", spiky(0.1, 0.02, 4.0)),
}


def jump(base: Make, height: float, onset: int) -> Make:
    """From `onset` on, `height` log2 units higher."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        y = base(r, steps, slots)
        y[onset:] += height
        return y

    return make


def ramp(base: Make, height: float, onset: int, length: int = 300) -> Make:
    """From `onset` on a rise by `height` log2 units over `length` readings."""

    def make(r: np.random.Generator, steps: int, slots: int) -> NDArray[np.float64]:
        y = base(r, steps, slots)
        y += height * np.clip((np.arange(steps)[:, None] - onset) / length, 0.0, 1.0)
        return y

    return make


def linear(y: NDArray[np.float64]) -> Floats:
    """From log2 units to the readings themselves."""
    return np.exp2(y).astype(np.float32)
