from __future__ import annotations

import pytest

from providerrank.rules.cells import Cell
from providerrank.rules.observation import Outcome
from providerrank.rules.records import (
    PPM,
    QUANTILES_PPM,
    Record,
    compute_duration_us,
    compute_microlog,
)


def test_quantile_levels_rise_and_stay_inside_a_probability() -> None:
    assert list(QUANTILES_PPM) == sorted(set(QUANTILES_PPM))
    assert QUANTILES_PPM[0] > 0
    assert QUANTILES_PPM[-1] < PPM


@pytest.mark.parametrize("duration_us", [1, 999, 300_000, 86_400_000_000])
def test_a_microlog_keeps_a_duration_to_a_millionth(duration_us: int) -> None:
    assert compute_duration_us(compute_microlog(duration_us)) == pytest.approx(duration_us, rel=1e-6)


def test_micrologs_of_known_durations() -> None:
    assert compute_microlog(1) == 0
    assert compute_microlog(0) == 0
    assert compute_microlog(1_000_000) == 13_815_511


@pytest.mark.parametrize(("check", "passed"), [("pass", True), ("none", False), ("wrong_answer", False)])
def test_only_the_word_pass_is_a_pass(check: str, passed: bool) -> None:
    record = Record(Cell("a/m", "chat"), 0, "0" * 64, "0" * 64, "0" * 64, 1, 1, 2, 1, 1, Outcome.SUCCESS, check)
    assert record.passed is passed
