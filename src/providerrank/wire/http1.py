"""HTTP/1.1 messages, sans-I/O, around httptools (llhttp): bytes in, requests or response parts out.

Only what a gateway of JSON APIs needs: bodies with a length or chunked, keep-alive, ``Expect``.
llhttp is strict by default and rejects what request smuggling is made of (both length headers, bad
chunk sizes, bare line ends in heads, NUL bytes); this module adds the bounds it does not have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import httptools

from providerrank.wire.errors import BadHttp, TooLarge
from providerrank.wire.incoming import Request

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    411: b"Length Required",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}

VERSIONS = ("1.1", "1.0")
"""Of requests: what else the parser knows (0.9, 2.0) frames a message otherwise, or not at all."""

MAX_HEADERS = 256
"""Of one request, by name; browsers and proxies send some dozens. Each costs, however short it is."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class RequestReader:
    """Reads requests off one connection. ``requests`` holds those that are whole, oldest first.

    Raises BadHttp (400, close) or TooLarge (413 or 431, close). ``wants_continue`` is True while a client
    waits for our word before it sends its body. A repeated header keeps its first value, but for the two
    that decide a message's length, which llhttp itself rejects when repeated.

    What the parser calls for each header and each part of the target and the body are methods of a dictionary and of
    lists: a call from C into C costs a tenth of one into Python, and these are most of the calls.
    """

    __slots__ = (
        "_body",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_keep_alive",
        "_lines",
        "_max_head",
        "_parser",
        "_parts",
        "_size",
        "_target",
        "_version",
        "busy",
        "max_body",
        "on_body",
        "on_header",
        "on_url",
        "requests",
        "wants_continue",
    )

    def __init__(self, max_head: int, max_body: int) -> None:
        self._max_head = max_head
        self.max_body = max_body
        """Bytes; may be changed between requests."""
        self._lines: dict[bytes, bytes] = {}
        self._target: list[bytes] = []
        self._parts: list[bytes] = []
        """Of the body, as the latest read brought them."""
        self._body: list[bytes] = []
        """What earlier reads brought of it, and"""
        self._size = 0
        """its bytes."""
        self.on_header = self._lines.setdefault
        self.on_url = self._target.append
        self.on_body = self._parts.append
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._in_head = True
        self._keep_alive = True
        self._version = "1.1"
        self.requests: deque[Request] = deque()
        self.wants_continue = False
        self.busy = False
        """Part of a request has arrived and the rest has not."""

    @property
    def in_body(self) -> bool:
        """A request's head has arrived and its body has not, or not all of it."""
        return self.busy and not self._in_head

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        self._head_bytes += len(data)
        if data:
            self.busy = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # "Upgrade: h2c" is an offer we decline by answering in HTTP/1.1; but what follows
            # the head was not parsed as a body, so the connection can not go on.
            self.requests.pop()  # it is whole to the parser
            raise BadHttp("protocol upgrades are not supported here: send the request without Upgrade") from None
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            cause = error.__context__
            if isinstance(cause, (TooLarge, BadHttp)):
                raise cause from None
            raise BadHttp("the request is not valid HTTP/1.1") from None
        if self._target:
            self.busy = True
        if self._parts:
            self._keep_parts()
        if self._head_bytes > self._max_head:
            # Of a head, or of trailers and chunk extensions, which nobody here reads.
            raise TooLarge(431, f"the request's head exceeds {self._max_head} bytes")

    # httptools calls these

    def on_headers_complete(self) -> None:
        """The head is over."""
        if self._head_bytes > self._max_head:
            self._weigh_head()
        if len(self._lines) > MAX_HEADERS:
            raise TooLarge(431, f"the request has more than {MAX_HEADERS} headers")
        headers = self._headers = _fold(self._lines)
        version = self._version = self._parser.get_http_version()
        if version not in VERSIONS:
            raise BadHttp("the request is not HTTP/1.1 or HTTP/1.0")
        self._keep_alive = self._parser.should_keep_alive()
        if b"transfer-encoding" in headers:
            if version != "1.1" or headers[b"transfer-encoding"].lower() != b"chunked":
                # A coding over the chunks, or chunks where there are none: whoever stands before us may have cut the
                # message elsewhere.
                raise BadHttp("the only Transfer-Encoding that is read is 'chunked', in HTTP/1.1")
        elif b"content-length" in headers:
            length = int(headers[b"content-length"])
            if length > self.max_body:
                raise TooLarge(413, f"the request body has {length} bytes; at most {self.max_body} are taken")
        self._in_head = False
        self._head_bytes = 0
        if b"expect" in headers:
            self.wants_continue = headers[b"expect"].lower() == b"100-continue"

    def _weigh_head(self) -> None:
        """The read that ended this head brought more bytes than one may have: see how many are its own.

        However a head is cut on its way it is taken, or refused, alike (but for headers that are repeated).
        """
        size = sum(map(len, self._target)) + sum(len(name) + len(value) + 4 for name, value in self._lines.items())
        if size > self._max_head:
            raise TooLarge(431, f"the request's head exceeds {self._max_head} bytes")

    def on_message_complete(self) -> None:
        """The request is whole."""
        parser = self._parser
        body = b"".join(self._parts)  # (of one, that is itself)
        if self._body:
            body = b"".join((*self._body, body))
            self._body.clear()
        if len(body) > self.max_body:
            raise TooLarge(413, f"the request body exceeds {self.max_body} bytes")
        self.requests.append(
            Request(
                parser.get_method(),
                b"".join(self._target),
                self._version,
                self._headers,
                body,
                self._keep_alive,
            )
        )
        self._parts.clear()
        self._target.clear()
        self._lines.clear()  # of trailers, which are no headers: they come after what they could change was decided
        self._head_bytes = self._size = 0
        self._in_head = True
        self.busy = False
        self.wants_continue = False

    def _keep_parts(self) -> None:
        """The body goes on after this read."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._body.append(data)
        self._head_bytes = 0
        self._size += len(data)
        if self._size > self.max_body:
            raise TooLarge(413, f"the request body exceeds {self.max_body} bytes")


class ResponseReader:
    """Reads one response after another off one upstream connection and calls back as parts arrive.

    ``on_head(status, headers)``, ``on_data(bytes)``, ``on_end()``. Interim 1xx answers are passed over. A body with
    neither length nor chunks ends with the connection: ``eof`` then says whether the message was whole. After an
    answer nothing may come before ``reset``.
    """

    __slots__ = (
        "_head_bytes",
        "_in_head",
        "_interim",
        "_lines",
        "_max_head",
        "_over",
        "_parser",
        "_parts",
        "_until_close",
        "headers_seen",
        "keep_alive",
        "on_body",
        "on_data",
        "on_end",
        "on_head",
        "on_header",
        "started",
    )

    def __init__(
        self,
        on_head: Callable[[int, dict[bytes, bytes]], None],
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
        max_head: int = 64 * 1024,
    ) -> None:
        self.on_head = on_head
        self.on_data = on_data
        self.on_end = on_end
        self._max_head = max_head
        self._lines: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self.on_header = self._lines.setdefault
        self.on_body = self._parts.append
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._in_head = True
        self._interim = False
        self._over = False
        self._until_close = False
        self.started = False
        self.headers_seen = False
        self.keep_alive = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrived. Raises BadHttp where they are not an HTTP/1.1 response."""
        self.started = True
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BadHttp("the endpoint switched protocols") from None
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            cause = error.__context__
            if isinstance(cause, httptools.HttpParserError) or cause is None:
                raise BadHttp("not an HTTP/1.1 response") from None
            raise cause from None
        if self._parts:
            self._flush()
        if self._head_bytes > self._max_head:
            raise BadHttp(f"the response's head exceeds {self._max_head} bytes")

    def eof(self) -> bool:
        """The connection ended. True: that is how this response ends; False: it was cut off."""
        return self.headers_seen and self._until_close

    # httptools calls these

    def on_message_begin(self) -> None:
        """Another answer begins: to a request, or (interim ones apart) to none."""
        if self._over:
            # Nobody asked for it. Were it read as an answer, the next request on this connection would get it.
            raise BadHttp("more than one answer to one request")

    def on_headers_complete(self) -> None:
        """The head is over."""
        status = self._parser.get_status_code()
        headers = _fold(self._lines)
        if status < 200:
            self._interim = True
            return
        self._interim = False
        self._in_head = False
        self._head_bytes = 0
        self.headers_seen = True
        self.keep_alive = self._parser.should_keep_alive()
        self._until_close = (
            b"content-length" not in headers and b"transfer-encoding" not in headers and status not in (204, 304)
        )
        self.on_head(status, headers)

    def on_message_complete(self) -> None:
        """The response is whole."""
        if self._interim:
            return
        self._lines.clear()  # of trailers
        self._in_head = True
        self._over = True
        if self._parts:
            self._flush()
        self.on_end()

    def _flush(self) -> None:
        """One call for all the chunks of a read: a busy stream brings many at once."""
        self._head_bytes = 0
        parts = self._parts
        data = b"".join(parts)  # (of one, that is itself)
        parts.clear()
        self.on_data(data)

    def reset(self) -> None:
        """A new request is about to be sent on this connection."""
        self.started = False
        self.headers_seen = False
        self._over = False
        self._until_close = False
        self._parts.clear()


def _fold(lines: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Take the headers out of ``lines``, under names in lower case; of one name in two spellings the first counts."""
    # Without a loop of ours, at a third of its cost: every message has a dozen of them.
    headers = dict(zip(map(bytes.lower, reversed(lines)), reversed(lines.values()), strict=True))
    lines.clear()
    return headers


def write_head(status: int, headers: list[tuple[bytes, bytes]], more_lines: bytes = b"") -> bytes:
    """A response head. Values come from us or were cleaned by ``clean_value``; ``more_lines`` are written already."""
    reason = REASONS.get(status, b"Status")
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    lines += (more_lines, b"\r\n")
    return b"".join(lines)


def write_chunk(data: bytes) -> bytes:
    """``data`` as one chunk of a chunked body; data is not empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def clean_value(value: bytes, limit: int = 128) -> bytes | None:
    """``value`` if it can stand in a header of ours as it is (printable ASCII, short), else None."""
    if 0 < len(value) <= limit and value.isascii() and value.decode("ascii").isprintable():
        return value
    return None
