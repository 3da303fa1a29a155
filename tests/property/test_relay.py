"""Delivered text and its continuation are the whole text: for any cut, and any events it comes in."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from providerrank.gateway.relay import Broken, Relay, Seen
from providerrank.gateway.splice import ECHO_MIN_CHARS
from tests.unit.gateway.streams import END, PLAIN, PREFILLER, Client, ask, contents, event, relay_all, role, stop

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40) | st.text("ab ", min_size=1)


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[str]:
    """``text`` as an endpoint may cut it into events, empty ones among them."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def reads_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """``data`` as the network may cut it."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def check_whole(relay: Relay, client: Client, text: str) -> None:
    client.take(relay.write_end())
    assert client.content == relay.text == text
    assert (client.finishes, client.done, client.ids) == (["stop"], 1, {"a"})


@given(st.data(), TEXTS)
def test_a_restart_is_spliced_at_any_cut(data: st.DataObject, text: str) -> None:
    relay, client = Relay(ask()), Client()
    for stream_id in data.draw(st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]])):
        relay.begin_attempt(PLAIN, "up")
        stream = role(stream_id) + contents(stream_id, data.draw(pieces_of(text)))
        if stream_id == "a":
            # Cut anywhere, but not before there was content: then nothing would be spliced.
            first = len(role("a") + contents("a", [text[0]]))
            stream = role("a") + contents("a", [text[0], *data.draw(pieces_of(text[1:]))])
            stream = stream[: data.draw(st.integers(first, len(stream)))]
        else:
            stream = stream[: data.draw(st.integers(0, len(stream)))]
        for read in data.draw(reads_of(stream)):
            relay_all(relay, client, read)
            assert text.startswith(client.content)
    relay.begin_attempt(PLAIN, "up")
    stream = role("z") + contents("z", data.draw(pieces_of(text))) + stop("z") + END
    reads = data.draw(reads_of(stream))
    seen = Seen.NOTHING
    for read in reads:
        if seen is not Seen.DONE:
            seen = relay.feed(read)
            client.take(relay.take_output())
    assert seen is Seen.DONE
    check_whole(relay, client, text)


@given(st.data(), TEXTS, st.booleans())
def test_a_prefill_goes_on_at_any_cut(data: st.DataObject, text: str, repeats: bool) -> None:
    place = data.draw(st.integers(1, len(text)))
    delivered, rest = text[:place], text[place:]
    # Whether a text that begins with what it follows is an echo can not be told; nor is a short one dropped.
    assume(len(delivered) >= ECHO_MIN_CHARS if repeats else not rest.startswith(delivered))
    relay, client = Relay(ask()), Client()
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, role("a") + contents("a", data.draw(pieces_of(delivered))))
    assert relay.begin_attempt(PREFILLER, "up") == ask().continuation("up", delivered)
    answer = text if repeats else rest
    for read in data.draw(reads_of(role("b") + contents("b", data.draw(pieces_of(answer))) + stop("b"))):
        relay_all(relay, client, read)
    check_whole(relay, client, text)


@given(st.data(), TEXTS, TEXTS)
def test_what_was_delivered_is_never_contradicted(data: st.DataObject, text: str, other: str) -> None:
    relay, client = Relay(ask()), Client()
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, contents("a", [text]))
    relay.begin_attempt(PLAIN, "up")
    try:
        for piece in data.draw(pieces_of(other)):
            relay_all(relay, client, event("b", content=piece))
        relay_all(relay, client, stop("b"))
    except Broken as broken:
        assert broken.diverged
        assert not other.startswith(text)
        client.take(relay.take_output())
        assert client.content == text
        assert client.finishes == []
    else:
        assert client.content == other
        assert other.startswith(text)


@given(st.data(), TEXTS, TEXTS)
def test_reasoning_and_content_are_spliced_each_for_itself(data: st.DataObject, reasoning: str, text: str) -> None:
    def write(stream_id: str) -> list[bytes]:
        return [
            *(event(stream_id, reasoning_content=piece) for piece in data.draw(pieces_of(reasoning)) if piece),
            *(event(stream_id, content=piece) for piece in data.draw(pieces_of(text)) if piece),
        ]

    relay, client = Relay(ask()), Client()
    relay.begin_attempt(PLAIN, "up")
    events = write("a")
    for data_of_event in events[: data.draw(st.integers(1, len(events)))]:
        relay_all(relay, client, data_of_event)
    relay.begin_attempt(PLAIN, "up")
    for data_of_event in [*write("b"), stop("b")]:
        relay_all(relay, client, data_of_event)
    assert client.reasoning == reasoning
    check_whole(relay, client, text)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_a_stream_or_broken(reads: list[bytes]) -> None:
    relay, client = Relay(ask()), Client()
    relay.begin_attempt(PLAIN, "up")
    try:
        for read in reads:
            relay_all(relay, client, read)
        relay.close()
    except Broken as broken:
        assert broken.detail
