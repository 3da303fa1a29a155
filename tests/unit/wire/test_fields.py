"""Requests in more parts than anybody means are refused before they are taken apart; large ones in few are not."""

from __future__ import annotations

import json

import pytest

from providerrank.wire.apis import read_any
from providerrank.wire.errors import BadRequest
from providerrank.wire.fields import LARGE_BYTES, MAX_NUMBERS, MAX_STRINGS, count_strings
from providerrank.wire.intake import CHAT_API, EMBEDDINGS_API, TEXT_API

MANY_STRINGS = ",".join(['"abcde"'] * (MAX_STRINGS + 1))
MANY_NUMBERS = ",".join(["1"] * (MAX_NUMBERS + 1))
MANY_PROMPTS = ",".join(["[1]"] * (MAX_NUMBERS + 1))
MANY_FIELDS = ",".join(f'"f{number}":0' for number in range(MAX_STRINGS))


@pytest.mark.parametrize(
    ("api", "body", "param"),
    [
        (CHAT_API, f'{{"model":"m","messages":[1],{MANY_FIELDS}}}', None),
        (CHAT_API, f'{{"model":"m","messages":[{MANY_STRINGS}]}}', None),
        ("messages", f'{{"model":"m","max_tokens":1,"messages":[{MANY_STRINGS}]}}', None),
        ("responses", f'{{"model":"m","input":[{MANY_STRINGS}]}}', None),
        (TEXT_API, f'{{"model":"m","prompt":[{MANY_STRINGS}]}}', None),
        (TEXT_API, f'{{"model":"m","prompt":[{MANY_NUMBERS}]}}', "prompt"),
        (TEXT_API, f'{{"model":"m","prompt":[ {MANY_PROMPTS}]}}', "prompt"),
        (EMBEDDINGS_API, f'{{"model":"m","input":[{MANY_STRINGS}]}}', None),
        (EMBEDDINGS_API, f'{{"model":"m","input":[{MANY_NUMBERS}]}}', "input"),
        (EMBEDDINGS_API, f'{{"model":"m","input":[ {MANY_PROMPTS}]}}', "input"),
    ],
    ids=range(10),
)
def test_a_request_in_too_many_parts_is_refused(api: str, body: str, param: str | None) -> None:
    with pytest.raises(BadRequest, match="send it in several requests") as refused:
        read_any(api, body.encode())
    assert (refused.value.status, refused.value.code, refused.value.param) == (413, "request_too_large", param)


@pytest.mark.parametrize("api", [CHAT_API, "messages", "responses"])
def test_a_large_request_in_few_parts_is_taken(api: str) -> None:
    text = 'He said: {"a": ["b", "c"]}. ' * (LARGE_BYTES // 8)
    name = "input" if api == "responses" else "messages"
    body = json.dumps({"model": "m", "max_tokens": 1, name: [{"role": "user", "content": text}]}).encode()
    assert count_strings(body) < 10
    assert read_any(api, body).input_tokens > 0


def test_a_large_list_of_inputs_is_taken() -> None:
    texts = ["a, b, c, " * 5000] * 100
    assert read_any(EMBEDDINGS_API, json.dumps({"model": "m", "input": texts}).encode()).choices == 100
    assert read_any(TEXT_API, json.dumps({"model": "m", "prompt": texts}).encode()).choices == 100
    tokens = [123_456] * 200_000
    assert read_any(EMBEDDINGS_API, json.dumps({"model": "m", "input": tokens}).encode()).choices == 1
    assert read_any(TEXT_API, json.dumps({"model": "m", "prompt": tokens}).encode()).choices == 1


@pytest.mark.parametrize(
    ("body", "count"),
    [(b"{}", 0), (b'{"a":"b"}', 2), (rb'{"a":"\"b\""}', 2), (rb'{"a":"b\\"}', 1)],
)
def test_strings_are_counted_to_a_factor_of_two(body: bytes, count: int) -> None:
    assert count_strings(body) == count
