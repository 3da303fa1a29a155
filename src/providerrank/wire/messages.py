"""Anthropic's Messages API: its name, its path and its codecs.

There are endpoints that speak nothing else, so it is translated to as well as from.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Dialect, Fields
from providerrank.wire.messages_ask import from_chat
from providerrank.wire.messages_error import THREAD_UNSUPPORTED, write_error
from providerrank.wire.messages_reader import Reader
from providerrank.wire.messages_reply import from_chat_reply, to_chat_reply
from providerrank.wire.messages_request import to_chat
from providerrank.wire.messages_writer import Writer
from providerrank.wire.raw import starts_with

VERSION = b"2023-06-01"
"""The API's version, which its endpoints want to be told; there has been no later one."""


def _from_chat_reply(body: bytes, model: str, asked: Fields) -> bytes:
    del asked  # an answer repeats nothing of its request
    return from_chat_reply(body, model)


def _make_writer(model: str, asked: Fields) -> Writer:
    del asked
    return Writer(model)


class _Thread(msgspec.Struct):
    previous_message_id: str | None = None


_thread = msgspec.json.Decoder(_Thread)


def _get_origin(fields: Fields) -> str | None:
    given = fields.get("thread")
    if given is None or not starts_with(given, b"{"):
        return None
    try:
        return _thread.decode(given).previous_message_id or ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # whoever speaks the API will say what is wrong with it


MESSAGES = Dialect(
    api="messages",
    path="/messages",
    to_chat=to_chat,
    from_chat_reply=_from_chat_reply,
    to_chat_reply=to_chat_reply,
    make_writer=_make_writer,
    make_reader=Reader,
    write_error=write_error,
    get_origin=_get_origin,
    lost_codes=(("thread", THREAD_UNSUPPORTED),),
    from_chat=from_chat,
    trims_prefill=True,
    id_header=b"request-id",
    headers=((b"anthropic-version", VERSION), (b"anthropic-beta", None)),
)
