"""What a model says of its insides beyond what the hook measures: attention, routers, dead and saturated units."""

from __future__ import annotations

from torch import Tensor


class Notes:
    """Layer statistics of one forward pass, taken while `on`. `values` is layer → signal → number."""

    def __init__(self) -> None:
        self.on = False
        self.values: dict[str, dict[str, float]] = {}

    def add(self, layer: str, **signals: Tensor) -> None:
        """Remember scalars, the first of a step only, as the hook does with micro-batches."""
        if self.on:
            known = self.values.setdefault(layer, {})
            for name, value in signals.items():
                known.setdefault(name, float(value.detach()))

    def take(self) -> dict[str, dict[str, float]]:
        """Everything since the last call."""
        values, self.values = self.values, {}
        return values

    def zeros(self, layer: str, output: Tensor) -> None:
        """The share of exact zeros in a ReLU's output."""
        if self.on:
            self.add(layer, act_zero_frac=(output == 0).float().mean())

    def saturated(self, layer: str, output: Tensor) -> None:
        """The share of a tanh's outputs at its ends."""
        if self.on:
            self.add(layer, act_saturated_frac=(output.abs() > 0.97).float().mean())

    def gain(self, layer: str, before: Tensor, after: Tensor) -> None:
        """Root mean squares around a residual block."""
        if self.on:
            self.add(layer, act_in_rms=_rms(before), act_rms=_rms(after))


def _rms(tensor: Tensor) -> Tensor:
    return tensor.detach().float().square().mean().sqrt()
