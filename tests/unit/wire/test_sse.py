"""The event stream, as the HTML standard has it, for the fields language-model APIs use."""

from __future__ import annotations

import pytest

from providerrank.wire.sse import DONE, MAX_EVENT_BYTES, EventReader, EventTooLong, read_block, write_event


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
