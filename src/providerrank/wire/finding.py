"""A validator's finding as it is kept and passed on: JSON of integers and strings."""

from __future__ import annotations

from typing import Final

import msgspec

from providerrank.rules.cells import Cell
from providerrank.rules.consistency import HASH, find_forecast_fault
from providerrank.rules.records import Forecast
from providerrank.rules.verified import MAX_ROOTS, Backing, Finding
from providerrank.wire.errors import WireError

VERSION: Final = 1


class MalformedFinding(WireError):
    """Not a finding, or one that cannot be."""


class _Backing(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    hotkey: str
    root: str
    score_ppm: int


class _Finding(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    endpoint_id: str
    task: str
    validator: str
    stake_rao: int
    epoch: int
    at_us: int
    ttft_micrologs: tuple[int, ...]
    total_micrologs: tuple[int, ...]
    success_ppm: int
    schema_ppm: int
    replays: int
    backing: tuple[_Backing, ...]


_decoder = msgspec.json.Decoder(_Finding)


def encode_finding(finding: Finding) -> bytes:
    """Write a finding."""
    forecast = finding.forecast
    return msgspec.json.encode(
        _Finding(
            VERSION,
            finding.cell.endpoint_id,
            finding.cell.task,
            finding.validator,
            finding.stake_rao,
            finding.epoch,
            finding.at_us,
            forecast.ttft_micrologs,
            forecast.total_micrologs,
            forecast.success_ppm,
            forecast.schema_ppm,
            finding.replays,
            tuple(_Backing(one.hotkey, one.root, one.score_ppm) for one in finding.backing),
        )
    )


def decode_finding(data: bytes | str) -> Finding:
    """Read a finding back. Raises ``MalformedFinding``."""
    try:
        found = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedFinding(f"not a finding: {error}") from None
    if found.version != VERSION:
        raise MalformedFinding(f"a finding of version {found.version}, not {VERSION}")
    cell = Cell(found.endpoint_id, found.task)
    forecast = Forecast(cell, found.ttft_micrologs, found.total_micrologs, found.success_ppm, found.schema_ppm)
    fault = find_forecast_fault(forecast)
    if fault is None and min(found.stake_rao, found.epoch, found.at_us, found.replays) < 0:
        fault = "a number is negative"
    if fault is None and not 1 <= len(found.backing) <= MAX_ROOTS:
        fault = f"it names {len(found.backing)} bundles, not 1 to {MAX_ROOTS}"
    if fault is None and any(HASH.fullmatch(one.root) is None for one in found.backing):
        fault = "a bundle's root is not 64 lower-case hex digits"
    if fault is not None:
        raise MalformedFinding(f"a finding that cannot be: {fault}")
    return Finding(
        cell,
        found.validator,
        found.stake_rao,
        found.epoch,
        found.at_us,
        forecast,
        found.replays,
        tuple(Backing(one.hotkey, one.root, one.score_ppm) for one in found.backing),
    )
