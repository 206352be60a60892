"""From scalars on a device to numbers on the host without waiting: one vector, one copy, read when it has arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly.pending import MOST_PENDING

Decode = Callable[[NDArray[np.float32]], tuple[dict[str, float], NDArray[np.float32] | None]]


class Arrival(Protocol):
    """As much of `torch.cuda.Event` as is needed."""

    def record(self) -> None:
        """Mark this point of the current stream."""

    def query(self) -> bool:
        """Whether the device has passed the mark."""


class Slot:
    """One pinned buffer and the mark behind the copy into it."""

    def __init__(self, buffer: Tensor, arrival: Arrival) -> None:
        self.buffer = buffer
        self.arrival = arrival


class PinnedRing:
    """Pinned buffers, used in turn. As many as were ever needed at once are made; later copies allocate nothing."""

    def __init__(
        self,
        slots: int = MOST_PENDING,
        *,
        make_buffer: Callable[[int], Tensor] | None = None,
        make_arrival: Callable[[], Arrival] | None = None,
    ) -> None:
        self._make_buffer = make_buffer or _pinned
        self._make_arrival = make_arrival or torch.cuda.Event
        self._unmade = slots
        self._free: list[Slot] = []

    def copy(self, vector: Tensor) -> Slot | None:
        """Start copying a float32 vector to the host; None while every buffer is in use."""
        if self._free:
            slot = self._free.pop(0)
        elif self._unmade:
            self._unmade -= 1
            slot = Slot(self._make_buffer(vector.numel()), self._make_arrival())
        else:
            return None
        if slot.buffer.numel() < vector.numel():
            slot.buffer = self._make_buffer(vector.numel())
        slot.buffer[: vector.numel()].copy_(vector, non_blocking=True)
        slot.arrival.record()
        return slot

    def release(self, slot: Slot) -> None:
        """The buffer may be written again."""
        self._free.append(slot)


class DeviceReading:
    """A vector on its way into a ring's slot; without a slot it never arrives."""

    def __init__(self, ring: PinnedRing, slot: Slot | None, length: int, decode: Decode) -> None:
        self._ring = ring
        self._slot = slot
        self._length = length
        self._decode = decode

    def ready(self) -> bool:
        """Whether the copy is done."""
        return self._slot is None or self._slot.arrival.query()

    def read(self) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        """Decode, and give the slot back."""
        if self._slot is None:
            raise RuntimeError("the device is more steps behind than there are buffers")
        numbers = self._slot.buffer[: self._length].numpy().copy()
        self._ring.release(self._slot)
        return self._decode(numbers)


class HostReading:
    """Numbers that are there already."""

    def __init__(self, numbers: NDArray[np.float32], decode: Decode) -> None:
        self._numbers = numbers
        self._decode = decode

    def ready(self) -> bool:
        """True."""
        return True

    def read(self) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        """Decode."""
        return self._decode(self._numbers)


class Transfer:
    """Brings one step's scalars to the host.

    On CUDA and ROCm the training thread never waits. On the CPU they are there already; other accelerators have no
    pinned memory here, and one blocking copy a step is made.
    """

    def __init__(self, device: torch.device, ring: PinnedRing | None = None) -> None:
        self._device = device
        self._ring = ring or (PinnedRing() if device.type == "cuda" else None)

    def start(self, parts: Sequence[Tensor], decode: Decode) -> DeviceReading | HostReading:
        """Send one-dimensional float tensors on their way; `decode` gets them as one float32 vector."""
        moved = [part.to(self._device, torch.float32, non_blocking=True) for part in parts]
        vector = torch.cat(moved) if moved else torch.zeros(0)
        if self._ring is None:
            return HostReading(vector.cpu().numpy(), decode)
        return DeviceReading(self._ring, self._ring.copy(vector), vector.numel(), decode)


def _pinned(length: int) -> Tensor:
    return torch.empty(length, dtype=torch.float32, pin_memory=True)
