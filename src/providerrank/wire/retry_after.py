"""When a rate-limited endpoint may be tried again: ``Retry-After``, in seconds or as a date (RFC 9110, 10.2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_US = 3_600_000_000
"""No more than an hour is believed: a typo of an endpoint must not bench it for a day."""


def read_retry_after_us(headers: Mapping[bytes, bytes], now_us: int) -> int | None:
    """Microseconds from now, at most an hour; None where the headers do not say or say nonsense.

    ``retry-after-ms`` (OpenAI) is finer and comes first. ``now_us`` is Unix time.
    """
    fine = _read_number(headers.get(b"retry-after-ms"))
    if fine is not None:
        return _bound(fine * 1_000)
    value = headers.get(b"retry-after")
    seconds = _read_number(value)
    if seconds is not None:
        return _bound(seconds * 1_000_000)
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value.decode("latin-1"))
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)  # HTTP knows no other zone, whatever is written
    return _bound(date.timestamp() * 1_000_000 - now_us)


def _read_number(value: bytes | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _bound(us: float) -> int:
    return int(min(max(us, 0), MAX_US))
