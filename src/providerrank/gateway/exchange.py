"""One client request, from its first attempt to its last byte.

The exchange is the driver of ``rules.attempts``: it tells the machine what the wire shows and does what
the machine answers. It judges nothing about where to go next. It owns what is live (a ``Leg`` for each attempt), what
the client has received (``Relay``, for streams), and the accounts of each attempt.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from providerrank.gateway.accounts import account_answer, account_lost, charge
from providerrank.gateway.homes import explain_home
from providerrank.gateway.leg import Leg
from providerrank.gateway.priority import LOW, WAKE_US
from providerrank.gateway.refusals import write_refusal
from providerrank.gateway.relay import Broken, Relay, Seen
from providerrank.gateway.schemas import breaks_schema
from providerrank.gateway.settings import Priority
from providerrank.gateway.tool_calls import judge_calls
from providerrank.gateway.tracing import write_attempt_line
from providerrank.gateway.upstream import Call
from providerrank.rules.attempt import TABLE, Fault, Try
from providerrank.rules.attempts import (
    DEFAULT_COOL_US,
    MIN_COOL_US,
    Action,
    Answer,
    Attempts,
    Drop,
    Fail,
    Finish,
    Hedge,
    Wait,
)
from providerrank.rules.attempts import Relay as RelayAction
from providerrank.rules.cells import Endpoint
from providerrank.rules.finished import CLIENT_LEFT, NO_USAGE, Finished, Trace, Usages, get_cut_ask, get_kept_log
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS
from providerrank.wire.answer import Usage, read_id
from providerrank.wire.dialect import CannotSay
from providerrank.wire.errors import Malformed
from providerrank.wire.intake import BYTES_PER_TOKEN, CHAT_API, Intake
from providerrank.wire.refusal import read_error
from providerrank.wire.retry_after import read_retry_after_us
from providerrank.wire.tool_calls import read_calls
from providerrank.wire.whole import read_whole

if TYPE_CHECKING:
    from providerrank.gateway.keys import Claim
    from providerrank.gateway.server import Gateway
    from providerrank.rules.plan import Plan

log = logging.getLogger(__name__)

_CONTENT: Final = Seen.CONTENT
_DONE: Final = Seen.DONE

NO_SUCH_API = frozenset({404, 405, 501})
"""What an endpoint without a chat API may say to a chat request."""

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
    """The life of one request."""

    is_probe = False
    """Nobody's request, but our own (``probe``)."""

    # How it is at rest. Most requests never change most of these, so an exchange begins with none of its own.
    _leg: Leg | None = None
    """The attempt that is under way and not accounted for yet."""
    _rival: Leg | None = None
    """A second one, begun because the first was slow."""
    _queued_until_us = 0
    """It has not begun: until then it waits for room."""
    _streaming = False
    _paused = False
    status = 200
    """What the client was told, or would have been."""
    code = ""
    _trace: Trace | None = None
    native_lines = b""
    """Header lines that are part of the API the client speaks, for endpoints that speak it too."""
    more_lines = b""
    """Header lines of the answer that only some APIs' clients look for."""
    endpoint_header = b""
    claim: Claim | None = None
    """What its caller's key has set aside for it, where that has a name."""
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
        self.gateway = gateway
        self._client = client
        self.intake = intake
        self.session = session
        self._extra = extra
        self.request_id = request_id
        self._plan = plan
        self._machine = Attempts(plan, gateway.timing, gateway.jitter)
        self.usage: Usages = NO_USAGE
        """Of the answer that the client has."""
        self.attempts = self._machine.log
        """Every attempt so far."""
        self._relay = Relay(intake) if intake.stream else None

    @property
    def api(self) -> str:
        """Which API was called; a label of metrics."""
        return self.intake.api

    def tell(self) -> Finished:
        """What there is to tell of it, now that it is over."""
        plan, log = self._plan, self.attempts
        ask = plan.ask
        finished = Finished(
            self.request_id,
            self.intake.api,
            ask if ask.preferences is None and not ask.fallback_models else get_cut_ask(ask),
            self._relay is not None,
            self.status,
            tuple(log),
            plan.lanes or plan.tell(),
            plan.sights,
            self.usage,
        )
        if len(log) != 1 or self.status != 200 or log[0].started_us != self._machine.began_us:
            self._tell_more(finished)
        if self.claim is not None:
            finished.key = self.claim.key_name
        if self._trace is not None:
            finished.trace = self._trace
        return finished

    def _tell_more(self, finished: Finished) -> None:
        """What is not said already by one attempt that answered."""
        finished.ended_us = now = self.gateway.now_us()
        finished.began_us = self._machine.began_us or now
        finished.log = get_kept_log(self.attempts)
        finished.attempts = len(self.attempts)
        finished.code = self.code
        finished.is_broken_off = self._streaming and self.status != 200

    def join(self, trace: Trace, extra: bytes) -> None:
        """Trace it. ``extra`` are the header lines for endpoints, without a place in a trace."""
        self._trace, self._extra = trace, extra

    # ---- life ----------------------------------------------------------------------------------------------------

    def begin(self, now_us: int) -> None:
        """Make the first attempt."""
        self._do(self._machine.begin(now_us))

    def take_turn(self, now_us: int, priority: Priority) -> None:
        """Begin as a request of this priority may: at once, or when there is room for those who can wait."""
        self._machine.wake_us = WAKE_US[priority]
        if priority == LOW and not self._plan.has_room(now_us):
            self._queued_until_us = now_us + self.gateway.timing.patience_us
        else:
            self.begin(now_us)

    def abandon(self) -> None:
        """The client is gone: stop, and blame nobody."""
        now = self.gateway.now_us()
        self._machine.client_gone(now)
        self.status = CLIENT_LEFT
        for leg in self._legs:
            self._drop(leg, now)
        if not self.is_probe:
            self.gateway.stats.client_cancels += 1
        self.gateway.close_exchange(self)

    def on_crash(self) -> None:
        """A mistake of ours: end the request here and now, and tell the client no more than that. Blames nobody."""
        log.exception("request crashed")  # noqa: LOG004  # called while an exception is handled, as the docstring says
        gateway = self.gateway
        if not gateway.is_live(self):
            return
        for leg in self._legs:
            try:
                self._drop(leg, gateway.now_us())
            except Exception:
                log.exception("accounting crashed")
        self._send_error(500, "the gateway failed on this request", "internal_error")

    @property
    def _legs(self) -> list[Leg]:
        """What is under way: none while it waits, two while it is hedged."""
        return [leg for leg in (self._leg, self._rival) if leg is not None]

    def _drop(self, leg: Leg, now: int) -> None:
        """It is of no use any more, which says nothing of its endpoint."""
        leg.drop()
        leg.attempt.ended_us = now
        self._account(leg, Outcome.NOBODYS, now)

    def tick(self, now_us: int) -> None:
        """Time passed; called every few milliseconds while the exchange lives."""
        machine, leg, rival = self._machine, self._leg, self._rival
        if self._queued_until_us:
            if now_us >= self._queued_until_us or self._plan.has_room(now_us):
                self._queued_until_us = 0
                self.begin(now_us)
            return
        if (leg is not None and self._look_at(leg, now_us)) or (rival is not None and self._look_at(rival, now_us)):
            return
        if now_us >= machine.due_us:
            if self._relay is not None:
                machine.sealed = self._relay.sealed
            action = machine.clock(now_us, self)
            if action is not None:
                self._settle(now_us)
                self._do(action)

    def _look_at(self, leg: Leg, now_us: int) -> bool:
        """Whether a leg's answer has moved, or is over though its call is not."""
        if leg.progressed or self._paused:
            if leg.body and leg.status == 200:
                self._machine.first_byte(now_us, leg.attempt)
            leg.progressed = False
            # The client's slowness is not the endpoint's: only the request's own end counts.
            self._machine.progress(now_us, leg.attempt)
        if leg.finished_us is not None and now_us - leg.finished_us > FINISH_GRACE_US:
            leg.drop()
            self.finish(leg, now_us)
        elif leg.error_since_us is not None and now_us - leg.error_since_us > ERROR_BODY_US:
            leg.drop()
            self.refused(leg, now_us)
        else:
            return False
        return True

    def pause(self) -> None:
        """The client does not keep up."""
        self._paused = True
        for leg in self._legs:
            leg.pause()

    def resume(self) -> None:
        """The client keeps up again."""
        self._paused = False
        now = self.gateway.now_us()
        for leg in self._legs:
            self._machine.progress(now, leg.attempt)
            leg.resume()

    # ---- what a leg shows ----------------------------------------------------------------------------------------

    def connected(self, leg: Leg, now: int) -> None:
        """The request is on its way."""
        self._machine.connected(now, leg.attempt)

    # ---- judging answers -----------------------------------------------------------------------------------------

    def judge(self, leg: Leg, now: int) -> None:
        """A whole body with status 200, to a request that was not streamed."""
        body = b"".join(leg.body)
        try:
            reply, body = read_whole(self.intake, leg.dialect, body)
        except Malformed as error:
            self.failed(leg, now, Fault.MALFORMED, detail=str(error), note=error.note)
            return
        intake = self.intake
        schema, wrong = intake.schema, None
        if schema is not None and reply.is_plain_and_complete and breaks_schema(schema, reply.text):
            wrong = ""
        elif intake.features and "tools" in intake.features and (calls := reply.tool_calls):
            wrong = judge_calls(intake, read_calls(calls))
        if wrong is not None:
            self.held_status, self.held_body = 200, body
            if self.claim is not None:
                # Whole, and billed for, though of no use.
                charge(self, self.claim, leg, reply.usage, len(reply.text.encode()))
            self.failed(leg, now, Fault.SCHEMA, detail=wrong)
            return
        attempt = leg.attempt
        if attempt.first_content_us is None:
            attempt.first_content_us = now
        self._machine.end(now, attempt)
        self._account_success(leg, now, reply.usage, len(reply.text.encode()) // BYTES_PER_TOKEN)
        self.endpoint_header = leg.target.header
        if leg.dialect is not None and leg.dialect is self.intake.dialect and self.intake.origin is not None:
            self.gateway.homes.keep(read_id(body), attempt.endpoint.id)
        self._client.send_answer(self, 200, body)
        self.gateway.close_exchange(self)

    def refused(self, leg: Leg, now: int) -> None:
        """An answer with another status than 200."""
        leg.error_since_us = None
        body = b"".join(leg.body)
        status = leg.status
        if status in NO_SUCH_API and self.intake.is_chat and leg.dialect is None and leg.target.turn():
            # The same attempt, in the words it understands: nobody is to blame.
            again = Leg(self, leg.attempt, leg.target)
            if leg is self._rival:
                self._rival = again
            else:
                self._leg = again
            self._call_endpoint(again)
            return
        reading = read_error(status, body)
        endpoint_id = leg.attempt.endpoint.id
        cool_until = None
        if reading.fault is Fault.RATE_LIMITED:
            cool_until = now + max(read_retry_after_us(leg.headers, now) or DEFAULT_COOL_US, MIN_COOL_US)
            self.gateway.router.cool(endpoint_id, cool_until)
        if TABLE[reading.fault].to_client and self.held_status != 200:
            body = leg.target.redact(body)
            if leg.dialect is not self.intake.dialect or not body:
                message = leg.target.redact(reading.message.encode()).decode() or "the endpoint gave no reason"
                body = self._write_error(status, message, reading.code or None, reading.param)
            self.held_status, self.held_body = status, body
        self.failed(
            leg,
            now,
            reading.fault,
            status=status,
            detail=reading.message,
            note=reading.code,
            cool_until_us=cool_until,
            features=reading.features,
        )

    def stream(self, leg: Leg, relay: Relay, data: bytes) -> None:
        """Bytes of a streamed answer."""
        try:
            seen = relay.feed(data)
        except Broken as broken:
            if self._machine.committed:
                self._flush(leg, relay)
            self.broke(leg, Fault.DIVERGED if broken.diverged else Fault.CUT, broken.detail, broken.note)
            return
        if seen is _CONTENT:
            # Whether the stream moves is a matter for the next tick: no clock is read for each event.
            leg.progressed = True
            self._flush(leg, relay)
            if relay.finished and leg.finished_us is None and self.intake.choices:
                leg.finished_us = self.gateway.now_us()
        elif seen is _DONE:
            self._flush(leg, relay)
            # The stream is over as far as the API goes; what follows is the end of the HTTP message.
            call, leg.call = leg.call, None
            self.finish(leg, self.gateway.now_us())
            if call is not None:
                call.release()

    def _flush(self, leg: Leg, relay: Relay) -> None:
        """Pass on what may go. The first content commits the exchange to this answer."""
        attempt = leg.attempt
        if not relay.delivered_content:
            return
        if attempt.first_content_us is None:
            self._commit(leg, relay)
        out = relay.take_output()
        if not out:
            return
        if self._streaming:
            self._client.send_stream(out)
        else:
            self._streaming = True
            self._client.begin_stream(self, out)

    def _commit(self, leg: Leg, relay: Relay) -> None:
        """The first content: this answer is the client's."""
        now = self.gateway.now_us()
        self._machine.first_content(now, leg.attempt)
        self.endpoint_header = leg.target.header
        self._relay = relay
        if self._rival is not None:
            self._settle(now)
            if leg.attempt.hedge:
                self.gateway.stats.hedges_won += 1

    def stream_ended(self, leg: Leg, relay: Relay, now: int) -> None:
        """A streamed answer's body is complete as HTTP goes."""
        try:
            relay.close()
        except Broken as broken:
            if self._machine.committed:
                self._flush(leg, relay)
            fault = Fault.DIVERGED if broken.diverged else Fault.CUT
            self.failed(leg, now, fault, detail=broken.detail, note=broken.note)
            return
        self._flush(leg, relay)
        self.finish(leg, now)

    def finish(self, leg: Leg, now: int) -> None:
        """A streamed answer is whole."""
        relay = leg.relay
        assert relay is not None
        leg.finished_us = None
        self._machine.end(now, leg.attempt)
        if leg.dialect is not None and self.intake.origin is not None:
            self.gateway.homes.keep(relay.native_id, leg.attempt.endpoint.id)
        counted = max(relay.written_bytes // BYTES_PER_TOKEN, 0)
        self._account_success(leg, now, relay.usage, counted)
        self._client.end_stream(self, relay.write_end())
        self.gateway.close_exchange(self)

    # ---- doing what the machine says -----------------------------------------------------------------------------

    def broke(self, leg: Leg, fault: Fault, detail: str, note: str | None = None) -> None:
        """The live answer is of no use: close its connection and go on."""
        leg.drop()
        self.failed(leg, self.gateway.now_us(), fault, detail=detail, note=note)

    def failed(
        self,
        leg: Leg,
        now: int,
        fault: Fault,
        *,
        status: int | None = None,
        detail: str = "",
        note: str | None = None,
        cool_until_us: int | None = None,
        features: frozenset[str] = frozenset(),
    ) -> None:
        """An attempt is over without an answer: account for it, and go on as the machine says."""
        attempt = leg.attempt
        if self._relay is not None:
            self._machine.sealed = self._relay.sealed
        # Accounts first: where to go next is decided by what is known now, this failure included.
        leg.note_end(now, fault, status, detail, note)
        self._account(leg, attempt.outcome, now)
        action = self._machine.failed(
            now, attempt, fault, status=status, detail=attempt.detail, cool_until_us=cool_until_us, features=features
        )
        if action is not None:
            self._settle(now)
            self._do(action)

    def _settle(self, now: int) -> None:
        """Close what the machine has ended: by a clock, or because another attempt was first."""
        machine = self._machine
        for leg in self._legs:
            if leg.attempt is not machine.attempt and leg.attempt is not machine.rival:
                leg.drop()
                self._account(leg, leg.attempt.outcome, now)

    def _do(self, action: Action) -> None:
        gateway = self.gateway
        if type(action) is Try:
            attempt = action.attempt
            leg = self._leg = Leg(self, attempt, gateway.start_attempt(attempt))
            if action.pause_us:
                leg.timer = gateway.loop.call_later(action.pause_us / 1e6, self._call_endpoint, leg)
            else:
                self._call_endpoint(leg)
        elif isinstance(action, Hedge):
            gateway.stats.hedges += 1
            leg = self._rival = Leg(self, action.attempt, gateway.start_attempt(action.attempt))
            self._call_endpoint(leg)
        elif isinstance(action, Answer):
            self.endpoint_header = gateway.targets[action.attempt.endpoint.id].header
            self.status = self.held_status
            self._client.send_answer(self, self.held_status, self.held_body)
            self.gateway.close_exchange(self)
        elif isinstance(action, Fail):
            self._send_error(action.status, action.message, action.code, action.retry_after_us)
        else:
            assert isinstance(action, (RelayAction, Finish, Wait, Drop))

    def _call_endpoint(self, leg: Leg) -> None:
        gateway = self.gateway
        attempt, target = leg.attempt, leg.target
        upstream_model = target.upstream.upstream_model
        intake, relay = self.intake, self._relay
        dialect = None
        if intake.dialect is not None or target.speaks_only is not None:
            dialect = target.get_dialect(intake.api)
            intake.created_s = attempt.started_us // 1_000_000
        try:
            if relay is None:
                body = intake.body(upstream_model, dialect)
            else:
                if attempt.resuming:
                    gateway.stats.continuations += 1
                elif attempt.hedge or relay.delivered_content:
                    # Nothing of the other reached the client: this answer has its own beginning.
                    relay = Relay(intake)
                body = relay.begin_attempt(attempt.endpoint, upstream_model, dialect, target.upstream.prefill)
                leg.relay, dialect = relay, relay.dialect
        except CannotSay as error:
            self._cannot_say(leg, error)
            return
        leg.dialect = dialect
        api, lines = intake.api, self._extra
        if self._trace is not None:
            number = next(at for at, one in enumerate(self.attempts) if one is attempt)
            lines += write_attempt_line(self._trace, number)
        if dialect is not None:
            api = dialect.api
            lines += self.native_lines if dialect is intake.dialect else dialect.write_headers({})
        elif intake.dialect is not None:
            api = CHAT_API
        data = target.write_request(api, lines, body, relay is not None)
        leg.call = call = Call(gateway.pool, target, data, leg)
        if self._paused:
            call.pause()
        if call.start():
            self._machine.connected(attempt.started_us, attempt)

    def _cannot_say(self, leg: Leg, error: CannotSay) -> None:
        """The endpoint speaks only an API that has no words for this request."""
        message = f"{leg.attempt.endpoint.id}: {error}"
        if self.held_status != 200:
            self.held_status, self.held_body = 400, self._write_error(400, message, "unsupported_parameter")
        self.failed(leg, self.gateway.now_us(), Fault.UNSUPPORTED, detail=str(error))

    def _send_error(self, status: int, message: str, code: str, retry_after_us: int | None = None) -> None:
        """Tell the client that it is over, and let it be over."""
        self.status, self.code = status, code
        if self.intake.home is not None:
            message += f" {explain_home(self.intake.home)}"
        body = self._write_error(status, message, code)
        relay = self._relay
        if self._streaming and relay is not None:
            # Bytes were delivered: an explicit error event and no [DONE], so that nobody takes the answer for whole.
            self._client.end_stream(self, relay.write_error(body, message, code))
        else:
            self._client.send_answer(self, status, body, retry_after_us)
        self.gateway.close_exchange(self)

    def _write_error(self, status: int, message: str, code: str | None, param: str | None = None) -> bytes:
        """An error in the API the client speaks."""
        return write_refusal(self.intake.dialect, status, message, code, param)

    # ---- accounts ------------------------------------------------------------------------------------------------

    def _let_go(self, leg: Leg) -> None:
        """The attempt is over."""
        if leg is self._rival:
            self._rival = None
        else:
            self._leg = None

    def _account(self, leg: Leg, outcome: Outcome, now: int) -> None:
        self._let_go(leg)
        account_lost(self, leg, outcome, now)

    def _account_success(self, leg: Leg, now: int, usage: Usage | None, counted: int) -> None:
        self._let_go(leg)
        account_answer(self, leg, now, usage, counted)

    # ---- what the machine asks of an attempt that says nothing (Watch) -------------------------------------------

    @property
    def hedges(self) -> HedgeBudget:
        """What pays for a second attempt."""
        return self.gateway.hedges

    def get_hedge_us(self, endpoint: Endpoint) -> int | None:
        """After how long of silence a second attempt may begin; None: not for this request (``rules.hedging``)."""
        intake = self.intake
        if (
            not self.gateway.settings.hedge
            or not intake.stream
            or intake.seals
            or intake.input_tokens > PARAMS.hedge_input_tokens
        ):
            return None
        return self.gateway.router.hedge_us(endpoint.id, intake.task)

    def get_silence_us(self, endpoint: Endpoint, budget_us: int) -> int:
        """How long an endpoint may say nothing before another is asked."""
        gateway = self.gateway
        fixed = gateway.clocks.first_token_us
        silence = gateway.router.first_token_us(endpoint.id, self.intake.task) if fixed is None else fixed
        if self._relay is None:
            silence += gateway.targets[endpoint.id].pace.allow_us(self.intake.output_tokens, gateway.clocks.idle_us)
        # Whatever the clocks say, half of what is left is kept for the others.
        return min(silence, budget_us // 2)
