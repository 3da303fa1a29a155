"""Which requests are traced, and under which ids. The spans are made when the request is over, by somebody else.

A caller that traces decides: its request is traced here exactly if it is traced there, and joins its trace. Of the
others a share begins a trace of its own. The span ids of attempts follow from one number drawn for the request.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from providerrank.rules.finished import Trace
from providerrank.wire.trace_context import read_traceparent, write_traceparent

_MASK = (1 << 64) - 1


class Sampler:
    """``share`` of the requests, 0..1, that no caller has decided on."""

    def __init__(self, share: float, rng: Random) -> None:
        self._share = share
        self._random = rng.random
        self._bits: Callable[[int], int] = rng.getrandbits

    def begin(self, traceparent: bytes | None) -> Trace | None:
        """The trace of one request; None: it is not traced."""
        parent = None if traceparent is None else read_traceparent(traceparent)
        if parent is not None:
            if not parent.is_sampled:
                return None
            bits = self._bits(128)
            return Trace(parent.trace_id, bits & _MASK or 1, parent.span_id, bits >> 64)
        if self._share < 1.0 and self._random() >= self._share:
            return None
        bits = self._bits(256)
        return Trace(bits >> 128 or 1, bits & _MASK or 1, None, (bits >> 64) & _MASK)


def get_attempt_span_id(trace: Trace, number: int) -> int:
    """Span id of a request's attempt, counted from 0."""
    return (trace.attempt_base + number) & _MASK or _MASK


def write_attempt_line(trace: Trace, number: int) -> bytes:
    """The header line that tells an endpoint which span it is called from."""
    span_id = get_attempt_span_id(trace, number)
    return b"traceparent: %b\r\n" % write_traceparent(trace.trace_id, span_id, is_sampled=True)
