"""An answer of OpenAI's HTTP API: is it whole, what did it use, and how one stream's events become another's."""

from __future__ import annotations

from typing import Any

import msgspec

from providerrank.wire.errors import Malformed
from providerrank.wire.raw import Raw, shorten

_encoder = msgspec.json.Encoder()


MAX_TOKENS = 1_000_000_000
"""Of one request; a larger count is a mistake or a lie."""


WHOLE_CALLS = frozenset({"tool_calls", "stop"})
"""Finish reasons of an answer whose tool calls are whole; some endpoints never say the first."""


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """Tokens an endpoint says it used; None where it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's word for cached tokens."""

    def __post_init__(self) -> None:
        """Drop a count that no answer can have: it is billed and summed."""
        if self.prompt_tokens is not None and not 0 <= self.prompt_tokens <= MAX_TOKENS:
            self.prompt_tokens = None
        if self.completion_tokens is not None and not 0 <= self.completion_tokens <= MAX_TOKENS:
            self.completion_tokens = None

    @property
    def cached_tokens(self) -> int | None:
        """Of the prompt's, those found in the endpoint's cache; None where it does not say, or says nonsense."""
        cached = self.prompt_cache_hit_tokens
        if cached is None and self.prompt_tokens_details is not None:
            cached = self.prompt_tokens_details.cached_tokens
        return cached if cached is not None and 0 <= cached <= (self.prompt_tokens or 0) else None


class _Message(msgspec.Struct):
    content: str | list[Raw] | None = None
    tool_calls: list[Raw] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    function_call: Any = None  # whatever it is, only its being there matters
    audio: Any = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class Reply(msgspec.Struct):
    """A whole answer, as far as judging it needs."""

    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: Any = None  # shapes differ; it is shown, never read

    @property
    def text(self) -> str:
        """The first choice's text; empty where it has none."""
        if not self.choices:
            return ""
        choice = self.choices[0]
        content = choice.text if choice.message is None else choice.message.content
        return content if isinstance(content, str) else ""

    @property
    def tool_calls(self) -> list[Raw]:
        """The calls of every choice that was not cut."""
        calls: list[Raw] = []
        for choice in self.choices or ():
            if choice.finish_reason in WHOLE_CALLS and choice.message is not None and choice.message.tool_calls:
                calls += choice.message.tool_calls
        return calls

    @property
    def is_plain_and_complete(self) -> bool:
        """Whether the first choice is text that claims to be whole: not cut by a limit, no refusal, no tool call."""
        if not self.choices:
            return False
        choice = self.choices[0]
        message = choice.message
        return choice.finish_reason == "stop" and (message is None or not (message.refusal or message.tool_calls))


_reply = msgspec.json.Decoder(Reply)


def read_reply(body: bytes) -> Reply:
    """Judge a 200 answer to a request that was not streamed. Raises Malformed, saying what is wrong with it."""
    if not body:
        raise Malformed("empty body")
    try:
        reply = _reply.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("not a JSON answer") from None
    if reply.error is not None:
        raise Malformed(f"error object: {show(reply.error)}", "an error object")
    if not reply.choices:
        raise Malformed("no choices")
    for choice in reply.choices:
        if choice.finish_reason == "error":
            raise Malformed("finish reason 'error'")
        if choice.finish_reason is None and not _says_something(choice):
            raise Malformed("an empty choice without a finish reason")
    return reply


def _says_something(choice: _Choice) -> bool:
    message = choice.message
    if message is None:
        return bool(choice.text)
    return bool(
        message.content or message.tool_calls or message.refusal or message.reasoning_content or message.reasoning
    ) or (message.function_call is not None or message.audio is not None)


def show(error: object) -> str:
    """An error object for a person: one line, bounded."""
    return shorten(_encoder.encode(error))


class Delta(msgspec.Struct):
    """What one stream event adds to a choice."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Raw] | None = None
    function_call: Any = None  # whatever it is, only its being there matters

    @property
    def says_more(self) -> bool:
        """Whether it carries anything that counts beside content."""
        return bool(
            self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.function_call is not None
        )

    @property
    def seals(self) -> bool:
        """Whether it carries what no other endpoint can continue: a tool call or a refusal."""
        return bool(self.tool_calls or self.refusal) or self.function_call is not None


class StreamChoice(msgspec.Struct):
    """One choice of one stream event: ``delta`` of a chat, ``text`` of a completion."""

    delta: Delta | None = None
    text: str | None = None
    index: int = 0
    finish_reason: str | None = None


class StreamEvent(msgspec.Struct):
    """One event of a stream, as far as relaying it needs."""

    id: str | None = None
    choices: list[StreamChoice] | None = None
    usage: Usage | None = None
    error: Any = None  # shapes differ; it is shown, never read

    @property
    def plain_text(self) -> str | None:
        """The text of an event that is one piece of one answer and nothing else; None for any other event."""
        choices = self.choices
        if choices is None or len(choices) != 1 or self.usage is not None or self.error is not None:
            return None
        choice = choices[0]
        delta = choice.delta
        if delta is None or choice.index or choice.finish_reason is not None or delta.says_more:
            return None
        return delta.content


class _Named(msgspec.Struct):
    id: str | None = None


_named = msgspec.json.Decoder(_Named)


def read_id(body: bytes) -> str | None:
    """The id of a whole answer in any API; None where it has none. Raises nothing for a body that was judged."""
    return _named.decode(body).id


_event = msgspec.json.Decoder(StreamEvent)


def read_event(payload: bytes) -> StreamEvent:
    """One stream event. Raises Malformed where it is not JSON of the right shape."""
    try:
        return _event.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("a stream event is not a JSON event") from None


# Only what is rewritten is decoded: the rest of an event may hold what JSON readers disagree on (numbers past a
# float, bytes that are not UTF-8), and passes as it came.
_fields = msgspec.json.Decoder(dict[str, Raw])
_choices = msgspec.json.Decoder(list[dict[str, Raw]] | None)
_delta = msgspec.json.Decoder(dict[str, Raw] | None)
_NO_CHOICES = Raw(b"[]")
_NULL = Raw(b"null")


def rewrite_event(payload: bytes, *, event_id: str | None, content: str | None, reasoning: str | None) -> bytes:
    """A stream event of a continuing endpoint as part of the first one's stream: its id, and the text that is new.

    ``content`` and ``reasoning`` replace the first choice's text; None leaves it as it is. Raises Malformed where a
    name in it is not text.
    """
    try:
        event = _fields.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("a stream event cannot be rewritten") from None
    if event_id is not None:
        event["id"] = _raw(event_id)
    choices = _choices.decode(event.get("choices", _NO_CHOICES)) or []
    if choices:
        choice = choices[0]
        delta = _delta.decode(choice.get("delta", _NULL))
        if delta is None:
            if content is not None:
                choice["text"] = _raw(content)
        else:
            delta.pop("role", None)
            if content is not None:
                delta["content"] = _raw(content)
            if reasoning is not None:
                # Some endpoints send both names, one as an alias of the other.
                names = [name for name in ("reasoning_content", "reasoning") if name in delta]
                for name in names or ["reasoning"]:
                    delta[name] = _raw(reasoning)
            choice["delta"] = _raw(delta)
        event["choices"] = _raw(choices)
    return _encoder.encode(event)


def _raw(value: object) -> Raw:
    return Raw(_encoder.encode(value))


def add_usage(body: bytes, prompt_tokens: int, completion_tokens: int) -> bytes:
    """A whole answer with the usage its endpoint left out."""
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    return _encoder.encode(_fields.decode(body) | {"usage": _raw(usage)})


def write_usage_event(template: bytes | None, prompt_tokens: int, completion_tokens: int) -> bytes:
    """The usage event an endpoint left out, in the shape of its own last event ``template``."""
    event: dict[str, object] = {}
    if template is not None:
        try:
            decoded = _fields.decode(template)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            decoded = {}
        event = {k: decoded[k] for k in ("id", "object", "created", "model", "system_fingerprint") if k in decoded}
    event["choices"] = []
    event["usage"] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    return _encoder.encode(event)
