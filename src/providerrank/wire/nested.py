"""A request taken apart below its top level, with errors that say which field is wrong and what it should be.

A request is decoded one level at a time: what is only moved stays the bytes it came in (``msgspec.Raw``). So every
decoding below the top starts inside some field, and an error's own path has to be put behind that field's.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.errors import BadRequest
from providerrank.wire.raw import Raw, is_present

T = TypeVar("T")

encoder = msgspec.json.Encoder()


def to_raw(value: object) -> Raw:
    """A value as the bytes of its JSON."""
    return Raw(encoder.encode(value))


def get(fields: Fields, name: str) -> Raw | None:
    """A field's bytes; None where it is absent or null."""
    raw = fields.get(name)
    return raw if raw is not None and is_present(raw) else None


def decode(raw: Raw, decoder: msgspec.json.Decoder[T], where: str) -> T:
    """Decode the field at ``where``. Raises BadRequest naming it, or the part of it that is wrong."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        what, _, inside = str(error).partition(" - at `$")
        place = where + inside.rstrip("`")
        raise BadRequest(f"'{place}': {what[:1].lower()}{what[1:]}", param=place, code="invalid_type") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(f"'{where}' is not valid JSON text", param=where, code="invalid_type") from None


def decode_field(fields: Fields, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Decode a top-level field; None where it is absent or null. Raises BadRequest naming it."""
    raw = get(fields, name)
    return None if raw is None else decode(raw, decoder, name)


def require(value: T | None, where: str, remedy: str) -> T:
    """A value that must be there. Raises BadRequest naming it and what to put there."""
    if value is None:
        raise BadRequest(f"'{where}' is missing: {remedy}", param=where, code="missing_required_parameter")
    return value


def refuse(where: str, problem: str) -> BadRequest:
    """The error for a value of the right type that can not be meant."""
    return BadRequest(f"'{where}' {problem}", param=where, code="invalid_value")


def to_text(raw: Raw, where: str) -> str:
    """A value's JSON as text. Raises BadRequest where it is not UTF-8."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequest(f"'{where}' is not valid JSON text", param=where, code="invalid_type") from None
