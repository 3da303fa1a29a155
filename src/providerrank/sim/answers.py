"""From what is asked to what is said: the content of an answer, before any bytes of HTTP.

Pure functions of the endpoint's description and the request. An ``Answer`` holds its content in pieces,
one for each token, already escaped for JSON, since the same pieces are used whole and streamed.

A prompt's token count is estimated as a quarter of its characters and three for each message: what
matters to a client is that it is stable, and plausible beside the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from providerrank.sim.asks import ChatAsk, CompletionAsk, Message, Tool
from providerrank.sim.instances import compute_instance
from providerrank.sim.spec import EndpointSpec
from providerrank.sim.text import compute_pieces, compute_seed, cut_after_mark, escaped, get_length_mark, skip_delivered

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 3
LONGEST_ANSWER = 100_000
"""Tokens; whatever a prompt's mark says."""
_ARGUMENT_PIECE = 6
"""Characters of a tool call's arguments, or of a JSON answer, that make one token."""


class Refusal(Exception):
    """The endpoint answers with an error, of its own accord."""

    size: tuple[int, int] | None = None
    """Of a request that is too long: its tokens, and the most there may be."""

    def __init__(self, status: int, message: str, *, kind: str, code: str | None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param


@dataclass(slots=True)
class Answer:
    """What an endpoint says to one request. ``pieces`` are JSON string contents, without the quotes."""

    pieces: list[bytes]
    finish: bytes
    prompt_tokens: int
    tool: bytes | None = None
    """The called function's name; the pieces are then its arguments."""
    chat: bool = True
    stop: str | None = None
    """The stop sequence it ended before."""


def compute_chat(spec: EndpointSpec, ask: ChatAsk, violate: bool = False) -> Answer:
    """Return the answer to a chat request; ``violate`` breaks the schema it was to follow.

    Raises ``Refusal`` where the request exceeds the context window or cannot be understood.
    """
    if not ask.messages:
        raise Refusal(400, "messages must not be empty", kind="invalid_request_error", code=None, param="messages")
    messages = ask.messages
    delivered = None
    if spec.prefill and len(messages) > 1 and messages[-1].role == "assistant" and messages[-1].content:
        delivered = messages[-1].text()
        messages = messages[:-1]
    prompt = "\x1e".join([f"{message.role}\x1f{message.text()}" for message in messages])
    prompt_tokens = len(prompt) // CHARACTERS_PER_TOKEN + TOKENS_PER_MESSAGE * len(ask.messages)
    if delivered is not None:
        prompt_tokens += len(delivered) // CHARACTERS_PER_TOKEN
    _check_context(spec, prompt_tokens, ask.token_limit())

    tool = _choose_tool(spec, ask, messages[-1])
    if tool is not None and tool.function is not None:
        arguments = "not the arguments" if violate else _instance(tool.function.parameters or {}, "tools")
        inner = msgspec.json.encode(msgspec.json.encode(arguments).decode())[1:-1].decode()
        name = msgspec.json.encode(tool.function.name)[1:-1]
        return Answer(_sliced(inner), b"tool_calls", prompt_tokens, tool=name)

    wanted = ask.response_format
    if wanted is not None and wanted.type != "text" and spec.json_schema and not violate:
        schema = wanted.json_schema.schema if wanted.json_schema is not None else {}
        text = msgspec.json.encode(_instance(schema, "response_format")).decode()
        if delivered is not None and text.startswith(delivered):
            text = text[len(delivered) :]
        return _limited(
            Answer(_sliced(msgspec.json.encode(text)[1:-1].decode()), b"stop", prompt_tokens), ask.token_limit()
        )

    return _textual(spec, prompt, delivered, ask.token_limit(), ask.stops(), prompt_tokens)


def compute_completion(spec: EndpointSpec, ask: CompletionAsk) -> Answer:
    """Return the answer to a plain completion request; raises ``Refusal`` past the context window.

    With ``prefill`` what follows the prompt's length mark is the beginning of the answer, which is continued.
    """
    prompt = ask.text()
    prompt_tokens = len(prompt) // CHARACTERS_PER_TOKEN + 1
    _check_context(spec, prompt_tokens, ask.token_limit())
    delivered = None
    if spec.prefill and (begun := cut_after_mark(prompt)):
        prompt, delivered = prompt[: -len(begun)], begun
    answer = _textual(spec, prompt, delivered, ask.token_limit(), ask.stops(), prompt_tokens)
    answer.chat = False
    return answer


def _textual(
    spec: EndpointSpec, prompt: str, delivered: str | None, limit: int | None, stops: list[str], prompt_tokens: int
) -> Answer:
    """Return the text of a prompt: all of it, or what follows what was delivered."""
    length = get_length_mark(prompt)
    length = min(spec.reply_tokens if length is None else length, LONGEST_ANSWER)
    pieces = _text_of(spec, prompt, length)
    if delivered is not None:
        rest = skip_delivered(pieces, delivered)
        pieces = _text_of(spec, f"{prompt}\x1e{delivered}", length) if rest is None else rest
    stopped = None
    for stop in stops:
        text = "".join(pieces)
        at = text.find(stop) if stop else -1
        if at >= 0:
            stopped = stop
            rest_length = len(text) - at
            while rest_length > 0:
                last = pieces.pop()
                if len(last) > rest_length:
                    pieces.append(last[:-rest_length])
                rest_length -= len(last)
    return _limited(Answer([escaped(piece) for piece in pieces], b"stop", prompt_tokens, stop=stopped), limit)


def _text_of(spec: EndpointSpec, prompt: str, length: int) -> list[str]:
    """Return the whole text this endpoint gives to a prompt."""
    seed = compute_seed(prompt)
    if spec.diverge_at is None or spec.diverge_at >= length:
        return compute_pieces(seed, length)
    own = compute_seed(prompt, spec.name)
    return compute_pieces(seed, spec.diverge_at) + compute_pieces(own, length - spec.diverge_at, spec.diverge_at)


def _limited(answer: Answer, limit: int | None) -> Answer:
    """Cut an answer to the tokens asked for, and say so in its finish reason."""
    if limit is not None and limit < len(answer.pieces):
        answer.pieces = answer.pieces[: max(limit, 0)]
        answer.finish = b"length"
    return answer


def _check_context(spec: EndpointSpec, prompt_tokens: int, limit: int | None) -> None:
    """Refuse what does not fit the context window, in OpenAI's words."""
    total = prompt_tokens + (limit or 0)
    if spec.context_window is not None and total > spec.context_window:
        raise context_refusal(spec.context_window, total)


def context_refusal(window: int, total: int) -> Refusal:
    """Return the refusal of a request that is too long."""
    refusal = Refusal(
        400,
        f"This model's maximum context length is {window} tokens. However, you requested {total} tokens.",
        kind="invalid_request_error",
        code="context_length_exceeded",
        param="messages",
    )
    refusal.size = total, window
    return refusal


def _choose_tool(spec: EndpointSpec, ask: ChatAsk, last: Message) -> Tool | None:
    """Return the tool to call: the one named, else the first; none after a tool's result, or when told not to."""
    if not spec.tools or not ask.tools or ask.tool_choice == "none" or last.role == "tool":
        return None
    if isinstance(ask.tool_choice, dict):
        name = ask.tool_choice.get("function", {}).get("name")
        return next((tool for tool in ask.tools if tool.function is not None and tool.function.name == name), None)
    return next((tool for tool in ask.tools if tool.function is not None), None)


def _instance(schema: object, param: str) -> object:
    """Return an instance of a schema, or refuse the schema as providers do."""
    try:
        return compute_instance(schema)
    except ValueError as error:
        raise Refusal(
            400, f"Invalid schema: {error}", kind="invalid_request_error", code="invalid_json_schema", param=param
        ) from None


def _sliced(inner: str) -> list[bytes]:
    """Cut the inside of a JSON string into pieces, never within an escape sequence."""
    pieces: list[bytes] = []
    start = at = 0
    while at < len(inner):
        at += 6 if inner.startswith("\\u", at) else 2 if inner[at] == "\\" else 1
        if at - start >= _ARGUMENT_PIECE:
            pieces.append(inner[start:at].encode())
            start = at
    if start < len(inner):
        pieces.append(inner[start:].encode())
    return pieces
