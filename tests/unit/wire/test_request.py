"""A request is read as far as routing needs it, and passed on as it was sent."""

from __future__ import annotations

import msgspec
import pytest

from providerrank.rules.ask import Preferences
from providerrank.rules.cells import CHAT, JSON, LONG_CONTEXT, TOOLS, Price
from providerrank.rules.params import PARAMS
from providerrank.wire.errors import BadRequest
from providerrank.wire.intake import BYTES_PER_TOKEN, CHAT_API, TEXT_API, Intake
from providerrank.wire.messages import MESSAGES as ANTHROPIC
from providerrank.wire.request import read_request

MESSAGES = '[{"role": "user", "content": "hi"}]'


def chat(extra: str = "", *, messages: str = MESSAGES) -> bytes:
    return f'{{"model":"m","messages":{messages}{"," if extra else ""}{extra}}}'.encode()


def read(extra: str = "") -> Intake:
    return read_request(CHAT_API, chat(extra))


def read_text(extra: str = "", prompt: str = '"once"') -> Intake:
    return read_request(TEXT_API, f'{{"model":"m","prompt":{prompt}{"," if extra else ""}{extra}}}'.encode())


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param", "code", "words"),
    [
        (b"", None, None, "not valid JSON"),
        (b"{", None, None, "not valid JSON"),
        (b'{"model":"m",}', None, None, "not valid JSON"),
        (chat() + b"x", None, None, "not valid JSON"),
        (chat().decode().encode("utf-16"), None, None, "not valid JSON"),
        (b"\xef\xbb\xbf" + chat(), None, None, "not valid JSON"),
        (b'{"\xff":1}', None, None, "not valid JSON"),
        (b'{"model":"\\ud800","messages":[1]}', None, None, "not valid JSON"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, None, "not valid JSON"),
        (b"[]", None, None, "not a JSON object"),
        (b"null", None, None, "not a JSON object"),
        (b'"model"', None, None, "not a JSON object"),
        (b"{}", "model", "missing_required_parameter", "'model' is missing"),
        (b'{"model":5}', "model", "invalid_type", "'model' is not a string"),
        (b'{"model":null}', "model", "invalid_type", "'model' is not a string"),
        (b'{"model":"\xff","messages":[1]}', "model", "invalid_type", "'model' is not a string"),
        (b'{"model":"m"}', "messages", "missing_required_parameter", "'messages' is missing"),
        (chat(messages='"hi"'), "messages", "invalid_type", "at least one message"),
        (chat(messages="[]"), "messages", "invalid_type", "at least one message"),
        (chat(messages="{}"), "messages", "invalid_type", "at least one message"),
        (chat(messages="null"), "messages", "invalid_type", "at least one message"),
        (chat('"stream":"yes"'), "stream", "invalid_type", "'stream' is not true or false"),
        (chat('"stream":1'), "stream", "invalid_type", "'stream' is not true or false"),
        (chat('"max_tokens":"ten"'), "max_tokens", "invalid_type", "'max_tokens' is not a whole number"),
        (chat('"max_tokens":1.5'), "max_tokens", "invalid_type", "'max_tokens' is not a whole number"),
        (chat('"max_tokens":1e999'), "max_tokens", "invalid_type", "'max_tokens' is not a whole number"),
        (chat('"max_tokens":' + "9" * 5_000), "max_tokens", "invalid_type", "'max_tokens' is not a whole number"),
        (chat('"max_tokens":-1'), "max_tokens", "invalid_value", "'max_tokens' is -1"),
        (chat('"max_completion_tokens":-2'), "max_completion_tokens", "invalid_value", "is -2"),
        (chat('"models":"n"'), "models", "invalid_type", "'models' is not a list of model names"),
        (chat('"models":["n",5]'), "models", "invalid_type", "'models[1]' is not a list of model names"),
        (chat('"provider":[]'), "provider", "invalid_type", "'provider' is not a provider object"),
        (chat('"provider":{"order":"a"}'), "provider", "invalid_type", "'provider.order' is not"),
        (chat('"provider":{"only":[1]}'), "provider", "invalid_type", "'provider.only[0]' is not"),
        (chat('"provider":{"sort":"name"}'), "provider", "invalid_type", "'provider.sort' is not"),
        (chat('"provider":{"max_price":{"prompt":"1"}}'), "provider", "invalid_type", "'provider.max_price.prompt'"),
        (chat('"provider":{"max_price":{"prompt":-1}}'), "provider", "invalid_type", "'provider.max_price.prompt'"),
        (chat('"n":"two"'), "n", "invalid_type", "'n' is not a whole number"),
        (chat('"stream_options":true'), "stream_options", "invalid_type", "'stream_options' is not an object"),
        (chat('"response_format":"json"'), "response_format", "invalid_type", "not an object with a type"),
        (chat('"response_format":{"type":1}'), "response_format", "invalid_type", "'response_format.type' is not"),
    ],
)
def test_a_request_that_is_none_is_refused_with_its_place_and_remedy(
    body: bytes, param: str | None, code: str | None, words: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        read_request(CHAT_API, body)
    assert words in str(refused.value)
    assert (refused.value.param, refused.value.code, refused.value.status) == (param, code, 400)


def test_a_completion_needs_a_prompt() -> None:
    with pytest.raises(BadRequest, match="'prompt' is missing"):
        read_request(TEXT_API, chat())


# ---- what is read -----------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    intake = read()
    assert (intake.api, intake.model, intake.models, intake.task) == (CHAT_API, "m", (), CHAT)
    assert (intake.stream, intake.wants_usage, intake.seals) == (False, False, False)
    assert intake.features == frozenset()
    assert (intake.output_tokens, intake.preferences, intake.schema) == (None, None, None)
    assert intake.input_tokens == len(MESSAGES) // BYTES_PER_TOKEN


@pytest.mark.parametrize(("written", "stream"), [("true", True), ("false", False), ("null", False)])
def test_stream(written: str, stream: bool) -> None:
    assert read(f'"stream":{written}').stream is stream


@pytest.mark.parametrize(
    ("extra", "tokens"),
    [
        ('"max_tokens":7', 7),
        ('"max_completion_tokens":8', 8),
        ('"max_tokens":7,"max_completion_tokens":8', 8),
        ('"max_tokens":7,"max_completion_tokens":null', 7),
        ('"max_tokens":0', 0),
        ('"max_tokens":null', None),
        ('"max_tokens":' + "9" * 30, 1_000_000_000),
    ],
)
def test_output_limit(extra: str, tokens: int | None) -> None:
    assert read(extra).output_tokens == tokens


@pytest.mark.parametrize(
    ("extra", "features", "task", "seals"),
    [
        ('"tools":[{"type":"function"}]', {"tools"}, TOOLS, False),
        ('"tools":[]', set(), CHAT, False),
        ('"tools":null', set(), CHAT, False),
        ('"response_format":{"type":"text"}', set(), CHAT, False),
        ('"response_format":{}', set(), CHAT, False),
        ('"response_format":null', set(), CHAT, False),
        ('"response_format":{"type":"json_object"}', set(), CHAT, False),
        ('"response_format":{"type":"json_schema"}', {"json_schema"}, JSON, False),
        ('"tools":[1],"response_format":{"type":"json_schema"}', {"tools", "json_schema"}, TOOLS, False),
        ('"logprobs":true', {"logprobs"}, CHAT, True),
        ('"logprobs":5', {"logprobs"}, CHAT, True),
        ('"logprobs":false', set(), CHAT, False),
        ('"logprobs":0', set(), CHAT, False),
        ('"logprobs":null', set(), CHAT, False),
        ('"n":1', set(), CHAT, False),
        ('"n":null', set(), CHAT, False),
        ('"n":2', set(), CHAT, True),
        ('"temperature":0.5,"n":12345678901', set(), CHAT, True),
    ],
)
def test_features_and_task(extra: str, features: set[str], task: str, seals: bool) -> None:
    intake = read(extra)
    assert (set(intake.features), intake.task, intake.seals) == (features, task, seals)


@pytest.mark.parametrize(
    ("prompt", "extra", "choices"),
    [
        ('"once"', "", 1),
        ('"once"', '"n":3', 3),
        ('"once"', '"n":0', 1),
        ('"once"', '"n":null', 1),
        ("[1,2,3]", '"n":1', 1),
        ("[]", '"n":1', 1),
        ('["a","b"]', '"n":1', 2),
        ('["a","b"]', '"user":"u"', 2),
        ('["a"]', '"n":1', 1),
        ("[[1,2],[3]]", '"n":1', 2),
        ('["a","b"]', '"n":2', 4),
        ('["a","b"]', "", 2),
    ],
)
def test_how_many_answers_were_asked_for(prompt: str, extra: str, choices: int) -> None:
    intake = read_text(extra, prompt)
    assert (intake.choices, intake.seals) == (choices, choices != 1)


@pytest.mark.parametrize("wanted", ["json_object", "json_schema", "grammar"])
def test_an_answer_that_must_follow_a_format(wanted: str) -> None:
    assert read(f'"response_format":{{"type":"{wanted}"}}').is_constrained
    assert not read('"response_format":{"type":"text"}').is_constrained


def test_the_schema_is_kept_as_it_was_written() -> None:
    schema = '{ "type" : "object",\n "maximum": 1e999 }'
    assert read(f'"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}').schema == (
        schema.encode()
    )
    assert read('"response_format":{"type":"json_schema","json_schema":{"name":"x"}}').schema is None


def test_an_image_needs_vision_and_is_not_counted_by_its_bytes() -> None:
    messages = '[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}]'
    intake = read_request(CHAT_API, chat('"stream":true', messages=messages))
    assert intake.features == {"vision"}
    assert intake.input_tokens == 0


def test_a_long_prompt_is_a_task_of_its_own() -> None:
    long = f'["{"x" * (PARAMS.long_context_tokens + 1) * BYTES_PER_TOKEN}"]'
    assert read_request(CHAT_API, chat(messages=long)).task == LONG_CONTEXT
    assert read_request(CHAT_API, chat('"tools":[1]', messages=long)).task == TOOLS


def test_preferences_and_fallback_models_are_ours() -> None:
    intake = read(
        '"models":["n","o"],"provider":{"order":["a"],"only":["a","b"],"ignore":["c"],"sort":"price",'
        '"max_price":{"prompt":1,"completion":2.5},"allow_fallbacks":false,"require_parameters":true,"zdr":true}'
    )
    assert intake.models == ("n", "o")
    assert intake.preferences == Preferences(
        order=("a",),
        only=("a", "b"),
        ignore=("c",),
        sort="price",
        max_price=Price.from_usd(1, 2.5),
        allow_fallbacks=False,
        require_parameters=True,
    )
    assert set(msgspec.json.decode(intake.body("u"))) == {"model", "messages"}


@pytest.mark.parametrize("empty", ['"models":null', '"models":[]', '"provider":null'])
def test_nothing_asked_of_us_is_nothing(empty: str) -> None:
    intake = read(empty)
    assert (intake.models, intake.preferences) == ((), None)
    assert set(msgspec.json.decode(intake.body("u"))) == {"model", "messages"}


@pytest.mark.parametrize(
    "empty",
    ["{}", '{"order":null,"only":null,"ignore":null,"sort":null,"max_price":null,"allow_fallbacks":null,'
     '"require_parameters":null}', '{"max_price":{}}', '{"max_price":{"prompt":null,"completion":null}}'],
)  # fmt: skip
def test_null_in_a_provider_object_is_the_default(empty: str) -> None:
    assert read(f'"provider":{empty}').preferences == Preferences()


@pytest.mark.parametrize(
    ("max_price", "expected"),
    [
        ('{"prompt":1}', Price.from_usd(1, 1e9)),
        ('{"completion":1}', Price.from_usd(1e9, 1)),
        ('{"prompt":1e300,"completion":1}', Price.from_usd(1e9, 1)),
        ('{"prompt":0,"completion":1e300}', Price.from_usd(0, 1e9)),
    ],
)
def test_a_price_without_a_limit_on_one_side(max_price: str, expected: Price) -> None:
    preferences = read(f'"provider":{{"max_price":{max_price}}}').preferences
    assert preferences is not None
    assert preferences.max_price == expected


# ---- what is passed on ------------------------------------------------------------------------------------------


def test_every_other_field_is_passed_on_byte_for_byte() -> None:
    messages = '[ {"role":"user", "content":"Gr\\u00f6\\u00dfe \\n 🦔 \\"x\\""} ]'
    body = read_request(
        CHAT_API, chat('"seed":12345678901234567890,"top_p":1.0,"x":{"b":1, "a":[ ]}', messages=messages)
    ).body("up/stream")
    assert body.decode() == (
        f'{{"model":"up/stream","messages":{messages},"seed":12345678901234567890,"top_p":1.0,"x":{{"b":1, "a":[ ]}}}}'
    )


def test_the_model_is_spliced_where_it_stood() -> None:
    body = read_request(CHAT_API, b'{ "messages" : [1], "mod\\u0065l":"m" , "user":"u"}').body('a"b')
    assert body == b'{"messages":[1],"model":"a\\"b","user":"u"}'


def test_of_a_field_given_twice_the_last_is_read_and_sent() -> None:
    intake = read_request(CHAT_API, b'{"model":"a","messages":[1],"model":"b","messages":[2]}')
    assert intake.model == "b"
    assert intake.body("u") == b'{"model":"u","messages":[2]}'


def test_what_an_intake_sends_does_not_change_it() -> None:
    intake = read('"stream":true,"max_tokens":9')
    bodies = [intake.body("u"), intake.continuation("v", "text"), intake.body("u")]
    assert bodies[0] == bodies[2] != bodies[1]


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        ("", None),
        ('"stream":false', None),
        ('"stream":true', '{"include_usage":true}'),
        ('"stream":true,"stream_options":null', '{"include_usage":true}'),
        ('"stream":true,"stream_options":{"include_usage":false}', '{"include_usage":true}'),
        ('"stream":true,"stream_options":{ "include_usage":true,"x":1}', '{ "include_usage":true,"x":1}'),
        ('"stream":true,"stream_options":{"x":1}', '{"x":1,"include_usage":true}'),
        ('"stream_options":{"x":1}', '{"x":1}'),
    ],
)
def test_a_stream_is_asked_to_end_with_its_usage(extra: str, options: str | None) -> None:
    body = msgspec.json.decode(read(extra).body("u"), type=dict[str, msgspec.Raw])
    assert (bytes(body["stream_options"]).decode() if "stream_options" in body else None) == options


@pytest.mark.parametrize(
    ("extra", "wants"),
    [
        ('"stream":true', False),
        ('"stream":true,"stream_options":{"include_usage":true}', True),
        ('"stream":true,"stream_options":{"include_usage":null}', False),
    ],
)
def test_whether_the_client_asked_for_usage(extra: str, wants: bool) -> None:
    assert read(extra).wants_usage is wants


def test_a_chat_is_continued_by_a_last_message_of_the_assistant() -> None:
    body = msgspec.json.decode(read('"stream":true,"temperature":0.50').continuation("u", 'so "far'))
    assert body == {
        "model": "u",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": 'so "far'}],
        "stream": True,
        "temperature": 0.5,
        "stream_options": {"include_usage": True},
    }


def test_a_prefill_of_the_clients_own_is_made_longer() -> None:
    said = b'{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"so "}]}'
    body = msgspec.json.decode(read_request(CHAT_API, said).continuation("u", "far"))
    assert body["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "so far"}]


def test_a_last_message_that_is_no_text_stays() -> None:
    said = b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}'
    body = msgspec.json.decode(read_request(CHAT_API, said).continuation("u", "far"))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"]


def test_a_completion_is_continued_by_a_longer_prompt() -> None:
    assert msgspec.json.decode(read_text().continuation("u", " upon"))["prompt"] == "once upon"


@pytest.mark.parametrize("prompt", ["[1,2,3]", '["a","b"]', '"\udcff"'])
def test_a_prompt_that_is_no_text_can_not_be_continued(prompt: str) -> None:
    body = f'{{"model":"m","prompt":{prompt}}}'.encode("utf-8", "surrogateescape")
    with pytest.raises(ValueError):  # noqa: PT011  (UnicodeDecodeError is one)
        read_request(TEXT_API, body).continuation("u", "x")


@pytest.mark.parametrize(("limit", "left"), [("100", 90), ("5", 1), ("null", None)])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_continuation_may_be_as_long_as_what_is_left(name: str, limit: str, left: int | None) -> None:
    body = msgspec.json.decode(read(f'"stream":true,"{name}":{limit}').continuation("u", "x" * 10 * BYTES_PER_TOKEN))
    assert body[name] == left


def test_a_conversation_is_known_by_how_its_prompt_begins() -> None:
    def prefix(*turns: str) -> int:
        listed = ",".join(f'{{"role":"user","content":"{turn}"}}' for turn in turns)
        return read_request(CHAT_API, chat(messages=f"[{listed}]")).prefix

    long = "x" * PARAMS.cache_bytes
    assert prefix(long) == prefix(long, "more") != 0
    assert prefix(long) != prefix("y" + long)
    assert prefix("short") == 0


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n"])
def test_a_count_no_request_can_mean_is_bounded(name: str) -> None:
    # The routing reckons with it in floating point, which ends at 1.8e308.
    intake = read(f'"{name}":1{"0" * 400}')
    assert (intake.choices if name == "n" else intake.output_tokens) == 1_000_000_000
    assert f'"{name}":1{"0" * 400}'.encode() in intake.body("u"), "the endpoint gets what was sent"
    for value, shown in (("-1", "-1"), ("-1" + "0" * 400, "far below 0")):
        with pytest.raises(BadRequest, match=f"'{name}' is {shown}; it must be at least 1"):
            read(f'"{name}":{value}')


def test_a_server_is_told_in_its_own_way_to_go_on() -> None:
    intake = read('"stream":true')
    plain, told = (msgspec.json.decode(intake.continuation("u", "far", prefill=how)) for how in (None, "vllm"))
    assert told == plain | {"continue_final_message": True, "add_generation_prompt": False}
    body = msgspec.json.decode(intake.body("u"))
    assert body.keys().isdisjoint({"continue_final_message", "add_generation_prompt"}), "only to go on"
    # Neither other APIs nor prompts have such fields.
    assert (
        msgspec.json.decode(read_text().continuation("u", " upon", prefill="vllm"))
        .keys()
        .isdisjoint({"continue_final_message"})
    )
    assert intake.continuation("u", "far", ANTHROPIC, "vllm") == intake.continuation("u", "far", ANTHROPIC)


def test_a_last_message_that_is_no_text_is_gone_on_from_as_it_is() -> None:
    # Found by fuzzing: a byte that is not UTF-8 where only the last message is looked into.
    intake = read_request(CHAT_API, b'{"model":"m","messages":[{"role":"\xf3","content":"a"}]}')
    body = intake.continuation("u", "said")
    assert b'[{"role":"\xf3","content":"a"},{"role":"assistant","content":"said"}]' in body
