"""Whole answers: a chat completion as a Response, and a native Response as a chat completion."""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.errors import Malformed
from providerrank.wire.raw import is_present, shorten
from providerrank.wire.responses_chat import (
    UNREADABLE,
    Choice,
    answer_decoder,
    read_annotations,
    read_logprobs,
    read_text,
    read_time,
    read_usage,
)
from providerrank.wire.responses_items import (
    CALL,
    INCOMPLETE,
    MESSAGE,
    OUTPUT_TEXT,
    REASONING,
    REASONING_TEXT,
    REFUSAL,
    Item,
    make_item_id,
    make_response_id,
    write_echo,
    write_usage,
)
from providerrank.wire.responses_native import NativeResponse, response_decoder, write_finish, write_native_usage

_encoder = msgspec.json.Encoder()


def from_chat_reply(body: bytes, model: str, asked: Fields | None = None) -> bytes:
    """A chat completion as the Response a client of that API expects.

    ``asked``: the client's own request, of which a Response repeats a part. Raises Malformed.
    """
    try:
        chat = answer_decoder.decode(body)
    except UNREADABLE:
        raise Malformed("not a JSON answer") from None
    if not chat.choices:
        raise Malformed("no choices")
    choice = chat.choices[0]
    response_id = make_response_id(chat.id, body)
    reason = INCOMPLETE.get(choice.finish_reason or "")
    items = _read_items(choice, response_id)
    for item in items:
        # (What it was writing when it had to stop is the last.)
        item.close("incomplete" if reason is not None and item is items[-1] else "completed")
    response: dict[str, object] = {
        "id": response_id,
        "object": "response",
        "created_at": read_time(chat.created),
        "status": "completed" if reason is None else "incomplete",
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "model": model,
        "output": [item.write() for item in items],
        "usage": None,
    }
    usage = read_usage(chat.usage)
    if usage is not None and usage.prompt_tokens is not None:
        response["usage"] = write_usage(usage.prompt_tokens, usage.completion_tokens or 0, usage)
    return _encoder.encode(response | write_echo(asked))


def _read_items(choice: Choice, response_id: str) -> list[Item]:
    """What a chat choice says, in the order a Response has it: thoughts, words, calls."""
    said = choice.message
    items: list[Item] = []
    if said is None:
        return items

    def begin(kind: str) -> Item:
        index = len(items)
        item = Item(kind, index, make_item_id(kind, index, response_id))
        items.append(item)
        return item

    if said.thoughts:
        begin(REASONING).begin_part(REASONING_TEXT).texts.append(said.thoughts)
    text = read_text(said.content)
    if text or said.refusal:
        message = begin(MESSAGE)
        if text:
            part = message.begin_part(OUTPUT_TEXT)
            part.texts.append(text)
            part.logprobs = read_logprobs(choice.logprobs)
            part.annotations = read_annotations(said.annotations)
        if said.refusal:
            message.begin_part(REFUSAL).texts.append(said.refusal)
    for call in said.tool_calls or ():
        if call.function is None or call.function.name is None:
            raise Malformed("a tool call names no function")
        item = begin(CALL)
        item.call_id = call.id or f"call_{item.id}"
        item.name = call.function.name
        item.arguments.append(call.function.arguments or "")
    return items


# ---- native answers ---------------------------------------------------------------------------------------------


def to_chat_reply(body: bytes) -> bytes:
    """A native Response as the chat completion that means the same. Raises Malformed, saying what is wrong with it."""
    if not body:
        raise Malformed("empty body")
    try:
        response = response_decoder.decode(body)
    except UNREADABLE:
        raise Malformed("not a JSON answer") from None
    if is_present(response.error):
        raise Malformed(f"error object: {shorten(bytes(response.error))}")
    if response.output is None:
        raise Malformed("no output")
    finish = write_finish(response)
    chat: dict[str, object] = {
        "id": response.id,
        "object": "chat.completion",
        "created": read_time(response.created_at),
        "model": response.model,
        "choices": [{"index": 0, "message": _write_message(response), "finish_reason": finish}],
    }
    usage = write_native_usage(response)
    if usage is not None:
        chat["usage"] = usage
    return _encoder.encode(chat)


def _write_message(response: NativeResponse) -> dict[str, object]:
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    calls: list[dict[str, object]] = []
    for item in response.output or ():
        match item.type:
            case "message":
                texts += [part.text for part in item.content or () if part.type == OUTPUT_TEXT]
                refusals += [part.refusal for part in item.content or () if part.type == REFUSAL]
            case "reasoning":
                thoughts += [part.text for part in item.content or item.summary or ()]
            case "function_call":
                function = {"name": item.name, "arguments": item.arguments}
                calls.append({"id": item.call_id, "type": "function", "function": function})
            case _:
                # Chat has no word for it; that it is there matters: the answer is more than its text.
                calls.append({"id": item.id, "type": item.type})
    message: dict[str, object] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if refusals:
        message["refusal"] = "".join(refusals)
    if calls:
        message["tool_calls"] = calls
    return message
