"""A request put to endpoints of every dialect, and their whole answers given back in the client's own API."""

from __future__ import annotations

import msgspec
import pytest

from providerrank.wire.apis import DIALECTS, PATHS, UPSTREAM_PATHS, read_any
from providerrank.wire.dialect import CannotSay
from providerrank.wire.errors import BadRequest, Malformed
from providerrank.wire.intake import Intake
from providerrank.wire.messages import MESSAGES
from providerrank.wire.responses import RESPONSES
from providerrank.wire.sse import write_event, write_named_event
from providerrank.wire.whole import read_whole

TURN = '"messages":[{"role":"user","content":"hi"}]'
CHAT_REPLY = (
    b'{"id":"c1","object":"chat.completion","created":7,"model":"up","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"hello there"}}]}'
)
NATIVE_REPLY = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"up","content":[{"type":"text","text":"hello"}],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}'
)
VECTOR = b'{"object":"list","data":[{"index":0,"embedding":[0.5,1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}'


def messages(extra: str = "") -> Intake:
    return read_any("messages", f'{{"model":"m","max_tokens":9,{TURN}{extra}}}'.encode())


def chat(extra: str = "") -> Intake:
    return read_any("chat", f'{{"model":"m",{TURN}{extra}}}'.encode())


def body_of(intake: Intake, *args: object) -> dict[str, object]:
    decoded = msgspec.json.decode(intake.body("up", *args))  # type: ignore[arg-type]  # a dialect, or nothing
    assert isinstance(decoded, dict)
    return decoded


def test_every_api_has_its_place() -> None:
    assert PATHS[b"/v1/messages"] == "messages"
    assert PATHS[b"/v1/responses"] == "responses"
    assert PATHS[b"/v1/embeddings"] == "embeddings"
    assert UPSTREAM_PATHS["messages"] == "/messages"
    assert set(DIALECTS) == {"messages", "responses"}


def test_a_native_endpoint_gets_what_the_client_sent() -> None:
    intake = messages(',"top_k":5,"provider":{"sort":"price"},"models":["n"]')
    assert body_of(intake, MESSAGES) == {
        "model": "up",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "top_k": 5,
    }
    assert intake.models == ("n",)
    assert intake.preferences is not None
    assert intake.preferences.sort == "price"


def test_what_a_translation_loses_needs_an_endpoint_of_that_api() -> None:
    intake = messages(',"top_k":5')
    assert intake.lost == ("top_k",)
    assert intake.features == {"messages"}
    assert messages().features == frozenset()


def test_what_a_translation_loses_may_be_given_up() -> None:
    intake = messages(',"top_k":5,"provider":{"require_parameters":false}')
    assert intake.features == frozenset()
    assert "top_k" not in body_of(intake)


def test_a_chat_request_is_put_to_an_endpoint_that_speaks_only_messages() -> None:
    body = body_of(chat(',"max_tokens":5'), MESSAGES)
    assert body["model"] == "up"
    assert body["max_tokens"] == 5


def test_what_an_endpoint_has_no_words_for_is_named() -> None:
    with pytest.raises(CannotSay, match="messages cannot carry logit_bias") as refused:
        chat(',"logit_bias":{"1":1}').body("up", MESSAGES)
    assert refused.value.lost == ("logit_bias",)
    assert "logit_bias" not in body_of(chat(',"logit_bias":{"1":1},"provider":{"require_parameters":false}'), MESSAGES)


def test_a_chat_request_that_only_chat_endpoints_understand() -> None:
    intake = read_any("chat", b'{"model":"m","messages":[{"role":"wizard","content":"hi"}]}')
    with pytest.raises(CannotSay, match=r"cannot carry this request: .messages\[0\].role"):
        intake.body("up", MESSAGES)


@pytest.mark.parametrize(
    "intake",
    [
        read_any("completions", b'{"model":"m","prompt":"once"}'),
        read_any("embeddings", b'{"model":"m","input":"once"}'),
    ],
)
def test_what_is_no_chat_is_put_to_nobody_else(intake: Intake) -> None:
    assert not intake.is_chat
    with pytest.raises(CannotSay, match=f"a request to the {intake.api} API"):
        intake.body("up", MESSAGES)


def test_a_dialect_nobody_is_asked_in() -> None:
    with pytest.raises(CannotSay):
        chat().body("up", RESPONSES)


def test_a_continuation_in_another_dialect() -> None:
    body = msgspec.json.decode(messages().continuation("up", "Once", MESSAGES))
    assert body["messages"][-1]["role"] == "assistant"


def test_a_model_is_needed_in_every_api() -> None:
    for api in DIALECTS:
        with pytest.raises(BadRequest, match="'model' is missing"):
            read_any(api, b"{}")


# ---- whole answers ---------------------------------------------------------------------------------------------------


def test_a_chat_answer_to_a_chat_client_passes_as_it_came() -> None:
    reply, body = read_whole(chat(), None, CHAT_REPLY)
    assert (reply.text, body) == ("hello there", CHAT_REPLY)


def test_a_chat_answer_to_a_messages_client() -> None:
    reply, body = read_whole(messages(), None, CHAT_REPLY)
    answer = msgspec.json.decode(body)
    assert reply.text == "hello there"
    assert answer["content"] == [{"type": "text", "text": "hello there"}]
    # Nobody said what was used: the estimate stands in for it.
    assert answer["usage"]["output_tokens"] == len("hello there") // 4


def test_a_native_answer_to_its_own_client_passes_as_it_came() -> None:
    reply, body = read_whole(messages(), MESSAGES, NATIVE_REPLY)
    assert (reply.text, body) == ("hello", NATIVE_REPLY)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 3


def test_a_native_answer_to_a_chat_client() -> None:
    intake = chat()
    intake.created_s = 1_700_000_000
    reply, body = read_whole(intake, MESSAGES, NATIVE_REPLY)
    answer = msgspec.json.decode(body)
    assert reply.text == "hello"
    assert answer["choices"][0]["message"]["content"] == "hello"
    assert answer["created"] == 1_700_000_000


def test_a_native_answer_to_a_client_of_a_third_api() -> None:
    intake = read_any("responses", b'{"model":"m","input":"hi"}')
    _, body = read_whole(intake, MESSAGES, NATIVE_REPLY)
    answer = msgspec.json.decode(body)
    assert answer["output"][0]["content"][0]["text"] == "hello"
    assert answer["model"] == "m"


def test_a_native_response_reads_as_chat() -> None:
    intake = read_any("responses", b'{"model":"m","input":"hi"}')
    _, body = read_whole(intake, None, CHAT_REPLY)
    reply, same = read_whole(intake, RESPONSES, body)
    assert (reply.text, same) == ("hello there", body)


def test_embeddings_are_judged_as_what_they_are() -> None:
    intake = read_any("embeddings", b'{"model":"m","input":"hi","dimensions":2}')
    reply, body = read_whole(intake, None, VECTOR)
    assert body == VECTOR
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 4
    with pytest.raises(Malformed, match="1 embeddings for 2 inputs"):
        read_whole(read_any("embeddings", b'{"model":"m","input":["a","b"]}'), None, VECTOR)


def test_an_answer_that_is_none_is_nobodys_answer() -> None:
    with pytest.raises(Malformed):
        read_whole(messages(), None, b"{}")


# ---- events with names -----------------------------------------------------------------------------------------------


def test_an_event_is_named_by_its_type() -> None:
    assert write_named_event(b'{"type":"ping"}') == b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize("payload", [b"{}", b"[]", b'{"type":"a\\nb"}', b'{"type":""}', b'{"type":"\xff"}'])
def test_an_event_without_a_name_has_none(payload: bytes) -> None:
    assert write_named_event(payload) == write_event(payload)
