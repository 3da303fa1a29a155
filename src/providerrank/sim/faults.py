"""Every fault an endpoint can show, by name: a closed list.

The names are those of scenario files, of ``switch`` and of ``script``. A fault is a *shape of the
exchange*, seen from the client's side of the wire; ``SENTENCES`` says which. Three things differ:

* *listener* faults are states of the listening socket. Nobody can refuse one connection and not the
  next, since the kernel refuses without telling the server; they are switched on and off, never
  scripted. Drawn by chance for a request that already arrived, they are played as
  ``ON_OPEN_CONNECTION`` says.
* *connection* faults happen at the moment a connection is accepted, before any request is read.
* *answer* faults happen to one request. Some exist only in streams; a plain request then meets
  ``ON_PLAIN_ANSWER``, or, where nothing corresponds, no fault at all.

They are told in the words of chat completions and played in every API there is: ``[DONE]`` is what an API's stream ends
with (``message_stop``, ``response.completed``), the finish reason what says why (``message_delta``), an error object
the API's own. Where an API has no place for one, ``sim.apis`` says so, and the request is answered without it.

``QUIRKS`` are not failures: the answer is whole and right, in a form a careless client trips over.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Fault(enum.StrEnum):
    """What goes wrong, or is unusual, in one exchange."""

    REFUSED = "refused"
    CONNECT_HANG = "connect_hang"
    RESET_ON_ACCEPT = "reset_on_accept"
    TLS_GARBAGE = "tls_garbage"
    RESET_BEFORE_ANSWER = "reset_before_answer"
    CLOSE_BEFORE_ANSWER = "close_before_answer"
    STALE_KEEP_ALIVE = "stale_keep_alive"
    RESET_AFTER_HEAD = "reset_after_head"
    HANG_BEFORE_HEAD = "hang_before_head"
    HANG_AFTER_HEAD = "hang_after_head"
    SLOW_FIRST_TOKEN = "slow_first_token"
    RATE_LIMIT = "rate_limit"
    RATE_LIMIT_DATE = "rate_limit_date"
    RATE_LIMIT_BARE = "rate_limit_bare"
    STATUS_400 = "status_400"
    STATUS_401 = "status_401"
    STATUS_402 = "status_402"
    STATUS_403 = "status_403"
    STATUS_404 = "status_404"
    STATUS_408 = "status_408"
    STATUS_409 = "status_409"
    STATUS_410 = "status_410"
    STATUS_418 = "status_418"
    STATUS_425 = "status_425"
    STATUS_451 = "status_451"
    STATUS_500 = "status_500"
    STATUS_502 = "status_502"
    STATUS_503 = "status_503"
    STATUS_504 = "status_504"
    STATUS_529 = "status_529"
    CONTEXT_LENGTH = "context_length"
    CONTENT_POLICY = "content_policy"
    UNSUPPORTED_400 = "unsupported_400"
    UNSUPPORTED_422 = "unsupported_422"
    MALFORMED_JSON = "malformed_json"
    EMPTY_BODY = "empty_body"
    TRUNCATED_BODY = "truncated_body"
    CUT_JSON = "cut_json"
    HTML_BODY = "html_body"
    ERROR_OBJECT = "error_object"
    HUGE_BODY = "huge_body"
    STALL_BEFORE_CONTENT = "stall_before_content"
    CUT_BEFORE_CONTENT = "cut_before_content"
    STALL_MID_STREAM = "stall_mid_stream"
    CUT_ABORT = "cut_abort"
    CUT_CLEAN = "cut_clean"
    TOOL_CUT = "tool_cut"
    ERROR_EVENT_FIRST = "error_event_first"
    ERROR_EVENT_MIDWAY = "error_event_midway"
    NO_FINISH = "no_finish"
    NO_DONE = "no_done"
    NO_DONE_HELD = "no_done_held"
    NON_JSON_EVENT = "non_json_event"
    SPLIT_BYTES = "split_bytes"
    SPLIT_UTF8 = "split_utf8"
    CRLF_LINES = "crlf_lines"
    COMMENT_LINES = "comment_lines"
    CHUNKED_BODY = "chunked_body"
    CLOSE_DELIMITED = "close_delimited"
    CONNECTION_CLOSE = "connection_close"
    INFORMATIONAL = "informational"
    GZIP_BODY = "gzip_body"
    NO_USAGE = "no_usage"
    OVER_BILLING = "over_billing"
    SCHEMA_VIOLATION = "schema_violation"


SENTENCES: dict[Fault, str] = {
    Fault.REFUSED: "Nothing listens on the port: the kernel refuses every connection.",
    Fault.CONNECT_HANG: "Connection attempts are neither accepted nor refused: their first packet is dropped.",
    Fault.RESET_ON_ACCEPT: "A connection is accepted and reset at once, before a byte of it is read.",
    Fault.TLS_GARBAGE: "A new connection's first bytes are answered by neither TLS nor HTTP, and its end.",
    Fault.RESET_BEFORE_ANSWER: "The request is read whole, then the connection is reset.",
    Fault.CLOSE_BEFORE_ANSWER: "The request is read whole, then the connection is closed in order without a byte.",
    Fault.STALE_KEEP_ALIVE: "This request is answered and the connection kept; it is closed the moment it is reused.",
    Fault.RESET_AFTER_HEAD: "Status line and headers of a 200 arrive, then the connection is reset.",
    Fault.HANG_BEFORE_HEAD: "The request is read and nothing is ever sent.",
    Fault.HANG_AFTER_HEAD: "Status line and headers of a 200 arrive, then nothing.",
    Fault.SLOW_FIRST_TOKEN: "The answer is whole and right and begins late, by `seconds` (2 when not given).",
    Fault.RATE_LIMIT: "429 with Retry-After in seconds.",
    Fault.RATE_LIMIT_DATE: "429 with Retry-After as an HTTP date.",
    Fault.RATE_LIMIT_BARE: "429 without Retry-After.",
    Fault.STATUS_400: "400 that names no parameter and no known code.",
    Fault.STATUS_401: "401: the key is wrong.",
    Fault.STATUS_402: "402: the balance is used up.",
    Fault.STATUS_403: "403: the key may not use this model.",
    Fault.STATUS_404: "404: the model is not known here.",
    Fault.STATUS_408: "408: the endpoint timed out reading the request.",
    Fault.STATUS_409: "409: conflict.",
    Fault.STATUS_410: "410: the model was withdrawn (stands for any other 4xx).",
    Fault.STATUS_418: "418: another 4xx no table lists.",
    Fault.STATUS_425: "425: too early.",
    Fault.STATUS_451: "451: unavailable for legal reasons (another 4xx no table lists).",
    Fault.STATUS_500: "500: internal error.",
    Fault.STATUS_502: "502: bad gateway, with a body that is HTML, as proxies send.",
    Fault.STATUS_503: "503: overloaded.",
    Fault.STATUS_504: "504: gateway timeout, with a body that is HTML, as proxies send.",
    Fault.STATUS_529: "529: site overloaded.",
    Fault.CONTEXT_LENGTH: "400 with code context_length_exceeded.",
    Fault.CONTENT_POLICY: "400 with code content_policy_violation.",
    Fault.UNSUPPORTED_400: "400 with code unsupported_parameter, naming a parameter of the request.",
    Fault.UNSUPPORTED_422: "422 naming a parameter of the request as not permitted.",
    Fault.MALFORMED_JSON: "200 whose body is not JSON though its content type says so.",
    Fault.EMPTY_BODY: "200 with a body of no bytes.",
    Fault.TRUNCATED_BODY: "200 whose Content-Length is larger than what is sent before the connection closes.",
    Fault.CUT_JSON: "200, framed correctly, whose JSON stops half way.",
    Fault.HTML_BODY: "200 with an HTML page.",
    Fault.ERROR_OBJECT: "200 whose body is an error object.",
    Fault.HUGE_BODY: "200 with a body of `size` bytes (80 MiB when not given); in a stream, one endless event.",
    Fault.STALL_BEFORE_CONTENT: "The stream's opening, which carries a role and no content, arrives, then nothing.",
    Fault.CUT_BEFORE_CONTENT: "The stream's opening, which carries a role and no content, arrives, then a reset.",
    Fault.STALL_MID_STREAM: "The stream stops after `after` events of content: for good, or for `seconds` when given.",
    Fault.CUT_ABORT: "The connection is reset after `after` events of content (half of them when not given).",
    Fault.CUT_CLEAN: "The body ends, correctly framed, after `after` events of content, unfinished.",
    Fault.TOOL_CUT: "A tool call's name and half of its arguments arrive, then a reset (without tools: as cut_abort).",
    Fault.ERROR_EVENT_FIRST: "The stream's first event is an error object, and the stream ends.",
    Fault.ERROR_EVENT_MIDWAY: "An error object arrives after `after` events of content, and the stream ends.",
    Fault.NO_FINISH: "All content arrives and the stream ends in order, with no finish reason and no [DONE].",
    Fault.NO_DONE: "The stream has its finish reason and ends in order without [DONE].",
    Fault.NO_DONE_HELD: "The stream has its finish reason; then no [DONE], no end, the connection stays open.",
    Fault.NON_JSON_EVENT: "One event in the middle of the stream is not JSON; the rest is right.",
    Fault.SPLIT_BYTES: "The stream's bytes arrive in pieces cut anywhere but where an event ends.",
    Fault.SPLIT_UTF8: "Every multi-byte character of the stream is split between two pieces.",
    Fault.CRLF_LINES: "The stream's lines end with carriage return and line feed.",
    Fault.COMMENT_LINES: "Comment lines (`: keep-alive`) stand before and between the stream's events.",
    Fault.CHUNKED_BODY: "A plain answer arrives chunked, without Content-Length.",
    Fault.CLOSE_DELIMITED: "The body has neither length nor chunks: it ends where the connection does.",
    Fault.CONNECTION_CLOSE: "The answer says `Connection: close` and the connection is closed after it.",
    Fault.INFORMATIONAL: "A 103 Early Hints precedes the answer.",
    Fault.GZIP_BODY: "The body is gzip-encoded though the request did not ask for it.",
    Fault.NO_USAGE: "The answer carries no usage, even where the request asked for it.",
    Fault.OVER_BILLING: "Usage counts `factor` times the tokens there are (2 when not given).",
    Fault.SCHEMA_VIOLATION: "The answer is complete, but breaks the schema or the tool's parameters it was to follow.",
}
"""One sentence for each fault: what a client sees on the wire."""

LISTENER_FAULTS = frozenset({Fault.REFUSED, Fault.CONNECT_HANG})
CONNECTION_FAULTS = frozenset({Fault.RESET_ON_ACCEPT, Fault.TLS_GARBAGE})

ON_OPEN_CONNECTION: dict[Fault, Fault] = {
    Fault.REFUSED: Fault.RESET_BEFORE_ANSWER,
    Fault.CONNECT_HANG: Fault.HANG_BEFORE_HEAD,
    Fault.RESET_ON_ACCEPT: Fault.RESET_BEFORE_ANSWER,
    Fault.TLS_GARBAGE: Fault.RESET_BEFORE_ANSWER,
}
"""What stands for a fault of listener or connection when chance draws it for a request that has arrived."""

STREAM_FAULTS = frozenset(
    {
        Fault.STALL_BEFORE_CONTENT,
        Fault.CUT_BEFORE_CONTENT,
        Fault.STALL_MID_STREAM,
        Fault.CUT_ABORT,
        Fault.CUT_CLEAN,
        Fault.TOOL_CUT,
        Fault.ERROR_EVENT_FIRST,
        Fault.ERROR_EVENT_MIDWAY,
        Fault.NO_FINISH,
        Fault.NO_DONE,
        Fault.NO_DONE_HELD,
        Fault.NON_JSON_EVENT,
        Fault.SPLIT_BYTES,
        Fault.SPLIT_UTF8,
        Fault.CRLF_LINES,
        Fault.COMMENT_LINES,
    }
)
"""Faults whose sentence speaks of events. A plain request meets ``ON_PLAIN_ANSWER`` instead."""

ON_PLAIN_ANSWER: dict[Fault, Fault] = {
    Fault.STALL_BEFORE_CONTENT: Fault.HANG_AFTER_HEAD,
    Fault.CUT_BEFORE_CONTENT: Fault.RESET_AFTER_HEAD,
    Fault.STALL_MID_STREAM: Fault.HANG_AFTER_HEAD,
    Fault.CUT_ABORT: Fault.TRUNCATED_BODY,
    Fault.CUT_CLEAN: Fault.CUT_JSON,
    Fault.TOOL_CUT: Fault.TRUNCATED_BODY,
    Fault.ERROR_EVENT_FIRST: Fault.ERROR_OBJECT,
    Fault.ERROR_EVENT_MIDWAY: Fault.ERROR_OBJECT,
    Fault.NO_FINISH: Fault.CUT_JSON,
    Fault.SPLIT_BYTES: Fault.CHUNKED_BODY,
    Fault.SPLIT_UTF8: Fault.CHUNKED_BODY,
}
"""What stands for a stream's fault where the request is not streamed; absent: answered without a fault."""

QUIRKS = frozenset(
    {
        Fault.STALE_KEEP_ALIVE,
        Fault.SLOW_FIRST_TOKEN,
        Fault.NO_DONE,
        Fault.NO_DONE_HELD,
        Fault.NON_JSON_EVENT,
        Fault.SPLIT_BYTES,
        Fault.SPLIT_UTF8,
        Fault.CRLF_LINES,
        Fault.COMMENT_LINES,
        Fault.CHUNKED_BODY,
        Fault.CLOSE_DELIMITED,
        Fault.CONNECTION_CLOSE,
        Fault.INFORMATIONAL,
        Fault.GZIP_BODY,
        Fault.NO_USAGE,
        Fault.OVER_BILLING,
    }
)
"""The content is whole and right; only its form, its timing or its bill is unusual."""


@dataclass(frozen=True, slots=True)
class Play:
    """A fault with its particulars; each is optional and means what the fault's sentence says.

    ``seconds``: a delay, the length of a stall, or a ``Retry-After`` (1 when not given).
    ``after``: events of content before the fault (half of them when not given).
    ``factor``: by how much usage is inflated. ``size``: bytes of a huge body.
    ``parameter``: the request parameter an unsupported-parameter refusal names.
    """

    fault: Fault
    seconds: float | None = None
    after: int | None = None
    factor: float | None = None
    size: int | None = None
    parameter: str | None = None
