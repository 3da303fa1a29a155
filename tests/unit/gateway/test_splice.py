"""Channels and echoes, by themselves."""

from __future__ import annotations

import pytest

from providerrank.gateway.splice import ECHO_MIN_CHARS, Channel, Diverged, Echo, get_text
from providerrank.wire.answer import read_event


def delivered(*texts: str) -> Channel:
    channel = Channel()
    for text in texts:
        channel.deliver(text)
    return channel


def test_a_channel_holds_what_was_delivered() -> None:
    channel = delivered("a", "b", "c")
    assert channel.text == channel.text == "abc"
    assert Channel().text == ""


def test_a_channel_lets_new_text_pass_until_a_restart() -> None:
    channel = delivered("abc")
    assert not channel.matching
    assert channel.match("d") == "d"


def test_a_restarted_channel_drops_what_it_has() -> None:
    channel = delivered("ab", "c")
    channel.restart()
    seen = [(channel.match(text), channel.matching) for text in ("a", "", "b", "cd", "e")]
    assert seen == [("", True), ("", True), ("", True), ("d", False), ("e", False)]


def test_a_restart_of_nothing_matches_at_once() -> None:
    channel = Channel()
    channel.restart()
    assert not channel.matching


def test_a_resumed_channel_has_nothing_to_repeat() -> None:
    channel = delivered("abc")
    channel.restart()
    channel.resume()
    assert not channel.matching
    assert channel.match("x") == "x"


@pytest.mark.parametrize("texts", [("x",), ("a", "x"), ("abx",), ("abxd",), ("xbcd",)])
def test_a_restarted_channel_notices_the_first_difference(texts: tuple[str, ...]) -> None:
    channel = delivered("abc")
    channel.restart()
    for text in texts[:-1]:
        assert channel.match(text) == ""
    with pytest.raises(Diverged):
        channel.match(texts[-1])


def test_a_short_prefill_may_be_repeated_by_chance() -> None:
    short = "x" * (ECHO_MIN_CHARS - 1)
    assert Echo(short).match(short) == short


def test_an_echo_is_dropped_once() -> None:
    prefill = "x" * ECHO_MIN_CHARS
    echo = Echo(prefill)
    assert [echo.match(text) for text in ("xx", "", "x" * (ECHO_MIN_CHARS - 2), prefill)] == ["", "", "", prefill]
    assert echo.flush() == ""


def test_what_is_no_echo_after_all_is_given_whole() -> None:
    echo = Echo("the same words")
    assert echo.match("the same ") == ""
    assert echo.match("thing") == "the same thing"
    assert echo.match("the same words") == "the same words"


def test_what_is_still_held_is_flushed() -> None:
    echo = Echo("the same words")
    echo.match("the same ")
    assert echo.flush() == "the same "
    assert echo.flush() == ""


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"{}", ("", "")),
        (b'{"choices":[]}', ("", "")),
        (b'{"choices":[{"text":"a"}]}', ("a", "")),
        (b'{"choices":[{"text":null}]}', ("", "")),
        (b'{"choices":[{"delta":{"content":"a"}}]}', ("a", "")),
        (b'{"choices":[{"delta":{"reasoning":"r"}}]}', ("", "r")),
        (b'{"choices":[{"delta":{"reasoning":"r","reasoning_content":"c","content":"a"}}]}', ("a", "c")),
    ],
)
def test_what_an_event_adds(payload: bytes, text: tuple[str, str]) -> None:
    assert get_text(read_event(payload)) == text


@pytest.mark.parametrize(
    ("delivered", "said", "new"),
    [
        ("One line.\n", ["\n", " Two"], " Two"),
        ("One line.\n\n", ["\n\nTwo"], "Two"),
        ("One line.\n\n", ["\n", "Two"], "Two"),
        ("One line. ", ["Two"], "Two"),
        ("One line. ", ["\nTwo"], "\nTwo"),
        ("One line. ", ["One line.", " Two"], "Two"),
        ("One line. ", ["One", " line. Two"], "Two"),
        ("  ", [" ", " ", " Two"], " Two"),
        ("One line.", [" Two"], " Two"),
        ("One line. ", ["One"], "One"),
    ],
)
def test_white_space_that_could_not_be_part_of_the_prefill_is_not_said_twice(
    delivered: str, said: list[str], new: str
) -> None:
    echo = Echo(delivered, trimmed=True)
    assert "".join(echo.match(text) for text in said) + echo.flush() == new


def test_white_space_is_new_where_the_prefill_had_it() -> None:
    assert Echo("One line.\n").match("\nTwo") == "\nTwo"
