"""The event stream, as the HTML standard has it, for the fields language-model APIs use."""

from __future__ import annotations

import pytest

from providerrank.wire.sse import (
    DONE,
    LONG_BYTES,
    MAX_EVENT_BYTES,
    MAX_LINES,
    EventReader,
    EventTooLong,
    read_block,
    write_event,
)


def read(*reads: bytes) -> list[bytes]:
    reader = EventReader()
    return [payload for data in reads for payload in reader.feed(data)]


def test_an_event_is_handed_out_in_the_read_that_ends_it() -> None:
    reader = EventReader()
    assert reader.feed(b"data: one\n") == []
    assert reader.feed(b"\ndata: two\n\ndata: th") == [b"one", b"two"]
    assert reader.feed(b"ree\n\n") == [b"three"]


def test_a_crlf_event_is_handed_out_in_the_read_that_ends_it() -> None:
    reader = EventReader()
    assert reader.feed(b"data: one\r\n\r\n") == [b"one"]
    assert reader.feed(b"data: two\r\n\r") == []
    assert reader.feed(b"\n") == [b"two"]


def test_an_event_longer_than_any_token_is_refused() -> None:
    reader = EventReader()
    with pytest.raises(EventTooLong):
        reader.feed(b"data: " + b"x" * MAX_EVENT_BYTES)


def test_a_long_event_that_ends_is_taken() -> None:
    payload = b"x" * (MAX_EVENT_BYTES - 6)
    assert read(b"data: " + payload, b"\n\n") == [payload]


@pytest.mark.parametrize("end", [[b"\n\n"], [b"\n", b"\n"], [b"x\n", b"\ndata: y\n\ndata: z"]], ids=range(3))
def test_a_long_event_that_comes_bit_by_bit_is_taken_when_it_ends(end: list[bytes]) -> None:
    reader = EventReader()
    begin = b"x" * LONG_BYTES
    assert reader.feed(b"data: " + begin) == []
    for _ in range(3):
        assert reader.feed(b"x") == []
    *before, last = end
    for data in before:
        assert reader.feed(data) == []
    said = reader.feed(last)
    assert said[0].rstrip(b"x") == b""
    assert len(said[0]) == len(begin) + 3 + (b"x" in b"".join(end))
    assert said[1:] == ([b"y"] if b"y" in last else [])
    assert reader.close() == (b"z" if b"z" in last else None)


def test_a_long_event_that_comes_bit_by_bit_is_refused_where_it_does_not_end() -> None:
    reader = EventReader()
    reader.feed(b"data: " + b"x" * (MAX_EVENT_BYTES - 7))
    assert reader.feed(b"x") == []
    with pytest.raises(EventTooLong):
        reader.feed(b"x")


def test_a_long_event_that_the_stream_ends_is_found() -> None:
    reader = EventReader()
    reader.feed(b"data: " + b"x" * LONG_BYTES)
    reader.feed(b"y")
    assert reader.close() == b"x" * LONG_BYTES + b"y"


def test_an_event_of_more_lines_than_any_has_is_refused() -> None:
    lines = b"data:\n" * MAX_LINES
    assert read_block(lines) == b" " * (MAX_LINES - 1)
    with pytest.raises(EventTooLong):
        read_block(lines + b"\n")


def test_what_no_blank_line_ended_is_found_at_the_end() -> None:
    reader = EventReader()
    assert reader.feed(b"data: one\n\ndata: [DONE]") == [b"one"]
    assert reader.close() == DONE
    assert reader.close() is None


@pytest.mark.parametrize("rest", [b"", b": ping", b"event: done", b"\n"])
def test_an_end_without_data_is_nothing(rest: bytes) -> None:
    reader = EventReader()
    reader.feed(rest)
    assert reader.close() is None


def test_what_is_written_is_read_back() -> None:
    assert read(write_event(b'{"a":1}') + write_event(DONE)) == [b'{"a":1}', DONE]


def test_a_block_of_lines_is_its_data() -> None:
    assert read_block(b"event: x\ndata:one\ndata: two\nid: 3") == b"one two"
    assert read_block(b"id: 3\nretry: 10") is None


def test_a_byte_order_mark_is_no_part_of_the_first_event() -> None:
    assert EventReader().feed(b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n") == [b"1", b"2"]
