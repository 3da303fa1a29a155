"""What a client asks in Anthropic's Messages API: bytes in, the same ``ChatAsk`` out as OpenAI's chat gives.

So one thing asked in two APIs is answered with one text. Requests are held to what Anthropic's own endpoint takes:
a field it does not know, a text of nothing, a tool result without its call are refused, in its words. Written from
the ``anthropic`` SDK's types (``MessageCreateParams``), without a look at the gateway's own codecs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from providerrank.sim.answers import Refusal
from providerrank.sim.asks import ChatAsk, Function, JsonValue, Message, NamedSchema, ResponseFormat, Tool


class _Block(msgspec.Struct):
    """One block of a turn; of images and documents only that they are there."""

    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: JsonValue = None
    tool_use_id: str = ""
    content: JsonValue = None


class _Turn(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    input_schema: JsonValue = None
    type: str | None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Format(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["json_schema"]
    schema: JsonValue


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    format: _Format | None = None
    effort: str | None = None


class _Ask(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Body of ``POST /v1/messages``; what an answer does not depend on is only known by name."""

    model: str
    messages: list[_Turn]
    max_tokens: Annotated[int, msgspec.Meta(ge=0)]
    stream: bool = False
    system: str | list[_Block] = ""
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    stop_sequences: list[str] | None = None
    output_config: _Output | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cache_control: JsonValue = None
    container: JsonValue = None
    diagnostics: JsonValue = None
    inference_geo: JsonValue = None
    metadata: JsonValue = None
    service_tier: JsonValue = None
    speed: JsonValue = None
    thinking: JsonValue = None
    user_profile_id: JsonValue = None
    workspace_id: JsonValue = None


_decode = msgspec.json.Decoder(_Ask).decode


def decode_messages(body: bytes) -> ChatAsk:
    """Read a request; raises ``msgspec.DecodeError`` or ``Refusal`` where Anthropic would not take it."""
    asked = _decode(body)
    if not asked.messages:
        raise _refuse("messages: at least one message is required")
    if asked.messages[0].role == "assistant":
        raise _refuse('messages: first message must use the "user" role')
    messages: list[Message] = []
    system = asked.system if isinstance(asked.system, str) else "\n\n".join(block.text for block in asked.system)
    if system:
        messages.append(Message("system", system))
    _check_turns(asked.messages)
    for turn in asked.messages:
        messages += _read_turn(turn)
    ask = ChatAsk(
        model=asked.model,
        messages=messages,
        stream=asked.stream,
        max_tokens=asked.max_tokens,
        stop=asked.stop_sequences,
    )
    if asked.tools:
        ask.tools = [Tool(function=Function(tool.name, tool.input_schema)) for tool in asked.tools if _is_own(tool)]
    choice = asked.tool_choice
    if choice is not None:
        if not asked.tools:
            raise _refuse("tool_choice may only be specified while providing tools")
        ask.tool_choice = {"function": {"name": choice.name}} if choice.type == "tool" else choice.type
    if asked.output_config is not None and asked.output_config.format is not None:
        named = NamedSchema("answer", asked.output_config.format.schema)
        ask.response_format = ResponseFormat("json_schema", named)
    return ask


def _is_own(tool: _Tool) -> bool:
    return tool.type in (None, "custom")


def _check_turns(turns: list[_Turn]) -> None:
    """Refuse what Anthropic refuses of a conversation: empty texts, results without calls, white space at its end."""
    calls: set[str] = set()
    for number, turn in enumerate(turns):
        blocks = turn.content if isinstance(turn.content, list) else [_Block("text", turn.content)]
        if not blocks:
            raise _refuse(f"messages.{number}: content must not be empty")
        for block in blocks:
            if block.type == "text" and not block.text.strip():
                raise _refuse("messages: text content blocks must contain non-whitespace text")
        answered = {block.tool_use_id for block in blocks if block.type == "tool_result"}
        if answered != calls and (answered or turn.role == "user"):
            raise _refuse(
                f"messages.{number}: `tool_use` ids and `tool_result` blocks must match: {sorted(calls ^ answered)}"
            )
        calls = {block.id for block in blocks if block.type == "tool_use"}
        if any(not isinstance(block.input, dict) for block in blocks if block.type == "tool_use"):
            raise _refuse(f"messages.{number}: tool_use.input: Input should be an object")
        last = turn.content if isinstance(turn.content, str) else blocks[-1].text
        if number == len(turns) - 1 and turn.role == "assistant" and last != last.rstrip():
            raise _refuse("messages: final assistant content cannot end with trailing whitespace")


def _read_turn(turn: _Turn) -> list[Message]:
    """Return a turn as messages: each tool's result is one of its own, and comes before what the user says."""
    if isinstance(turn.content, str):
        return [Message(turn.role, turn.content)]
    results = [Message("tool", _read_result(block.content)) for block in turn.content if block.type == "tool_result"]
    said = [block for block in turn.content if block.type not in ("tool_result", "tool_use", "thinking")]
    if said or not results:
        results.append(Message(turn.role, "".join(block.text or f"<{_KINDS.get(block.type)}>" for block in said)))
    return results


_KINDS = {"image": "image_url", "document": "file"}


def _read_result(content: JsonValue) -> str:
    if isinstance(content, list):
        return "\n".join(str(block.get("text", "")) for block in content)
    return content if isinstance(content, str) else ""


def _refuse(message: str) -> Refusal:
    return Refusal(400, message, kind="invalid_request_error", code=None)
