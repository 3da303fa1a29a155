"""What each fault does to a reply: from an answer and a fault to a performance.

Three layers, in this order. A fault may *replace* the reply (a status, a page, a silence), *rewrite* the
events of a stream (cut them, add one, hold the end back) or *reframe* the bytes (chunks, gzip, line ends).
``perform`` without a fault is the plain truth and the fast path.

Times are seconds after the request was complete.
"""

from __future__ import annotations

import email.utils
import math
import random
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from providerrank.sim import framing
from providerrank.sim.answers import Refusal, context_refusal
from providerrank.sim.apis import CHAT, Api, get_skip
from providerrank.sim.bodies import Events
from providerrank.sim.faults import ON_OPEN_CONNECTION, ON_PLAIN_ANSWER, Fault, Play
from providerrank.sim.performance import Ending, Performance

SLOW_FIRST_TOKEN_S = 2.0
RETRY_AFTER_S = 1.0
HUGE_BYTES = 80 * 1024 * 1024
_HUGE_PIECE = b"x" * (1024 * 1024)
_APART_S = 0.001
"""Between pieces meant to arrive apart: one tick of the event loop's clock."""

_PAGE = (
    b"<!doctype html><html><head><title>Just a moment...</title></head><body><h1>One moment, please</h1></body></html>"
)
_GARBAGE_BODY = b"upstream connect error or disconnect/reset before headers {"

TLS_GARBAGE = b"220 mail.example.com ESMTP ready\r\n"
"""What ``Fault.TLS_GARBAGE`` sends: another protocol's greeting."""


@dataclass(slots=True)
class Exchange:
    """All that a reply depends on beside the fault. Exactly one of ``body`` and ``events`` is given."""

    ttft_s: float
    token_s: float
    """Seconds from one token to the next; 0: all at once."""
    tokens: int
    body: bytes | None = None
    events: Events | None = None
    api: Api = CHAT
    """What it is asked and answered in."""
    parameters: Iterable[str] = ()
    """The request's own parameters."""
    now_s: float = 0.0
    """Wall-clock time, for ``Retry-After`` dates."""
    rng: random.Random = field(default_factory=random.Random)

    def due_s(self, count: int) -> float:
        """Return when ``count`` tokens of content have been said."""
        return self.ttft_s + max(count - 1, 0) * self.token_s


def perform(exchange: Exchange, play: Play | None = None) -> Performance:
    """Return the reply to one request, with a fault or without."""
    if play is None:
        return _plain(exchange) if exchange.body is not None else _framed(exchange, *_stream(exchange))
    fault = ON_OPEN_CONNECTION.get(play.fault, play.fault)
    if get_skip(exchange.api, fault, exchange.body is None) is not None:
        return perform(exchange)
    if exchange.body is not None:
        fault = ON_PLAIN_ANSWER.get(fault, fault)
    play = replace(play, fault=fault)
    if fault in REPLACEMENTS:
        return REPLACEMENTS[fault](exchange, play)
    if fault is Fault.SLOW_FIRST_TOKEN:
        late = replace(exchange, ttft_s=exchange.ttft_s + _or(play.seconds, SLOW_FIRST_TOKEN_S))
        return perform(late)
    if fault in REFRAMINGS:
        return REFRAMINGS[fault](exchange, play)
    if exchange.events is not None and fault in REWRITES:
        return _framed(exchange, *REWRITES[fault](exchange, play))
    return perform(exchange)


def perform_refusal(refusal: Refusal, fields: bytes = b"", api: Api = CHAT) -> Performance:
    """Return an error answer; it comes at once, whatever the endpoint's speed."""
    return Performance([(0.0, framing.get_response(refusal.status, api.get_error(refusal), fields=fields))])


# --- without a fault -------------------------------------------------------------------------------------------------

Timed = list[tuple[float, bytes]]
"""Bytes of a body, with the moment each is due."""


def _plain(exchange: Exchange) -> Performance:
    body = exchange.body or b""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return Performance([(exchange.due_s(exchange.tokens), head + body)])


def _content(exchange: Exchange, until: int | None = None) -> Timed:
    """Return the stream's opening and content events, each when it is due."""
    assert exchange.events is not None
    ttft_s, token_s = exchange.ttft_s, exchange.token_s
    timed = [(ttft_s, event) for event in exchange.events.opening]
    timed += [(ttft_s + index * token_s, event) for index, event in enumerate(exchange.events.content[:until])]
    return timed


def _stream(exchange: Exchange) -> tuple[Timed, Ending]:
    events = exchange.events
    assert events is not None
    timed = _content(exchange)
    last_s = timed[-1][0]
    timed += [(last_s, event) for event in (*events.closing, events.finish, *events.end)]
    return timed, Ending.KEEP


def _framed(exchange: Exchange, timed: Timed, ending: Ending) -> Performance:
    """Put a stream's body into chunks under a head; what is due together is written together."""
    writes: Timed = []
    due_s = timed[0][0] if timed else exchange.ttft_s
    pending = [framing.get_head(200, framing.SSE, b"cache-control: no-cache\r\n" + framing.CHUNKED)]
    for at_s, data in timed:
        if at_s > due_s:
            writes.append((due_s, b"".join(pending)))
            due_s, pending = at_s, []
        pending.append(b"%x\r\n%b\r\n" % (len(data), data))
    if ending in (Ending.KEEP, Ending.CLOSE):
        pending.append(framing.LAST_CHUNK)
    writes.append((due_s, b"".join(pending)))
    return Performance(writes, ending)


# --- replacements: another reply altogether --------------------------------------------------------------------------


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _silence(ending: Ending) -> Callable[[Exchange, Play], Performance]:
    def run(exchange: Exchange, play: Play) -> Performance:
        return Performance([], ending)

    return run


def _head_only(ending: Ending) -> Callable[[Exchange, Play], Performance]:
    def run(exchange: Exchange, play: Play) -> Performance:
        if exchange.events is not None:
            head = framing.get_head(200, framing.SSE, framing.CHUNKED)
        else:
            head = framing.get_head(200, framing.JSON, framing.get_length(len(exchange.body or b"")))
        return Performance([(exchange.ttft_s, head)], ending)

    return run


def _status(
    status: int, kind: str, code: str | None, message: str, page: bool = False
) -> Callable[[Exchange, Play], Performance]:
    def run(exchange: Exchange, play: Play) -> Performance:
        if page:
            return Performance([(0.0, framing.get_response(status, _PAGE, framing.HTML))])
        return perform_refusal(Refusal(status, message, kind=kind, code=code), api=exchange.api)

    return run


def _rate_limit(exchange: Exchange, play: Play) -> Performance:
    wait_s = _or(play.seconds, RETRY_AFTER_S)
    fields = b""
    if play.fault is Fault.RATE_LIMIT:
        fields = b"retry-after: %d\r\n" % math.ceil(wait_s)
    elif play.fault is Fault.RATE_LIMIT_DATE:
        # A date has whole seconds: rounded up, the wait is never shorter than meant.
        fields = (
            b"retry-after: %b\r\n" % email.utils.formatdate(math.ceil(exchange.now_s + wait_s), usegmt=True).encode()
        )
    refusal = Refusal(429, "Rate limit reached for requests", kind="requests", code="rate_limit_exceeded")
    return perform_refusal(refusal, fields, exchange.api)


def _context_length(exchange: Exchange, play: Play) -> Performance:
    return perform_refusal(context_refusal(4096, 5000), api=exchange.api)


def _unsupported(exchange: Exchange, play: Play) -> Performance:
    named = play.parameter or _pick_parameter(exchange.parameters)
    if play.fault is Fault.UNSUPPORTED_400:
        return perform_refusal(unsupported_refusal(named), api=exchange.api)
    message = f"body.{named}: Extra inputs are not permitted"
    refusal = Refusal(422, message, kind="invalid_request_error", code=None, param=named)
    return perform_refusal(refusal, api=exchange.api)


def unsupported_refusal(parameter: str) -> Refusal:
    """Return the refusal of a parameter, in OpenAI's words."""
    return Refusal(
        400,
        f"Unsupported parameter: '{parameter}' is not supported with this model.",
        kind="invalid_request_error",
        code="unsupported_parameter",
        param=parameter,
    )


_ESSENTIAL = {"model", "messages", "prompt", "input", "stream", "stream_options", "max_tokens"}


def _pick_parameter(parameters: Iterable[str]) -> str:
    """Choose what to refuse: a feature the request uses if it uses one, else any parameter that is not essential."""
    given = set(parameters)
    features = [name for name in ("tools", "response_format", "text", "output_config", "logprobs") if name in given]
    others = sorted(given - _ESSENTIAL)
    return (features or others or ["temperature"])[0]


def _whole(body: bytes, content_type: bytes) -> Callable[[Exchange, Play], Performance]:
    def run(exchange: Exchange, play: Play) -> Performance:
        return Performance([(exchange.ttft_s, framing.get_response(200, body, content_type))])

    return run


def _error_object(exchange: Exchange, play: Play) -> Performance:
    return Performance([(exchange.ttft_s, framing.get_response(200, exchange.api.get_error(_OVERLOADED)))])


_OVERLOADED = Refusal(529, "The model is overloaded. Please try again later.", kind="server_error", code="overloaded")


def _empty_body(exchange: Exchange, play: Play) -> Performance:
    if exchange.events is not None:
        return _framed(exchange, [], Ending.KEEP)
    return Performance([(exchange.ttft_s, framing.get_response(200, b""))])


def _truncated_body(exchange: Exchange, play: Play) -> Performance:
    if exchange.events is not None:
        whole = b"".join(data for _, data in _stream(exchange)[0])
        sent = _content(exchange, _half(exchange, play))
        head = framing.get_head(200, framing.SSE, framing.get_length(len(whole)))
        return Performance([(sent[0][0], head), *sent], Ending.CLOSE)
    body = exchange.body or b""
    head = framing.get_head(200, framing.JSON, framing.get_length(len(body)))
    return Performance([(exchange.due_s(exchange.tokens), head + body[: len(body) // 2])], Ending.CLOSE)


def _cut_json(exchange: Exchange, play: Play) -> Performance:
    if exchange.events is not None:
        timed = _content(exchange)
        half = len(exchange.events.opening) + _half(exchange, play)
        at_s, event = timed[min(half, len(timed) - 1)]
        return _framed(exchange, [*timed[:half], (at_s, event[: len(event) // 2])], Ending.KEEP)
    body = exchange.body or b""
    return Performance([(exchange.due_s(exchange.tokens), framing.get_response(200, body[: len(body) // 2]))])


def _huge_body(exchange: Exchange, play: Play) -> Performance:
    """Grow the answer by bytes nobody asked for, in the middle of a JSON string, so that it stays valid."""
    size = HUGE_BYTES if play.size is None else play.size
    padding = [_HUGE_PIECE] * (size // len(_HUGE_PIECE)) + [b"x" * (size % len(_HUGE_PIECE))]
    at_s = exchange.ttft_s
    if exchange.events is not None:
        event = b'{"padding":"'
        head = framing.get_head(200, framing.SSE, framing.CHUNKED)
        rest = [framing.get_chunk(data) for data in (b'"}\n\n', *(data for _, data in _stream(exchange)[0]))]
        middle = [framing.get_chunk(piece) for piece in padding if piece]
        parts = [head, framing.get_chunk(b"data: " + event), *middle, *rest, framing.LAST_CHUNK]
    else:
        body = exchange.body or b"{}"
        head = framing.get_head(200, framing.JSON, framing.get_length(len(body) + size + len(b'"padding":"",')))
        parts = [head, b'{"padding":"', *padding, b'",', body[1:]]
    return Performance([(at_s, part) for part in parts])


# --- rewrites: the stream's events, changed --------------------------------------------------------------------------


def _half(exchange: Exchange, play: Play) -> int:
    """Return how many content events precede the fault."""
    count = len(exchange.events.content) if exchange.events is not None else 0
    return max(1, count // 2) if play.after is None else min(play.after, count)


def _opening(exchange: Exchange) -> int:
    """Return how many events precede the content."""
    return len(exchange.events.opening) if exchange.events is not None else 0


def _before_content(ending: Ending) -> Callable[[Exchange, Play], tuple[Timed, Ending]]:
    def run(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
        return _content(exchange, 0), ending

    return run


def _cut(ending: Ending) -> Callable[[Exchange, Play], tuple[Timed, Ending]]:
    def run(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
        return _content(exchange, _half(exchange, play)), ending

    return run


def _stall(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    if play.seconds is None:
        return _content(exchange, _half(exchange, play)), Ending.HOLD
    timed, ending = _stream(exchange)
    first = _opening(exchange) + _half(exchange, play)
    return [*timed[:first], *((at_s + play.seconds, data) for at_s, data in timed[first:])], ending


def _error_first(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    assert exchange.events is not None
    return [(exchange.ttft_s, exchange.events.break_off(_OVERLOADED, 0))], Ending.KEEP


def _error_midway(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    timed = _content(exchange, _half(exchange, play))
    assert exchange.events is not None
    return [*timed, (timed[-1][0], exchange.events.break_off(_OVERLOADED, len(timed)))], Ending.KEEP


def _no_finish(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    assert exchange.events is not None
    timed = _content(exchange)
    return [*timed, *((timed[-1][0], event) for event in exchange.events.closing)], Ending.KEEP


def _no_done(ending: Ending) -> Callable[[Exchange, Play], tuple[Timed, Ending]]:
    def run(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
        timed = _stream(exchange)[0]
        assert exchange.events is not None
        return timed[:-1] if exchange.events.end else timed, ending

    return run


def _non_json_event(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    timed, ending = _stream(exchange)
    assert exchange.events is not None
    at = _opening(exchange) + _half(exchange, play)
    garbage = framing.get_event(b"{not json", exchange.events.name)
    return [*timed[:at], (timed[at - 1][0], garbage), *timed[at:]], ending


def _crlf(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    timed, ending = _stream(exchange)
    return [(at_s, data.replace(b"\n", b"\r\n")) for at_s, data in timed], ending


def _comments(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    timed, ending = _stream(exchange)
    comment = b": keep-alive\n\n"
    first = (timed[0][0] / 2, comment)
    return [first, *((at_s, comment + data) for at_s, data in timed)], ending


def _split_bytes(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    """Cut every event somewhere inside; each piece on the wire is the end of one event and the start of the next."""
    timed, ending = _stream(exchange)
    pieces: Timed = []
    tail = b""
    for index, (at_s, data) in enumerate(timed):
        cut = exchange.rng.randint(1, len(data) - 1)
        pieces.append((at_s + index * _APART_S, tail + data[:cut]))
        tail = data[cut:]
    # The end of the last event comes in two pieces, so that even the blank line that ends it may be cut.
    last_s = pieces[-1][0]
    cut = max(1, len(tail) // 2)
    pieces += [(last_s + (1 + index) * _APART_S, part) for index, part in enumerate((tail[:cut], tail[cut:])) if part]
    return pieces, ending


def _split_utf8(exchange: Exchange, play: Play) -> tuple[Timed, Ending]:
    """Cut after the first byte of every multi-byte character."""
    timed, ending = _stream(exchange)
    pieces: Timed = []
    for at_s, data in timed:
        start = 0
        for at, byte in enumerate(data):
            if byte >= 0xC0:
                pieces.append((at_s + len(pieces) * _APART_S, data[start : at + 1]))
                start = at + 1
        pieces.append((at_s + len(pieces) * _APART_S, data[start:]))
    return pieces, ending


# --- reframings: the same content in other frames --------------------------------------------------------------------


def _body(exchange: Exchange) -> tuple[Timed, bytes]:
    """Return the body's bytes and its content type."""
    if exchange.events is not None:
        return _stream(exchange)[0], framing.SSE
    return [(exchange.due_s(exchange.tokens), exchange.body or b"")], framing.JSON


def _chunked_body(exchange: Exchange, play: Play) -> Performance:
    if exchange.body is None:
        return perform(exchange)
    body, at_s = exchange.body, exchange.due_s(exchange.tokens)
    third = len(body) // 3 + 1
    parts = [body[start : start + third] for start in range(0, len(body), third)]
    head = framing.get_head(200, framing.JSON, framing.CHUNKED)
    chunks = [framing.get_chunk(part) for part in parts]
    return Performance(
        [
            (at_s, head),
            *((at_s + (1 + n) * _APART_S, chunk) for n, chunk in enumerate(chunks)),
            (at_s + (1 + len(parts)) * _APART_S, framing.LAST_CHUNK),
        ]
    )


def _close_delimited(exchange: Exchange, play: Play) -> Performance:
    timed, content_type = _body(exchange)
    head = framing.get_head(200, content_type, framing.CLOSING)
    return Performance([(timed[0][0], head), *timed], Ending.CLOSE)


def _connection_close(exchange: Exchange, play: Play) -> Performance:
    performance = perform(exchange)
    at_s, first = performance.writes[0]
    line_end = first.index(b"\r\n") + 2
    performance.writes[0] = (at_s, first[:line_end] + framing.CLOSING + first[line_end:])
    performance.ending = Ending.CLOSE
    return performance


def _informational(exchange: Exchange, play: Play) -> Performance:
    performance = perform(exchange)
    return Performance([(0.0, framing.EARLY_HINTS), *performance.writes], performance.ending)


def _gzip_body(exchange: Exchange, play: Play) -> Performance:
    timed, content_type = _body(exchange)
    packer = zlib.compressobj(wbits=31)  # 31: zlib with a gzip header, as Content-Encoding wants it
    head = framing.get_head(200, content_type, framing.GZIP + framing.CHUNKED)
    packed = [(at_s, packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)) for at_s, data in timed]
    last_s = timed[-1][0]
    writes = [(timed[0][0], head), *((at_s, framing.get_chunk(data)) for at_s, data in packed)]
    return Performance([*writes, (last_s, framing.get_chunk(packer.flush()) + framing.LAST_CHUNK)])


def _doomed(exchange: Exchange, play: Play) -> Performance:
    performance = perform(exchange)
    performance.ending = Ending.DOOM
    return performance


_SERVER = "server_error"
_INVALID = "invalid_request_error"

REPLACEMENTS: dict[Fault, Callable[[Exchange, Play], Performance]] = {
    Fault.RESET_BEFORE_ANSWER: _silence(Ending.ABORT),
    Fault.CLOSE_BEFORE_ANSWER: _silence(Ending.CLOSE),
    Fault.HANG_BEFORE_HEAD: _silence(Ending.HOLD),
    Fault.RESET_AFTER_HEAD: _head_only(Ending.ABORT),
    Fault.HANG_AFTER_HEAD: _head_only(Ending.HOLD),
    Fault.RATE_LIMIT: _rate_limit,
    Fault.RATE_LIMIT_DATE: _rate_limit,
    Fault.RATE_LIMIT_BARE: _rate_limit,
    Fault.STATUS_400: _status(400, _INVALID, None, "Bad request"),
    Fault.STATUS_401: _status(401, _INVALID, "invalid_api_key", "Incorrect API key provided"),
    Fault.STATUS_402: _status(402, "insufficient_quota", "insufficient_quota", "Insufficient credits"),
    Fault.STATUS_403: _status(403, "permission_error", "model_not_allowed", "This key may not use this model"),
    Fault.STATUS_404: _status(404, _INVALID, "model_not_found", "The model does not exist"),
    Fault.STATUS_408: _status(408, "timeout", "request_timeout", "Request timed out"),
    Fault.STATUS_409: _status(409, _INVALID, "conflict", "Conflict"),
    Fault.STATUS_410: _status(410, _INVALID, "model_withdrawn", "This model has been withdrawn"),
    Fault.STATUS_418: _status(418, _INVALID, "teapot", "I'm a teapot"),
    Fault.STATUS_425: _status(425, _INVALID, "too_early", "Too early"),
    Fault.STATUS_451: _status(451, _INVALID, "unavailable_for_legal_reasons", "Unavailable for legal reasons"),
    Fault.STATUS_500: _status(500, _SERVER, "internal_error", "The server had an error while processing your request"),
    Fault.STATUS_502: _status(502, _SERVER, None, "", page=True),
    Fault.STATUS_503: _status(503, _SERVER, "overloaded", "The engine is currently overloaded"),
    Fault.STATUS_504: _status(504, _SERVER, None, "", page=True),
    Fault.STATUS_529: _status(529, "overloaded_error", "overloaded", "Overloaded"),
    Fault.CONTEXT_LENGTH: _context_length,
    Fault.CONTENT_POLICY: _status(
        400, _INVALID, "content_policy_violation", "Rejected as a result of our safety system"
    ),
    Fault.UNSUPPORTED_400: _unsupported,
    Fault.UNSUPPORTED_422: _unsupported,
    Fault.MALFORMED_JSON: _whole(_GARBAGE_BODY, framing.JSON),
    Fault.HTML_BODY: _whole(_PAGE, framing.HTML),
    Fault.ERROR_OBJECT: _error_object,
    Fault.EMPTY_BODY: _empty_body,
    Fault.TRUNCATED_BODY: _truncated_body,
    Fault.CUT_JSON: _cut_json,
    Fault.HUGE_BODY: _huge_body,
}

REWRITES: dict[Fault, Callable[[Exchange, Play], tuple[Timed, Ending]]] = {
    Fault.STALL_BEFORE_CONTENT: _before_content(Ending.HOLD),
    Fault.CUT_BEFORE_CONTENT: _before_content(Ending.ABORT),
    Fault.STALL_MID_STREAM: _stall,
    Fault.CUT_ABORT: _cut(Ending.ABORT),
    Fault.TOOL_CUT: _cut(Ending.ABORT),
    Fault.CUT_CLEAN: _cut(Ending.KEEP),
    Fault.ERROR_EVENT_FIRST: _error_first,
    Fault.ERROR_EVENT_MIDWAY: _error_midway,
    Fault.NO_FINISH: _no_finish,
    Fault.NO_DONE: _no_done(Ending.KEEP),
    Fault.NO_DONE_HELD: _no_done(Ending.HOLD),
    Fault.NON_JSON_EVENT: _non_json_event,
    Fault.CRLF_LINES: _crlf,
    Fault.COMMENT_LINES: _comments,
    Fault.SPLIT_BYTES: _split_bytes,
    Fault.SPLIT_UTF8: _split_utf8,
}

REFRAMINGS: dict[Fault, Callable[[Exchange, Play], Performance]] = {
    Fault.CHUNKED_BODY: _chunked_body,
    Fault.CLOSE_DELIMITED: _close_delimited,
    Fault.CONNECTION_CLOSE: _connection_close,
    Fault.INFORMATIONAL: _informational,
    Fault.GZIP_BODY: _gzip_body,
    Fault.STALE_KEEP_ALIVE: _doomed,
}

ANSWER_FAULTS = frozenset({Fault.NO_USAGE, Fault.OVER_BILLING, Fault.SCHEMA_VIOLATION})
"""Faults of what is said, not of how: the endpoint plays them when it makes the answer, and here they do nothing."""
