"""The demonstration's training job, for deploy/compose.yaml: small networks in plain numpy, some of which go wrong.

It needs no framework, so that one small image serves for everything. What matters is real: gradients are computed, the
hook reports them, and the faults are done to the training, not to what is reported. Brokers come from
ANOMALY_BOOTSTRAP_SERVERS.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from anomaly import Telemetry

LAYERS = {"up": (16, 32), "down": (32, 1)}
BATCH = 64
LR = 0.02


class Training:
    """A network of two layers that learns a smooth function; `fault` begins at step `fault_step`.

    nan: an update turns the weights of `up` into NaN.  learning-rate: it is multiplied by 100.
    """

    def __init__(self, telemetry: Telemetry, seed: int, fault: str, fault_step: int) -> None:
        self._telemetry = telemetry
        self._random = np.random.default_rng(seed)
        self._weights = {
            name: self._random.normal(0, shape[0] ** -0.5, shape) for name, shape in LAYERS.items()
        }
        self._fault = fault
        self._fault_step = fault_step
        self._step = 0

    def advance(self) -> None:
        """One step, and its record."""
        self._step += 1
        broken = self._step >= self._fault_step
        lr = LR * (100 if broken and self._fault == "learning-rate" else 1)
        loss, gradients, hidden = self._gradients()
        layers = {}
        for name, gradient in gradients.items():
            update = -lr * gradient
            if self._step == self._fault_step and self._fault == "nan" and name == "up":
                update[0, 0] = np.nan
            layers[name] = {
                "grad_norm": np.linalg.norm(gradient),
                "weight_norm": np.linalg.norm(self._weights[name]),
                "update_ratio": np.linalg.norm(update) / np.linalg.norm(self._weights[name]),
            }
            self._weights[name] = self._weights[name] + update
        layers["up"]["act_rms"] = np.sqrt(np.mean(hidden**2))
        total = np.sqrt(sum(layer["grad_norm"] ** 2 for layer in layers.values()))
        self._telemetry.step(self._step, loss=loss, lr=lr, grad_norm_total=total, layers=layers)

    def _gradients(self) -> tuple[float, dict[str, np.ndarray], np.ndarray]:
        inputs = self._random.normal(size=(BATCH, LAYERS["up"][0]))
        targets = np.sin(inputs[:, :4].sum(1, keepdims=True))
        hidden = np.tanh(inputs @ self._weights["up"])
        error = hidden @ self._weights["down"] - targets
        back = 2 * error / BATCH
        down = hidden.T @ back
        up = inputs.T @ ((back @ self._weights["down"].T) * (1 - hidden**2))
        return float(np.mean(error**2)), {"up": up, "down": down}, hidden


def main() -> None:
    """Train for ever: a healthy run, and beside it one faulty run after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=0, help="faulty runs before it ends; 0 (default): for ever"
    )
    parser.add_argument("--steps", type=int, default=600, help="steps of a faulty run (default: 600)")
    parser.add_argument("--fault-step", type=int, default=200, help="where its fault is (default: 200)")
    parser.add_argument("--step-seconds", type=float, default=0.1, help="time a step takes (default: 0.1)")
    options = parser.parse_args()
    began = time.strftime("%m%d-%H%M")
    with np.errstate(all="ignore"), ExitStack() as stack:
        healthy = Training(_watched(stack, f"demo-healthy-{began}"), 1, "", 0)
        for number in _rounds(options.rounds):
            fault = ("nan", "learning-rate")[number % 2]
            with ExitStack() as of_run:
                telemetry = _watched(of_run, f"demo-{fault}-{began}-{number}")
                faulty = Training(telemetry, 2 + number, fault, options.fault_step)
                for _ in range(options.steps):
                    healthy.advance()
                    faulty.advance()
                    time.sleep(options.step_seconds)


def _rounds(wanted: int) -> Iterator[int]:
    return iter(range(wanted)) if wanted else itertools.count()


def _watched(stack: ExitStack, run: str) -> Telemetry:
    print(f"training {run}", flush=True)  # noqa: T201 - the container's log
    return stack.enter_context(Telemetry(run, tags={"team": "demo", "project": "compose"}))


if __name__ == "__main__":
    main()
