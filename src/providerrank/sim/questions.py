"""One question, as each API asks it, and what every endpoint answers.

The same words, tools and schema in every API; so whatever stands between can be held to one truth, to the character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from providerrank.sim.answers import compute_chat, compute_completion
from providerrank.sim.asks import decode_chat, decode_completion
from providerrank.sim.bodies import get_embeddings
from providerrank.sim.spec import ApiName, EndpointSpec

Body = dict[str, Any]
"""A request's body: any JSON object."""

PATHS: dict[ApiName, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
TOOL = "look"
PARAMETERS = {
    "type": "object",
    "properties": {"where": {"type": "string"}, "deep": {"type": "integer"}, "x": {"type": "integer"}},
    "required": ["where", "deep", "x"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"const": "long enough to be cut in two"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``kind``: ``text``, ``tools`` or ``schema``; the last two mean nothing to some APIs."""

    words: str
    kind: str = "text"
    stream: bool = False
    usage: bool = False
    """A stream is asked for its usage, where that has to be asked for."""
    limit: int | None = None
    """Most tokens of the answer."""
    model: str = "m"
    system: str | None = None

    def ask(self, api: ApiName) -> Body:
        """Return the body of the request."""
        return _ASKS[api](self)

    def is_streamed(self, api: ApiName) -> bool:
        """Tell whether the answer is a stream: vectors never are."""
        return self.stream and api != "embeddings"

    def truth(self, api: ApiName) -> tuple[str, str | None, str]:
        """Return what a healthy endpoint answers: the text, the tool called, the finish."""
        spec = EndpointSpec(name="truth")
        if api == "embeddings":
            [vector] = msgspec.json.decode(get_embeddings([self.words], self.model, 8, False, None))["data"]
            return msgspec.json.encode([vector["embedding"]]).decode(), None, "stop"
        body = msgspec.json.encode(self.ask("completions" if api == "completions" else "chat"))
        if api == "completions":
            answer = compute_completion(spec, decode_completion(body))
        else:
            answer = compute_chat(spec, decode_chat(body))
        said = msgspec.json.decode(b'"%b"' % b"".join(answer.pieces), type=str)
        return said, None if answer.tool is None else answer.tool.decode(), answer.finish.decode()


def _ask_chat(question: Question) -> Body:
    said = [{"role": "user", "content": question.words}]
    if question.system is not None:
        said.insert(0, {"role": "system", "content": question.system})
    body: Body = {"model": question.model, "messages": said, "temperature": 0}
    if question.limit is not None:
        body["max_tokens"] = question.limit
    if question.kind == "tools":
        body["tools"] = [{"type": "function", "function": {"name": TOOL, "parameters": PARAMETERS}}]
    elif question.kind == "schema":
        named = {"name": "answer", "schema": SCHEMA, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return _add_stream(body, question)


def _add_stream(body: Body, question: Question) -> Body:
    if question.stream:
        body["stream"] = True
        if question.usage:
            body["stream_options"] = {"include_usage": True}
    return body


def _ask_completion(question: Question) -> Body:
    body: Body = {"model": question.model, "prompt": question.words, "temperature": 0}
    if question.limit is not None:
        body["max_tokens"] = question.limit
    return _add_stream(body, question)


def _ask_embedding(question: Question) -> Body:
    return {"model": question.model, "input": question.words, "encoding_format": "float"}


def _ask_response(question: Question) -> Body:
    body: Body = {"model": question.model, "input": question.words, "temperature": 0, "store": False}
    if question.system is not None:
        body["instructions"] = question.system
    if question.limit is not None:
        body["max_output_tokens"] = question.limit
    if question.kind == "tools":
        body["tools"] = [{"type": "function", "name": TOOL, "parameters": PARAMETERS, "strict": True}]
    elif question.kind == "schema":
        body["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
    if question.stream:
        body["stream"] = True
    return body


def _ask_message(question: Question) -> Body:
    said = [{"role": "user", "content": question.words}]
    body: Body = {"model": question.model, "messages": said, "temperature": 0, "max_tokens": question.limit or 4096}
    if question.system is not None:
        body["system"] = question.system
    if question.kind == "tools":
        body["tools"] = [{"name": TOOL, "input_schema": PARAMETERS}]
    elif question.kind == "schema":
        body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    if question.stream:
        body["stream"] = True
    return body


_ASKS = {
    "chat": _ask_chat,
    "completions": _ask_completion,
    "embeddings": _ask_embedding,
    "responses": _ask_response,
    "messages": _ask_message,
}
