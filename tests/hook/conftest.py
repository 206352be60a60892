"""What the tests of the hook share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hook.recording import Broker


@pytest.fixture
def broker() -> Broker:
    """Records what is sent."""
    return Broker()


@pytest.fixture
def seeded() -> Iterator[None]:
    """PyTorch's generator begins at 0, and goes on afterwards as if nothing had happened."""
    torch = pytest.importorskip("torch")
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.random.set_rng_state(state)
