"""What is reported of a seller that bills over."""

from __future__ import annotations

import pytest

from providerrank.rules.cells import Cell
from providerrank.rules.metering import get_overbilling
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.window import Window

T = 1_790_000_000_000_000
CELL = Cell("a/m", "chat")


def billed(tokens: int) -> Window:
    window = Window()
    for _ in range(10):
        window.observe(Observation("a/m", "chat", T, Outcome.SUCCESS, 1, 2, 10, 1_000, tokens))
    return window


def test_billing_over_is_reported_with_its_figures() -> None:
    report = get_overbilling(CELL, billed(1_250))
    assert report is not None
    assert report.cell == CELL
    assert report.ratio == pytest.approx(1.25)
    assert report.counted_tokens == pytest.approx(10_000)
    assert report.billed_tokens == pytest.approx(12_500)


def test_billing_within_the_tolerance_or_unknown_is_not() -> None:
    assert get_overbilling(CELL, billed(1_090)) is None
    assert get_overbilling(CELL, Window()) is None
