"""A client's request, read as far as routing needs it.

It is taken apart only at its top level: each field stays the bytes the client sent (``msgspec.Raw``), so
prompts are neither understood nor changed. A request in another API's shape is translated to chat first, and read as
that: what decides where it may go is found in one place, whatever the client speaks.
"""

from __future__ import annotations

import msgspec

from providerrank.rules.cells import CHAT, JSON, LONG_CONTEXT, TOOLS
from providerrank.rules.params import PARAMS
from providerrank.wire.answer import MAX_TOKENS
from providerrank.wire.dialect import Dialect
from providerrank.wire.errors import BadRequest
from providerrank.wire.fields import read_fields, refuse_many_numbers, typed
from providerrank.wire.intake import BYTES_PER_TOKEN, CHAT_API, TEXT_API, Intake
from providerrank.wire.preferences import ProviderObject, read_preferences
from providerrank.wire.raw import Raw, is_null_or, starts_with

PROMPT_FIELDS = {CHAT_API: "messages", TEXT_API: "prompt"}

_str = msgspec.json.Decoder(str)
_bool = msgspec.json.Decoder(bool | None)
_int = msgspec.json.Decoder(int | None)
_strs = msgspec.json.Decoder(list[str] | None)


class _Format(msgspec.Struct):
    type: str = "text"
    json_schema: dict[str, Raw] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_provider = msgspec.json.Decoder(ProviderObject | None)
_format = msgspec.json.Decoder(_Format | None)
_stream_options = msgspec.json.Decoder(_StreamOptions | None)
_list = msgspec.json.Decoder(list[Raw])


def read_request(api: str, body: bytes) -> Intake:
    """Take a chat or completions request apart. Raises BadRequest, which names the field and what it should be."""
    return _read(api, read_fields(body))


def read_translated(dialect: Dialect, body: bytes) -> Intake:
    """Take a request in another API's shape apart. Raises BadRequest likewise."""
    native = read_fields(body)
    _require_model(native)
    ours = {name: native.pop(name) for name in ("models", "provider") if name in native}
    chat, lost = dialect.to_chat(native)
    intake = _read(CHAT_API, chat | ours)
    intake.api = dialect.api
    intake.dialect = dialect
    intake.native = native
    intake.origin = dialect.get_origin(native)
    # The usage of a stream goes into its translation, whatever the client asked for.
    intake.wants_usage = True
    if lost:
        intake.lost = lost
        if not intake.may_lose:
            intake.features |= {dialect.api}
    return intake


def _require_model(fields: dict[str, Raw]) -> None:
    if "model" not in fields:
        raise BadRequest(
            "'model' is missing: name the model to route", param="model", code="missing_required_parameter"
        )


def _read(api: str, fields: dict[str, Raw]) -> Intake:
    if "model" not in fields:
        _require_model(fields)
    model = typed(fields, "model", _str, "a string")
    prompt_field = PROMPT_FIELDS[api]
    if prompt_field not in fields:
        raise BadRequest(f"'{prompt_field}' is missing", param=prompt_field, code="missing_required_parameter")
    prompt = bytes(fields[prompt_field])
    size = len(prompt)
    if api == CHAT_API and (size < 3 or prompt[:1] != b"["):
        raise BadRequest("'messages' is not a list with at least one message", param="messages", code="invalid_type")
    intake = Intake(api, fields, model, size // BYTES_PER_TOKEN)
    if "stream" in fields:
        intake.stream = typed(fields, "stream", _bool, "true or false") is True
    if not _LIMITS.isdisjoint(fields):
        _read_limit(intake, fields)
    if not _OPTIONS.isdisjoint(fields) or b'"image_url"' in prompt or api == TEXT_API:
        _read_options(intake, fields, prompt)
    if size >= PARAMS.cache_bytes:
        intake.prefix = hash(prompt[: PARAMS.cache_bytes])
    if size > PARAMS.long_context_tokens * BYTES_PER_TOKEN and intake.task is CHAT and intake.input_tokens:
        intake.task = LONG_CONTEXT
    return intake


def _too_low(name: str, value: int) -> BadRequest:
    # (Not the value itself where it has thousands of digits.)
    shown = value if value > -MAX_TOKENS else "far below 0"
    return BadRequest(f"'{name}' is {shown}; it must be at least 1", param=name, code="invalid_value")


_LIMITS = frozenset({"max_completion_tokens", "max_tokens"})
_OPTIONS = frozenset({"models", "provider", "stream_options", "tools", "response_format", "logprobs", "n"})


def _read_limit(intake: Intake, fields: dict[str, Raw]) -> None:
    """The request's limit on completion tokens; the newer name comes first."""
    for name in ("max_completion_tokens", "max_tokens"):
        if name in fields:
            limit = typed(fields, name, _int, "a whole number")
            if limit is not None:
                if limit < 0:
                    raise _too_low(name, limit)
                intake.output_tokens = min(limit, MAX_TOKENS)
                return


def _read_options(intake: Intake, fields: dict[str, Raw], prompt: bytes) -> None:
    """The optional fields that decide where a request may go and what its answer is like."""
    _read_routing(intake, fields)
    features: set[str] = set()
    if "stream_options" in fields:
        options = typed(fields, "stream_options", _stream_options, "an object")
        intake.wants_usage = options is not None and options.include_usage is True
    if "tools" in fields and starts_with(fields["tools"], b"[") and not is_null_or(fields["tools"], b"[]"):
        features.add("tools")
        intake.task = TOOLS
    if "response_format" in fields:
        _read_format(intake, fields, features)
    if "logprobs" in fields and not is_null_or(fields["logprobs"], b"false", b"0"):
        features.add("logprobs")
        intake.seals = True
    _read_choices(intake, fields, prompt)
    if b'"image_url"' in prompt:
        features.add("vision")
        # An inline image is counted by its pixels, not by its base64: no estimate is better than a wild one.
        intake.input_tokens = 0
    if features:
        intake.features = frozenset(features)


def _read_routing(intake: Intake, fields: dict[str, Raw]) -> None:
    """What is meant for us, and goes no further: ``models`` and ``provider``, as OpenRouter has them."""
    if "models" in fields:
        intake.models = tuple(typed(fields, "models", _strs, "a list of model names") or ())
        del fields["models"]
    if "provider" in fields:
        provider = typed(fields, "provider", _provider, "a provider object")
        if provider is not None:
            intake.preferences = read_preferences(provider)
            intake.may_lose = provider.require_parameters is False
        del fields["provider"]


def _read_format(intake: Intake, fields: dict[str, Raw], features: set[str]) -> None:
    """The format the answer must have."""
    wanted = typed(fields, "response_format", _format, "an object with a type")
    if wanted is None:
        return
    intake.is_constrained = wanted.type != "text"
    if wanted.type == "json_schema":
        features.add("json_schema")
        if intake.task is CHAT:
            intake.task = JSON
        if wanted.json_schema is not None and "schema" in wanted.json_schema:
            intake.schema = bytes(wanted.json_schema["schema"])


def _read_choices(intake: Intake, fields: dict[str, Raw], prompt: bytes) -> None:
    """How many answers were asked for: ``n`` of each prompt."""
    if "n" in fields:
        count = typed(fields, "n", _int, "a whole number") or 1
        if count < 0:
            raise _too_low("n", count)
        intake.choices = min(count, MAX_TOKENS)
    if intake.api == TEXT_API and prompt[:1] == b"[":
        begin = prompt[1:64].lstrip()[:1]
        if begin != b'"':
            refuse_many_numbers(prompt, "prompt")
        prompts = _list.decode(prompt)
        # A list of numbers is one prompt's tokens.
        if prompts and (starts_with(prompts[0], b'"') or starts_with(prompts[0], b"[")):
            intake.choices *= len(prompts)
    if intake.choices != 1:
        intake.seals = True
