"""Miners that lie, on the real miner: for tests and the demo. The arena's, in virtual time, are another matter."""

from __future__ import annotations

from dataclasses import replace

from typing_extensions import override

from providerrank.market.miner import Miner
from providerrank.rules.records import MICROLOG, Forecast, Record, compute_microlog
from providerrank.wire.bundle import Contents

FACTOR = 4


class Understater(Miner):
    """Says that everything took a quarter of the time it did: its transcripts are true, its times are not."""

    @override
    def build_contents(self, epoch: int, beacon: bytes, now_us: int) -> Contents:
        honest = super().build_contents(epoch, beacon, now_us)
        forecasts = tuple(map(_shorten_forecast, honest.forecasts))
        return Contents(tuple(map(_shorten, honest.records)), forecasts, self.build_signals(forecasts))


class Fabricator(Miner):
    """Makes one record in five up, from another one: nothing that it could show."""

    @override
    def build_contents(self, epoch: int, beacon: bytes, now_us: int) -> Contents:
        honest = super().build_contents(epoch, beacon, now_us)
        records = tuple(
            replace(record, response_hash="0" * 64) if at % 5 == 0 else record
            for at, record in enumerate(honest.records)
        )
        return replace(honest, records=records)


def _shorten(record: Record) -> Record:
    ttft_us = None if record.ttft_us is None else record.ttft_us // FACTOR
    return replace(record, ttft_us=ttft_us, total_us=max(record.total_us // FACTOR, ttft_us or 0))


def _shorten_forecast(forecast: Forecast) -> Forecast:
    less = compute_microlog(FACTOR)
    assert less < MICROLOG * 2
    return replace(
        forecast,
        ttft_micrologs=tuple(max(0, one - less) for one in forecast.ttft_micrologs),
        total_micrologs=tuple(max(0, one - less) for one in forecast.total_micrologs),
    )
