"""What is put on the wire for one request: timed writes, then an ending.

A reply, however faulty, is data: bytes with the moment each is due, and what becomes of the connection
after them. Making one is pure (``framing``, ``faulty``); playing one is the connection's only job. So each
fault can be read, and tested, without a socket.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Ending(enum.Enum):
    """What becomes of the connection after the last write."""

    KEEP = "keep"
    """Open for the next request."""
    CLOSE = "close"
    """Closed in order, once everything is delivered to the socket (FIN)."""
    ABORT = "abort"
    """Reset, once everything is delivered to the socket (RST)."""
    HOLD = "hold"
    """Open and silent until the client leaves: the reply never ends."""
    DOOM = "doom"
    """Open, and closed the moment it is used again."""


@dataclass(slots=True)
class Performance:
    """One reply. ``writes`` are (seconds after the request was complete, bytes), in order of time."""

    writes: list[tuple[float, bytes]]
    ending: Ending = Ending.KEEP
