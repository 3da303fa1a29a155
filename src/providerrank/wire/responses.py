"""OpenAI's Responses API: its name, its path and its codecs.

An endpoint that speaks it speaks chat completions too, so nothing is translated from chat to it: it is spoken only to
those whose client does, as it came.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Dialect, Fields
from providerrank.wire.raw import starts_with
from providerrank.wire.refusal import write_error
from providerrank.wire.responses_chat import UNREADABLE
from providerrank.wire.responses_reader import Reader
from providerrank.wire.responses_reply import from_chat_reply, to_chat_reply
from providerrank.wire.responses_request import to_chat
from providerrank.wire.responses_writer import Writer

_str = msgspec.json.Decoder(str)


def _to_chat_reply(body: bytes, created_s: int) -> bytes:
    del created_s  # a Response says when it was made
    return to_chat_reply(body)


def _make_reader(created_s: int) -> Reader:
    del created_s
    return Reader()


def _get_origin(fields: Fields) -> str | None:
    given = fields.get("previous_response_id")
    if given is None or not starts_with(given, b'"'):
        return ""  # every Response is kept, for a while, unless it says otherwise
    try:
        return _str.decode(given)
    except UNREADABLE:
        return ""  # whoever speaks the API will say what is wrong with it


RESPONSES = Dialect(
    api="responses",
    path="/responses",
    to_chat=to_chat,
    from_chat_reply=from_chat_reply,
    to_chat_reply=_to_chat_reply,
    make_writer=Writer,
    make_reader=_make_reader,
    write_error=write_error,
    get_origin=_get_origin,
)
