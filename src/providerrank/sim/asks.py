"""What a client asks, as far as an answer depends on it: bytes in, a typed request out.

Only named fields are decoded. What an endpoint ignores (temperature, seed, penalties) is not here;
its text is the same whatever they say.
"""

from __future__ import annotations

from typing import Any

import msgspec

JsonValue = Any
"""A decoded JSON value. ``Any`` because a schema or a tool's parameters may be any JSON there is."""


class Part(msgspec.Struct):
    """One part of a message's content; of images and audio only that they are there."""

    type: str = "text"
    text: str = ""


class Message(msgspec.Struct):
    """One message of a conversation."""

    role: str
    content: str | list[Part] | None = None

    def text(self) -> str:
        """Return the content as one string; parts that are not text leave their type's name."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or f"<{part.type}>" for part in self.content or ())


class Function(msgspec.Struct):
    """A function a model may call; ``parameters`` is a JSON schema."""

    name: str
    parameters: JsonValue = None


class Tool(msgspec.Struct):
    """A tool offered to the model."""

    type: str = "function"
    function: Function | None = None


class NamedSchema(msgspec.Struct):
    """The schema an answer has to follow."""

    name: str = ""
    schema: JsonValue = None


class ResponseFormat(msgspec.Struct):
    """``text``, ``json_object`` or ``json_schema``."""

    type: str = "text"
    json_schema: NamedSchema | None = None


class StreamOptions(msgspec.Struct):
    """Options of a stream."""

    include_usage: bool | None = None


class Ask(msgspec.Struct, kw_only=True):
    """What chat and completion requests share."""

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None

    def token_limit(self) -> int | None:
        """Return the most tokens the answer may have."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def wants_usage(self) -> bool:
        """Tell whether a stream is to end with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def stops(self) -> list[str]:
        """Return the strings the answer stops before."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class ChatAsk(Ask, kw_only=True):
    """Body of ``POST /v1/chat/completions``."""

    messages: list[Message]
    tools: list[Tool] | None = None
    tool_choice: JsonValue = None
    response_format: ResponseFormat | None = None


class CompletionAsk(Ask, kw_only=True):
    """Body of ``POST /v1/completions``."""

    prompt: str | list[str | int | list[int]] = ""

    def text(self) -> str:
        """Return the prompt as one string; token numbers are written out."""
        return self.prompt if isinstance(self.prompt, str) else "\x1e".join(map(str, self.prompt))


class EmbeddingAsk(msgspec.Struct, kw_only=True):
    """Body of ``POST /v1/embeddings``."""

    input: str | list[str | int | list[int]]
    model: str = ""
    dimensions: int | None = None
    encoding_format: str = "float"

    def texts(self) -> list[str]:
        """Return one string for each vector asked for."""
        if isinstance(self.input, str):
            return [self.input]
        if self.input and isinstance(self.input[0], int):
            return [" ".join(map(str, self.input))]
        return [item if isinstance(item, str) else str(item) for item in self.input]


decode_chat = msgspec.json.Decoder(ChatAsk).decode
decode_completion = msgspec.json.Decoder(CompletionAsk).decode
decode_embedding = msgspec.json.Decoder(EmbeddingAsk).decode
decode_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
