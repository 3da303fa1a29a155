"""Answers as Anthropic's Messages API has them: messages, their event stream, errors.

Written from the ``anthropic`` SDK's types (``Message``, ``RawMessageStreamEvent``, ``ErrorResponse``), without a look
at the gateway's own codecs.
"""

from __future__ import annotations

import math

import msgspec

from providerrank.sim import framing
from providerrank.sim.answers import Answer, Refusal
from providerrank.sim.bodies import Events, Label
from providerrank.sim.spec import EndpointSpec

ERROR_KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOPS = {b"stop": b"end_turn", b"length": b"max_tokens", b"tool_calls": b"tool_use"}


def get_usage(answer: Answer, factor: float = 1.0) -> bytes:
    """Return the usage object, its counts multiplied by ``factor``."""
    return (
        b'{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":%d,'
        b'"service_tier":"standard"}'
        % (math.ceil(answer.prompt_tokens * factor), math.ceil(len(answer.pieces) * factor))
    )


def get_body(answer: Answer, label: Label, usage: bytes | None) -> bytes:
    """Return a whole message."""
    return _message(answer, label, _content(answer, label), _stop(answer), usage)


def _message(answer: Answer, label: Label, content: bytes, stop: bytes, usage: bytes | None) -> bytes:
    body = b'{"id":"msg_sim%016x","type":"message","role":"assistant","model":%b,"content":[%b],%b' % (
        label.number,
        label.model,
        content,
        stop,
    )
    return body + (b"}" if usage is None else b',"usage":%b}' % usage)


def _stop(answer: Answer) -> bytes:
    if answer.stop is not None and answer.finish == b"stop":
        return b'"stop_reason":"stop_sequence","stop_sequence":%b' % msgspec.json.encode(answer.stop)
    return b'"stop_reason":"%b","stop_sequence":null' % _STOPS[answer.finish]


def _content(answer: Answer, label: Label) -> bytes:
    said = b"".join(answer.pieces)
    if answer.tool is not None:
        arguments = msgspec.json.decode(b'"%b"' % said, type=str)
        return _call(answer, label, arguments.encode())
    return b'{"type":"text","text":"%b"}' % said if said else b""


def _call(answer: Answer, label: Label, arguments: bytes) -> bytes:
    assert answer.tool is not None
    return b'{"type":"tool_use","id":"toolu_sim%016x","name":"%b","input":%b}' % (label.number, answer.tool, arguments)


def get_events(answer: Answer, label: Label, usage: bytes | None) -> Events:
    """Return a streamed message's events. Usage comes in its first and, the whole of it, in its last event but one."""
    begun = None if usage is None else get_usage(Answer([b""], b"stop", answer.prompt_tokens))
    message = _message(answer, label, b"", b'"stop_reason":null,"stop_sequence":null', begun)
    if answer.tool is None:
        block, delta = b'{"type":"text","text":""}', b'"type":"text_delta","text":"'
    else:
        block, delta = _call(answer, label, b"{}"), b'"type":"input_json_delta","partial_json":"'
    name = b"content_block_delta"
    before = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{' + delta
    finish = b'{"type":"message_delta","delta":{%b}%b}' % (
        _stop(answer),
        b"" if usage is None else b',"usage":' + usage,
    )
    return Events(
        [
            framing.get_event(b'{"type":"message_start","message":%b}' % message, b"message_start"),
            framing.get_event(
                b'{"type":"content_block_start","index":0,"content_block":%b}' % block, b"content_block_start"
            ),
            framing.get_event(b'{"type":"ping"}', b"ping"),
        ],
        [before + piece + b'"}}\n\n' for piece in answer.pieces],
        [framing.get_event(b'{"type":"content_block_stop","index":0}', b"content_block_stop")],
        framing.get_event(finish, b"message_delta"),
        [framing.get_event(b'{"type":"message_stop"}', b"message_stop")],
        _break_off,
        name,
    )


def _break_off(refusal: Refusal, at: int) -> bytes:
    return framing.get_event(get_error(refusal), b"error")


def get_error(refusal: Refusal) -> bytes:
    """Return an error body in Anthropic's shape: it has no place for codes and parameters, its messages name them."""
    kind = ERROR_KINDS.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error")
    error = {"type": kind, "message": _get_words(refusal)}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": "req_sim"})


def _get_words(refusal: Refusal) -> str:
    if refusal.size is not None:
        return f"prompt is too long: {refusal.size[0]} tokens > {refusal.size[1]} maximum"
    if refusal.code == "unsupported_parameter":
        return f"{refusal.param}: Extra inputs are not permitted"
    if refusal.code == "content_policy_violation":
        return "Output blocked by content filtering policy"
    if refusal.code == "invalid_api_key":
        return "invalid x-api-key"
    return refusal.message


def get_models(spec: EndpointSpec) -> bytes:
    """Return the model list."""
    name = spec.model or "sim-model"
    model = {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-09T08:53:20Z"}
    return msgspec.json.encode({"data": [model], "has_more": False, "first_id": name, "last_id": name})
