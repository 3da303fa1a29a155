"""One probe: a tiny request of our own to one endpoint, over the same code as anybody's.

It is an ``Exchange`` with nobody at the other end: what is sent, how an answer is judged, which clocks run, what a 429
cools and what a 401 means are what they are for a client's request. What differs is here: one attempt and no other, and
accounts apart from those of requests (``rules.idle_probes`` says what it teaches).

*How to ask.* A chat request of two words and one token, streamed; an endpoint that speaks only another dialect is
asked in that. Some want the limit under its newer name, and some only make embeddings, which their configuration need
not say. A refusal that may mean "not in this way" is held against nobody: the next probe is asked the next way. Once an
endpoint has answered in one way, its refusals count; so they do when it has refused every way.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from providerrank.gateway.exchange import NO_SUCH_API, Exchange
from providerrank.gateway.leg import Leg
from providerrank.rules.ask import Ask, Preferences
from providerrank.rules.attempt import Attempt, Fault
from providerrank.rules.attempts import Attempts, Timing
from providerrank.rules.budget import compute_cost_nusd
from providerrank.rules.cells import CHAT, PROBE, Endpoint
from providerrank.rules.finished import Finished
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.why import Why
from providerrank.wire.answer import Usage
from providerrank.wire.apis import read_any
from providerrank.wire.intake import CHAT_API, EMBEDDINGS_API

if TYPE_CHECKING:
    from providerrank.gateway.server import Gateway

PROMPT = "Say hi"

CHAT_FEATURES = frozenset({"tools", "json_schema", "vision", "prefill", "logprobs", "responses", "messages"})
"""Whoever has one of these chats."""

_encode = msgspec.json.Encoder().encode


class Way(enum.Enum):
    """How an endpoint is asked."""

    CHAT = enum.auto()
    CHAT_BY_NEWER_NAME = enum.auto()
    """The limit is ``max_completion_tokens``."""
    EMBEDDINGS = enum.auto()


class Manner:
    """What is known of how one endpoint wants to be asked."""

    __slots__ = ("_at", "_ways", "is_proved")

    def __init__(self, endpoint: Endpoint) -> None:
        chats = [Way.CHAT, Way.CHAT_BY_NEWER_NAME]
        self._ways = chats
        if "embeddings" in endpoint.features:
            embeds_only = not endpoint.features & CHAT_FEATURES or "embed" in endpoint.model.lower()
            self._ways = [Way.EMBEDDINGS, *chats] if embeds_only else [*chats, Way.EMBEDDINGS]
        self._at = 0
        self.is_proved = False
        """It has answered in this way."""

    @property
    def way(self) -> Way:
        """How to ask next."""
        return self._ways[self._at]

    def excuses(self, fault: Fault, status: int | None) -> bool:
        """Whether a refusal may only mean "not in this way"; then the next probe is asked another way."""
        if self.is_proved:
            return False
        is_other_api = status in NO_SUCH_API
        if not is_other_api and fault not in (Fault.UNSUPPORTED, Fault.CLIENT_ERROR):
            return False
        before = self.way
        while True:
            self._at = (self._at + 1) % len(self._ways)
            if self._at == 0:
                return False
            # Nobody who has no chat API has it under another name of a field.
            if not (is_other_api and Way.EMBEDDINGS not in (before, self.way)):
                return True


def write_probe(way: Way, model: str, max_tokens: int) -> tuple[str, bytes]:
    """The API to ask, and the request."""
    if way is Way.EMBEDDINGS:
        return EMBEDDINGS_API, _encode({"model": model, "input": PROMPT})
    limit = "max_tokens" if way is Way.CHAT else "max_completion_tokens"
    messages = [{"role": "user", "content": PROMPT}]
    return CHAT_API, _encode({"model": model, "messages": messages, limit: max_tokens, "stream": True})


class _Nobody:
    """The client of a probe."""

    def send_answer(self, exchange: Exchange, status: int, body: bytes, retry_after_us: int | None = None) -> None:
        """Nobody waits for it; so with the rest."""

    def begin_stream(self, exchange: Exchange, data: bytes) -> None:
        """Likewise."""

    def send_stream(self, data: bytes) -> None:
        """Likewise."""

    def end_stream(self, exchange: Exchange, data: bytes) -> None:
        """Likewise."""


NOBODY = _Nobody()


class Probe(Exchange):
    """See the module."""

    is_probe = True

    def __init__(
        self, gateway: Gateway, endpoint: Endpoint, manner: Manner, max_tokens: int, request_id: bytes, hold_nusd: int
    ) -> None:
        """``hold_nusd`` is what was set aside for it. Raises ``RoutingError`` where no request may go there."""
        now_us = gateway.now_us()
        api, body = write_probe(manner.way, endpoint.model, max_tokens)
        intake = read_any(api, body)
        intake.task = PROBE
        preferences = Preferences(only=(endpoint.id,), allow_fallbacks=False)
        plan = gateway.router.plan(Ask(endpoint.model, (), CHAT, preferences=preferences), now_us)
        super().__init__(gateway, NOBODY, intake, plan, request_id, None, b"x-request-id: %b\r\n" % request_id)
        total_us = max(PARAMS.first_token_default_us, gateway.router.first_token_us(endpoint.id, CHAT))
        timing = Timing(gateway.clocks.connect_us, gateway.clocks.idle_us, total_us, 0)
        self._machine = Attempts(plan, timing, gateway.jitter)
        self.attempts = self._machine.log
        self._manner = manner
        self._hold_nusd = hold_nusd
        self.outcome = Outcome.NOBODYS
        """What it said of the endpoint."""

    @override
    def begin(self, now_us: int) -> None:
        super().begin(now_us)
        for attempt in self.attempts:
            attempt.why = Why.PROBE

    @override
    def tell(self) -> Finished:
        finished = super().tell()
        finished.is_probe = True
        return finished

    @override
    def get_hedge_us(self, endpoint: Endpoint) -> int | None:
        return None

    @override
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
        """The one attempt has failed: that is all there is to know."""
        attempt = leg.attempt
        self._machine.client_gone(now)
        leg.note_end(now, fault, status, detail, note)
        self._account(leg, Outcome.NOBODYS if self._manner.excuses(fault, status) else attempt.outcome, now)
        self.status = 502 if status is None else status
        self.gateway.close_exchange(self)

    @override
    def _account(self, leg: Leg, outcome: Outcome, now: int) -> None:
        attempt = leg.attempt
        # A refusal is not billed. What else was begun and did not end may have been.
        is_billed = attempt.connected_us is not None and attempt.status is None
        self._let_go(leg)
        self._learn(attempt, outcome, now, 0, 0, self._hold_nusd if is_billed else 0)

    @override
    def _account_success(self, leg: Leg, now: int, usage: Usage | None, counted: int) -> None:
        self._let_go(leg)
        self._manner.is_proved = True
        used = usage or Usage()
        prompt = self.intake.input_tokens if used.prompt_tokens is None else used.prompt_tokens
        tokens = counted if used.completion_tokens is None else used.completion_tokens
        cost_nusd = compute_cost_nusd(leg.attempt.endpoint.price, prompt, tokens, used.cached_tokens or 0)
        is_sound = leg.relay is None or not leg.relay.bad_events
        self._learn(leg.attempt, Outcome.SUCCESS if is_sound else Outcome.FAILURE, now, prompt, tokens, cost_nusd)

    def _learn(self, attempt: Attempt, outcome: Outcome, now: int, prompt: int, tokens: int, cost_nusd: int) -> None:
        self.outcome = outcome
        self.usage = (prompt, tokens, cost_nusd)
        first_us = attempt.first_content_us
        # What is not streamed is as slow as it is long: never to be compared with what is (see ``accounts``).
        is_timed = first_us is not None and (self.intake.stream or attempt.model not in self.gateway.streamed_models)
        ttft_us = first_us - attempt.started_us if first_us is not None and is_timed else None
        total_us = now - attempt.started_us
        observation = Observation(attempt.endpoint.id, PROBE, now, outcome, ttft_us, total_us, prompt or None)
        self.gateway.end_probe(attempt, observation, cost_nusd)
