from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules import fixed
from providerrank.rules.fixed import ONE

unit = st.integers(0, ONE)
signed = st.integers(-ONE, ONE)


@given(a=signed, b=unit)
def test_mul_rounds_the_whole_product_down(a: int, b: int) -> None:
    assert int(fixed.mul(np.array([a]), b)[0]) == a * b >> 32
    assert int(fixed.mul(np.array([a]), np.array([b]))[0]) == a * b >> 32


@given(a=st.integers(0, 2**47 - 1), b=st.integers(2**17, 2**47 - 1))
def test_div_rounds_the_whole_quotient_down(a: int, b: int) -> None:
    assert int(fixed.div(np.array([a]), b)[0]) == (a << 32) // b


@given(values=st.lists(unit, min_size=1, max_size=40))
def test_normalized_values_sum_to_just_under_one(values: list[int]) -> None:
    bits = fixed.normalize(np.array(values))
    total = int(bits.sum())
    assert total == 0 if not any(values) else ONE - len(values) < total <= ONE


def test_columns_of_zeros_stay_when_normalised_or_upscaled() -> None:
    matrix = np.array([[ONE, 0], [ONE // 2, 0]])
    assert fixed.upscale_columns(matrix).tolist() == [[ONE, 0], [ONE // 2, 0]]
    assert fixed.normalize_columns(matrix)[:, 1].tolist() == [0, 0]
    assert fixed.upscale_columns(np.zeros((0, 2), np.int64)).shape == (0, 2)


@pytest.mark.parametrize("x", [-19.5, -5.0, -1.0, -0.25, 0.0, 0.5, 2.0, 5.0])
def test_exp_is_e_to_the_x(x: float) -> None:
    assert fixed.exp(round(x * ONE)) / ONE == pytest.approx(math.exp(x), rel=1e-3, abs=1e-9)


def test_exp_at_one_is_the_chains_shorter_constant_and_is_clamped_past_twenty() -> None:
    assert fixed.exp(ONE) == math.floor(math.e * 2**23) << 9
    assert fixed.exp(-300 * ONE) == fixed.exp(-20 * ONE)
    assert fixed.exp(300 * ONE) == fixed.exp(20 * ONE)


def test_u16_of_one_and_beyond_is_the_greatest() -> None:
    assert fixed.to_u16(np.array([0, ONE // 2, ONE, ONE + 5])) == (0, 32767, 65535, 65535)
