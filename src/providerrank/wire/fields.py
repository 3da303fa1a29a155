"""A request's JSON object taken apart at its top level, and its fields read one by one, with errors that name them."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from providerrank.wire.errors import BadRequest
from providerrank.wire.raw import Raw

_fields = msgspec.json.Decoder(dict[str, Raw])

T = TypeVar("T")


def read_fields(body: bytes) -> dict[str, Raw]:
    """The top level of a request's body. Raises BadRequest."""
    try:
        return _fields.decode(body)
    except msgspec.ValidationError:
        raise BadRequest("the request body is not a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the request body is not valid JSON") from None


def typed(fields: dict[str, Raw], name: str, decoder: msgspec.json.Decoder[T], expected: str) -> T:
    """A field's value. Raises BadRequest where it is not what was ``expected`` ("a list of numbers")."""
    try:
        return decoder.decode(fields[name])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        where = str(error).partition(" - at `$")[2].rstrip("`")
        raise BadRequest(f"'{name}{where}' is not {expected}", param=name, code="invalid_type") from None
