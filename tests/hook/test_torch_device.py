"""Numbers that come from a device some steps later."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")


from anomaly import Telemetry  # noqa: E402
from anomaly.pending import MOST_PENDING, Pending  # noqa: E402
from anomaly.torch_device import DeviceReading, PinnedRing  # noqa: E402
from tests.hook.recording import FAST, Broker, read  # noqa: E402


class Arrival:
    """A CUDA event that happens when told."""

    def __init__(self) -> None:
        self.happened = False

    def record(self) -> None:
        self.happened = False

    def query(self) -> bool:
        return self.happened


def test_on_a_device_numbers_are_read_when_their_copy_has_arrived_and_buffers_are_used_again() -> None:
    arrivals: list[Arrival] = []

    def arrival() -> Arrival:
        arrivals.append(Arrival())
        return arrivals[-1]

    ring = PinnedRing(2, make_buffer=torch.empty, make_arrival=arrival)
    decoded: list[NDArray[np.float32]] = []

    def decode(numbers: NDArray[np.float32]) -> tuple[dict[str, float], None]:
        decoded.append(numbers)
        return {}, None

    def reading(*values: float) -> DeviceReading:
        vector = torch.tensor(values)
        return DeviceReading(ring, ring.copy(vector), len(values), decode)

    first, second, third = reading(1.0), reading(2.0), reading(3.0)
    assert not first.ready()
    assert third.ready()  # it has no buffer, and says so when it is read
    with pytest.raises(RuntimeError, match="more steps behind than there are buffers"):
        third.read()
    arrivals[0].happened = True
    assert first.ready()
    assert not second.ready()
    first.read()
    fourth = reading(4.0, 5.0)
    assert not fourth.ready()
    arrivals[0].happened = arrivals[1].happened = True
    second.read()
    fourth.read()
    assert [numbers.tolist() for numbers in decoded] == [[1.0], [2.0], [4.0, 5.0]]
    assert len(arrivals) == 2


def test_steps_on_their_way_are_reported_in_order_and_at_the_latest_at_the_end(broker: Broker) -> None:
    class Late:
        arrived = False

        def ready(self) -> bool:
            return self.arrived

        def read(self) -> tuple[dict[str, float], None]:
            return {"x": 1.0}, None

    telemetry = Telemetry("r1", sender=broker.connect, pacing=FAST)
    pending = Pending(telemetry)
    readings = [Late() for _ in range(MOST_PENDING + 4)]
    for step, reading in enumerate(readings):
        if step == 3:
            readings[0].arrived = True
        pending.add(step, {"loss": float(step)}, reading)
    readings[-1].arrived = True
    pending.finish(0.0)
    telemetry.close()
    records = read(broker.messages)
    assert [record.step for record in records] == list(range(MOST_PENDING + 4))
    assert [record.step for record in records if "x" in record.model] == [0, MOST_PENDING + 3]
    assert pending.missed == MOST_PENDING + 2
