"""Embeddings: a request read as far as routing needs it, and an answer judged.

A request asks for one vector per input: one string, several strings, one prompt's token ids, or several prompts'.
An answer is whole when every input has its vector, each a list of numbers or, in base64, their bytes as little-endian
32-bit floats. Answers are never streamed and never joined from two endpoints.
"""

from __future__ import annotations

import binascii
from typing import Annotated, Literal

import msgspec

from providerrank.wire.answer import Usage
from providerrank.wire.errors import BadRequest, Malformed
from providerrank.wire.fields import read_fields, refuse_many_numbers, typed
from providerrank.wire.intake import BYTES_PER_TOKEN, EMBEDDINGS_API, Intake
from providerrank.wire.preferences import ProviderObject, read_preferences
from providerrank.wire.raw import Raw, is_null_or, is_present, shorten, starts_with

EMBEDDINGS_PATH = "/embeddings"
FEATURES = frozenset({"embeddings"})
TASK = "embeddings"
FLOAT_BYTES = 4

_Token = Annotated[int, msgspec.Meta(ge=0)]

_str = msgspec.json.Decoder(str)
_strs = msgspec.json.Decoder(list[str])
_tokens = msgspec.json.Decoder(list[_Token])
_prompts = msgspec.json.Decoder(list[list[_Token]])
_raws = msgspec.json.Decoder(list[Raw])
_format = msgspec.json.Decoder(Literal["float", "base64"] | None)
_dimensions = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=1)] | None)
_models = msgspec.json.Decoder(list[str] | None)
_provider = msgspec.json.Decoder(ProviderObject | None)

INPUT_KINDS = "a string, a list of strings, a list of token ids or a list of lists of token ids"


def read_embeddings_request(body: bytes) -> Intake:
    """Take a request for embeddings apart; ``choices`` is how many vectors it asks for.

    Raises BadRequest, whose message names the field and what it should be.
    """
    fields = read_fields(body)
    for name in ("model", "input"):
        if name not in fields or not is_present(fields[name]):
            raise BadRequest(f"'{name}' is missing", param=name, code="missing_required_parameter")
    model = typed(fields, "model", _str, "a string")
    inputs, tokens = _measure(fields)
    if "encoding_format" in fields:
        typed(fields, "encoding_format", _format, '"float" or "base64"')
    if "dimensions" in fields:
        typed(fields, "dimensions", _dimensions, "a whole number of at least 1")
    intake = Intake(EMBEDDINGS_API, fields, model, tokens)
    intake.features = FEATURES
    intake.task = TASK
    intake.choices = inputs
    intake.seals = True
    if "models" in fields:
        intake.models = tuple(typed(fields, "models", _models, "a list of model names") or ())
        del fields["models"]
    if "provider" in fields:
        provider = typed(fields, "provider", _provider, "a provider object")
        if provider is not None:
            intake.preferences = read_preferences(provider)
        del fields["provider"]
    return intake


def _measure(fields: dict[str, Raw]) -> tuple[int, int]:
    """How many inputs there are, and about how many tokens they hold together."""
    given = fields["input"]
    size_tokens = memoryview(given).nbytes // BYTES_PER_TOKEN
    if starts_with(given, b'"'):
        typed(fields, "input", _str, INPUT_KINDS)
        return 1, size_tokens
    if not _begins_with_string(given):
        refuse_many_numbers(given, "input")
    items = typed(fields, "input", _raws, INPUT_KINDS)
    if not items:
        raise BadRequest("'input' is an empty list: give it at least one input", param="input", code="invalid_value")
    if starts_with(items[0], b'"'):
        return len(typed(fields, "input", _strs, INPUT_KINDS)), size_tokens
    if starts_with(items[0], b"["):
        prompts = typed(fields, "input", _prompts, INPUT_KINDS)
        return len(prompts), sum(len(prompt) for prompt in prompts)
    return 1, len(typed(fields, "input", _tokens, INPUT_KINDS))


class _Embedding(msgspec.Struct):
    embedding: str | list[float]
    index: int | None = None


class EmbeddingsReply(msgspec.Struct):
    """A whole answer, as far as judging it needs."""

    data: list[_Embedding] | None = None
    usage: Usage | None = None
    error: Raw = Raw()


_reply = msgspec.json.Decoder(EmbeddingsReply)


def read_embeddings_reply(body: bytes, inputs: int, dimensions: int | None = None) -> EmbeddingsReply:
    """Judge a 200 answer to a request with so many ``inputs``. Raises Malformed, saying what is wrong with it.

    ``dimensions``: the length of vector the request asked for, where it did.
    """
    if not body:
        raise Malformed("empty body")
    try:
        reply = _reply.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("not a JSON answer") from None
    if is_present(reply.error):
        raise Malformed(f"error object: {shorten(bytes(reply.error))}")
    data = reply.data
    if not data:
        raise Malformed("no data")
    if len(data) != inputs:
        raise Malformed(f"{len(data)} embeddings for {inputs} inputs")
    # (Endpoints that number none of them give them in order.)
    if {item.index for item in data} not in ({None}, set(range(inputs))):
        raise Malformed("embeddings that are not numbered as their inputs are")
    lengths = {_measure_vector(item.embedding) for item in data}
    if len(lengths) != 1:
        raise Malformed("embeddings of different lengths")
    if dimensions is not None and lengths != {dimensions}:
        raise Malformed(f"embeddings of {lengths.pop()} dimensions where {dimensions} were asked for")
    return reply


def _measure_vector(embedding: str | list[float]) -> int:
    """How many numbers a vector has. Raises Malformed where it has none or is no vector."""
    if isinstance(embedding, str):
        try:
            size = len(binascii.a2b_base64(embedding, strict_mode=True))
        except ValueError:
            raise Malformed("an embedding that is not base64") from None
        if size % FLOAT_BYTES:
            raise Malformed("an embedding that is not whole 32-bit floats")
        length = size // FLOAT_BYTES
    else:
        length = len(embedding)
    if not length:
        raise Malformed("an empty embedding")
    return length


def read_dimensions(fields: dict[str, Raw]) -> int | None:
    """The length of vector a request that was read asks for; None: the model's own."""
    given = fields.get("dimensions")
    return None if given is None or is_null_or(given) else typed(fields, "dimensions", _dimensions, "a whole number")


def _begins_with_string(listed: Raw) -> bool:
    return bytes(memoryview(listed)[1:64]).lstrip()[:1] == b'"'
