"""Small bundles for tests: values that break no rule, to be broken one at a time."""

from __future__ import annotations

from dataclasses import replace

from providerrank.rules.cells import Cell
from providerrank.rules.observation import Outcome
from providerrank.rules.records import Forecast, Record, Route, Signal
from providerrank.wire.bundle import Bundle, Contents, build_bundle
from providerrank.wire.signature import Hotkey

START_US = 1_760_000_000_000_000
CREATED_US = START_US + 600_000_000
KEY = Hotkey(bytes(range(32)))

RECORD = Record(
    cell=Cell("alpha/m", "chat"),
    index=0,
    prompt_hash="0" * 64,
    response_hash="1" * 64,
    params_hash="a" * 64,
    started_us=START_US,
    ttft_us=250_000,
    total_us=900_000,
    tokens_in=120,
    tokens_out=30,
    status=Outcome.SUCCESS,
    check="pass",
)
FAILED = replace(RECORD, index=1, ttft_us=None, tokens_in=None, tokens_out=None, status=Outcome.FAILURE, check="none")
FORECAST = Forecast(
    cell=Cell("alpha/m", "chat"),
    ttft_micrologs=(12_000_000, 12_100_000, 12_400_000, 12_700_000, 13_000_000, 13_500_000),
    total_micrologs=(13_000_000, 13_100_000, 13_400_000, 13_700_000, 14_000_000, 14_500_000),
    success_ppm=990_000,
    schema_ppm=950_000,
)
SIGNAL = Signal("m", "chat", (Route("alpha/m", 700_000), Route("beta/m", 300_000)))
CONTENTS = Contents((RECORD, FAILED), (FORECAST,), (SIGNAL,))


def make_bundle(contents: Contents = CONTENTS, *, epoch: int = 7, created_us: int = CREATED_US) -> Bundle:
    return build_bundle(contents, KEY, netuid=3, epoch=epoch, created_us=created_us)
