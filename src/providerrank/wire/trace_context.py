"""W3C Trace Context: which trace a request belongs to, and what the next one down is told.

``traceparent: 00-<32 hex: trace>-<16 hex: parent span>-<2 hex: flags>``, all in lower case, neither id zero. A later
version may have more after the flags; its first four fields mean the same. What is not of this form is as if it
were not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SAMPLED = 0x01
"""The flag: the caller records this trace."""

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The caller's place in a trace."""

    trace_id: int
    span_id: int
    is_sampled: bool


def read_traceparent(value: bytes) -> TraceParent | None:
    """Read a header's value; None where it says nothing."""
    found = _FORM.fullmatch(value.strip())
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & SAMPLED))


def write_traceparent(trace_id: int, span_id: int, *, is_sampled: bool) -> bytes:
    """A header's value; the ids are above zero, below 2^128 and 2^64."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, SAMPLED if is_sampled else 0)
