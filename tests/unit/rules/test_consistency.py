from __future__ import annotations

from dataclasses import replace

import pytest

from providerrank.rules.cells import Cell
from providerrank.rules.consistency import (
    MAX_MICROLOG,
    MAX_NUMBER,
    MAX_ROUTES,
    Window,
    find_forecast_fault,
    find_record_fault,
    find_signal_fault,
    find_time_fault,
)
from providerrank.rules.observation import Outcome
from providerrank.rules.records import PPM, Forecast, Record, Route, Signal
from tests.bundles import FAILED, FORECAST, RECORD, SIGNAL, START_US


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        FAILED,
        replace(RECORD, ttft_us=RECORD.total_us),
        replace(RECORD, ttft_us=0, total_us=0),
        replace(RECORD, status=Outcome.SCHEMA_VIOLATION, check="schema"),
        replace(RECORD, check="wrong_answer"),
        replace(FAILED, ttft_us=100),
        replace(FAILED, status=Outcome.RATE_LIMITED),
        replace(FAILED, status=Outcome.NOBODYS),
        replace(RECORD, tokens_in=MAX_NUMBER, index=MAX_NUMBER),
        replace(RECORD, cell=Cell("a/b c@eu:fp8", "x" * 256)),
    ],
)
def test_records_that_can_be(record: Record) -> None:
    assert find_record_fault(record) is None


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (replace(RECORD, cell=Cell("", "chat")), "endpoint name"),
        (replace(RECORD, cell=Cell("a\nb", "chat")), "endpoint name"),
        (replace(RECORD, cell=Cell(" a", "chat")), "endpoint name"),
        (replace(RECORD, cell=Cell("a", "é")), "task name"),
        (replace(RECORD, cell=Cell("a", "x" * 257)), "task name"),
        (replace(RECORD, index=-1), "index -1 is outside"),
        (replace(RECORD, started_us=-1), "started_us -1"),
        (replace(RECORD, total_us=MAX_NUMBER + 1), "total_us"),
        (replace(RECORD, tokens_in=-1), "tokens_in -1"),
        (replace(RECORD, tokens_out=-1), "tokens_out -1"),
        (replace(RECORD, ttft_us=-1), "ttft_us -1"),
        (replace(RECORD, prompt_hash="0" * 63), "prompt_hash is not"),
        (replace(RECORD, response_hash="A" * 64), "response_hash is not"),
        (replace(RECORD, params_hash="g" * 64), "params_hash is not"),
        (replace(RECORD, check="Pass"), "check is not a short code"),
        (replace(RECORD, check="x" * 33), "check is not a short code"),
        (replace(RECORD, check=""), "check is not a short code"),
        (replace(RECORD, ttft_us=900_001), "ttft 900001 us is past total 900000 us"),
        (replace(FAILED, ttft_us=900_001), "ttft 900001 us is past total 900000 us"),
        (replace(RECORD, ttft_us=None), "completed, with no time to first token"),
        (replace(RECORD, check="none"), "status SUCCESS does not go with check 'none'"),
        (replace(RECORD, check="wrong_answer", status=Outcome.SCHEMA_VIOLATION), "does not go with check"),
        (replace(RECORD, check="schema"), "status SUCCESS does not go with check 'schema'"),
        (replace(RECORD, check="none", status=Outcome.SCHEMA_VIOLATION), "does not go with check 'none'"),
        (
            replace(RECORD, check="pass", status=Outcome.SCHEMA_VIOLATION),
            "SCHEMA_VIOLATION does not go with check 'pass'",
        ),
        (replace(FAILED, check="pass"), "status FAILURE does not go with check 'pass'"),
        (replace(FAILED, check="schema"), "status FAILURE does not go with check 'schema'"),
    ],
)
def test_records_that_cannot_be(record: Record, fault: str | None) -> None:
    found = find_record_fault(record)
    assert found is None if fault is None else found is not None and fault in found


WINDOW = Window(START_US, START_US + 1_000_000)


@pytest.mark.parametrize(
    ("record", "created_us", "window", "fault"),
    [
        (RECORD, START_US + 900_000, None, None),
        (RECORD, START_US + 899_999, None, "after the bundle was made"),
        (RECORD, START_US + 900_000, WINDOW, None),
        (replace(RECORD, started_us=START_US - 1), START_US + 900_000, WINDOW, "outside its epoch"),
        (replace(RECORD, total_us=999_999), START_US + 10**9, WINDOW, None),
        (replace(RECORD, total_us=1_000_000), START_US + 10**9, WINDOW, "outside its epoch"),
    ],
)
def test_a_record_lies_in_its_epoch_and_before_its_bundle(
    record: Record, created_us: int, window: Window | None, fault: str | None
) -> None:
    found = find_time_fault(record, created_us, window)
    assert found is None if fault is None else found is not None and fault in found


RISING = FORECAST.ttft_micrologs


@pytest.mark.parametrize(
    ("forecast", "fault"),
    [
        (FORECAST, None),
        (replace(FORECAST, total_micrologs=RISING), None),
        (replace(FORECAST, success_ppm=0, schema_ppm=PPM), None),
        (replace(FORECAST, ttft_micrologs=(0,) * 6, total_micrologs=(MAX_MICROLOG,) * 6), None),
        (replace(FORECAST, cell=Cell("", "chat")), "endpoint name"),
        (replace(FORECAST, cell=Cell("a", "")), "task name"),
        (replace(FORECAST, ttft_micrologs=RISING[:5]), "ttft has 5 quantiles, not 6"),
        (replace(FORECAST, total_micrologs=()), "total has 0 quantiles"),
        (replace(FORECAST, ttft_micrologs=(-1, *RISING[1:])), "ttft has a quantile outside"),
        (replace(FORECAST, total_micrologs=(MAX_MICROLOG + 1,) * 6), "total has a quantile outside"),
        (replace(FORECAST, ttft_micrologs=RISING[::-1]), "ttft quantiles decrease"),
        (replace(FORECAST, ttft_micrologs=(*RISING[:5], 15_000_000)), "above the total's of the same level"),
        (replace(FORECAST, success_ppm=PPM + 1), "success_ppm 1000001 is no probability"),
        (replace(FORECAST, schema_ppm=-1), "schema_ppm -1 is no probability"),
    ],
)
def test_forecasts(forecast: Forecast, fault: str | None) -> None:
    found = find_forecast_fault(forecast)
    assert found is None if fault is None else found is not None and fault in found


@pytest.mark.parametrize(
    ("signal", "fault"),
    [
        (SIGNAL, None),
        (replace(SIGNAL, routes=(Route("a/m", PPM),)), None),
        (replace(SIGNAL, routes=(Route("a/m", PPM), Route("b/m", 0))), None),
        (replace(SIGNAL, model=""), "model name"),
        (replace(SIGNAL, task="\x7f"), "task name"),
        (replace(SIGNAL, routes=()), "0 routes"),
        (replace(SIGNAL, routes=tuple(Route(f"{n}", 0) for n in range(MAX_ROUTES + 1))), "1001 routes"),
        (replace(SIGNAL, routes=(Route("", PPM),)), "endpoint name"),
        (replace(SIGNAL, routes=(Route("a/m", 500_000), Route("a/m", 500_000))), "routed to twice"),
        (replace(SIGNAL, routes=(Route("a/m", PPM - 1),)), "weights sum to 999999"),
        (replace(SIGNAL, routes=(Route("a/m", PPM + 1), Route("b/m", -1))), "or one is negative"),
        (replace(SIGNAL, routes=(Route("a/m", 300_000), Route("b/m", 700_000))), "weighs more than an earlier one"),
    ],
)
def test_signals(signal: Signal, fault: str | None) -> None:
    found = find_signal_fault(signal)
    assert found is None if fault is None else found is not None and fault in found
