"""One stream for the client, whatever streams it is made of."""

from __future__ import annotations

import msgspec
import pytest

from providerrank.gateway.relay import Broken, Relay, Seen, is_event_stream, is_json
from providerrank.wire.answer import Usage
from providerrank.wire.sse import MAX_EVENT_BYTES, MAX_LINES, write_event
from tests.unit.gateway.streams import (
    END,
    PLAIN,
    PREFILLER,
    Client,
    ask,
    ask_text,
    contents,
    event,
    relay_all,
    role,
    stop,
    text_event,
    usage_event,
)

USAGE_ASKED = '"stream_options":{"include_usage":true}'


def begin(extra: str = "") -> Relay:
    relay = Relay(ask(extra))
    relay.begin_attempt(PLAIN, "up")
    return relay


def cut(relay: Relay, client: Client, data: bytes) -> None:
    """An attempt that delivers this and is cut."""
    relay_all(relay, client, data)


# ---- an answer from one endpoint --------------------------------------------------------------------------------


def test_nothing_leaves_before_there_is_content() -> None:
    relay = begin()
    assert relay.feed(b": processing\n\n") is Seen.NOTHING
    assert relay.feed(role()) is Seen.HELD
    assert not relay.delivered_content
    assert relay.feed(event(content="hi")) is Seen.CONTENT
    assert relay.take_output() == role() + event(content="hi")
    assert relay.take_output() == b""


def test_every_event_passes_byte_for_byte() -> None:
    odd = b'data: { "id" : "a","choices":[{"delta":{"content":"\\u00e9 \\"x\\""}} ],"logprobs":null,"x":1e999 }\n\n'
    relay = begin()
    relay.feed(odd)
    assert relay.take_output() == odd


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "hm"},
        {"reasoning_content": "hm"},
        {"tool_calls": [{"index": 0, "id": "c"}]},
        {"refusal": "no"},
        {"function_call": {"name": "f"}},
    ],
)
def test_what_counts_as_content(delta: dict[str, object]) -> None:
    assert begin().feed(event(finish=None, **delta)) is Seen.CONTENT


def test_a_finish_without_content_is_an_answer() -> None:
    relay = begin()
    assert relay.feed(role() + stop()) is Seen.CONTENT
    assert relay.feed(END) is Seen.DONE


def test_a_completion_is_relayed_too() -> None:
    relay = Relay(ask_text())
    relay.begin_attempt(PLAIN, "up")
    assert relay.feed(text_event("")) is Seen.HELD
    assert relay.feed(text_event(" upon") + text_event("", "stop") + END) is Seen.DONE
    assert relay.text == " upon"


def test_a_last_event_of_too_many_lines_breaks_the_stream() -> None:
    relay = begin()
    relay.feed(event(content="hi"))
    relay.feed(b"data: x\n" * (MAX_LINES + 2))
    with pytest.raises(Broken, match="lines"):
        relay.close()


def test_events_after_the_end_are_dropped() -> None:
    relay = begin()
    relay.feed(event(content="x") + stop() + END + event(content="y"))
    assert relay.text == "x"


def test_what_an_endpoint_says_of_its_own_passes() -> None:
    own = write_event(b'{"id":"a","choices":[],"prompt_filter_results":[]}')
    relay = begin()
    assert relay.feed(own) is Seen.HELD
    relay.feed(event(content="x"))
    assert relay.take_output() == own + event(content="x")


def test_an_answer_is_told_from_one_that_was_cut_short() -> None:
    for finish, plain in (("stop", True), ("length", False)):
        relay = begin()
        relay.feed(event(content="{}") + stop(finish=finish))
        assert relay.is_plain_and_complete is plain


def test_bytes_of_text_are_counted_reasoning_included() -> None:
    relay = begin()
    relay.feed(event(reasoning="hm") + event(content="é"))
    assert relay.output_text_bytes == 4
    assert relay.content_events == 2


# ---- usage ------------------------------------------------------------------------------------------------------


def test_usage_that_nobody_asked_for_is_kept_from_the_client() -> None:
    relay = begin()
    relay.feed(event(content="x") + stop() + usage_event(3, 4) + END)
    assert relay.take_output() == event(content="x") + stop()
    assert relay.write_end() == END
    assert relay.usage == Usage(3, 4)


def test_usage_that_was_asked_for_passes() -> None:
    relay = begin(USAGE_ASKED)
    relay.feed(event(content="x") + stop() + usage_event(3, 4))
    assert relay.take_output() == event(content="x") + stop() + usage_event(3, 4)
    assert relay.write_end() == END


def test_usage_that_was_asked_for_and_is_missing_is_supplied() -> None:
    relay, client = begin(USAGE_ASKED), Client()
    relay_all(relay, client, contents("a", ["one ", "two ", "three"]) + stop())
    client.take(relay.write_end())
    assert client.usages == [{"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}]
    assert client.done == 1
    assert client.events[-1]["id"] == "a"
    assert client.events[-1]["object"] == "chat.completion.chunk"


def test_usage_that_was_sent_with_a_choice_is_sent_again_on_its_own() -> None:
    with_usage = write_event(
        b'{"id":"a","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    )
    relay, client = begin(USAGE_ASKED), Client()
    relay_all(relay, client, event(content="x") + with_usage)
    client.take(relay.write_end())
    assert [u["completion_tokens"] for u in client.usages] == [4, 4]
    assert client.events[-1]["choices"] == []


def test_usage_is_supplied_where_an_event_can_not_be_read_again() -> None:
    relay, client = begin(USAGE_ASKED), Client()
    relay.feed(b'data: {"id":"a","\xff":1,"choices":[{"delta":{"content":"x"}}]}\n\n' + stop())
    relay.take_output()
    client.take(relay.write_end())
    assert len(client.usages) == 1


# ---- what an answer may lack, and what breaks it ----------------------------------------------------------------


def test_an_event_that_is_not_json_is_skipped_and_counted() -> None:
    relay = begin()
    relay.feed(event(content="x") + b"data: {oops\n\n" + event(content="y") + stop() + END)
    assert relay.text == "xy"
    assert relay.bad_events == 1
    relay.begin_attempt(PLAIN, "up")
    assert relay.bad_events == 0


def test_a_stream_without_done_but_with_a_finish_is_finished() -> None:
    relay, client = begin(), Client()
    relay_all(relay, client, event(content="x") + stop())
    assert relay.finished
    assert relay.close() is Seen.NOTHING
    client.take(relay.write_end())
    assert (client.content, client.finishes, client.done) == ("x", ["stop"], 1)


def test_a_last_event_without_its_blank_line_is_taken() -> None:
    relay = begin()
    relay.feed(event(content="x") + stop().rstrip())
    assert relay.close() is Seen.CONTENT
    assert relay.take_output() == event(content="x") + stop()


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (event(content="x") + END, "the stream said it was done without a finish reason"),
        (END, "the stream said it was done without a finish reason"),
        (event(content="x") + b'data: {"error":{"message":"busy"}}\n\n', 'error event: {"message":"busy"}'),
        (b'event: error\ndata: {"error":"busy"}\n\n', 'error event: "busy"'),
        (stop(finish="error"), "finish reason 'error'"),
        (b"data: " + b"x" * MAX_EVENT_BYTES, f"an event exceeds {MAX_EVENT_BYTES} bytes"),
    ],
)
def test_what_breaks_a_stream(data: bytes, detail: str) -> None:
    with pytest.raises(Broken) as broken:
        begin().feed(data)
    assert (broken.value.detail, broken.value.diverged) == (detail, False)


@pytest.mark.parametrize("rest", [b"", event(content="x"), b'data: {"choices":[{"delta":{"content":"x"}'])
def test_a_stream_that_ends_without_a_finish_is_cut(rest: bytes) -> None:
    relay = begin()
    relay.feed(rest)
    with pytest.raises(Broken, match="without a finish reason"):
        relay.close()


def test_text_of_an_event_that_breaks_the_stream_was_not_delivered() -> None:
    relay, client = begin(), Client()
    relay_all(relay, client, event(content="one "))
    with pytest.raises(Broken):
        relay.feed(event(content="two", finish="error"))
    client.take(relay.take_output())
    assert client.content == relay.text == "one "


def test_every_choice_that_was_asked_for_has_to_finish() -> None:
    def choice(index: int, finish: str | None = None) -> bytes:
        body = {"id": "a", "choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": finish}]}
        return write_event(msgspec.json.encode(body))

    relay = begin('"n":2')
    relay.feed(choice(0) + choice(1) + choice(1, "stop"))
    assert not relay.finished
    relay.feed(choice(0, "stop"))
    assert relay.finished


def test_an_endpoint_that_gives_fewer_choices_than_asked_for_is_whole_when_it_says_so() -> None:
    relay = begin('"n":2')
    relay.feed(event(content="x") + stop())
    assert not relay.finished
    assert relay.feed(END) is Seen.DONE


def test_an_error_after_a_whole_answer_changes_nothing() -> None:
    relay = begin()
    late = write_event(b'{"error":{"message":"late"}}')
    assert relay.feed(event(content="x") + stop() + late) is Seen.DONE


def test_every_prompt_of_a_list_has_to_be_answered() -> None:
    def choice(index: int, finish: str | None = None) -> bytes:
        body = {"id": "a", "choices": [{"index": index, "text": "x", "finish_reason": finish}]}
        return write_event(msgspec.json.encode(body))

    relay = Relay(ask_text('["a","b"]'))
    relay.begin_attempt(PLAIN, "up")
    relay.feed(choice(0, "stop") + choice(1))
    with pytest.raises(Broken, match="without a finish reason"):
        relay.close()
    relay.feed(choice(1, "stop"))
    assert relay.close() is Seen.NOTHING


# ---- what can be continued --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sealed"),
    [
        (event(content="x"), False),
        (event(reasoning="x"), False),
        (event(content="x", reasoning="y"), False),
        (event(tool_calls=[{"index": 0}]), True),
        (event(content="x", tool_calls=[{"index": 0}]), True),
        (event(refusal="no"), True),
        (event(function_call={}), True),
        (write_event(b'{"choices":[{"index":1,"delta":{"content":"x"}}]}'), True),
    ],
)
def test_what_no_other_endpoint_can_continue(data: bytes, sealed: bool) -> None:
    relay = begin()
    relay.feed(data)
    assert relay.sealed is sealed


@pytest.mark.parametrize("extra", ['"n":2', '"logprobs":true'])
def test_a_request_whose_answer_can_not_be_continued(extra: str) -> None:
    assert begin(extra).sealed


def test_before_content_the_next_attempt_starts_afresh() -> None:
    relay = Relay(ask())
    first = relay.begin_attempt(PLAIN, "one")
    relay.feed(role("a"))
    assert relay.begin_attempt(PLAIN, "two") == first.replace(b'"one"', b'"two"')
    relay.feed(role("b") + event("b", content="hi"))
    assert relay.take_output() == role("b") + event("b", content="hi")


def test_half_an_event_of_one_attempt_is_no_part_of_the_next() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="one ") + b'data: {"id":"a","cho')
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, event("b", content="one two") + stop("b"))
    assert (client.content, relay.bad_events) == ("one two", 0)


# ---- restart and splice -----------------------------------------------------------------------------------------


def test_a_restarted_answer_goes_on_where_the_first_stopped() -> None:
    relay, client = begin(), Client()
    cut(relay, client, role() + contents("a", ["The cat", " sat"]))
    assert relay.begin_attempt(PLAIN, "up") == ask().body("up")
    relay_all(relay, client, role("b") + contents("b", ["The", " cat sat o", "n the mat"]) + stop("b"))
    assert (client.content, client.finishes, client.ids) == ("The cat sat on the mat", ["stop"], {"a"})


def test_what_repeats_the_delivered_text_is_not_sent_again() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat"))
    relay.begin_attempt(PLAIN, "up")
    assert relay.feed(role("b") + event("b", content="The")) is Seen.CONTENT
    assert relay.take_output() == b""


def test_a_completion_is_spliced_too() -> None:
    relay, client = Relay(ask_text()), Client()
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, text_event(" upon a"))
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, text_event(" upon a time") + text_event("", "stop"))
    assert client.text == " upon a time"


def test_reasoning_is_spliced_as_a_channel_of_its_own() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(reasoning_content="let me") + event(reasoning_content=" see"))
    relay.begin_attempt(PREFILLER, "up")
    relay_all(relay, client, event("b", reasoning_content="let me see") + event("b", content="42") + stop("b"))
    assert (client.reasoning, client.content) == ("let me see", "42")


def test_reasoning_and_content_cut_in_the_content() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(reasoning="hm") + event(content="4"))
    relay.begin_attempt(PREFILLER, "up")
    relay_all(relay, client, event("b", reasoning="hm", content="42") + stop("b"))
    assert (client.reasoning, client.content, client.finishes) == ("hm", "42", ["stop"])


def test_an_answer_of_which_nothing_was_said_but_that_it_began_is_restarted() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(reasoning="hm"))
    body = relay.begin_attempt(PREFILLER, "up")
    assert body == ask().body("up")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (event(content="The cat"), event("b", content="A dog"), "differs"),
        (event(content="The cat"), contents("b", ["The ", "dog"]), "differs"),
        (event(content="The cat"), event("b", content="The cow sat"), "differs"),
        (event(content="The cat"), event("b", content="The") + stop("b"), "shorter"),
        (event(content="The cat"), stop("b"), "shorter"),
        (event(reasoning="hm hm"), event("b", reasoning="hm") + stop("b"), "shorter"),
        (event(reasoning="hm hm"), event("b", reasoning="oh"), "differs"),
        (event(reasoning="hm hm"), event("b", reasoning="hm") + event("b", content="42"), "had not got to"),
        (event(reasoning="hm") + event(content="42"), event("b", reasoning="hm so"), "had not got to"),
        (event(content="The cat"), event("b", tool_calls=[{"index": 0}]), "calls a tool"),
        (event(content="The cat"), event("b", refusal="no"), "calls a tool"),
    ],
)
def test_an_answer_that_contradicts_what_was_delivered_is_of_no_use(first: bytes, second: bytes, words: str) -> None:
    relay, client = begin(), Client()
    cut(relay, client, first)
    before = (client.content, client.reasoning)
    relay.begin_attempt(PLAIN, "up")
    with pytest.raises(Broken, match=words) as broken:
        relay.feed(second)
    assert broken.value.diverged
    client.take(relay.take_output())
    assert (client.content, client.reasoning, client.finishes) == (*before, [])


def test_after_one_that_diverged_another_may_fit() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat"))
    relay.begin_attempt(PLAIN, "up")
    with pytest.raises(Broken):
        relay.feed(contents("b", ["The", " dog"]))
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, contents("c", ["The cat s", "at"]) + stop("c"))
    assert client.content == "The cat sat"


def test_a_tool_call_after_all_was_repeated_belongs_to_the_answer() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="Let me look."))
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, event("b", content="Let me look.") + event("b", tool_calls=[{"index": 0, "id": "c"}]))
    assert relay.sealed
    relay_all(relay, client, event("b", tool_calls=[{"index": 0}]) + stop("b", "tool_calls"))
    assert (client.content, client.finishes) == ("Let me look.", ["tool_calls"])
    assert len(client.events) == 4


def test_a_continuing_stream_can_end_with_an_error_too() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat"))
    relay.begin_attempt(PLAIN, "up")
    with pytest.raises(Broken) as broken:
        relay.feed(event("b", content="The cat") + stop("b", "error"))
    assert not broken.value.diverged


def test_an_event_that_can_not_be_rewritten_ends_its_stream() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat"))
    relay.begin_attempt(PLAIN, "up")
    with pytest.raises(Broken, match="cannot be rewritten"):
        relay.feed(b'data: {"\xff":1,"choices":[{"delta":{"content":"The cat sat"}}]}\n\n')
    assert relay.text == "The cat"


def test_what_a_continuing_endpoint_says_of_its_own_is_dropped() -> None:
    relay, client = begin(USAGE_ASKED), Client()
    cut(relay, client, event(content="The cat"))
    relay.begin_attempt(PLAIN, "up")
    own = write_event(b'{"id":"b","choices":[],"prompt_filter_results":[]}')
    relay_all(relay, client, own + event("b", content="The cat sat") + stop("b") + usage_event(3, 4))
    assert len(client.events) == 4
    assert client.usages == [{"prompt_tokens": 3, "completion_tokens": 4}]


# ---- prefill ----------------------------------------------------------------------------------------------------


def test_an_endpoint_that_can_be_prefilled_goes_on_at_once() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat sat"))
    assert relay.begin_attempt(PREFILLER, "up") == ask().continuation("up", "The cat sat")
    relay_all(relay, client, role("b") + contents("b", [" on", " the mat"]) + stop("b"))
    assert (client.content, client.finishes, client.ids) == ("The cat sat on the mat", ["stop"], {"a"})


@pytest.mark.parametrize("pieces", [["The cat sat on"], ["The ", "cat", " sat on"], ["The cat sat", " on"]])
def test_a_prefill_that_is_repeated_is_dropped(pieces: list[str]) -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat sat"))
    relay.begin_attempt(PREFILLER, "up")
    relay_all(relay, client, role("b") + contents("b", pieces) + stop("b"))
    assert client.content == "The cat sat on"


def test_what_only_began_like_an_echo_is_not_lost() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat sat. "))
    relay.begin_attempt(PREFILLER, "up")
    relay_all(relay, client, contents("b", ["The c", "ow lay."]) + stop("b"))
    assert client.content == "The cat sat. The cow lay."


def test_what_was_held_for_an_echo_is_delivered_at_the_end() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat sat. "))
    relay.begin_attempt(PREFILLER, "up")
    relay_all(relay, client, event("b", content="The c") + stop("b"))
    assert client.content == "The cat sat. The c"
    assert relay.text == "The cat sat. The c"


def test_a_prefill_after_a_restart_that_failed_goes_on() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat sat"))
    relay.begin_attempt(PLAIN, "up")
    with pytest.raises(Broken):
        relay.feed(contents("b", ["The", " dog"]))
    relay.begin_attempt(PREFILLER, "up")
    relay_all(relay, client, event("c", content=" down") + stop("c"))
    assert (client.content, client.finishes) == ("The cat sat down", ["stop"])


def test_a_restart_after_a_prefill_that_failed_repeats_everything() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="The cat sat"))
    relay.begin_attempt(PREFILLER, "up")
    cut(relay, client, event("b", content=" down"))
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, event("c", content="The cat sat down.") + stop("c"))
    assert client.content == "The cat sat down."


def test_a_constrained_answer_is_not_continued_by_prefill() -> None:
    relay, client = begin('"response_format":{"type":"json_object"}'), Client()
    cut(relay, client, event(content='{"a":'))
    assert relay.begin_attempt(PREFILLER, "up") == ask('"response_format":{"type":"json_object"}').body("up")


def test_a_prompt_of_token_ids_is_restarted() -> None:
    relay, client = Relay(ask_text("[1,2,3]")), Client()
    relay.begin_attempt(PREFILLER, "up")
    relay_all(relay, client, text_event("abc"))
    assert relay.begin_attempt(PREFILLER, "up") == ask_text("[1,2,3]").body("up")


def test_usage_after_a_prefill_is_that_of_the_whole_answer() -> None:
    relay, client = begin(USAGE_ASKED), Client()
    cut(relay, client, contents("a", ["one ", "two ", "three "]))
    relay.begin_attempt(PREFILLER, "up")
    relay_all(relay, client, contents("b", ["four ", "five"]) + stop("b") + usage_event(20, 2))
    assert relay.written_bytes == len("four five")
    assert relay.output_text_bytes == len("one two three four five")
    client.take(relay.write_end())
    assert client.usages == [{"prompt_tokens": 17, "completion_tokens": 5, "total_tokens": 22}]


def test_what_a_restart_repeats_is_its_own_writing() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(content="one "))
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, event("b", content="one two"))
    assert relay.written_bytes == len("one two")


def test_reasoning_that_was_continued_can_be_continued_again() -> None:
    relay, client = begin(), Client()
    cut(relay, client, event(reasoning="let"))
    relay.begin_attempt(PLAIN, "up")
    cut(relay, client, event("b", reasoning="let me"))
    relay.begin_attempt(PLAIN, "up")
    relay_all(relay, client, event("c", reasoning="let me see") + event("c", content="42") + stop("c"))
    assert (client.reasoning, client.content) == ("let me see", "42")


# ---- content types ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stream", "json"),
    [
        (None, True, True),
        (b"text/event-stream", True, False),
        (b"Text/Event-Stream; charset=utf-8", True, False),
        (b"application/json", False, True),
        (b"Application/JSON; charset=utf-8", False, True),
        (b"application/problem+json", False, True),
        (b"text/html", False, False),
    ],
)
def test_content_types(kind: bytes | None, stream: bool, json: bool) -> None:
    headers = {} if kind is None else {b"content-type": kind}
    assert (is_event_stream(headers), is_json(headers)) == (stream, json)
