"""Half precision's loss scale, simulated on the gradients: what would overflow or vanish there does so here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from benchmarks.detection.training import Training

_LARGEST, _GROWS_AFTER = 65_504.0, 100


class LossScale:
    """Halves when a gradient overflows and skips that step; doubles after a hundred good ones."""

    def __init__(self) -> None:
        self.value = 2.0**20
        self.growing = True
        self._good = 0

    @torch.no_grad()
    def unscale(self, training: Training) -> bool:
        """Round every gradient as half precision would; True if this step is to be skipped."""
        gradients = [
            parameter.grad
            for replica in training.replicas
            for parameter in replica.trained
            if parameter.grad is not None
        ]
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        if not largest * self.value <= _LARGEST:
            self.value, self._good = max(self.value / 2, 2.0**-20), 0
            return True
        for gradient in gradients:
            gradient.copy_((gradient * self.value).half().float() / self.value)
        self._good += 1
        if self._good >= _GROWS_AFTER and self.growing:
            self.value, self._good = self.value * 2, 0
        return False
