"""One API request as far as routing needs it, and how it is put to an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import msgspec

from providerrank.rules.ask import Preferences
from providerrank.rules.cells import CHAT
from providerrank.wire.dialect import CannotSay, Dialect, Fields, Lost
from providerrank.wire.errors import BadRequest
from providerrank.wire.raw import Raw, is_null_or, starts_with

CHAT_API = "chat"
TEXT_API = "completions"
EMBEDDINGS_API = "embeddings"

_fields = msgspec.json.Decoder(dict[str, Raw])
_str = msgspec.json.Decoder(str)
_int = msgspec.json.Decoder(int | None)
_list = msgspec.json.Decoder(list[Raw])
_encoder = msgspec.json.Encoder()
PREFILLS: Mapping[str, Mapping[str, Raw]] = MappingProxyType(
    {"vllm": {"continue_final_message": Raw(b"true"), "add_generation_prompt": Raw(b"false")}}
)
"""What servers want beside a final message of the assistant's before they go on from it, by what they are called in the
configuration: without it vLLM begins a message of its own after that one."""

INCLUDE_USAGE = Raw(b'{"include_usage":true}')


class Message(msgspec.Struct, omit_defaults=True):
    """One message of a conversation, as far as continuing it needs."""

    role: str
    content: str


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
    prefix = 0
    """What the beginning of a prompt long enough to be cached is known by."""
    choices = 1
    """How many answers were asked for, over all prompts."""
    seals = False
    """The answer can not be continued elsewhere once part of it is delivered (several choices, logprobs)."""

    dialect: Dialect | None = None
    """The API the client speaks, where it is neither chat nor completions: what it is answered in."""
    native: Fields = {}  # noqa: RUF012  # never changed: one that is translated has its own
    """Its request as it came, without what was meant for us."""
    lost: Lost = ()
    """What of it chat can not carry."""
    created_s = 0
    """When it is being answered, Unix seconds: for answers in an API that does not say."""
    may_lose = False
    """It may be served without what a translation loses."""
    origin: str | None = None
    """The id of the earlier answer it goes on from, which its endpoint keeps; empty: one is to be kept from now on."""
    home: str | None = None
    """The endpoint that has it."""

    def __init__(self, api: str, fields: Fields, model: str, input_tokens: int) -> None:
        self.api = api
        self.fields = fields
        """As chat, or as what ``api`` is where nothing was translated."""
        self.model = model
        self.input_tokens = input_tokens

    @property
    def is_chat(self) -> bool:
        """It can be put to an endpoint as a chat request."""
        return self.api not in (TEXT_API, EMBEDDINGS_API)

    def body(self, upstream_model: str, dialect: Dialect | None = None) -> bytes:
        """The request for an endpoint that calls the model ``upstream_model`` and speaks ``dialect`` (None: OpenAI's).

        A stream is asked to end with its usage, whether the client asked or not: billed tokens are
        held against counted ones. The extra event is not passed on to a client that did not ask.

        Raises CannotSay where the dialect has no words for it.
        """
        if dialect is not None and dialect is self.dialect:
            return _encoder.encode(self.native | {"model": _quote(upstream_model)})
        fields = self.fields | {"model": _quote(upstream_model)}
        if self.stream and (not self.wants_usage or self.dialect is not None):
            fields["stream_options"] = self._ask_for_usage()
        return _encoder.encode(fields) if dialect is None else self._write(fields, dialect)

    def _write(self, fields: Fields, dialect: Dialect | None) -> bytes:
        if dialect is None:
            return _encoder.encode(fields)
        if dialect.from_chat is None or not self.is_chat:
            raise CannotSay(dialect.api, (f"a request to the {self.api} API",))
        try:
            fields, lost = dialect.from_chat(fields)
        except BadRequest as error:
            # As chat it may be right; what is wrong with it is only that this dialect can not say it.
            raise CannotSay(dialect.api, ("this request",), str(error)) from None
        if lost and not self.may_lose:
            raise CannotSay(dialect.api, lost)
        return _encoder.encode(fields)

    def _ask_for_usage(self) -> Raw:
        """The client's ``stream_options``, with the usage in them."""
        given = self.fields.get("stream_options")
        if given is None or is_null_or(given):
            return INCLUDE_USAGE
        return Raw(_encoder.encode(_fields.decode(given) | {"include_usage": Raw(b"true")}))

    def continuation(
        self, upstream_model: str, delivered: str, dialect: Dialect | None = None, prefill: str | None = None
    ) -> bytes:
        """The request that makes an endpoint go on after ``delivered``, by a final assistant message.

        ``prefill``: what it wants beside, a name of ``PREFILLS``; only a chat API knows any.
        Raises ValueError where the prompt is no text (token ids, or several prompts), CannotSay as ``body`` does.
        """
        fields = self.fields | {"model": _quote(upstream_model)}
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
            if prefill is not None and dialect is None:
                fields.update(PREFILLS[prefill])
        for name in ("max_tokens", "max_completion_tokens"):
            if name in fields and (limit := _int.decode(fields[name])) is not None:
                left = max(1, limit - len(delivered.encode()) // BYTES_PER_TOKEN)
                fields[name] = Raw(_encoder.encode(left))
        return self._write(fields, dialect)


@lru_cache(maxsize=4096)
def _quote(model: str) -> Raw:
    """A model's name in JSON. Endpoints have few, and each is written again and again."""
    return Raw(_encoder.encode(model))


def _read_prefill(message: Raw) -> str | None:
    """The text of a message of the assistant; None for any other message."""
    try:
        last = _message.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return last.content if last.role == "assistant" else None
