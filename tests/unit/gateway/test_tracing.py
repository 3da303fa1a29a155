from __future__ import annotations

from random import Random

from providerrank.gateway.tracing import Sampler, get_attempt_span_id, write_attempt_line
from providerrank.rules.finished import Trace
from providerrank.wire.trace_context import read_traceparent, write_traceparent

SAMPLED = write_traceparent(0xABC, 0xDEF, is_sampled=True)
UNSAMPLED = write_traceparent(0xABC, 0xDEF, is_sampled=False)


def test_the_caller_decides() -> None:
    for share in (0.0, 1.0):
        sampler = Sampler(share, Random(1))
        trace = sampler.begin(SAMPLED)
        assert trace is not None
        assert (trace.trace_id, trace.parent_id) == (0xABC, 0xDEF)
        assert 0 < trace.span_id < 2**64
        assert trace.span_id != 0xDEF
        assert sampler.begin(UNSAMPLED) is None


def test_a_share_of_the_others_begins_a_trace() -> None:
    sampler = Sampler(0.25, Random(1))
    begun = [trace for _ in range(4000) if (trace := sampler.begin(None)) is not None]
    assert 850 < len(begun) < 1150
    assert all(trace.parent_id is None for trace in begun)
    assert all(0 < trace.trace_id < 2**128 and 0 < trace.span_id < 2**64 for trace in begun)
    assert len({trace.trace_id for trace in begun}) == len({trace.span_id for trace in begun}) == len(begun)
    assert all(Sampler(1.0, Random(1)).begin(b"nonsense") is not None for _ in range(100))
    assert all(Sampler(0.0, Random(seed)).begin(None) is None for seed in range(100))


class _Zeros(Random):
    def getrandbits(self, k: int, /) -> int:
        return 0 * k


def test_no_id_is_zero() -> None:
    sampler = Sampler(1.0, _Zeros())
    for given in (None, SAMPLED):
        trace = sampler.begin(given)
        assert trace is not None
        assert trace.trace_id > 0
        assert trace.span_id > 0
        assert get_attempt_span_id(trace, 0) > 0


def test_attempts_have_spans_of_their_own() -> None:
    trace = Trace(7, 8, None, 2**64 - 2)
    ids = [get_attempt_span_id(trace, number) for number in range(4)]
    assert ids == [2**64 - 2, 2**64 - 1, 2**64 - 1, 1] or len(set(ids)) == 4
    line = write_attempt_line(trace, 3)
    assert line.startswith(b"traceparent: ")
    assert line.endswith(b"\r\n")
    found = read_traceparent(line[13:-2])
    assert found is not None
    assert (found.trace_id, found.span_id, found.is_sampled) == (7, ids[3], True)
