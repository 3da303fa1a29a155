"""What is known without measuring: whose figures they are, and that they are forecasts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.cells import Cell
from providerrank.rules.consistency import find_forecast_fault
from providerrank.rules.observation import Outcome
from providerrank.rules.outcomes import Sample
from providerrank.rules.public import compute_blend, compute_public, compute_trailing, update_history
from providerrank.rules.records import PPM, Forecast

CELL, OTHER = Cell("p/m", "chat"), Cell("q/m", "chat")


def make(value: int, share: int = PPM // 2, cell: Cell = CELL) -> Forecast:
    return Forecast(cell, (value,) * 6, (2 * value,) * 6, share, share)


@st.composite
def forecasts(draw: st.DrawFn) -> Forecast:
    ttft = sorted(draw(st.lists(st.integers(0, 20_000_000), min_size=6, max_size=6)))
    more = draw(st.lists(st.integers(0, 10_000_000), min_size=6, max_size=6))
    total = sorted(t + m for t, m in zip(ttft, more, strict=True))
    total = [max(t, low) for t, low in zip(total, ttft, strict=True)]
    return Forecast(CELL, tuple(ttft), tuple(total), draw(st.integers(0, PPM)), draw(st.integers(0, PPM)))


@given(parts=st.lists(forecasts(), min_size=1, max_size=5))
def test_a_blend_of_forecasts_is_a_forecast(parts: list[Forecast]) -> None:
    blend = compute_blend([(part, 1 / len(parts)) for part in parts])
    assert find_forecast_fault(blend) is None
    for at in range(6):
        values = [part.ttft_micrologs[at] for part in parts]
        assert min(values) <= blend.ttft_micrologs[at] <= max(values)


def test_three_forecasts_of_each_cell_the_trailing_one_standing_in() -> None:
    public = compute_public({CELL: make(300), OTHER: make(9, cell=OTHER)}, {CELL: make(600)}, {CELL: make(900)})
    assert public[CELL] == (make(300), make(600), make(600))
    assert public[OTHER] == (make(9, cell=OTHER),) * 3
    assert compute_public({}, {CELL: make(1)}, {}) == {}, "without samples of its own a validator judges nobody"


def test_history_moves_by_a_step_and_keeps_what_is_not_seen() -> None:
    public = compute_public({CELL: make(1_000)}, {CELL: make(3_000)}, {})
    first = update_history({OTHER: make(5, cell=OTHER)}, public)
    assert first == {OTHER: make(5, cell=OTHER), CELL: make(2_000)}
    later = update_history({CELL: make(1_000)}, public)
    assert later[CELL].ttft_micrologs[0] == pytest.approx(1_100, abs=1)


def test_trailing_shares_lean_on_all_cells_and_a_cell_without_times_has_no_forecast() -> None:
    good, bad = Sample(Outcome.SUCCESS, 1_000, 2_000), Sample(Outcome.FAILURE, None, None)
    trailing = {CELL: [good] * 30, OTHER: [good] * 9 + [bad], Cell("r/m", "chat"): [bad] * 3}
    found = compute_trailing(trailing)
    assert set(found) == {CELL, OTHER}
    usual = 40 / 45
    assert found[CELL].success_ppm == round(PPM * (30 + 2 * usual) / 32)
    assert found[CELL].schema_ppm == round(PPM * (30 + 2 * 40 / 41) / 32)
    assert found[OTHER].success_ppm == round(PPM * (9 + 2 * usual) / 12)
    assert compute_trailing({}) == {}
