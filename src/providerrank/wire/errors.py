"""What can be wrong with bytes: a shallow tree of expected outcomes."""

from __future__ import annotations


class WireError(Exception):
    """Bytes that are not what they should be."""


class BadHttp(WireError):
    """Not a valid HTTP/1.1 message; the connection can not go on."""


class TooLarge(WireError):
    """A message past its bound. ``status`` is what the sender is told: 413 for a body, 431 for a head."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BadRequest(WireError):
    """A request we can read as HTTP and not as an API call. The message names the place and the remedy."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


class Malformed(WireError):
    """An endpoint's answer that is not a whole, well-formed answer.

    ``note`` is what may be logged of it: the message, unless that quotes the endpoint.
    """

    def __init__(self, message: str, note: str | None = None) -> None:
        super().__init__(message)
        self.note = message if note is None else note
