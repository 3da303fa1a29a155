"""Transcripts of the fallback machine: inject an event, expect an action.

A test reads as what happened to one request::

    play("a", "b").begin().tries("a").fails(Fault.UNREACHABLE).tries("b").content().commits().ends().finishes()

Verbs that end in *s* and name an action (``tries``, ``commits``, ``waits``, ``finishes``, ``answers``, ``gives_up``,
``carries_on``, ``hedges_on``, ``drops``) check what the last event led to. The others are events, of the live attempt,
or of the one ``of`` a provider where two are live. Time stands still unless ``passes`` or ``runs_out`` move it. Every
event's action has to be checked before the next one: an action nobody expects fails.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Self

from providerrank.rules.attempt import Attempt, Fault, Try
from providerrank.rules.attempts import FINISH, RELAY, Action, Answer, Attempts, Drop, Fail, Hedge, State, Timing, Wait
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.why import Why

MS = 1_000
S = 1_000_000

TIMING = Timing(connect_us=2 * S, idle_us=15 * S, total_us=300 * S, patience_us=3 * S)
FIRST_TOKEN_US = 5 * S
START_US = 1_700_000_000 * S
PRICE = Price.from_usd(1.0, 2.0)


def endpoint(
    name: str, model: str = "m", *, features: frozenset[str] = frozenset(), context_window: int | None = None
) -> Endpoint:
    """An endpoint of ``model`` sold by ``name``."""
    return Endpoint(f"{name}/{model}", model, PRICE, context_window, features)


def prefiller(name: str, model: str = "m") -> Endpoint:
    """An endpoint that continues a given beginning."""
    return endpoint(name, model, features=frozenset({"prefill"}))


@dataclass
class Pool:
    """Candidates in a fixed order: models first to last, endpoints as listed."""

    models: list[tuple[str, list[Endpoint]]]
    cooling: dict[str, int] = field(default_factory=dict)
    """Endpoint id to the time its rate limit ends."""
    out: set[str] = field(default_factory=set)
    """Ids believed out: only a last resort."""
    full: set[str] = field(default_factory=set)
    """Ids without room for a second attempt beside a live one."""
    tried: list[str] = field(default_factory=list)
    features: frozenset[str] = frozenset()
    context_over: int = 0
    at: int = 0
    model: str = ""
    why: Why = Why.BEST

    def __post_init__(self) -> None:
        self.model = self.models[self.at][0]

    def admits(self, candidate: Endpoint) -> bool:
        window = candidate.context_window
        return self.features <= candidate.features and (window is None or window > self.context_over)

    def is_usable(self, candidate: Endpoint, now_us: int) -> bool:
        return candidate.id not in self.tried and self.cooling.get(candidate.id, 0) <= now_us and self.admits(candidate)

    def next(self, now_us: int, spare: bool = False) -> Endpoint | None:
        for candidate in self.models[self.at][1]:
            if candidate.id not in self.out and self.is_usable(candidate, now_us):
                if spare and candidate.id in self.full:
                    return None
                self.tried.append(candidate.id)
                return candidate
        return None

    def more(self, now_us: int) -> bool:
        return any(self.is_usable(c, now_us) for _, candidates in self.models for c in candidates)

    def more_here(self, now_us: int) -> bool:
        return any(self.is_usable(c, now_us) for c in self.models[self.at][1])

    def earliest_cooled_us(self, now_us: int, avoid: Collection[str] = ()) -> tuple[Endpoint, int] | None:
        cooling = [
            (self.cooling[c.id], i, c)
            for i, c in enumerate(self.models[self.at][1])
            if self.cooling.get(c.id, 0) > now_us and c.id not in avoid and self.admits(c)
        ]
        if not cooling:
            return None
        until_us, _, first = min(cooling, key=lambda entry: entry[:2])
        return first, until_us

    def mark(self, endpoint: Endpoint) -> None:
        if endpoint.id not in self.tried:
            self.tried.append(endpoint.id)

    def advance(self, now_us: int) -> bool:
        del now_us
        if self.at + 1 >= len(self.models):
            return False
        self.at += 1
        self.model = self.models[self.at][0]
        return True

    def last_resort(self, now_us: int, here: bool = False) -> Endpoint | None:
        for at, (_, candidates) in enumerate(self.models):
            if here and at != self.at:
                continue
            for candidate in candidates:
                if self.is_usable(candidate, now_us):
                    self.at = at
                    self.model = self.models[at][0]
                    self.tried.append(candidate.id)
                    return candidate
        return None

    def require(self, features: frozenset[str] = frozenset(), context_over: int | None = None) -> None:
        self.features |= features
        if context_over is not None:
            self.context_over = max(self.context_over, context_over)


class Playbook:
    """One request's transcript. See the module."""

    def __init__(
        self, pool: Pool, timing: Timing, first_token_us: int, jitter: float, hedge_us: int | None = None
    ) -> None:
        self.pool = pool
        self.now_us = START_US
        self.machine = Attempts(pool, timing, lambda: jitter)
        self.hedges = HedgeBudget(1.0)
        self.hedges.requests = 1_000
        self._first_token_us = first_token_us
        self._hedge_us = hedge_us
        self._unread: Action | None = None

    # ---- what the machine asks (Watch) ---------------------------------------------------------------------------

    def get_silence_us(self, endpoint: Endpoint, budget_us: int) -> int:
        del endpoint
        return min(self._first_token_us, budget_us)

    def get_hedge_us(self, endpoint: Endpoint) -> int | None:
        assert endpoint in {attempt.endpoint for attempt in self.live}
        return self._hedge_us

    # ---- which attempt -------------------------------------------------------------------------------------------

    @property
    def live(self) -> list[Attempt]:
        """What is under way."""
        return [attempt for attempt in (self.machine.attempt, self.machine.rival) if attempt is not None]

    def _find(self, of: str | None) -> Attempt:
        """The attempt an event is about, which may be over: the provider's last, or the only live one, or the last."""
        if of is None:
            [attempt] = self.live or self.machine.log[-1:]
            return attempt
        return [attempt for attempt in self.machine.log if attempt.endpoint.provider == of][-1]

    # ---- events --------------------------------------------------------------------------------------------------

    def begin(self) -> Self:
        return self._event(self.machine.begin(self.now_us))

    def connects(self, of: str | None = None) -> Self:
        self._expect_nothing_unread()
        self.machine.connected(self.now_us, self._find(of))
        return self

    def first_byte(self, of: str | None = None) -> Self:
        self._expect_nothing_unread()
        self.machine.first_byte(self.now_us, self._find(of))
        return self

    def progress(self, of: str | None = None) -> Self:
        self._expect_nothing_unread()
        self.machine.progress(self.now_us, self._find(of))
        return self

    def content(self, of: str | None = None) -> Self:
        return self._event(self.machine.first_content(self.now_us, self._find(of)))

    def tool_call(self) -> Self:
        """Something was delivered that nothing can continue."""
        self.machine.sealed = True
        return self

    def ends(self, of: str | None = None) -> Self:
        return self._event(self.machine.end(self.now_us, self._find(of)))

    def fails(
        self,
        fault: Fault,
        *,
        of: str | None = None,
        status: int | None = None,
        detail: str = "",
        features: frozenset[str] = frozenset(),
    ) -> Self:
        return self._event(
            self.machine.failed(self.now_us, self._find(of), fault, status=status, detail=detail, features=features)
        )

    def rate_limited(self, for_us: int, of: str | None = None) -> Self:
        """A 429 that says how long: its endpoint cools, as the gateway sees to, and the attempt fails."""
        live = self._find(of)
        until_us = self.now_us + for_us
        self.pool.cooling[live.endpoint.id] = max(until_us, self.pool.cooling.get(live.endpoint.id, 0))
        return self._event(
            self.machine.failed(self.now_us, live, Fault.RATE_LIMITED, status=429, cool_until_us=until_us)
        )

    def client_leaves(self) -> Self:
        self._expect_nothing_unread()
        self.machine.client_gone(self.now_us)
        return self

    def passes(self, us: int) -> Self:
        """Time passes and the machine's clock is read."""
        self.now_us += us
        return self._event(self.machine.clock(self.now_us, self))

    def runs_out(self) -> Self:
        """Time passes until a clock of the machine runs out; it may ask to be read before that."""
        while self._unread is None and self.machine.state is not State.DONE:
            assert self.machine.due_us > self.now_us, "the clock ran out before"
            self.passes(self.machine.due_us - self.now_us)
        return self

    # ---- what the last event led to ------------------------------------------------------------------------------

    def tries(self, name: str, *, resuming: bool = False, pause_us: int = 0) -> Self:
        action = self._read()
        assert isinstance(action, Try), f"expected a try of {name}, got {action}"
        attempt = action.attempt
        assert attempt.endpoint.provider == name
        assert attempt.resuming is resuming
        assert action.pause_us == pause_us
        assert attempt.model == attempt.endpoint.model
        assert attempt.started_us == self.now_us + pause_us
        assert self.machine.attempt is attempt is self.machine.log[-1]
        assert self.machine.rival is None
        return self

    def hedges_on(self, name: str) -> Self:
        action = self._read()
        assert isinstance(action, Hedge), f"expected a second attempt on {name}, got {action}"
        attempt = action.attempt
        assert attempt.endpoint.provider == name
        assert attempt.hedge
        assert not attempt.resuming
        assert attempt.started_us == self.now_us
        assert self.machine.rival is attempt is self.machine.log[-1]
        assert self.machine.attempt is not None
        return self

    def drops(self, name: str, fault: Fault) -> Self:
        """A clock of one of two ran out."""
        action = self._read()
        assert isinstance(action, Drop), f"expected {name} to be dropped, got {action}"
        assert (action.attempt.endpoint.provider, action.attempt.fault) == (name, fault)
        assert len(self.live) == 1
        return self

    def commits(self) -> Self:
        action = self._read()
        assert action is RELAY, f"expected the answer to be relayed, got {action}"
        assert self.machine.committed
        return self

    def waits(self, us: int) -> Self:
        action = self._read()
        assert isinstance(action, Wait), f"expected a wait, got {action}"
        assert action.until_us - self.now_us == us
        assert self.machine.attempt is None
        return self

    def finishes(self) -> Self:
        action = self._read()
        assert action is FINISH, f"expected the end, got {action}"
        return self._is_over()

    def answers(self, name: str) -> Self:
        """The client is given this endpoint's own reply."""
        action = self._read()
        assert isinstance(action, Answer), f"expected the answer of {name}, got {action}"
        assert action.attempt.endpoint.provider == name
        return self._is_over()

    def gives_up(self, status: int, code: str, *, retry_after_us: int | None = None) -> Self:
        action = self._read()
        assert isinstance(action, Fail), f"expected a failure, got {action}"
        assert (action.status, action.code, action.retry_after_us) == (status, code, retry_after_us)
        for attempt in self.machine.log:
            assert attempt.endpoint.id in action.message
        return self._is_over()

    def carries_on(self) -> Self:
        """Nothing is to be done."""
        action = self._read()
        assert action is None, f"expected nothing to do, got {action}"
        return self

    @property
    def log(self) -> list[Attempt]:
        return self.machine.log

    # ---- inside --------------------------------------------------------------------------------------------------

    def _event(self, action: Action | None) -> Self:
        self._expect_nothing_unread()
        self._unread = action
        return self

    def _read(self) -> Action | None:
        action, self._unread = self._unread, None
        return action

    def _expect_nothing_unread(self) -> None:
        assert self._unread is None, f"the transcript says nothing of {self._unread}"

    def _is_over(self) -> Self:
        assert self.machine.state is State.DONE
        assert not self.live
        assert all(attempt.ended_us is not None for attempt in self.machine.log)
        return self


def play(
    *candidates: str | Endpoint,
    fallback: tuple[str | Endpoint, ...] = (),
    out: tuple[str, ...] = (),
    first_token_us: int = FIRST_TOKEN_US,
    jitter: float = 0.0,
    total_us: int = TIMING.total_us,
    hedge_us: int | None = None,
) -> Playbook:
    """A request for model ``m`` with these candidates, best first, and those of a fallback model ``n``."""
    models = [("m", [endpoint(c) if isinstance(c, str) else c for c in candidates])]
    if fallback:
        models.append(("n", [endpoint(c, "n") if isinstance(c, str) else c for c in fallback]))
    believed_out = {c.id for _, listed in models for c in listed if c.provider in out}
    timing = replace(TIMING, total_us=total_us)
    return Playbook(Pool(models, out=believed_out), timing, first_token_us, jitter, hedge_us)
