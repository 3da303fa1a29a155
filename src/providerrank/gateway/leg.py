"""One live attempt: its call, what has come of it so far, and its own clocks.

A leg hears of its call (it is the call's sink), reads status, headers and encoding, keeps the body of what is not
streamed, and tells its exchange what that means. Two legs of one exchange share nothing but the exchange, so one
may be dropped in any state without a trace in the other.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from providerrank.gateway.relay import Relay, is_event_stream, is_json
from providerrank.rules.attempt import Attempt, Fault
from providerrank.wire.dialect import Dialect

if TYPE_CHECKING:
    from providerrank.gateway.exchange import Exchange
    from providerrank.gateway.upstream import Call, Target

_any = msgspec.json.Decoder()
_NO_HEADERS: Final[Mapping[bytes, bytes]] = MappingProxyType({})

MAX_ERROR_BYTES = 64 * 1024
"""Of an endpoint's error answer; more of it says nothing more."""

SLICE_BYTES = 256 * 1024
"""Decompressed at once: what a read from a socket brings at most."""

MAX_GROWTH = 50
"""Times that compressed bytes may have grown beyond ``SLICE_BYTES``: event streams, the most repetitive of answers,
shrink by 10 to 30. One read of zeros would otherwise become a quarter of a gigabyte of events."""

WEIGH_BYTES: Final = 16 * 1024 * 1024
"""How much of a stream comes between two looks at what it says: longer than any opening (some echo the whole request),
and of all that brings no content the most that is read, or held, of one attempt."""

TOO_LARGE = "larger than any answer is taken"


def is_whole_json(body: bytes) -> bool:
    """Whether a body is JSON to its end."""
    try:
        _any.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


class Leg:
    """The wire side of one attempt of an exchange. From its making until its end the endpoint counts it in flight."""

    # How it is at rest. Most legs never change most of these, so one begins with few of its own.
    call: Call | None = None
    timer: asyncio.TimerHandle | None = None
    """Runs until a call that is to begin after a pause begins."""
    relay: Relay | None = None
    """Of a streamed answer; set when the call begins."""
    dialect: Dialect | None = None
    """What the endpoint was asked in; None: chat, or the client's own older API."""
    status = 0
    error_since_us: int | None = None
    """When such an answer began."""
    finished_us: int | None = None
    """When a streamed answer had its finish reasons, though not its end."""
    progressed = False
    """Something came since the last tick."""
    _body_size = 0
    _compressed_size = 0
    _weigh_at = WEIGH_BYTES
    _weighed_events = 0
    _decoder: zlib._Decompress | None = None

    def __init__(self, exchange: Exchange, attempt: Attempt, target: Target) -> None:
        self._exchange = exchange
        self.attempt = attempt
        self.target = target
        self.headers: Mapping[bytes, bytes] = _NO_HEADERS
        """Of an answer with another status than 200."""
        self.body: list[bytes] = []
        """What has come of a body that is not passed on as it comes."""

    def drop(self) -> None:
        """Stop at once: whatever is open is closed, and nothing more is heard of it."""
        if self.call is not None:
            call, self.call = self.call, None
            call.drop()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def note_end(self, now: int, fault: Fault, status: int | None, detail: str, note: str | None) -> None:
        """Write down how the attempt failed; neither ``detail`` nor ``note`` may show the endpoint's key.

        ``note`` is what may be logged and kept of ``detail``, where that has the endpoint's own words in it.
        """
        attempt, redact = self.attempt, self.target.redact
        if detail:
            detail = redact(detail.encode()).decode()
        attempt.fault, attempt.ended_us, attempt.status, attempt.detail = fault, now, status, detail
        attempt.note = detail if note is None else redact(note.encode()).decode()

    def pause(self) -> None:
        """The client does not keep up."""
        if self.call is not None:
            self.call.pause()

    def resume(self) -> None:
        """The client keeps up again."""
        if self.call is not None:
            self.call.resume()

    # ---- what the wire shows (Sink) ------------------------------------------------------------------------------

    def on_connected(self) -> None:
        """The request is on its way."""
        exchange = self._exchange
        exchange.connected(self, exchange.gateway.now_us())

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Status and headers: see whether this is an answer of the kind that was asked for."""
        self.status = status
        if status != 200:
            self.headers = headers
            self.error_since_us = self._exchange.gateway.now_us()
        if b"content-encoding" in headers and not self._decode(headers[b"content-encoding"]):
            self._exchange.broke(self, Fault.MALFORMED, "an encoding nobody asked for")
        elif status == 200 and not (is_json(headers) if self.relay is None else is_event_stream(headers)):
            self._exchange.broke(self, Fault.MALFORMED, "wrong content type")

    def _decode(self, encoding: bytes) -> bool:
        """Prepare for an encoded body. False: not one that can be decoded here."""
        encoding = encoding.lower()
        if encoding in (b"gzip", b"deflate"):
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
            return True
        return encoding == b"identity"

    def on_data(self, data: bytes) -> None:
        """Part of the body."""
        if self.call is None:
            return
        if self._decoder is not None:
            self._decompress(self._decoder, data)
        else:
            self._take(data)

    def _decompress(self, decoder: zlib._Decompress, data: bytes) -> None:
        """Take compressed bytes, in slices: what little comes may mean very much."""
        self._compressed_size += len(data)
        allowed = SLICE_BYTES + MAX_GROWTH * self._compressed_size
        is_all = False
        while not is_all and self.call is not None:
            try:
                said = decoder.decompress(data, SLICE_BYTES)
            except zlib.error:
                self._exchange.broke(self, Fault.MALFORMED, "broken compression")
                return
            data = decoder.unconsumed_tail
            is_all = len(said) < SLICE_BYTES  # (With no input left the decoder may still hold some output back.)
            if self._body_size + len(said) > allowed:
                self._exchange.broke(self, Fault.MALFORMED, "compressed beyond any answer")
                return
            if said:
                self._take(said)

    def _take(self, data: bytes) -> None:
        """Part of the body as it is meant."""
        exchange = self._exchange
        self._body_size += len(data)
        if self.relay is not None and self.status == 200:
            if self._body_size > self._weigh_at and not self._weigh(self.relay):
                exchange.broke(self, Fault.CUT, TOO_LARGE)
            else:
                exchange.stream(self, self.relay, data)
            return
        # Whether it moves is a matter for the next tick: no clock is read for each piece of a body.
        self.progressed = True
        if self.status != 200:
            if self._body_size <= MAX_ERROR_BYTES:
                self.body.append(data)
        elif self._body_size <= exchange.gateway.limits.max_response_bytes:
            self.body.append(data)
        else:
            exchange.broke(self, Fault.MALFORMED, TOO_LARGE)

    def _weigh(self, relay: Relay) -> bool:
        """Whether a long stream is still an answer: it has said something lately, and not more than is kept of any."""
        said, self._weighed_events = relay.content_events - self._weighed_events, relay.content_events
        self._weigh_at = self._body_size + WEIGH_BYTES
        return said > 0 and relay.output_text_bytes <= self._exchange.gateway.limits.max_response_bytes

    def on_end(self) -> None:
        """The body is complete as HTTP goes: judge it."""
        if self.call is None:
            return
        self.call = None
        exchange = self._exchange
        now = exchange.gateway.now_us()
        if self.status != 200:
            exchange.refused(self, now)
        elif self.relay is None:
            exchange.judge(self, now)
        else:
            exchange.stream_ended(self, self.relay, now)

    def on_lost(self, fault: Fault, detail: str) -> None:
        """No answer, or no more of it."""
        self.call = None
        exchange = self._exchange
        now = exchange.gateway.now_us()
        if self.error_since_us is not None:
            if not is_whole_json(b"".join(self.body)):
                self.body.clear()  # half an error is none: its status says what there is to say
            exchange.refused(self, now)
        elif self.relay is not None and self.relay.finished:
            exchange.finish(self, now)
        else:
            exchange.failed(self, now, fault, detail=detail)

    def on_crash(self) -> None:
        """A mistake of ours while one of the above was under way."""
        self._exchange.on_crash()
