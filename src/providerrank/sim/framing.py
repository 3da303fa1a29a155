"""HTTP/1.1 and server-sent events, as an endpoint writes them: heads, chunks and event lines."""

from __future__ import annotations

import http

JSON = b"application/json"
SSE = b"text/event-stream; charset=utf-8"
HTML = b"text/html; charset=utf-8"

LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
CLOSING = b"connection: close\r\n"
GZIP = b"content-encoding: gzip\r\n"

_REASONS = {status.value: status.phrase.encode() for status in http.HTTPStatus} | {529: b"Site Is Overloaded"}
OK_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def get_head(status: int, content_type: bytes, fields: bytes) -> bytes:
    """Return a response head; ``fields`` are whole lines and say how the body is framed."""
    reason = _REASONS.get(status, b"Unknown")
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%b\r\n" % (status, reason, content_type, fields)


def get_length(size: int) -> bytes:
    """Return the header line of a body of ``size`` bytes."""
    return b"content-length: %d\r\n" % size


def get_response(status: int, body: bytes, content_type: bytes = JSON, fields: bytes = b"") -> bytes:
    """Return a whole response with a Content-Length."""
    return get_head(status, content_type, fields + get_length(len(body))) + body


def get_chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body; ``data`` must not be empty (an empty chunk ends the body)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def get_event(payload: bytes, name: bytes = b"") -> bytes:
    """Return one server-sent event; with a line that names it where it has a name."""
    return b"event: %b\ndata: %b\n\n" % (name, payload) if name else b"data: %b\n\n" % payload
