"""Server-sent events, incrementally: bytes in, whole events out.

The rules are those of the HTML standard's event stream (lines end in LF, CRLF or CR; a blank line ends
an event; a line that starts with a colon is a comment; several ``data`` lines are one payload), for
the fields that language-model APIs use: ``data`` and ``event``. ``id`` and ``retry`` carry nothing there.

The common case, one or more whole ``data: {...}`` events in one read, costs one ``split``.
"""

from __future__ import annotations

import re

import msgspec

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""An event longer than this is not a token of an answer; it is somebody filling our memory."""


MAX_LINES = 10_000
"""Of one event, likewise: each costs a turn of a loop."""

LONG_BYTES = 64 * 1024
"""Past this much of an event its further reads are gathered, not looked at each as a whole."""


class EventTooLong(ValueError):
    """An event that is past ``MAX_EVENT_BYTES`` or ``MAX_LINES``."""


class EventReader:
    """Cuts a byte stream into events. ``feed`` returns the ``data`` of each event that is now whole.

    An event with no ``data`` line (a comment, a keep-alive) yields nothing. Raises EventTooLong.
    """

    __slots__ = ("_carriage", "_rest")

    def __init__(self) -> None:
        self._rest: bytes | bytearray = b""
        self._carriage = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they arrived, return the payloads of the events they complete."""
        if self._carriage or b"\r" in data:
            data = self._fold(data)
        rest = self._rest
        if rest:
            if len(rest) > LONG_BYTES:
                data = self._lengthen(rest, data)
                if not data:
                    return []
            else:
                data = bytes(rest) + data
        end = data.find(b"\n\n")
        if end == len(data) - 2 and data.startswith(b"data: ") and data.find(b"\n", 0, end) < 0:
            # One event and nothing else: what most reads of a paced stream bring.
            self._rest = b""
            return [data[6:end]]
        if data.endswith(b"\n\n"):
            self._rest = b""
            blocks = data.split(b"\n\n")
        else:
            blocks = data.split(b"\n\n")
            self._rest = blocks[-1]
            if len(self._rest) > MAX_EVENT_BYTES:
                raise EventTooLong(f"an event exceeds {MAX_EVENT_BYTES} bytes")
        blocks.pop()
        events = []
        for block in blocks:
            if block[:6] == b"data: " and b"\n" not in block:
                events.append(block[6:])
            else:
                payload = read_block(block)
                if payload is not None:
                    events.append(payload)
        return events

    def close(self) -> bytes | None:
        """The stream ended: the payload of a last event that no blank line ended, if there is one.

        Raises EventTooLong.
        """
        rest, self._rest = self._rest, b""
        return read_block(bytes(rest)) if rest else None

    def _lengthen(self, rest: bytes | bytearray, data: bytes) -> bytes:
        """Add to an event that is long already: all of it once it has ended, else nothing.

        Joined and searched anew for each read, four megabytes that come byte by byte would take minutes.
        """
        if isinstance(rest, bytes):
            rest = self._rest = bytearray(rest)
        before = len(rest)
        rest += data
        if rest.find(b"\n\n", before - 1) >= 0:
            return bytes(rest)
        if len(rest) > MAX_EVENT_BYTES:
            raise EventTooLong(f"an event exceeds {MAX_EVENT_BYTES} bytes")
        return b""

    def _fold(self, data: bytes) -> bytes:
        """CRLF and CR to LF; a CR at the end of a read may be half of a CRLF."""
        if self._carriage:
            data = b"\r" + data
        self._carriage = data.endswith(b"\r")
        if self._carriage:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def read_block(block: bytes) -> bytes | None:
    """The ``data`` of one event's lines, or None where it has none. Raises EventTooLong."""
    if len(block) > MAX_LINES and block.count(b"\n") > MAX_LINES:
        raise EventTooLong(f"an event has more than {MAX_LINES} lines")
    lines = []
    block = block.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, which may begin a stream
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value[1:] if value[:1] == b" " else value)
    # The standard joins lines by LF. Payloads are JSON, where a space says the same, and passes on in one line.
    return b" ".join(lines) if lines else None


def write_event(payload: bytes) -> bytes:
    """One event whose data is ``payload`` (which holds no line end)."""
    return b"data: " + payload + b"\n\n"


def write_named_event(payload: bytes) -> bytes:
    """One event named by the ``type`` in its JSON payload, as the newer APIs have it; unnamed where that is no name."""
    try:
        name = _typed.decode(payload).type.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        name = b""
    if not _NAME.fullmatch(name):
        return write_event(payload)
    return b"event: %b\ndata: %b\n\n" % (name, payload)


class _Typed(msgspec.Struct):
    type: str


_typed = msgspec.json.Decoder(_Typed)
_NAME = re.compile(rb"[A-Za-z0-9_.-]+")

DONE = b"[DONE]"
"""The payload that ends an OpenAI stream."""
