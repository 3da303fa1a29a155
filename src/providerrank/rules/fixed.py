"""Fixed-point numbers as the chain has them, over numpy arrays.

A value is an integer count of ``2^-32`` (32 fraction bits of a signed 64-bit word, ``I32F32``). Multiplying
and dividing round down, adding is exact. Products and dividends of two such numbers take up to 128 bits, numpy has 64:
so both are done in pieces that fit, and the result is the same integer the chain gets, not one near it.

Everything here holds for the ranges the epoch needs, and no further: factors and products below 2^15, the second
factor never negative; divisors positive and below 2^15. Out of range would be a wrong number, so callers keep to it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bits: TypeAlias = NDArray[np.int64]
"""Array of fixed-point numbers, each an integer count of 2^-32."""

FRACTION_BITS = 32
ONE = 1 << FRACTION_BITS
U16_MAX = 65_535
_HALF_BITS = 16
_HALF_MASK = (1 << _HALF_BITS) - 1


def mul(a: Bits, b: Bits | int) -> Bits:
    """``floor(a * b)``, elementwise; ``|a|``, ``b`` and ``|a * b|`` below 2^15 in units, ``b >= 0``."""
    high, low = b >> _HALF_BITS, b & _HALF_MASK
    # floor((A·2^16 + B) / 2^32) = floor((A + floor(B / 2^16)) / 2^16)
    product: Bits = (a * high + (a * low >> _HALF_BITS)) >> _HALF_BITS
    return product


def div(a: Bits, b: Bits | int) -> Bits:
    """``floor(a / b)``, elementwise; ``a >= 0``, ``0 < b < 2^15`` in units, a quotient below 2^31."""
    whole, rest = a // b, a % b
    rest = rest << _HALF_BITS
    upper, rest = rest // b, rest % b
    quotient: Bits = (whole << FRACTION_BITS) + (upper << _HALF_BITS) + (rest << _HALF_BITS) // b
    return quotient


def normalize(values: Bits) -> Bits:
    """A vector divided by its sum; as it is when the sum is zero."""
    total = int(values.sum())
    return div(values, total) if total else values


def normalize_columns(matrix: Bits) -> Bits:
    """A matrix with each column divided by its sum; columns of zeros stay."""
    total = matrix.sum(axis=0)
    return div(matrix, np.where(total == 0, ONE, total))


def upscale_columns(matrix: Bits) -> Bits:
    """A matrix with each column divided by its greatest entry; columns of zeros stay."""
    top = matrix.max(axis=0, initial=0)
    return div(matrix, np.where(top == 0, ONE, top))


def from_proportion(part: int, whole: int) -> int:
    """``floor(part / whole)`` of two plain integers, in bits."""
    return (part << FRACTION_BITS) // whole


def to_u16(values: Bits) -> tuple[int, ...]:
    """Proportions in 0..1 as the chain stores them: ``floor(x * 65535)``."""
    return tuple(int(x) for x in np.minimum(values * U16_MAX >> FRACTION_BITS, U16_MAX))


def exp(bits: int) -> int:
    """The chain's ``e^x``: a Taylor series of 31 terms in fixed point, the reciprocal for negative ``x``.

    Clamped to ±20 before. At exactly 1 the chain answers a constant of 23 fraction bits.
    """
    x = max(-20 * ONE, min(20 * ONE, bits))
    if x == 0:
        return ONE
    if x == ONE:
        return _E_23_BITS << (FRACTION_BITS - 23)
    size = abs(x)
    total = size + ONE
    term = size
    for i in range(2, FRACTION_BITS):
        term = (term * size >> FRACTION_BITS) // i
        total += term
    return (ONE << FRACTION_BITS) // total if x < 0 else total


_E_23_BITS = 22_802_600
"""floor(e * 2^23)."""
