"""What a client asks in OpenAI's Responses API: bytes in, the same ``ChatAsk`` out as chat completions give.

So one thing asked in two APIs is answered with one text. A parameter the API does not have is refused as OpenAI
refuses it. Written from the ``openai`` SDK's types (``ResponseCreateParams``), without a look at the gateway's own
codecs.
"""

from __future__ import annotations

import msgspec

from providerrank.sim.answers import Refusal
from providerrank.sim.asks import ChatAsk, Function, JsonValue, Message, NamedSchema, Part, ResponseFormat, Tool


class _Part(msgspec.Struct):
    type: str
    text: str = ""
    refusal: str = ""


class _Item(msgspec.Struct):
    """One item of the input; of those the model does not read here, only that they are there."""

    type: str = "message"
    role: str = ""
    content: str | list[_Part] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | list[_Part] | None = None


class _Tool(msgspec.Struct):
    type: str
    name: str = ""
    parameters: JsonValue = None


class _Format(msgspec.Struct):
    type: str = "text"
    name: str = ""
    schema: JsonValue = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class ResponsesAsk(msgspec.Struct, kw_only=True):
    """Body of ``POST /v1/responses``, as far as an answer depends on it or repeats it."""

    model: str = ""
    input: str | list[_Item] = ""
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: JsonValue = "auto"
    text: _Text | None = None


KNOWN = frozenset(
    {
        "access_programs",
        "background",
        "background_options",
        "context_management",
        "conversation",
        "image",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
"""Every parameter there is."""

_decode = msgspec.json.Decoder(ResponsesAsk).decode
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_responses(body: bytes) -> ChatAsk:
    """Read a request; raises ``msgspec.DecodeError`` or ``Refusal`` where OpenAI would not take it."""
    asked = _decode(body)
    for name in _keys(body):
        if name not in KNOWN:
            raise _refuse(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    messages = [] if asked.instructions is None else [Message("system", asked.instructions)]
    if isinstance(asked.input, str):
        messages.append(Message("user", asked.input))
    else:
        _read_items(asked.input, messages)
    if not asked.input:
        raise _refuse("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    ask = ChatAsk(model=asked.model, messages=messages, stream=asked.stream, max_tokens=asked.max_output_tokens)
    if asked.tools:
        ask.tools = [Tool(function=Function(one.name, one.parameters)) for one in asked.tools if one.type == "function"]
    choice = asked.tool_choice
    ask.tool_choice = {"function": choice} if isinstance(choice, dict) and choice.get("type") == "function" else choice
    wanted = None if asked.text is None else asked.text.format
    if wanted is not None and wanted.type != "text":
        ask.response_format = ResponseFormat(wanted.type, NamedSchema(wanted.name, wanted.schema))
    return ask


def _read_items(items: list[_Item], messages: list[Message]) -> None:
    calls: set[str] = set()
    for number, item in enumerate(items):
        if item.type == "message":
            if item.role not in ("user", "assistant", "system", "developer"):
                raise _refuse(f"Invalid value: '{item.role}'.", f"input[{number}].role", "invalid_value")
            role = "system" if item.role == "developer" else item.role
            messages.append(Message(role, _read_parts(item.content)))
        elif item.type == "function_call":
            calls.add(item.call_id)
            if not messages or messages[-1].role != "assistant":
                messages.append(Message("assistant", ""))
        elif item.type == "function_call_output":
            if item.call_id not in calls:
                raise _refuse(
                    f"No tool call found for function call output with call_id {item.call_id}.", "input", None
                )
            output = item.output
            text = "\n".join(part.text for part in output) if isinstance(output, list) else output
            messages.append(Message("tool", text))


def _read_parts(content: str | list[_Part] | None) -> str | list[Part] | None:
    if not isinstance(content, list):
        return content
    return [
        Part("text", part.text or part.refusal) if part.type in _TEXTS else Part(_KINDS[part.type]) for part in content
    ]


_TEXTS = ("input_text", "output_text", "refusal")
_KINDS = {"input_image": "image_url", "input_file": "file", "input_audio": "input_audio"}


def _refuse(message: str, param: str, code: str | None) -> Refusal:
    return Refusal(400, message, kind="invalid_request_error", code=code, param=param)
