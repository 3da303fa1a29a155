"""Strict readers of every API's answers: what a client saw, or the first way in which it was not the API.

For tests and benchmarks of whatever stands between a client and the endpoints. They accept less than clients do: events
out of order, a part that was never closed, deltas that do not add up to what is told at the end, two usages, an end
that says both that the answer is whole and that it failed. Written from the official SDKs' types, like the simulator's
own answers, and as little acquainted with the gateway's codecs.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import msgspec

from providerrank.sim.spec import ApiName

Value = Any
"""A decoded JSON value. ``Any``: every key that is looked up is a check of its own."""


class NotTheApi(Exception):
    """An answer that the API does not have."""


@dataclass(slots=True)
class Seen:
    """What a client saw of one answer."""

    text: str = ""
    """What was said, or a tool call's arguments, or the vectors."""
    tool: str | None = None
    finish: str | None = None
    """``stop``, ``length`` or ``tool_calls``, whatever the API calls it; None: the answer is not whole."""
    usage: tuple[int, int] | None = None
    """Prompt and completion tokens."""
    error: str | None = None
    """Its message; an answer has one or is whole, never both or neither."""
    kind: str | None = None
    code: str | None = None
    param: str | None = None


def read_reply(api: ApiName, status: int, headers: dict[str, str], body: bytes, streamed: bool) -> Seen:
    """Read one whole HTTP answer; raises ``NotTheApi``."""
    try:
        if status != 200:
            _must(headers.get("content-type", "").startswith("application/json"), "an error that is not JSON")
            return _read_error(api, msgspec.json.decode(body))
        kind = "text/event-stream" if streamed else "application/json"
        _must(headers.get("content-type", "").startswith(kind), f"content type {headers.get('content-type')}")
        return (
            _STREAMS[api](_read_events(body, named=api in _NAMED))
            if streamed
            else _WHOLE[api](msgspec.json.decode(body))
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise NotTheApi(f"{type(error).__name__}: {error}") from error


def _must(is_so: object, otherwise: str) -> None:
    if not is_so:
        raise NotTheApi(otherwise)


def _read_error(api: ApiName, whole: Value) -> Seen:
    error = whole["error"]
    if api == "messages":
        _must(whole["type"] == "error" and set(whole) <= {"type", "error", "request_id"}, f"an error of {list(whole)}")
        _must(set(error) == {"type", "message"}, f"an error of {list(error)}")
        return Seen(error=error["message"], kind=error["type"])
    _must(list(whole) == ["error"], f"an error of {list(whole)}")
    _must(set(error) == {"message", "type", "param", "code"}, f"an error of {list(error)}")
    return Seen(error=error["message"], kind=error["type"], code=error["code"], param=error["param"])


_NAMED = ("responses", "messages")


def _read_events(body: bytes, named: bool) -> list[Value]:
    text = body.decode()
    _must(text.endswith("\n\n"), "a stream that ends within an event")
    events: list[Value] = []
    for block in text.split("\n\n")[:-1]:
        lines = block.split("\n")
        if named:
            _must(len(lines) == 2 and lines[0].startswith("event: "), f"no named event: {block[:80]}")
        else:
            _must(len(lines) == 1, f"no bare event: {block[:80]}")
        _must(lines[-1].startswith("data: "), f"no data: {block[:80]}")
        data = lines[-1][6:]
        event: Value = data if data == "[DONE]" and not named else msgspec.json.decode(data)
        _must(not named or event["type"] == lines[0][7:], f"an event named {lines[0][7:]} of another type")
        events.append(event)
    _must(events, "a stream of nothing")
    return events


# --- chat and completions --------------------------------------------------------------------------------------------


def _read_usage(usage: Value) -> tuple[int, int] | None:
    if not usage:
        return None
    counts = usage["prompt_tokens"], usage.get("completion_tokens", 0)
    _must(usage["total_tokens"] == sum(counts), "a total that is not the sum")
    return counts


def _read_chat(whole: Value) -> Seen:
    [choice] = whole["choices"]
    seen = Seen(finish=choice["finish_reason"], usage=_read_usage(whole.get("usage")))
    _must(seen.finish in ("stop", "length", "tool_calls"), f"finish reason {seen.finish}")
    if whole["object"] == "text_completion":
        seen.text = choice["text"]
        return seen
    _must(whole["object"] == "chat.completion", f"object {whole['object']}")
    message = choice["message"]
    _must(message["role"] == "assistant", "a message of somebody else's")
    if message.get("tool_calls"):
        [call] = message["tool_calls"]
        _must(call["type"] == "function" and call["id"], "a call of no function")
        seen.tool, seen.text = call["function"]["name"], call["function"]["arguments"]
        _must(seen.finish == "tool_calls", "a call that is no reason to finish")
        _must(not message.get("content"), "words beside a call")
    else:
        seen.text = message["content"]
    return seen


def _read_chat_stream(events: list[Value]) -> Seen:
    seen = Seen()
    ids = set()
    for number, event in enumerate(events):
        if event == "[DONE]":
            _must(number == len(events) - 1, "something after [DONE]")
            break
        if "error" in event:
            told = _read_error("chat", event)
            seen.error, seen.kind, seen.code = told.error, told.kind, told.code
            _must(number == len(events) - 1, "something after an error")
            break
        ids.add(event["id"])
        _must(event["object"] in ("chat.completion.chunk", "text_completion"), f"object {event['object']}")
        if event.get("usage"):
            _must(seen.usage is None, "two usages")
            seen.usage = _read_usage(event["usage"])
        for choice in event["choices"]:
            _must(seen.finish is None, "content after the finish reason")
            _add_delta(seen, choice.get("delta") or {"content": choice.get("text")})
            seen.finish = choice.get("finish_reason")
    else:
        raise NotTheApi("no [DONE] and no error")
    _must(len(ids) <= 1, "a stream of several answers")
    _must((seen.finish is None) == (seen.error is not None), "neither whole nor failed, or both")
    return seen


def _add_delta(seen: Seen, delta: Value) -> None:
    seen.text += delta.get("content") or ""
    for call in delta.get("tool_calls") or ():
        _must(call["index"] == 0, "a second call")
        name = call["function"].get("name")
        _must((seen.tool is None) == bool(name), "a call named twice, or not at all")
        seen.tool = name or seen.tool
        seen.text += call["function"].get("arguments") or ""


# --- embeddings ------------------------------------------------------------------------------------------------------


def _read_embeddings(whole: Value) -> Seen:
    _must(whole["object"] == "list", f"object {whole['object']}")
    vectors = []
    for index, one in enumerate(whole["data"]):
        _must((one["object"], one["index"]) == ("embedding", index), "a vector out of its place")
        vector = one["embedding"]
        if isinstance(vector, str):
            base64.b64decode(vector, validate=True)
        else:
            _must(vector and all(isinstance(value, float) for value in vector), "a vector of no numbers")
        vectors.append(vector)
    return Seen(msgspec.json.encode(vectors).decode(), finish="stop", usage=_read_usage(whole.get("usage")))


def _no_stream(events: list[Value]) -> Seen:
    raise NotTheApi("embeddings are not streamed")


# --- messages --------------------------------------------------------------------------------------------------------

_STOPS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def _read_message(whole: Value) -> Seen:
    _must((whole["type"], whole["role"]) == ("message", "assistant"), "no message of the assistant's")
    _must(whole["id"] and whole["model"], "a message without a name")
    _must("stop_sequence" in whole, "no word of a stop sequence")
    usage = whole["usage"]
    seen = Seen(finish=_STOPS[whole["stop_reason"]], usage=(usage["input_tokens"], usage["output_tokens"]))
    for block in whole["content"]:
        if block["type"] == "tool_use":
            _must(block["id"] and isinstance(block["input"], dict), "a call without its input")
            seen.tool, seen.text = block["name"], msgspec.json.encode(block["input"]).decode()
        else:
            _must(block["type"] == "text", f"a block of {block['type']}")
            seen.text += block["text"]
    _must((seen.tool is None) == (seen.finish != "tool_calls"), "a stop reason that does not fit")
    return seen


def _read_message_stream(events: list[Value]) -> Seen:
    seen = Seen()
    blocks, is_open, stopped = 0, False, False
    for number, event in enumerate(events):
        kind = event["type"]
        _must(not stopped, f"{kind} after the end")
        if kind == "ping":
            continue
        if kind == "error":
            told = _read_error("messages", event)
            seen.error, seen.kind, stopped = told.error, told.kind, True
            continue
        _must((number == 0) == (kind == "message_start"), f"{kind} at {number}")
        if kind == "message_start":
            message = event["message"]
            _must(message["content"] == [] and message["stop_reason"] is None, "a message that begins with its end")
            _must(isinstance(message["usage"]["input_tokens"], int), "no usage to begin with")
        elif kind == "content_block_start":
            _must(not is_open and event["index"] == blocks and seen.finish is None, "a block out of its place")
            is_open = True
            block = event["content_block"]
            if block["type"] == "tool_use":
                _must(block["id"] and block["input"] == {}, "a call that begins with its input")
                _must(seen.tool is None, "a second call")
                seen.tool = block["name"]
            else:
                _must(block["type"] == "text" and block["text"] == "", "a block that begins with its end")
        elif kind == "content_block_delta":
            _must(is_open and event["index"] == blocks, "a delta of no open block")
            name = "text" if seen.tool is None else "partial_json"
            _must(
                event["delta"]["type"] == ("text_delta" if seen.tool is None else "input_json_delta"), "a wrong delta"
            )
            seen.text += event["delta"][name]
        elif kind == "content_block_stop":
            _must(is_open and event["index"] == blocks, "the end of no open block")
            is_open, blocks = False, blocks + 1
        elif kind == "message_delta":
            _must(not is_open and seen.finish is None, "a finish before the last block's end")
            seen.finish = _STOPS[event["delta"]["stop_reason"]]
            usage = event["usage"]
            seen.usage = (
                usage.get("input_tokens") or events[0]["message"]["usage"]["input_tokens"],
                usage["output_tokens"],
            )
        else:
            _must(kind == "message_stop" and seen.finish is not None, f"{kind} where it has no place")
            stopped = True
    _must(stopped, "neither message_stop nor an error")
    _must(seen.error is None or seen.finish is None, "whole and failed")
    return seen


# --- responses -------------------------------------------------------------------------------------------------------


def _read_response(whole: Value) -> Seen:
    _must(whole["object"] == "response" and whole["id"], "no response")
    _must(whole["error"] is None, "a response with an error")
    for name in ("created_at", "model", "parallel_tool_calls", "tool_choice", "tools", "output"):
        _must(name in whole, f"a response without {name}")
    seen = Seen()
    for item in whole["output"]:
        if item["type"] == "function_call":
            seen.tool, seen.text = item["name"], item["arguments"]
            _must(item["call_id"], "a call without its id")
        else:
            _must((item["type"], item["role"]) == ("message", "assistant"), f"an item of {item['type']}")
            for part in item["content"]:
                _must(part["type"] == "output_text" and part["annotations"] == [], f"a part of {part['type']}")
                seen.text += part["text"]
    if whole["status"] == "incomplete":
        _must(whole["incomplete_details"] == {"reason": "max_output_tokens"}, "incomplete for no reason")
        seen.finish = "length"
    else:
        _must(whole["status"] == "completed", f"status {whole['status']}")
        seen.finish = "stop" if seen.tool is None else "tool_calls"
    usage = whole["usage"]
    if usage is not None:
        seen.usage = usage["input_tokens"], usage["output_tokens"]
        _must(usage["total_tokens"] == sum(seen.usage), "a total that is not the sum")
        _must(isinstance(usage["input_tokens_details"]["cached_tokens"], int), "no word of the cache")
        _must(isinstance(usage["output_tokens_details"]["reasoning_tokens"], int), "no word of reasoning")
    return seen


class _Items:
    """The items of a streamed response, followed until each is done."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tool: str | None = None
        self.open: dict[int, str] = {}

    @property
    def text(self) -> str:
        """Everything said so far."""
        return "".join(self.texts)

    def take(self, event: Value) -> None:
        """Follow one event that is not about the response as a whole."""
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            _must(event["output_index"] == len(self.texts), "an item out of its place")
            self.open[len(self.texts)] = event["item"]["id"]
            self.texts.append("")
            self.tool = event["item"].get("name")
        elif kind == "output_item.done":
            _must(self.open.pop(event["output_index"]) == event["item"]["id"], "the end of another item")
            _must(event["item"]["status"] in ("completed", "incomplete"), "an end in progress")
        else:
            _must(self.open.get(event["output_index"]) == event["item_id"], f"{kind} of no open item")
            if kind in ("output_text.delta", "function_call_arguments.delta"):
                self.texts[event["output_index"]] += event["delta"]
            elif kind in ("output_text.done", "function_call_arguments.done"):
                told = event.get("text", event.get("arguments"))
                _must(told == self.texts[event["output_index"]], "deltas that do not add up")
            else:
                _must(kind in ("content_part.added", "content_part.done"), f"an event {kind}")


def _read_response_stream(events: list[Value]) -> Seen:
    items = _Items()
    seen: Seen | None = None
    failed: Value = None
    for number, event in enumerate(events):
        kind = event["type"]
        _must(event["sequence_number"] == number, f"event {number} is numbered {event['sequence_number']}")
        _must(seen is None, f"{kind} after the end")
        _must(failed is None or kind == "error", f"{kind} after the failure")
        _must((number == 0) == (kind == "response.created") or kind == "error", f"{kind} at {number}")
        if kind in ("response.completed", "response.incomplete"):
            seen = _read_response(event["response"])
            _must(not items.open, "the end of a response before its items'")
            _must((seen.text, seen.tool) == (items.text, items.tool), "a response that is not what was streamed")
        elif kind == "response.failed":
            _must(
                event["response"]["status"] == "failed" and event["response"]["error"]["message"], "failed in silence"
            )
            failed = event["response"]["error"]
        elif kind == "error":
            failed = event
        elif kind not in ("response.created", "response.in_progress"):
            items.take(event)
    if seen is not None:
        return seen
    _must(failed is not None, "neither completed nor failed")
    return Seen(items.text, items.tool, error=failed["message"], code=failed["code"])


_WHOLE = {
    "chat": _read_chat,
    "completions": _read_chat,
    "embeddings": _read_embeddings,
    "messages": _read_message,
    "responses": _read_response,
}
_STREAMS = {
    "chat": _read_chat_stream,
    "completions": _read_chat_stream,
    "embeddings": _no_stream,
    "messages": _read_message_stream,
    "responses": _read_response_stream,
}
