"""One request played through plan and machine, as the gateway would, and told: a helper for tests of explanations."""

from __future__ import annotations

from providerrank.rules.ask import Ask, Preferences
from providerrank.rules.attempt import Attempt, Fault, Try
from providerrank.rules.attempts import Answer, Attempts, Fail, Hedge, Wait
from providerrank.rules.cells import Endpoint
from providerrank.rules.explain import explain
from providerrank.rules.explanation import Candidate, Explanation
from providerrank.rules.finished import CLIENT_LEFT, Finished, get_cut_ask, get_kept_log
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.observation import Observation
from tests.playbook import TIMING
from tests.unit.rules.market import Market

MS = 1_000


class Told:
    """Begins a request; each verb takes ``ms`` of time and is what the live attempt then shows."""

    def __init__(
        self,
        market: Market,
        model: str = "m",
        *,
        preferences: Preferences | None = None,
        stream: bool = False,
        **ask: object,
    ) -> None:
        self.market = market
        self.stream = stream
        self.plan = market.router.plan(Ask(model, preferences=preferences, **ask), market.now)  # type: ignore[arg-type]  # fields by name
        self.machine = Attempts(self.plan, TIMING, lambda: 0.0)
        self.status, self.code, self.broken_off = 200, "", False
        self.hedges = HedgeBudget(1.0)
        self._do(self.machine.begin(market.now))

    def _do(self, action: object) -> None:
        if isinstance(action, Fail):
            self.status, self.code = action.status, action.code
        elif isinstance(action, Answer):
            self.status = action.attempt.status or 200
        else:
            assert action is None or isinstance(action, (Try, Wait, Hedge)), action

    def get_silence_us(self, endpoint: Endpoint, budget_us: int) -> int:
        del endpoint
        return budget_us

    def get_hedge_us(self, endpoint: Endpoint) -> int | None:
        del endpoint
        return 0

    @property
    def live(self) -> Attempt:
        assert self.machine.attempt is not None
        return self.machine.attempt

    @property
    def trying(self) -> str:
        assert self.machine.attempt is not None
        return self.machine.attempt.endpoint.provider

    def fails(
        self,
        fault: Fault = Fault.SERVER_ERROR,
        ms: int = 100,
        status: int | None = 500,
        note: str = "",
        cool_ms: int | None = None,
    ) -> Told:
        attempt = self.live
        self.market.now += ms * MS
        now = self.market.now
        attempt.fault, attempt.ended_us, attempt.status, attempt.note = fault, now, status, note
        self.market.router.observe(Observation(attempt.endpoint.id, "chat", now, attempt.outcome))
        cool_us = None if cool_ms is None else now + cool_ms * MS
        if cool_us is not None:
            self.market.router.cool(attempt.endpoint.id, cool_us)
        self._do(self.machine.failed(now, attempt, fault, status=status, cool_until_us=cool_us))
        return self

    def waits(self) -> Told:
        self.market.now = self.machine.due_us
        self._do(self.machine.clock(self.market.now, self))
        return self

    def begins(self, ms: int = 100) -> Told:
        self.market.now += ms * MS
        self.machine.connected(self.market.now, self.live)
        self.machine.first_content(self.market.now, self.live)
        return self

    def answers(self, ms: int = 100) -> Told:
        attempt = self.live
        if attempt.first_content_us is None:
            self.machine.connected(self.market.now, attempt)
            self.market.now += ms * MS
            attempt.first_content_us = self.market.now
        else:
            self.market.now += ms * MS
        self.machine.end(self.market.now, attempt)
        return self

    def is_slow(self, ms: int = 500) -> Told:
        """A second attempt begins beside it."""
        self.machine.connected(self.market.now, self.live)
        self.market.now += ms * MS
        self.hedges.requests += 1
        self._do(self.machine.clock(self.market.now, self))
        assert self.machine.rival is not None
        return self

    def is_overtaken(self, ms: int = 100) -> Told:
        """The second has content first."""
        assert self.machine.rival is not None
        self.market.now += ms * MS
        self.machine.first_content(self.market.now, self.machine.rival)
        return self

    def leaves(self, ms: int = 100) -> Told:
        attempt = self.machine.attempt
        self.market.now += ms * MS
        self.machine.client_gone(self.market.now)
        assert attempt is not None
        attempt.ended_us = self.market.now
        self.status = CLIENT_LEFT
        return self

    def finished(self) -> Finished:
        log = self.machine.log
        return Finished(
            b"req-1",
            "chat",
            self.plan.ask if self.plan.ask.preferences is None else get_cut_ask(self.plan.ask),
            self.stream,
            self.status,
            get_kept_log(log),
            self.plan.tell(),
            self.plan.sights,
            (100, 20, 123_000),
            self.machine.began_us,
            self.market.now,
            self.code,
            self.broken_off,
            len(log),
        )

    def explain(self) -> Explanation:
        return explain(self.finished())


def find(explanation: Explanation, name: str, model: str = "m") -> Candidate:
    """One candidate by its provider's name."""
    [part] = [part for part in explanation.models if part.model == model]
    [found] = [one for one in part.candidates if one.endpoint == f"{name}/{model}"]
    return found
