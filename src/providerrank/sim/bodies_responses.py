"""Answers as OpenAI's Responses API has them: responses and their event stream.

Written from the ``openai`` SDK's types (``Response``, ``ResponseStreamEvent``), without a look at the gateway's own
codecs. An error by status looks as in OpenAI's other APIs; one in a stream comes as an ``error`` event before anything
else, and as ``response.failed`` once there is a response that can fail.
"""

from __future__ import annotations

import math

import msgspec

from providerrank.sim import framing
from providerrank.sim.answers import Answer, Refusal
from providerrank.sim.bodies import Events, Label

Value = object
"""A JSON value."""


def get_usage(answer: Answer, factor: float = 1.0) -> bytes:
    """Return the usage object, its counts multiplied by ``factor``."""
    prompt, completion = math.ceil(answer.prompt_tokens * factor), math.ceil(len(answer.pieces) * factor)
    return (
        b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":%d,'
        b'"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}' % (prompt, completion, prompt + completion)
    )


def get_body(answer: Answer, label: Label, usage: bytes | None) -> bytes:
    """Return a whole response."""
    return msgspec.json.encode(_over(answer, label, usage))


def _response(label: Label, **fields: Value) -> dict[str, Value]:
    return {
        "id": f"resp_sim{label.number:016x}",
        "object": "response",
        "created_at": label.created_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": msgspec.Raw(label.model),
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
        **fields,
    }


def _over(answer: Answer, label: Label, usage: bytes | None) -> dict[str, Value]:
    """Return the response as it is in the end: complete, or cut by its limit."""
    fields: dict[str, Value] = {"status": "completed", "output": [_item(answer, label)] if answer.pieces else []}
    if answer.finish == b"length":
        fields["status"], fields["incomplete_details"] = "incomplete", {"reason": "max_output_tokens"}
    if usage is not None:
        fields["usage"] = msgspec.Raw(usage)
    return _response(label, **fields)


def _item(answer: Answer, label: Label, status: str | None = None) -> dict[str, Value]:
    """Return the one item there is; with a ``status`` of its own it is empty still."""
    said = b"" if status is not None else b"".join(answer.pieces)
    status = status or ("incomplete" if answer.finish == b"length" else "completed")
    item: dict[str, Value] = {"id": _item_id(answer, label), "status": status}
    text = msgspec.Raw(b'"%b"' % said)
    if answer.tool is not None:
        call_id, name = f"call_sim{label.number:016x}", msgspec.Raw(b'"%b"' % answer.tool)
        return item | {"type": "function_call", "arguments": text, "call_id": call_id, "name": name}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return item | {"type": "message", "content": [part] if said else [], "role": "assistant"}


def _item_id(answer: Answer, label: Label) -> str:
    return f"{'msg' if answer.tool is None else 'fc'}_sim{label.number:016x}"


def get_events(answer: Answer, label: Label, usage: bytes | None) -> Events:
    """Return a streamed response's events, numbered from 0."""
    numbered = _Numbered()
    begun = _response(label)
    place = {"item_id": _item_id(answer, label), "output_index": 0}
    opening = [
        numbered.write("response.created", response=begun),
        numbered.write("response.in_progress", response=begun),
        numbered.write("response.output_item.added", output_index=0, item=_item(answer, label, "in_progress")),
    ]
    text = msgspec.Raw(b'"%b"' % b"".join(answer.pieces))
    empty = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    if answer.tool is None:
        place["content_index"] = 0
        opening.append(numbered.write("response.content_part.added", **place, part=empty))
        kind, rest = b"response.output_text.delta", b'","logprobs":[],"obfuscation":"x"}\n\n'
    else:
        kind, rest = b"response.function_call_arguments.delta", b'","obfuscation":"x"}\n\n'
    place_json = msgspec.json.encode(place)[1:-1]
    first = numbered.count
    content = [
        b'event: %b\ndata: {"type":"%b",%b,"sequence_number":%d,"delta":"%b%b'
        % (kind, kind, place_json, first + number, piece, rest)
        for number, piece in enumerate(answer.pieces)
    ]
    numbered.count += len(content)
    if answer.tool is None:
        closing = [
            numbered.write("response.output_text.done", **place, text=text, logprobs=[]),
            numbered.write("response.content_part.done", **place, part={**empty, "text": text}),
        ]
    else:
        name = msgspec.Raw(b'"%b"' % answer.tool)
        closing = [numbered.write("response.function_call_arguments.done", **place, arguments=text, name=name)]
    closing.append(numbered.write("response.output_item.done", output_index=0, item=_item(answer, label)))
    over = _over(answer, label, usage)
    finish = numbered.write(f"response.{over['status']}", response=over)

    def break_off(refusal: Refusal, at: int) -> bytes:
        last = _Numbered(at)
        if not at:
            return last.write("error", code=refusal.code, message=refusal.message, param=refusal.param)
        error = {"code": "server_error", "message": refusal.message}
        return last.write("response.failed", response=_response(label, status="failed", error=error))

    return Events(opening, content, closing, finish, [], break_off, kind)


class _Numbered:
    """Writes events, each with its number."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def write(self, kind: str, **fields: Value) -> bytes:
        event = {"type": kind, "sequence_number": self.count, **fields}
        self.count += 1
        return framing.get_event(msgspec.json.encode(event), kind.encode())
