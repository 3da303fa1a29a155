"""Embeddings: which requests are read and which answers are whole."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
import pytest

from providerrank.wire.embeddings import read_dimensions, read_embeddings_reply, read_embeddings_request
from providerrank.wire.errors import BadRequest, Malformed


def body(**fields: object) -> bytes:
    return msgspec.json.encode({"model": "m", **fields})


@pytest.mark.parametrize(
    ("given", "inputs", "tokens"),
    [
        ("eight by", 1, 2),
        (["one", "two", "three"], 3, 5),
        ([1, 2, 3], 1, 3),
        ([[1, 2], [3]], 2, 3),
    ],
)
def test_every_kind_of_input_is_counted(given: object, inputs: int, tokens: int) -> None:
    intake = read_embeddings_request(body(input=given))
    assert (intake.api, intake.model, intake.task) == ("embeddings", "m", "embeddings")
    assert (intake.choices, intake.input_tokens) == (inputs, tokens)
    assert intake.features == {"embeddings"}
    assert not intake.stream
    assert intake.seals


def test_the_request_goes_on_without_what_was_for_us() -> None:
    intake = read_embeddings_request(
        body(
            input="U",
            encoding_format="base64",
            dimensions=8,
            user="u",
            models=["n"],
            provider={"order": ["a"]},
        )
    )
    assert intake.models == ("n",)
    assert intake.preferences is not None
    assert intake.preferences.order == ("a",)
    assert read_dimensions(intake.fields) == 8
    assert msgspec.json.decode(intake.body("up")) == {
        "model": "up",
        "input": "U",
        "encoding_format": "base64",
        "dimensions": 8,
        "user": "u",
    }


def test_nulls_ask_for_nothing() -> None:
    nulls = dict.fromkeys(("encoding_format", "dimensions", "models", "provider"))
    intake = read_embeddings_request(body(input="U", **nulls))
    assert read_dimensions(intake.fields) is None
    assert intake.models == ()
    assert intake.preferences is None
    assert read_dimensions({}) is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": {}}, "input"),
        ({"input": 1}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [[1], ["a"]]}, "input"),
        ({"input": "U", "model": 1}, "model"),
        ({"input": "U", "model": None}, "model"),
        ({"input": "U", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "U", "dimensions": 0}, "dimensions"),
        ({"input": "U", "dimensions": "8"}, "dimensions"),
        ({"input": "U", "models": "n"}, "models"),
        ({"input": "U", "provider": "a"}, "provider"),
    ],
)
def test_a_malformed_request_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_embeddings_request(body(**fields))
    assert caught.value.param == param
    assert f"'{param}" in str(caught.value)


@pytest.mark.parametrize("bad", [b"", b"[]", b"{", b"[" * 100_000, b'{"model":"m","input":"\xff"}'])
def test_a_request_that_is_no_json_object_is_refused(bad: bytes) -> None:
    with pytest.raises(BadRequest):
        read_embeddings_request(bad)


def pack(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def reply(*vectors: object, numbered: bool = True, **fields: object) -> bytes:
    data = [{"object": "embedding", "embedding": v} | ({"index": i} if numbered else {}) for i, v in enumerate(vectors)]
    return msgspec.json.encode({"object": "list", "data": data, "model": "m", **fields})


@pytest.mark.parametrize(
    ("answer", "inputs"),
    [
        (reply([0.1, 0.2]), 1),
        (reply([0.1, 0.2], [1, 2]), 2),
        (reply(pack(1, 2), pack(3, 4)), 2),
        (reply([0.1], [0.2], numbered=False), 2),
    ],
)
def test_a_vector_for_each_input_is_whole(answer: bytes, inputs: int) -> None:
    assert read_embeddings_reply(answer, inputs).usage is None


def test_usage_is_read() -> None:
    answer = reply([1.0], usage={"prompt_tokens": 3, "total_tokens": 3}, error=None)
    usage = read_embeddings_reply(answer, 1, dimensions=1).usage
    assert usage is not None
    assert usage.prompt_tokens == 3
    assert usage.completion_tokens is None


@pytest.mark.parametrize(
    ("answer", "inputs", "why"),
    [
        (b"", 1, "empty body"),
        (b"<html>", 1, "not a JSON answer"),
        (b"[" * 100_000, 1, "not a JSON answer"),
        (b"\xff", 1, "not a JSON answer"),
        (reply([1.0], error={"message": "overloaded"}), 1, "error object: .*overloaded"),
        (b"{}", 1, "no data"),
        (reply(), 1, "no data"),
        (reply([1.0]), 2, "1 embeddings for 2 inputs"),
        (reply([1.0], [2.0]), 1, "2 embeddings for 1 inputs"),
        (reply(None), 1, "not a JSON answer"),
        (reply(["a"]), 1, "not a JSON answer"),
        (reply([]), 1, "an empty embedding"),
        (reply(""), 1, "an empty embedding"),
        (reply("a!"), 1, "not base64"),
        (reply("é"), 1, "not base64"),
        (reply("AAAAAAA="), 1, "whole 32-bit floats"),
        (reply([1.0], [1.0, 2.0]), 2, "different lengths"),
        (reply([1.0]).replace(b'"index":0', b'"index":1'), 1, "not numbered"),
        (reply([1.0], [2.0]).replace(b'"index":1', b'"index":0'), 2, "not numbered"),
    ],
)
def test_an_answer_that_is_not_whole_is_malformed(answer: bytes, inputs: int, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read_embeddings_reply(answer, inputs)


def test_vectors_have_the_length_asked_for() -> None:
    with pytest.raises(Malformed, match="2 dimensions where 3 were asked for"):
        read_embeddings_reply(reply([1.0, 2.0]), 1, dimensions=3)
