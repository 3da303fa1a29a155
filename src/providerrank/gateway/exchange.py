"""One client request, from its first attempt to its last byte.

The exchange is the driver of ``rules.attempts``: it tells the machine what the wire shows and does what
the machine answers. It judges nothing about where to go next. It owns what is live (one ``Call``), what
the client has received (``Relay``, for streams), and the accounts of each attempt.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from providerrank.gateway.relay import Broken, Relay, Seen, is_event_stream, is_json
from providerrank.gateway.schemas import breaks_schema
from providerrank.gateway.upstream import Call, Target
from providerrank.rules.attempts import (
    DEFAULT_COOL_US,
    MIN_COOL_US,
    TABLE,
    Action,
    Answer,
    Attempt,
    Attempts,
    Fail,
    Fault,
    Finish,
    Try,
    Wait,
)
from providerrank.rules.attempts import (
    Relay as RelayAction,
)
from providerrank.rules.cells import Endpoint
from providerrank.rules.observation import Observation, Outcome
from providerrank.wire.answer import Usage, read_reply
from providerrank.wire.errors import Malformed
from providerrank.wire.intake import BYTES_PER_TOKEN, Intake
from providerrank.wire.refusal import read_error, write_error
from providerrank.wire.retry_after import read_retry_after_us
from providerrank.wire.sse import write_event

if TYPE_CHECKING:
    from providerrank.gateway.server import Gateway
    from providerrank.rules.router import Plan

log = logging.getLogger(__name__)

MAX_ERROR_BYTES = 64 * 1024
"""Of an endpoint's error answer; more of it says nothing more."""

ERROR_BODY_US = 1_000_000
"""An error's body that takes longer than this is not waited for."""

FINISH_GRACE_US = 500_000
"""After the finish reason, how long an endpoint may take to send its usage and ``[DONE]``."""


class Client(Protocol):
    """The other side: where the answer goes."""

    def send_answer(self, exchange: Exchange, status: int, body: bytes, retry_after_us: int | None = None) -> None:
        """A whole answer."""

    def begin_stream(self, exchange: Exchange, data: bytes) -> None:
        """The head of a stream and its first bytes."""

    def send_stream(self, data: bytes) -> None:
        """More of the stream."""

    def end_stream(self, exchange: Exchange, data: bytes) -> None:
        """The stream's last bytes."""


class Exchange:
    """The life of one request. Also the sink of its live call."""

    # How it is at rest. Most requests never change most of these, so an exchange begins with none of its own.
    _call: Call | None = None
    _timer: asyncio.TimerHandle | None = None
    _status = 0
    _headers: Mapping[bytes, bytes] = MappingProxyType({})
    _body_size = 0
    _decoder: zlib._Decompress | None = None
    _error_since_us: int | None = None
    _finished_us: int | None = None
    _reported = 0
    _streaming = False
    _paused = False
    _progressed = False
    endpoint_header = b""
    held_status = 502
    held_body = b""

    def __init__(
        self,
        gateway: Gateway,
        client: Client,
        intake: Intake,
        plan: Plan,
        request_id: bytes,
        session: str | None,
        extra: bytes,
    ) -> None:
        self._gateway = gateway
        self._client = client
        self._intake = intake
        self._session = session
        self._extra = extra
        self.request_id = request_id
        self._machine = Attempts(plan, gateway.timing, gateway.jitter)
        self._relay = Relay(intake) if intake.stream else None
        self._body: list[bytes] = []

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt so far."""
        return self._machine.log

    @property
    def api(self) -> str:
        """Which API was called; a label of metrics."""
        return self._intake.api

    # ---- life ----------------------------------------------------------------------------------------------------

    def begin(self, now_us: int) -> None:
        """Make the first attempt."""
        self._do(self._machine.begin(now_us))

    def abandon(self) -> None:
        """The client is gone: stop, and blame nobody."""
        now = self._gateway.now_us()
        live = self._machine.attempt
        self._machine.client_gone(now)
        self._drop_call()
        if live is not None:
            live.ended_us = now
            self._account(live, Outcome.NOBODYS, now)
        self._gateway.stats.client_cancels += 1
        self._close()

    def on_crash(self) -> None:
        """A mistake of ours: end the request here and now, and tell the client no more than that. Blames nobody."""
        log.exception("request crashed")  # noqa: LOG004  # called while an exception is handled, as the docstring says
        gateway = self._gateway
        if not gateway.is_live(self):
            return
        self._drop_call()
        now = gateway.now_us()
        for attempt in self._machine.log[self._reported :]:
            attempt.ended_us = now
            try:
                self._account(attempt, Outcome.NOBODYS, now)
            except Exception:
                log.exception("accounting crashed")
        body = write_error(500, "the gateway failed on this request", code="internal_error")
        if self._streaming:
            self._client.end_stream(self, write_event(body))
        else:
            self._client.send_answer(self, 500, body)
        self._close()

    def tick(self, now_us: int) -> None:
        """Time passed; called every few milliseconds while the exchange lives."""
        machine = self._machine
        if self._progressed or self._paused:
            if self._body and self._status == 200:
                machine.first_byte(now_us)
            self._progressed = False
            # The client's slowness is not the endpoint's: only the request's own end counts.
            machine.progress(now_us)
        if self._finished_us is not None and now_us - self._finished_us > FINISH_GRACE_US:
            self._drop_call()
            self._finish(now_us)
        elif self._error_since_us is not None and now_us - self._error_since_us > ERROR_BODY_US:
            self._drop_call()
            self._refused(now_us)
        elif now_us >= machine.due_us:
            if self._relay is not None:
                machine.sealed = self._relay.sealed
            action = machine.clock(now_us, self._get_silence_us)
            if action is not None:
                self._drop_call()
                self._do(action)

    def pause(self) -> None:
        """The client does not keep up."""
        self._paused = True
        if self._call is not None:
            self._call.pause()

    def resume(self) -> None:
        """The client keeps up again."""
        self._paused = False
        self._machine.progress(self._gateway.now_us())
        if self._call is not None:
            self._call.resume()

    # ---- what the wire shows (Sink) ------------------------------------------------------------------------------

    def on_connected(self) -> None:
        """The request is on its way."""
        self._machine.connected(self._gateway.now_us())

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Status and headers: see whether this is an answer of the kind that was asked for."""
        self._status = status
        if self._body:
            self._body, self._body_size = [], 0
        if status != 200:
            self._headers = headers
            self._error_since_us = self._gateway.now_us()
        if b"content-encoding" in headers and not self._decode(headers[b"content-encoding"]):
            self._break(Fault.MALFORMED, "an encoding nobody asked for")
        elif status == 200 and not (is_json(headers) if self._relay is None else is_event_stream(headers)):
            self._break(Fault.MALFORMED, "wrong content type")

    def _decode(self, encoding: bytes) -> bool:
        """Prepare for an encoded body. False: not one that can be decoded here."""
        encoding = encoding.lower()
        if encoding in (b"gzip", b"deflate"):
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
            return True
        return encoding == b"identity"

    def on_data(self, data: bytes) -> None:
        """Part of the body."""
        if self._call is None:
            return
        if self._decoder is not None:
            try:
                data = self._decoder.decompress(data, self._gateway.limits.max_response_bytes)
            except zlib.error:
                self._break(Fault.MALFORMED, "broken compression")
                return
            if self._decoder.unconsumed_tail:
                self._break(Fault.MALFORMED, "larger than any answer is taken")
                return
        if self._relay is not None and self._status == 200:
            self._stream(self._relay, data)
            return
        # Whether it moves is a matter for the next tick: no clock is read for each piece of a body.
        self._progressed = True
        self._body_size += len(data)
        if self._status != 200:
            if self._body_size <= MAX_ERROR_BYTES:
                self._body.append(data)
        elif self._body_size <= self._gateway.limits.max_response_bytes:
            self._body.append(data)
        else:
            self._break(Fault.MALFORMED, "larger than any answer is taken")

    def on_end(self) -> None:
        """The body is complete as HTTP goes: judge it."""
        if self._call is None:
            return
        self._call = None
        now = self._gateway.now_us()
        if self._status != 200:
            self._refused(now)
        elif self._relay is None:
            self._judge(now)
        else:
            self._stream_ended(self._relay, now)

    def on_lost(self, fault: Fault, detail: str) -> None:
        """No answer, or no more of it."""
        self._call = None
        now = self._gateway.now_us()
        if self._error_since_us is not None:
            self._refused(now)
        elif self._relay is not None and self._relay.finished:
            self._finish(now)
        else:
            self._failed(now, fault, detail=detail)

    # ---- judging answers -----------------------------------------------------------------------------------------

    def _judge(self, now: int) -> None:
        """A whole body with status 200, to a request that was not streamed."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        try:
            reply = read_reply(body)
        except Malformed as error:
            self._failed(now, Fault.MALFORMED, detail=str(error))
            return
        schema = self._intake.schema
        if schema is not None and reply.is_plain_and_complete and breaks_schema(schema, reply.text):
            self.held_status, self.held_body = 200, body
            self._failed(now, Fault.SCHEMA)
            return
        attempt = self._machine.attempt
        assert attempt is not None
        if attempt.first_content_us is None:
            attempt.first_content_us = now
        self._machine.end(now)
        self._account_success(attempt, now, reply.usage, len(reply.text.encode()) // BYTES_PER_TOKEN)
        self.endpoint_header = self._gateway.targets[attempt.endpoint.id].header
        self._client.send_answer(self, 200, body)
        self._close()

    def _refused(self, now: int) -> None:
        """An answer with another status than 200."""
        self._error_since_us = None
        body = b"".join(self._body)
        status = self._status
        reading = read_error(status, body)
        attempt = self._machine.attempt
        assert attempt is not None
        cool_until = None
        if reading.fault is Fault.RATE_LIMITED:
            cool_until = now + max(read_retry_after_us(self._headers, now) or DEFAULT_COOL_US, MIN_COOL_US)
            self._gateway.router.cool(attempt.endpoint.id, cool_until)
        if TABLE[reading.fault].to_client and self.held_status != 200:
            self.held_status, self.held_body = status, self._gateway.redact(attempt.endpoint.id, body)
        self._failed(
            now,
            reading.fault,
            status=status,
            detail=reading.message,
            cool_until_us=cool_until,
            features=reading.features,
        )

    def _stream(self, relay: Relay, data: bytes) -> None:
        """Bytes of a streamed answer."""
        try:
            seen = relay.feed(data)
        except Broken as broken:
            if self._machine.committed:
                self._flush(relay)
            self._break(Fault.DIVERGED if broken.diverged else Fault.CUT, broken.detail)
            return
        if seen is Seen.CONTENT:
            # Whether the stream moves is a matter for the next tick: no clock is read for each event.
            self._progressed = True
            self._flush(relay)
            if relay.finished and self._finished_us is None and self._intake.choices:
                self._finished_us = self._gateway.now_us()
        elif seen is Seen.DONE:
            self._flush(relay)
            # The stream is over as far as the API goes; what follows is the end of the HTTP message.
            call, self._call = self._call, None
            self._finish(self._gateway.now_us())
            if call is not None:
                call.release()

    def _flush(self, relay: Relay) -> None:
        """Pass on what may go. The first content commits the exchange to this answer."""
        attempt = self._machine.attempt
        if not relay.delivered_content or attempt is None:
            return
        if attempt.first_content_us is None:
            self._machine.first_content(self._gateway.now_us())
            self.endpoint_header = self._gateway.targets[attempt.endpoint.id].header
        out = relay.take_output()
        if not out:
            return
        if self._streaming:
            self._client.send_stream(out)
        else:
            self._streaming = True
            self._client.begin_stream(self, out)

    def _stream_ended(self, relay: Relay, now: int) -> None:
        try:
            relay.close()
        except Broken as broken:
            if self._machine.committed:
                self._flush(relay)
            self._failed(now, Fault.DIVERGED if broken.diverged else Fault.CUT, detail=broken.detail)
            return
        self._flush(relay)
        self._finish(now)

    def _finish(self, now: int) -> None:
        """A streamed answer is whole."""
        relay = self._relay
        attempt = self._machine.attempt
        assert relay is not None
        assert attempt is not None
        self._finished_us = None
        self._machine.end(now)
        counted = max(relay.written_bytes // BYTES_PER_TOKEN, 0)
        self._account_success(attempt, now, relay.usage, counted)
        self._client.end_stream(self, relay.write_end())
        self._close()

    # ---- doing what the machine says -----------------------------------------------------------------------------

    def _break(self, fault: Fault, detail: str) -> None:
        """The live answer is of no use: close its connection and go on."""
        self._drop_call()
        self._failed(self._gateway.now_us(), fault, detail=detail)

    def _failed(
        self,
        now: int,
        fault: Fault,
        *,
        status: int | None = None,
        detail: str = "",
        cool_until_us: int | None = None,
        features: frozenset[str] = frozenset(),
    ) -> None:
        attempt = self._machine.attempt
        if attempt is None:
            return
        if self._relay is not None:
            self._machine.sealed = self._relay.sealed
        if detail:
            detail = self._gateway.redact(attempt.endpoint.id, detail.encode()).decode()
        # Accounts first: where to go next is decided by what is known now, this failure included.
        attempt.fault, attempt.ended_us, attempt.status, attempt.detail = fault, now, status, detail
        self._account(attempt, attempt.outcome, now)
        action = self._machine.failed(
            now, fault, status=status, detail=detail, cool_until_us=cool_until_us, features=features
        )
        if action is not None:
            self._do(action)

    def _do(self, action: Action) -> None:
        gateway = self._gateway
        if type(action) is Try:
            if self._reported < len(self._machine.log) - 1:
                self._account_pending()
            target = gateway.start_attempt(action.attempt)
            if action.pause_us:
                self._timer = gateway.loop.call_later(
                    action.pause_us / 1e6, self._call_endpoint, action.attempt, target
                )
            else:
                self._call_endpoint(action.attempt, target)
        elif isinstance(action, Wait):
            self._account_pending()
        elif isinstance(action, Answer):
            self._account_pending()
            self.endpoint_header = self._gateway.targets[action.attempt.endpoint.id].header
            self._client.send_answer(self, self.held_status, self.held_body)
            self._close()
        elif isinstance(action, Fail):
            self._account_pending()
            self._fail(action)
        else:
            assert isinstance(action, (RelayAction, Finish))

    def _call_endpoint(self, attempt: Attempt, target: Target) -> None:
        self._timer = None
        gateway = self._gateway
        upstream_model = target.upstream.upstream_model
        relay = self._relay
        if relay is None:
            body = self._intake.body(upstream_model)
        else:
            if attempt.resuming:
                gateway.stats.continuations += 1
            elif relay.delivered_content:
                # Nothing of it reached the client: the next answer starts afresh.
                relay = self._relay = Relay(self._intake)
            body = relay.begin_attempt(attempt.endpoint, upstream_model)
        if len(self._machine.log) > 1:
            self._status = 0
            self._decoder = None
            self._finished_us = self._error_since_us = None
        data = target.write_request(self._intake.api, self._extra, body, relay is not None)
        self._call = call = Call(gateway.pool, target, data, self)
        if self._paused:
            call.pause()
        if call.start():
            self._machine.connected(attempt.started_us)

    def _fail(self, action: Fail) -> None:
        body = write_error(action.status, action.message, code=action.code)
        if self._streaming:
            # Bytes were delivered: an explicit error event and no [DONE], so that nobody takes the answer for whole.
            self._client.end_stream(self, write_event(body))
        else:
            self._client.send_answer(self, action.status, body, action.retry_after_us)
        self._close()

    def _drop_call(self) -> None:
        if self._call is not None:
            call, self._call = self._call, None
            call.drop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if self._call is not None or self._timer is not None:
            self._drop_call()
        self._finished_us = self._error_since_us = None
        self._gateway.close_exchange(self)

    # ---- accounts ------------------------------------------------------------------------------------------------

    def _account_pending(self) -> None:
        """Attempts the machine ended by its clocks."""
        log = self._machine.log
        live = self._machine.attempt
        for attempt in log[self._reported :]:
            if attempt is live:
                break
            self._account(attempt, attempt.outcome, attempt.ended_us or self._gateway.now_us())

    def _account(self, attempt: Attempt, outcome: Outcome, now: int) -> None:
        self._reported += 1
        observation = Observation(
            attempt.endpoint.id, self._intake.task, now, outcome, self._get_ttft_us(attempt), now - attempt.started_us
        )
        self._gateway.end_attempt(attempt, observation, self._session)

    def _account_success(self, attempt: Attempt, now: int, usage: Usage | None, counted: int) -> None:
        self._reported += 1
        gateway = self._gateway
        endpoint = attempt.endpoint
        prompt = self._intake.input_tokens
        billed = None
        if usage is not None:
            billed = usage.completion_tokens
            if usage.prompt_tokens is not None:
                prompt = usage.prompt_tokens
        tokens = counted if billed is None else billed
        cost = int(endpoint.price.cost_nusd(prompt, tokens))
        target = gateway.targets[endpoint.id]
        stats, pace = target.stats, target.pace
        stats.input_tokens += prompt
        stats.output_tokens += tokens
        stats.cost_nusd += cost
        total = now - attempt.started_us
        outcome = Outcome.SUCCESS
        relay = self._relay
        if relay is None:
            pace.observe(total, tokens)
        else:
            pace.observe(now - (attempt.first_content_us or now), tokens)
            schema = self._intake.schema
            if relay.bad_events:
                outcome = Outcome.FAILURE
            elif schema is not None and relay.is_plain_and_complete and breaks_schema(schema, relay.text):
                # It has been delivered and can not be taken back; the endpoint answers for it all the same.
                outcome = Outcome.SCHEMA_VIOLATION
        observation = Observation(
            endpoint.id,
            self._intake.task,
            now,
            outcome,
            self._get_ttft_us(attempt),
            total,
            prompt,
            counted if billed is not None else None,
            billed,
        )
        gateway.end_attempt(attempt, observation, self._session)

    def _get_ttft_us(self, attempt: Attempt) -> int | None:
        """Time to the first content.

        An answer that is not streamed shows no first token. The time to its first byte stands in for it,
        but only while nobody has streamed this model: the two must not be compared with each other.
        """
        first = attempt.first_content_us
        if first is None:
            return None
        streamed = self._gateway.streamed_models
        if self._relay is not None:
            streamed.add(attempt.model)
        elif attempt.model in streamed:
            return None
        return first - attempt.started_us

    def _get_silence_us(self, endpoint: Endpoint, budget_us: int) -> int:
        """How long an endpoint may say nothing before another is asked."""
        gateway = self._gateway
        fixed = gateway.clocks.first_token_us
        silence = gateway.router.first_token_us(endpoint.id, self._intake.task) if fixed is None else fixed
        if self._relay is None:
            silence += gateway.targets[endpoint.id].pace.allow_us(self._intake.output_tokens, gateway.clocks.idle_us)
        # Whatever the clocks say, half of what is left is kept for the others.
        return min(silence, budget_us // 2)
