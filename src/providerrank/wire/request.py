"""A request to OpenAI's HTTP API, read as far as routing needs it.

It is taken apart only at its top level: each field stays the bytes the client sent (``msgspec.Raw``), so
prompts are neither understood nor changed. ``Intake.body`` puts the fields together again with the
endpoint's own model name and without the fields that were meant for us (``models``, ``provider``).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec

from providerrank.rules.ask import Preferences
from providerrank.rules.cells import CHAT, JSON, LONG_CONTEXT, TOOLS, Price
from providerrank.rules.params import PARAMS
from providerrank.wire.errors import BadRequest
from providerrank.wire.raw import Raw, is_null_or, starts_with

CHAT_API = "chat"
TEXT_API = "completions"

PATHS = {b"/v1/chat/completions": CHAT_API, b"/v1/completions": TEXT_API}
UPSTREAM_PATHS = {CHAT_API: "/chat/completions", TEXT_API: "/completions"}

PROMPT_FIELDS = {CHAT_API: "messages", TEXT_API: "prompt"}

_fields = msgspec.json.Decoder(dict[str, Raw])
_str = msgspec.json.Decoder(str)
_bool = msgspec.json.Decoder(bool | None)
_int = msgspec.json.Decoder(int | None)
_strs = msgspec.json.Decoder(list[str] | None)
_encoder = msgspec.json.Encoder()
INCLUDE_USAGE = Raw(b'{"include_usage":true}')


Usd = Annotated[float, msgspec.Meta(ge=0)]


class MaxPrice(msgspec.Struct):
    """OpenRouter's ``provider.max_price``: USD per million tokens."""

    prompt: Usd | None = None
    completion: Usd | None = None


class ProviderObject(msgspec.Struct):
    """OpenRouter's ``provider`` object, the part that is about routing. Other keys are ignored."""

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    sort: Literal["price", "throughput", "latency"] | None = None
    max_price: MaxPrice | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None


class _Format(msgspec.Struct):
    type: str = "text"
    json_schema: dict[str, Raw] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Message(msgspec.Struct, omit_defaults=True):
    """One message of a conversation, as far as continuing it needs."""

    role: str
    content: str


_provider = msgspec.json.Decoder(ProviderObject | None)
_format = msgspec.json.Decoder(_Format | None)
_stream_options = msgspec.json.Decoder(_StreamOptions | None)
_list = msgspec.json.Decoder(list[Raw])
_message = msgspec.json.Decoder(Message)

BYTES_PER_TOKEN = 4
"""Of English text under the tokenizers in use; only for estimates that are held against limits with slack."""


class Intake:
    """One API request, read as far as routing needs it."""

    # How most requests are: what they do not say is not set anew for each.
    models: tuple[str, ...] = ()
    stream = False
    wants_usage = False
    task = CHAT
    features: frozenset[str] = frozenset()
    output_tokens: int | None = None
    preferences: Preferences | None = None
    schema: bytes | None = None
    """The JSON schema the answer must obey, where the request set one."""
    is_constrained = False
    """The answer must follow a format, which an endpoint would begin anew after a prefill."""
    choices = 1
    """How many answers were asked for, over all prompts."""
    seals = False
    """The answer can not be continued elsewhere once part of it is delivered (several choices, logprobs)."""

    def __init__(self, api: str, fields: dict[str, Raw], model: str, input_tokens: int) -> None:
        self.api = api
        self.fields = fields
        self.model = model
        self.input_tokens = input_tokens

    def body(self, upstream_model: str, usage: bool = True) -> bytes:
        """The request for an endpoint that calls the model ``upstream_model``.

        A stream is asked to end with its usage, whether the client asked or not: billed tokens are
        held against counted ones. The extra event is not passed on to a client that did not ask.
        """
        fields = dict(self.fields)
        fields["model"] = Raw(_encoder.encode(upstream_model))
        if self.stream and usage and not self.wants_usage:
            fields["stream_options"] = self._ask_for_usage()
        return _encoder.encode(fields)

    def _ask_for_usage(self) -> Raw:
        """The client's ``stream_options``, with the usage in them."""
        given = self.fields.get("stream_options")
        if given is None or is_null_or(given):
            return INCLUDE_USAGE
        return Raw(_encoder.encode(_fields.decode(given) | {"include_usage": Raw(b"true")}))

    def continuation(self, upstream_model: str, delivered: str) -> bytes:
        """The request that makes an endpoint go on after ``delivered``, by a final assistant message.

        Raises ValueError where the prompt is no text: token ids, or several prompts.
        """
        fields = dict(self.fields)
        fields["model"] = Raw(_encoder.encode(upstream_model))
        fields["stream_options"] = self._ask_for_usage()
        if self.api == TEXT_API:
            if not starts_with(fields["prompt"], b'"'):
                raise ValueError("nothing can be appended to a prompt that is not a string")
            prompt = _str.decode(fields["prompt"])
            fields["prompt"] = Raw(_encoder.encode(prompt + delivered))
        else:
            messages = _list.decode(fields["messages"])
            # A conversation that ends with the assistant's words is a prefill of the client's own: one, not two.
            begun = _read_prefill(messages[-1])
            if begun is not None:
                messages.pop()
            messages.append(Raw(_encoder.encode(Message("assistant", (begun or "") + delivered))))
            fields["messages"] = Raw(_encoder.encode(messages))
        for name in ("max_tokens", "max_completion_tokens"):
            if name in fields and (limit := _int.decode(fields[name])) is not None:
                left = max(1, limit - len(delivered.encode()) // BYTES_PER_TOKEN)
                fields[name] = Raw(_encoder.encode(left))
        return _encoder.encode(fields)


def _read_prefill(message: Raw) -> str | None:
    """The text of a message of the assistant; None for any other message."""
    try:
        last = _message.decode(message)
    except msgspec.MsgspecError:
        return None
    return last.content if last.role == "assistant" else None


T = TypeVar("T")


def _typed(fields: dict[str, Raw], name: str, decoder: msgspec.json.Decoder[T], expected: str) -> T:
    try:
        return decoder.decode(fields[name])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        where = str(error).partition(" - at `$")[2].rstrip("`")
        raise BadRequest(f"'{name}{where}' is not {expected}", param=name, code="invalid_type") from None


def read_request(api: str, body: bytes) -> Intake:
    """Take an API request apart. Raises BadRequest, whose message names the field and what it should be."""
    try:
        fields = _fields.decode(body)
    except msgspec.ValidationError:
        raise BadRequest("the request body is not a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the request body is not valid JSON") from None
    if "model" not in fields:
        raise BadRequest(
            "'model' is missing: name the model to route", param="model", code="missing_required_parameter"
        )
    model = _typed(fields, "model", _str, "a string")
    prompt_field = PROMPT_FIELDS[api]
    prompt = fields.get(prompt_field)
    if prompt is None:
        raise BadRequest(f"'{prompt_field}' is missing", param=prompt_field, code="missing_required_parameter")
    size = memoryview(prompt).nbytes
    if api == CHAT_API and (size < 3 or not starts_with(prompt, b"[")):
        raise BadRequest("'messages' is not a list with at least one message", param="messages", code="invalid_type")
    intake = Intake(api, fields, model, size // BYTES_PER_TOKEN)
    if "stream" in fields:
        intake.stream = _typed(fields, "stream", _bool, "true or false") is True
    if not _LIMITS.isdisjoint(fields):
        _read_limit(intake, fields)
    if not _OPTIONS.isdisjoint(fields) or b'"image_url"' in bytes(prompt) or api == TEXT_API:
        _read_options(intake, fields, prompt)
    if size > PARAMS.long_context_tokens * BYTES_PER_TOKEN and intake.task is CHAT and intake.input_tokens:
        intake.task = LONG_CONTEXT
    return intake


_LIMITS = frozenset({"max_completion_tokens", "max_tokens"})
_OPTIONS = frozenset({"models", "provider", "stream_options", "tools", "response_format", "logprobs", "n"})


def _read_limit(intake: Intake, fields: dict[str, Raw]) -> None:
    """The request's limit on completion tokens; the newer name comes first."""
    for name in ("max_completion_tokens", "max_tokens"):
        if name in fields:
            limit = _typed(fields, name, _int, "a whole number")
            if limit is not None:
                if limit < 0:
                    raise BadRequest(f"'{name}' is {limit}; it must be at least 1", param=name, code="invalid_value")
                intake.output_tokens = limit
                return


def _read_options(intake: Intake, fields: dict[str, Raw], prompt: Raw) -> None:
    """The optional fields that decide where a request may go and what its answer is like."""
    _read_routing(intake, fields)
    features: set[str] = set()
    if "stream_options" in fields:
        options = _typed(fields, "stream_options", _stream_options, "an object")
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
    if b'"image_url"' in bytes(prompt):
        features.add("vision")
        # An inline image is counted by its pixels, not by its base64: no estimate is better than a wild one.
        intake.input_tokens = 0
    if features:
        intake.features = frozenset(features)


def _read_routing(intake: Intake, fields: dict[str, Raw]) -> None:
    """What is meant for us, and goes no further: ``models`` and ``provider``, as OpenRouter has them."""
    if "models" in fields:
        intake.models = tuple(_typed(fields, "models", _strs, "a list of model names") or ())
        del fields["models"]
    if "provider" in fields:
        provider = _typed(fields, "provider", _provider, "a provider object")
        if provider is not None:
            intake.preferences = read_preferences(provider)
        del fields["provider"]


def _read_format(intake: Intake, fields: dict[str, Raw], features: set[str]) -> None:
    """The format the answer must have."""
    wanted = _typed(fields, "response_format", _format, "an object with a type")
    if wanted is None:
        return
    intake.is_constrained = wanted.type != "text"
    if wanted.type == "json_schema":
        features.add("json_schema")
        if intake.task is CHAT:
            intake.task = JSON
        if wanted.json_schema is not None and "schema" in wanted.json_schema:
            intake.schema = bytes(wanted.json_schema["schema"])


def _read_choices(intake: Intake, fields: dict[str, Raw], prompt: Raw) -> None:
    """How many answers were asked for: ``n`` of each prompt."""
    if "n" in fields:
        intake.choices = _typed(fields, "n", _int, "a whole number") or 1
    if intake.api == TEXT_API and starts_with(prompt, b"["):
        prompts = _list.decode(prompt)
        # A list of numbers is one prompt's tokens.
        if prompts and (starts_with(prompts[0], b'"') or starts_with(prompts[0], b"[")):
            intake.choices *= len(prompts)
    if intake.choices != 1:
        intake.seals = True


def read_preferences(provider: ProviderObject) -> Preferences:
    """OpenRouter's ``provider`` object as the ranking takes it."""
    cap = provider.max_price
    max_price = None
    if cap is not None and (cap.prompt is not None or cap.completion is not None):
        max_price = Price.from_usd(
            _UNLIMITED_USD if cap.prompt is None else min(cap.prompt, _UNLIMITED_USD),
            _UNLIMITED_USD if cap.completion is None else min(cap.completion, _UNLIMITED_USD),
        )
    return Preferences(
        order=tuple(provider.order or ()),
        only=tuple(provider.only or ()),
        ignore=tuple(provider.ignore or ()),
        sort=provider.sort,
        max_price=max_price,
        allow_fallbacks=provider.allow_fallbacks is not False,
        require_parameters=provider.require_parameters is True,
    )


_UNLIMITED_USD = 1e9
"""Stands for the side of a ``max_price`` that was not given."""
