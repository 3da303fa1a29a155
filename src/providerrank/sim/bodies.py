"""Answers as bytes: OpenAI's response objects, written by hand because they are written very often.

A streamed answer is kept as its events (``Events``), not as one string: faults choose among the events.
Framing (SSE lines, chunks, HTTP heads) is not here but in ``framing``.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from providerrank.sim import framing
from providerrank.sim.answers import Answer, Refusal
from providerrank.sim.spec import EndpointSpec, ListPrice
from providerrank.sim.text import compute_seed


@dataclass(slots=True)
class Events:
    """A streamed answer's events in order, each as its lines stand in the stream."""

    opening: list[bytes]
    """Carries the role, or a tool call's name, and no content."""
    content: list[bytes]
    closing: list[bytes]
    """Says that a part is over, but not yet that the answer is."""
    finish: bytes
    """Says why the answer is over."""
    end: list[bytes]
    """What follows: usage and ``[DONE]``, or whatever the API ends with."""
    break_off: Callable[[Refusal, int], bytes]
    """The event that ends it by an error, after so many others."""
    name: bytes = b""
    """Of its content's events, as their ``event:`` line has it; none: none."""


@dataclass(frozen=True, slots=True)
class Label:
    """What every object of one answer carries. ``model`` is a JSON string with its quotes."""

    number: int
    created_s: int
    model: bytes


def get_usage(answer: Answer, factor: float = 1.0) -> bytes:
    """Return the usage object, its counts multiplied by ``factor``."""
    prompt, completion = math.ceil(answer.prompt_tokens * factor), math.ceil(len(answer.pieces) * factor)
    return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (prompt, completion, prompt + completion)


def get_body(answer: Answer, label: Label, usage: bytes | None) -> bytes:
    """Return a plain answer's body."""
    content = b"".join(answer.pieces)
    if not answer.chat:
        head = (
            b'{"id":"cmpl-sim%016x","object":"text_completion","created":%d,"model":%b,"choices":'
            b'[{"index":0,"text":"%b"'
        )
    elif answer.tool is None:
        head = (
            b'{"id":"chatcmpl-sim%016x","object":"chat.completion","created":%d,"model":%b,"choices":'
            b'[{"index":0,"message":{"role":"assistant","content":"%b","refusal":null}'
        )
    else:
        head = (
            b'{"id":"chatcmpl-sim%016x","object":"chat.completion","created":%d,"model":%b,"choices":'
            b'[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"call_sim'
            + b"%016x" % label.number
            + b'","type":"function","function":{"name":"'
            + answer.tool.replace(b"%", b"%%")
            + b'","arguments":"%b"}}]}'
        )
    tail = b',"logprobs":null,"finish_reason":"' + answer.finish + b'"}]'
    if usage is not None:
        tail += b',"usage":' + usage
    return head % (label.number, label.created_s, label.model, content) + tail + b"}"


def get_events(answer: Answer, label: Label, usage: bytes | None) -> Events:
    """Return a streamed answer's events; ``usage`` where the request asked for it."""
    if answer.chat:
        start = b'{"id":"chatcmpl-sim%016x","object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            label.number,
            label.created_s,
            label.model,
        )
    else:
        start = b'{"id":"cmpl-sim%016x","object":"text_completion","created":%d,"model":%b,"choices":[' % (
            label.number,
            label.created_s,
            label.model,
        )
    none = b',"logprobs":null,"finish_reason":null}]}'
    end = b',"logprobs":null,"finish_reason":"' + answer.finish + b'"}]}'
    if not answer.chat:
        before, opening, after, empty = start + b'{"index":0,"text":"', b'"', b'"' + none, b'{"index":0,"text":""'
        opening = start + empty + none
    elif answer.tool is None:
        before, after, empty = start + b'{"index":0,"delta":{"content":"', b'"}' + none, b'{"index":0,"delta":{}'
        opening = start + b'{"index":0,"delta":{"role":"assistant","content":"","refusal":null}' + none
    else:
        before = start + b'{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"'
        after, empty = b'"}}]}' + none, b'{"index":0,"delta":{}'
        opening = (
            start
            + b'{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_sim%016x'
            % label.number
            + b'","type":"function","function":{"name":"'
            + answer.tool
            + b'","arguments":""}}]}'
            + none
        )
    last = [framing.DONE]
    if usage is not None:
        last.insert(0, framing.get_event(start + b'],"usage":' + usage + b"}"))
    before, after = b"data: " + before, after + b"\n\n"
    return Events(
        [framing.get_event(opening)],
        [before + piece + after for piece in answer.pieces],
        [],
        framing.get_event(start + empty + end),
        last,
        _break_off,
    )


def _break_off(refusal: Refusal, at: int) -> bytes:
    return framing.get_event(get_error(refusal))


def get_error(refusal: Refusal) -> bytes:
    """Return an error body in OpenAI's shape."""
    error = {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}
    return msgspec.json.encode({"error": error})


def get_models(spec: EndpointSpec, now: ListPrice) -> bytes:
    """Return the model list, with the price there is now, per token as OpenRouter writes it."""
    price = {"prompt": f"{now.input / 1e6:.10g}", "completion": f"{now.output / 1e6:.10g}"}
    model = {
        "id": spec.model or "sim-model",
        "object": "model",
        "created": 1_760_000_000,
        "owned_by": spec.name,
        "context_length": spec.context_window,
        "pricing": price,
    }
    return msgspec.json.encode({"object": "list", "data": [model]})


def get_embeddings(texts: list[str], model: str, dimensions: int, as_base64: bool, factor: float | None) -> bytes:
    """Return unit vectors that are functions of the texts; ``factor`` None leaves the usage out."""
    data: list[dict[str, object]] = []
    for index, text in enumerate(texts):
        vector = _unit_vector(text, dimensions)
        packed = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": packed})
    body: dict[str, object] = {"object": "list", "data": data, "model": model}
    if factor is not None:
        tokens = math.ceil(sum(len(text) // 4 + 1 for text in texts) * factor)
        body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode(body)


def _unit_vector(text: str, dimensions: int) -> list[float]:
    """Return a vector of length 1 that depends on the text alone."""
    raw = [compute_seed(text, str(index)) / 2**63 - 1.0 for index in range(dimensions)]
    norm = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [value / norm for value in raw]
