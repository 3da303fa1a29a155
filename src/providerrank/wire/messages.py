"""Anthropic's Messages API: its name, its path and its codecs.

There are endpoints that speak nothing else, so it is translated to as well as from.
"""

from __future__ import annotations

from providerrank.wire.dialect import Dialect, Fields
from providerrank.wire.messages_ask import from_chat
from providerrank.wire.messages_error import write_error
from providerrank.wire.messages_reader import Reader
from providerrank.wire.messages_reply import from_chat_reply, to_chat_reply
from providerrank.wire.messages_request import to_chat
from providerrank.wire.messages_writer import Writer

VERSION = b"2023-06-01"
"""The API's version, which its endpoints want to be told; there has been no later one."""


def _from_chat_reply(body: bytes, model: str, asked: Fields) -> bytes:
    del asked  # an answer repeats nothing of its request
    return from_chat_reply(body, model)


def _make_writer(model: str, asked: Fields) -> Writer:
    del asked
    return Writer(model)


MESSAGES = Dialect(
    api="messages",
    path="/messages",
    to_chat=to_chat,
    from_chat_reply=_from_chat_reply,
    to_chat_reply=to_chat_reply,
    make_writer=_make_writer,
    make_reader=Reader,
    write_error=write_error,
    from_chat=from_chat,
    trims_prefill=True,
    id_header=b"request-id",
    headers=((b"anthropic-version", VERSION), (b"anthropic-beta", None)),
)
