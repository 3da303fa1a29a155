"""A request's JSON object taken apart at its top level, and its fields read one by one, with errors that name them."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from providerrank.wire.errors import BadRequest
from providerrank.wire.raw import Raw

_fields = msgspec.json.Decoder(dict[str, Raw])

T = TypeVar("T")

LARGE_BYTES = 1024 * 1024
"""A smaller body is read in a tenth of a second whatever it is made of; of a larger one its parts are counted first."""

MAX_STRINGS = 250_000
"""Keys and values of one request: a conversation of tens of thousands of turns has fewer. What makes a request large
is a text or an image, which costs nothing; millions of small values would keep everybody waiting for seconds."""

MAX_NUMBERS = 1_000_000
"""Token ids of one request, likewise."""


def read_fields(body: bytes) -> dict[str, Raw]:
    """The top level of a request's body. Raises BadRequest, with 413 where it has too many parts."""
    if len(body) > LARGE_BYTES and count_strings(body) > MAX_STRINGS:
        raise too_many("the request", MAX_STRINGS, "keys and strings", None)
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


def count_strings(body: bytes) -> int:
    """About how many strings, keys among them, a JSON text has; never less than half of them.

    (A string may end with a backslash, written as two: its end is then taken for a quote inside it.)
    """
    return (body.count(b'"') - body.count(b'\\"')) // 2


def refuse_many_numbers(raw: Raw | bytes, name: str) -> None:
    """See that a list of numbers, or of lists of them, is not longer than any prompt. Raises BadRequest (413)."""
    if memoryview(raw).nbytes > LARGE_BYTES and bytes(raw).count(b",") >= MAX_NUMBERS:
        raise too_many(f"'{name}'", MAX_NUMBERS, "token ids", name)


def too_many(where: str, most: int, what: str, param: str | None) -> BadRequest:
    """The error for a request in too many parts."""
    message = f"{where} has more than {most} {what}: send it in several requests"
    return BadRequest(message, param=param, code="request_too_large", status=413)
