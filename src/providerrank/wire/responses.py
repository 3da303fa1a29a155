"""OpenAI's Responses API: its name, its path and its codecs.

An endpoint that speaks it speaks chat completions too, so nothing is translated from chat to it: it is spoken only to
those whose client does, as it came.
"""

from __future__ import annotations

from providerrank.wire.dialect import Dialect
from providerrank.wire.refusal import write_error
from providerrank.wire.responses_reader import Reader
from providerrank.wire.responses_reply import from_chat_reply, to_chat_reply
from providerrank.wire.responses_request import to_chat
from providerrank.wire.responses_writer import Writer

RESPONSES = Dialect(
    api="responses",
    path="/responses",
    to_chat=to_chat,
    from_chat_reply=from_chat_reply,
    to_chat_reply=to_chat_reply,
    make_writer=Writer,
    make_reader=Reader,
    write_error=write_error,
)
