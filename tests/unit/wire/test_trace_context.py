from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.wire.trace_context import TraceParent, read_traceparent, write_traceparent

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
TEXT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_examples_of_the_specification() -> None:
    assert read_traceparent(TEXT) == TraceParent(TRACE, SPAN, is_sampled=True)
    assert read_traceparent(TEXT[:-2] + b"00") == TraceParent(TRACE, SPAN, is_sampled=False)
    assert write_traceparent(TRACE, SPAN, is_sampled=True) == TEXT
    assert write_traceparent(TRACE, SPAN, is_sampled=False) == TEXT[:-2] + b"00"


@pytest.mark.parametrize(
    ("value", "reads"),
    [
        (b" " + TEXT + b"\t", True),
        (TEXT[:-2] + b"03", True),
        (b"01" + TEXT[2:], True),
        (b"cc" + TEXT[2:] + b"-what-is-to-come", True),
        (b"cc" + TEXT[2:] + b".what", False),
        (TEXT + b"-more", False),
        (b"ff" + TEXT[2:], False),
        (TEXT.upper(), False),
        (TEXT[:-1], False),
        (TEXT + b"0", False),
        (TEXT.replace(b"-", b"_"), False),
        (b"00-" + b"0" * 32 + TEXT[35:], False),
        (TEXT[:36] + b"0" * 16 + b"-01", False),
        (b"", False),
        (TEXT.replace(b"4b", b"\xef\xbc\x94b"), False),
    ],
)
def test_what_reads_and_what_is_as_if_absent(value: bytes, reads: bool) -> None:
    assert (read_traceparent(value) is not None) is reads


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace_id: int, span_id: int, is_sampled: bool) -> None:
    value = write_traceparent(trace_id, span_id, is_sampled=is_sampled)
    assert len(value) == 55
    assert read_traceparent(value) == TraceParent(trace_id, span_id, is_sampled)


@given(st.binary(max_size=80))
def test_nothing_raises(value: bytes) -> None:
    read_traceparent(value)
