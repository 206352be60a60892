"""What numba and libm have too slowly or with a branch: functions on one float32 that vectorise over lanes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["least", "log2", "most"]

F = np.float32
_I = np.int32
_ONE = F(1.0)


@njit(inline="always", error_model="numpy")
def log2(x: Any) -> Any:
    """log2 of a positive float32, error below 2e-7; a polynomial on its bits, as libm's costs 6-10 ns."""
    bits = F(x).view(_I)
    exponent = _I(_I(bits - _I(0x3F3504F3)) >> _I(23))
    mantissa = _I(bits - _I(exponent << _I(23))).view(F)
    s = (mantissa - _ONE) / (mantissa + _ONE)
    q = s * s
    return F(exponent) + s * (F(2.8853900) + q * (F(0.9617967) + q * (F(0.5770780) + q * F(0.4121986))))


@njit(inline="always", error_model="numpy")
def most(a: Any, b: Any) -> Any:
    """The larger of two numbers, in the form that becomes one vector instruction."""
    return a if a > b else b


@njit(inline="always", error_model="numpy")
def least(a: Any, b: Any) -> Any:
    """The smaller of two numbers."""
    return a if a < b else b
