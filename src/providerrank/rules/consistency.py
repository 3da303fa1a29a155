"""What the parts of a bundle must have in common, whoever made them.

A record, forecast or signal that breaks one of these rules was not measured, or not by a working program; none of them
is a matter of degree, and an honest miner breaks none ever. They are pure, so a miner asks before it signs, a validator
before it spends, and both get the same sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from providerrank.rules.observation import Outcome
from providerrank.rules.records import CHECK_NONE, PPM, QUANTILES_PPM, SCHEMA_CHECKS, Forecast, Record, Signal

MAX_NUMBER = 2**53 - 1
"""The largest integer canonical JSON carries."""
MAX_MICROLOG = 40_000_000
"""e^40 us is seven thousand years."""
MAX_NAME = 256
"""Characters of an endpoint id, model or task name."""
MAX_ROUTES = 1_000
"""Endpoints in one signal."""

HASH = re.compile(r"[0-9a-f]{64}")
CHECK = re.compile(r"[a-z][a-z_]{0,31}")
NAME = re.compile(r"[!-~]+(?: [!-~]+)*")

COMPLETED = frozenset({Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION})
"""Outcomes with a whole answer; the endpoint did what it was asked, however well."""


@dataclass(frozen=True, slots=True)
class Window:
    """When an epoch's measurements may lie: from ``start_us`` up to, not with, ``end_us`` (Unix microseconds)."""

    start_us: int
    end_us: int


def find_record_fault(record: Record) -> str | None:
    """Say what is wrong with one record by itself; None when nothing is."""
    return (
        _find_name_fault("endpoint", record.cell.endpoint_id)
        or _find_name_fault("task", record.cell.task)
        or _find_record_number_fault(record)
        or _find_record_text_fault(record)
        or _find_record_meaning_fault(record)
    )


def find_time_fault(record: Record, created_us: int, window: Window | None = None) -> str | None:
    """Say what is wrong with a record's place in time: it ends before its bundle is made, inside its epoch."""
    ended_us = record.started_us + record.total_us
    if ended_us > created_us:
        return f"ends at {ended_us}, after the bundle was made at {created_us}"
    if window is not None and not (window.start_us <= record.started_us and ended_us < window.end_us):
        return f"runs from {record.started_us} to {ended_us}, outside its epoch ({window.start_us} to {window.end_us})"
    return None


def find_forecast_fault(forecast: Forecast) -> str | None:
    """Say what is wrong with one forecast; None when nothing is."""
    fault = _find_name_fault("endpoint", forecast.cell.endpoint_id) or _find_name_fault("task", forecast.cell.task)
    if fault is not None:
        return fault
    for name, quantiles in (("ttft", forecast.ttft_micrologs), ("total", forecast.total_micrologs)):
        if len(quantiles) != len(QUANTILES_PPM):
            return f"{name} has {len(quantiles)} quantiles, not {len(QUANTILES_PPM)}"
        if not all(0 <= value <= MAX_MICROLOG for value in quantiles):
            return f"{name} has a quantile outside 0 to {MAX_MICROLOG} micro-logs"
        if any(low > high for low, high in pairwise(quantiles)):
            return f"{name} quantiles decrease"
    if any(ttft > total for ttft, total in zip(forecast.ttft_micrologs, forecast.total_micrologs, strict=True)):
        return "a ttft quantile is above the total's of the same level"
    for name, share in (("success_ppm", forecast.success_ppm), ("schema_ppm", forecast.schema_ppm)):
        if not 0 <= share <= PPM:
            return f"{name} {share} is no probability (0 to {PPM})"
    return None


def find_signal_fault(signal: Signal) -> str | None:
    """Say what is wrong with one signal; None when nothing is."""
    fault = _find_name_fault("model", signal.model) or _find_name_fault("task", signal.task)
    if fault is not None:
        return fault
    if not 1 <= len(signal.routes) <= MAX_ROUTES:
        return f"{len(signal.routes)} routes, not 1 to {MAX_ROUTES}"
    for route in signal.routes:
        fault = _find_name_fault("endpoint", route.endpoint_id)
        if fault is not None:
            return fault
    if len({route.endpoint_id for route in signal.routes}) != len(signal.routes):
        return "an endpoint is routed to twice"
    weights = [route.weight_ppm for route in signal.routes]
    if min(weights) < 0 or sum(weights) != PPM:
        return f"weights sum to {sum(weights)}, not {PPM}, or one is negative"
    if weights != sorted(weights, reverse=True):
        return "a later route weighs more than an earlier one"
    return None


def _find_name_fault(what: str, name: str) -> str | None:
    if len(name) > MAX_NAME or NAME.fullmatch(name) is None:
        return f"{what} name is not 1 to {MAX_NAME} printable ASCII characters"
    return None


def _find_record_number_fault(record: Record) -> str | None:
    for name, value in (
        ("index", record.index),
        ("started_us", record.started_us),
        ("ttft_us", record.ttft_us),
        ("total_us", record.total_us),
        ("tokens_in", record.tokens_in),
        ("tokens_out", record.tokens_out),
    ):
        if value is not None and not 0 <= value <= MAX_NUMBER:
            return f"{name} {value} is outside 0 to 2^53 - 1"
    return None


def _find_record_text_fault(record: Record) -> str | None:
    for name, text in (
        ("prompt_hash", record.prompt_hash),
        ("response_hash", record.response_hash),
        ("params_hash", record.params_hash),
    ):
        if HASH.fullmatch(text) is None:
            return f"{name} is not 64 lower-case hex digits"
    if CHECK.fullmatch(record.check) is None:
        return "check is not a short code (a-z and _, at most 32)"
    return None


def _find_record_meaning_fault(record: Record) -> str | None:
    completed = record.status in COMPLETED
    if record.ttft_us is not None and record.ttft_us > record.total_us:
        return f"ttft {record.ttft_us} us is past total {record.total_us} us"
    if completed and record.ttft_us is None:
        return "completed, with no time to first token"
    is_violation = record.status is Outcome.SCHEMA_VIOLATION
    if completed == (record.check == CHECK_NONE) or is_violation != (record.check in SCHEMA_CHECKS):
        return f"status {record.status.name} does not go with check {record.check!r}"
    return None
