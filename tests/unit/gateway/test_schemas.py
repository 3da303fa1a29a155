"""Whether a text obeys a schema; a schema is a stranger's words and makes us do nothing else."""

from __future__ import annotations

import socket

import pytest

from providerrank.gateway.schemas import MAX_SCHEMA_BYTES, breaks_schema

PERSON = b'{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"],"additionalProperties":false}'


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ('{"age": 5}', False),
        (' {"age":5}\n', False),
        ('{"age":"5"}', True),
        ("{}", True),
        ('{"age":5,"name":"x"}', True),
        ('{"age":5', True),
        ("", True),
        ("five", True),
        ("[" * 100_000, True),
    ],
)
def test_a_text_and_its_schema(text: str, breaks: bool) -> None:
    assert breaks_schema(PERSON, text) is breaks


@pytest.mark.parametrize(
    "schema",
    [
        b"{",
        b"[]",
        b"5",
        b'{"type":"nonsense"}',
        b'{"pattern":"("}',
        b'{"$ref":"#/nowhere"}',
        b'{"$ref":"file:///etc/hostname"}',
        b'{"not":' * 900 + b"{}" + b"}" * 900,
        b'{"allOf":[' * 490 + b"{}" + b"]}" * 490,
        b'{"description":"' + b"x" * MAX_SCHEMA_BYTES + b'","type":"integer"}',
    ],
    ids=lambda schema: repr(schema[:30]),
)
def test_a_schema_that_is_none_is_for_the_endpoint_to_refuse(schema: bytes) -> None:
    assert not breaks_schema(schema, '"anything"')


def test_references_inside_a_schema_are_followed() -> None:
    schema = b'{"$defs":{"age":{"type":"integer"}},"$ref":"#/$defs/age"}'
    assert breaks_schema(schema, '"x"')
    assert not breaks_schema(schema, "5")


def test_nothing_is_fetched_for_a_schema() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        assert not breaks_schema(b'{"$ref":"http://127.0.0.1:%d/x"}' % port, "5")
        with pytest.raises(BlockingIOError):
            server.accept()
