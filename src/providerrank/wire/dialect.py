"""What an API beside chat completions is made of: its name, its path, and the codecs between it and chat.

Chat completions is the form everything passes through. A client may speak another API (its *shape*), and so may an
endpoint (its *dialect*); one ``Dialect`` serves both::

    client speaks it      request --to_chat--> chat --> any endpoint --> chat --from_chat_reply, Writer--> client
    endpoint speaks it    chat --from_chat--> endpoint --to_chat_reply, Reader--> chat

Where both speak the same one, bytes pass as they are: the ``Reader`` only judges them, and the ``Writer`` only follows
(``note``), so that it can go on in mid-answer when another endpoint has to.

What a translation can not carry it names (*lost*). Such a request goes only where its own API is spoken, unless it says
that parameters may be dropped (``provider.require_parameters`` is false).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from providerrank.wire.errors import WireError
from providerrank.wire.http1 import clean_value
from providerrank.wire.raw import Raw

Fields = dict[str, Raw]
"""The top level of a request; each value the bytes it came in."""

Lost = tuple[str, ...]
"""Names of fields that a translation could not carry."""


class CannotSay(WireError):
    """The request means something that this dialect has no words for."""

    def __init__(self, api: str, lost: Lost, why: str = "") -> None:
        super().__init__(f"{api} cannot carry {', '.join(lost)}{why and f': {why}'}")
        self.lost = lost


class WriteError(Protocol):
    """Writes an error answer's body."""

    def __call__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        """An error as the API's own clients expect it for this status."""


class Writer(Protocol):
    """A chat stream as another API's event stream."""

    def write(self, payload: bytes) -> bytes:
        """What one chat chunk, already judged, becomes: event-stream bytes, maybe none."""

    def note(self, payload: bytes) -> None:
        """A native event was passed on as it came."""

    def end(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """The events that close a whole answer; none where native ones already did."""

    def error(self, message: str, kind: str) -> bytes:
        """An explicit error event; nothing follows it."""


class Reader(Protocol):
    """Another API's event stream as a chat stream."""

    def read(self, payload: bytes) -> list[bytes]:
        """The chat chunks one event means, ``[DONE]`` included. Raises Malformed."""


def _has_no_state(fields: Fields) -> None:
    """No request goes on from an answer that its endpoint keeps."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API beside chat completions."""

    api: str
    """Its name: a label of metrics, and the feature of endpoints that speak it."""
    path: str
    """After an endpoint's ``base_url``."""
    to_chat: Callable[[Fields], tuple[Fields, Lost]]
    from_chat_reply: Callable[[bytes, str, Fields], bytes]
    """Of an answer, the model's name as the client gave it, and the client's request."""
    to_chat_reply: Callable[[bytes, int], bytes]
    """Of an answer, and when it was made (Unix seconds) for those that do not say."""
    make_writer: Callable[[str, Fields], Writer]
    """Likewise."""
    make_reader: Callable[[int], Reader]
    """Likewise, from when the answer was made."""
    write_error: WriteError
    from_chat: Callable[[Fields], tuple[Fields, Lost]] | None = None
    """None: an endpoint that speaks it speaks chat too, and is asked in chat whenever the client is not native."""
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    """Headers that are part of the API (lower case), with what an endpoint is sent where the client said nothing."""

    trims_prefill: bool = False
    """Takes no beginning of an answer that ends in white space: ``from_chat`` leaves that off."""
    id_header: bytes | None = None
    """Where its clients look for a request's id, beside ``x-request-id``."""

    get_origin: Callable[[Fields], str | None] = _has_no_state
    """The id of the earlier answer that a request goes on from, where its endpoint keeps what was said; "": it begins
    what is to be kept; None: it says all of it itself."""

    lost_codes: tuple[tuple[str, str], ...] = ()
    """Fields that may not be carried, each with the error's code by which its clients learn to do without."""

    def write_headers(self, given: Mapping[bytes, bytes]) -> bytes:
        """The header lines of a request to an endpoint that speaks it; ``given`` by a client that does too."""
        lines = b""
        for name, usual in self.headers:
            value = clean_value(given[name], 1024) if name in given else None
            if value is None:
                value = usual
            if value is not None:
                lines += b"%b: %b\r\n" % (name, value)
        return lines
