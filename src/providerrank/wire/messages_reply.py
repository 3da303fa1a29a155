"""Whole answers, between Anthropic's Messages API and chat completions.

A message's content is a list of blocks, a chat answer's one text, one reasoning and a list of tool calls. Thinking
that comes from a chat endpoint is signed by nobody; its ``signature`` is empty. Encrypted thinking, citations, and
the traces of Anthropic's server tools have no place in chat and are left out.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from providerrank.wire.answer import show
from providerrank.wire.errors import Malformed
from providerrank.wire.messages_terms import (
    ChatUsage,
    MessageUsage,
    get_finish_reason,
    get_stop_reason,
    make_id,
    write_usage,
)
from providerrank.wire.nested import encoder
from providerrank.wire.raw import Raw, is_present, starts_with

T = TypeVar("T")


class _Called(msgspec.Struct):
    name: str | None = None
    arguments: Raw = Raw()


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Called | None = None


class _TextPart(msgspec.Struct):
    text: str | None = None


class _ChatMessage(msgspec.Struct):
    content: str | list[_TextPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _ChatMessage | None = None
    finish_reason: str | None = None
    stop_reason: Raw = Raw()
    matched_stop: Raw = Raw()


class _Completion(msgspec.Struct):
    id: str | None = None
    choices: list[_Choice] | None = None
    usage: ChatUsage | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()


class StopDetails(msgspec.Struct):
    """Why a model refused."""

    explanation: str | None = None


class _Message(msgspec.Struct):
    type: str
    id: str | None = None
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: MessageUsage | None = None
    error: Raw = Raw()


_completion = msgspec.json.Decoder(_Completion)
_message = msgspec.json.Decoder(_Message)
_object = msgspec.json.Decoder(dict[str, Raw])
_string = msgspec.json.Decoder(str)


def decode_answer(body: bytes | Raw, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """Decode what an endpoint sent. Raises Malformed, saying which part of it is wrong."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Malformed(f"not {what}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed(f"not {what}: not JSON") from None


def read_matched_stop(*given: Raw) -> str | None:
    """The stop sequence that was met, where the endpoint tells it; a number there is a token's id."""
    for raw in given:
        if is_present(raw) and starts_with(raw, b'"'):
            return decode_answer(raw, _string, "a stop sequence")
    return None


def from_chat_reply(body: bytes, model: str) -> bytes:
    """A whole chat answer as a message of ``model``.

    Raises Malformed where it is none, or calls a tool with arguments that are no JSON object.
    """
    completion = decode_answer(body, _completion, "a chat answer")
    choice = completion.choices[0] if completion.choices else _Choice()
    if choice.message is None:
        raise Malformed("not a chat answer: it holds no message")
    said = choice.message
    content: list[dict[str, object]] = []
    thought = said.reasoning_content or said.reasoning
    if thought:
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    text = said.content if isinstance(said.content, str) else "".join(part.text or "" for part in said.content or ())
    content += [{"type": "text", "text": words} for words in (text, said.refusal) if words]
    content += [_call_to_block(call, i, completion.id or "") for i, call in enumerate(said.tool_calls or ())]
    stop_sequence = read_matched_stop(choice.stop_reason, choice.matched_stop)
    stop_reason = get_stop_reason(
        choice.finish_reason,
        calls_tools=bool(said.tool_calls),
        refuses=bool(said.refusal),
        stop_sequence=stop_sequence,
    )
    usage = completion.usage or ChatUsage()
    return encoder.encode(
        {
            "id": make_id("msg_", completion.id, body),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": stop_sequence if stop_reason == "stop_sequence" else None,
            "usage": write_usage(usage, usage.prompt_tokens or 0, usage.completion_tokens or 0),
        }
    )


def _call_to_block(call: _Call, i: int, answer_id: str) -> dict[str, object]:
    called = call.function or _Called()
    return {
        "type": "tool_use",
        "id": call.id or f"toolu_{answer_id}_{i}",
        "name": called.name or "",
        "input": _read_input(called.arguments),
    }


def _read_input(arguments: Raw) -> object:
    """A call's arguments as an object; some endpoints write the object itself. Nothing is the empty object."""
    if is_present(arguments) and starts_with(arguments, b'"'):
        arguments = Raw(decode_answer(arguments, _string, "a chat answer").encode())
        if not bytes(arguments).strip():
            return {}
    if not is_present(arguments):
        return {}
    decode_answer(arguments, _object, "a tool call with an object of arguments")
    return arguments


def to_chat_reply(body: bytes, created: int = 0) -> bytes:
    """A whole message as a chat answer, of time ``created`` (seconds since 1970; a message does not tell its own).

    Raises Malformed where it is no message.
    """
    message = decode_answer(body, _message, "a message")
    if is_present(message.error):
        raise Malformed(f"error object: {show(message.error)}")
    if message.type != "message" or message.content is None:
        raise Malformed("not a message: it holds no content")
    said = {"text": "", "thinking": ""}
    calls: list[dict[str, object]] = []
    for block in message.content:
        match block.type:
            case "text":
                said["text"] += block.text or ""
            case "thinking":
                said["thinking"] += block.thinking or ""
            case "tool_use":
                calls.append(_block_to_call(block))
            case _:
                pass
    written: dict[str, object] = {"role": "assistant", "content": said["text"] or None, "refusal": None}
    if said["thinking"]:
        written["reasoning_content"] = said["thinking"]
    if calls:
        written["tool_calls"] = calls
    if message.stop_details is not None and message.stop_details.explanation:
        written["refusal"] = message.stop_details.explanation
    choice: dict[str, object] = {
        "index": 0,
        "message": written,
        "logprobs": None,
        "finish_reason": None if message.stop_reason is None else get_finish_reason(message.stop_reason),
    }
    if message.stop_sequence is not None:
        choice["stop_reason"] = message.stop_sequence
    completion: dict[str, object] = {
        "id": make_id("", message.id, body),
        "object": "chat.completion",
        "created": created,
        "model": message.model or "",
        "choices": [choice],
    }
    if message.usage is not None:
        completion["usage"] = message.usage.to_chat()
    return encoder.encode(completion)


def _block_to_call(block: _Block) -> dict[str, object]:
    if not block.id or not block.name:
        raise Malformed("not a message: a tool use without an id or a name")
    try:
        arguments = bytes(block.input).decode() if is_present(block.input) else "{}"
    except UnicodeDecodeError:
        raise Malformed("not a message: a tool use whose input is not UTF-8") from None
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}
