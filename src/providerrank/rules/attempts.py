"""The fallback state machine: what happens next when something happens to an attempt.

One request is a walk over candidates. The machine owns the walk and the clocks; it does no I/O. Its
driver tells it what was seen (``begin``, ``connected``, ``first_content``, ``progress``, ``end``,
``failed``, ``clock``, ``client_gone``) and on which attempt, and does what it answers (``Try``, ``Hedge``, ``Drop``,
``Wait``, ``Relay``, ``Finish``, ``Answer``, ``Fail``, or nothing). Which candidate is best *now* is asked of a
``Candidates`` port, so the same machine serves every kind of request and every ranking.

::

    IDLE -> TRYING -> COMMITTED -> DONE          first_content commits: bytes go to the client
             |  ^        |
             v  |        v
           WAITING     TRYING (resuming)         a committed answer is continued, never replaced

*Hedging.* While TRYING, an attempt that has been silent for longer than its cell usually takes may get a second one
beside it, elsewhere (``rules.hedging`` says when, and how many of all requests may). From there on each has its
own clocks and its own end. The first to have content is committed to and the other is dropped, which counts
against nobody; where one fails the other goes on alone, and nothing else is tried meanwhile.

Invariants, held by a property test:

* at most two attempts are live, of which the second is the request's only hedge, and only before anything is
  committed; at most one is committed to the client at a time;
* once committed, only the same model continues, and only where nothing delivered is contradicted;
* an endpoint is tried again only where ``TABLE`` says so: once after a 500, 502 or reset on the
  model's last endpoint, and after a 429 once its wait is over;
* every path ends in exactly one of Finish, Answer, Fail or the client's leaving;
* nothing is tried past the total deadline.

``TABLE`` in ``rules.attempt`` is the published fault table; ``docs/reference/faults.md`` shows it and a test holds the
two together.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from providerrank.rules.attempt import TABLE, Attempt, Fault, Try
from providerrank.rules.cells import Endpoint
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.why import Why


class Candidates(Protocol):
    """The ranking as one request sees it, best first by the session's current view (``rules.plan.Plan``)."""

    model: str
    why: Why
    """Why the latest of ``next`` and ``last_resort`` was chosen."""

    def next(self, now_us: int, spare: bool = False) -> Endpoint | None:
        """The best usable untried endpoint of the current model, now marked as tried.

        ``spare``: for a second attempt beside a live one, so only if it is well and has room for more.
        """

    def more(self, now_us: int) -> bool:
        """Whether anything else would be offered, on any model."""

    def more_here(self, now_us: int) -> bool:
        """Whether anything else would be offered of the current model."""

    def earliest_cooled_us(self, now_us: int, avoid: Collection[str] = ()) -> tuple[Endpoint, int] | None:
        """The rate-limited endpoint of the current model that frees first, and when; none of the ids in ``avoid``."""

    def mark(self, endpoint: Endpoint) -> None:
        """Count an endpoint that was waited for as tried."""

    def advance(self, now_us: int) -> bool:
        """Go on to the next fallback model."""

    def last_resort(self, now_us: int, here: bool = False) -> Endpoint | None:
        """An untried endpoint that is believed out, where nothing else is left; ``here``: of the current model only."""

    def require(self, features: frozenset[str] = frozenset(), context_over: int | None = None) -> None:
        """Narrow what follows to endpoints with these features or a context window above this one."""


class Watch(Protocol):
    """What the driver knows of an attempt that says nothing; asked only once it is not early any more."""

    def get_silence_us(self, endpoint: Endpoint, budget_us: int) -> int:
        """How long this endpoint may stay silent before its first content, of ``budget_us`` that are left."""

    def get_hedge_us(self, endpoint: Endpoint) -> int | None:
        """After how long of it a second attempt may begin elsewhere; None: this request has none."""

    @property
    def hedges(self) -> HedgeBudget:
        """What pays for it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Clocks of one request, microseconds."""

    connect_us: int
    idle_us: int
    total_us: int
    patience_us: int


# ---- actions: what the driver is to do ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hedge:
    """Send the request to this endpoint too; the live attempt stays."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Drop:
    """This attempt has failed by its clock; the other goes on."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is live; call ``clock`` at ``until_us``."""

    until_us: int


@dataclass(frozen=True, slots=True)
class Relay:
    """The attempt is the client's now: pass on what was held and what comes. Another live one is dropped."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The answer is whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Give the client this attempt's own reply as it came."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Fail:
    """Tell the client that it is over: an error response, or an error event where bytes were delivered."""

    status: int
    code: str
    message: str
    retry_after_us: int | None = None


Action = Try | Hedge | Drop | Wait | Relay | Finish | Answer | Fail
RELAY = Relay()
FINISH = Finish()

RETRY_PAUSE_US = (50_000, 150_000)
"""Pause before the one retry, drawn evenly: long enough for a restarting worker, short enough not to be felt."""

PATIENCE_JITTER_US = 50_000
"""Spread of wake-ups after a shared Retry-After, so that the waiting do not return as one burst."""

_WAKE_US: Final = (0, PATIENCE_JITTER_US)

FIRST_LOOK_US = 50_000
"""No first-token or connect clock is shorter than this, and no hedge sooner."""

MIN_COOL_US = 100_000
"""A shorter Retry-After is taken as this long: one request must not ask an endpoint dozens of times within patience."""

DEFAULT_COOL_US = 1_000_000
"""How long a 429 without Retry-After keeps an endpoint out: the shortest reset window providers use."""


HEDGE_STEPS = 10
"""A hedge that nothing paid for is asked for again when its attempt has waited a tenth longer."""


class State(enum.Enum):
    """Where a request is."""

    IDLE = enum.auto()
    TRYING = enum.auto()
    WAITING = enum.auto()
    COMMITTED = enum.auto()
    DONE = enum.auto()


# By name they cost a lookup in the enumeration each, a tenth of a microsecond: too much for each request.
_IDLE: Final = State.IDLE
_TRYING: Final = State.TRYING
_COMMITTED: Final = State.COMMITTED
_DONE: Final = State.DONE


class Attempts:
    """The machine of one request. Every method is an event; its result is what to do (None: carry on)."""

    # How it is at rest: what most requests never change is not set anew for each.
    _retried: str | None = None
    """The model whose last endpoint had its one retry."""
    _held: Attempt | None = None
    """A refusal to be given to the client where nobody else answers."""
    _waiting_for: Endpoint | None = None
    _patience_end_us: int | None = None
    _cooled: int | None = None
    """When the first of the rate limits met on the way ends."""
    attempt: Attempt | None = None
    """The live one; of two the one that began first."""
    rival: Attempt | None = None
    """The second live one."""
    _hedged = False
    committed = False
    began_us = 0
    """When the request came."""
    sealed = False
    """Set by the driver once something was delivered that nothing can continue: tool-call deltas, several choices."""
    _deadline_us = 0
    due_us = 0
    """When ``clock`` wants to be called next. The driver may call late or early, never needs to call often."""

    def __init__(self, candidates: Candidates, timing: Timing, jitter: Callable[[], float]) -> None:
        """``jitter()`` is in [0, 1)."""
        self._candidates = candidates
        self._timing = timing
        self._jitter = jitter
        self.state = _IDLE
        self.wake_us = _WAKE_US
        """Between which times after a rate limit's end to go on; the driver sets it for those who go first or last."""
        self._log: list[Attempt] = []
        self._later: list[Endpoint] = []

    @property
    def log(self) -> list[Attempt]:
        """Every attempt so far, in order; the last one may be live."""
        return self._log

    # ---- events --------------------------------------------------------------------------------------------------

    def begin(self, now_us: int) -> Action:
        """The request is here."""
        self.began_us = now_us
        self._deadline_us = now_us + self._timing.total_us
        endpoint = self._candidates.next(now_us)
        return self._next(now_us, None) if endpoint is None else self._try(now_us, endpoint)

    def connected(self, now_us: int, attempt: Attempt) -> None:
        """It has its connection: the connect clock stops, the first-token clock runs."""
        if attempt is self.attempt or attempt is self.rival:
            attempt.connected_us = now_us
            if now_us == attempt.started_us:
                return  # on a kept connection; its clock is right as it is
            # When it would be late is asked only once it is not early any more: most answers are here by then.
            self.due_us = attempt.due_us = min(self._deadline_us, now_us + FIRST_LOOK_US)
            if self.rival is not None:
                self._merge_due()

    def first_byte(self, now_us: int, attempt: Attempt) -> None:
        """Its answer has begun, but is not committed to before it is whole: from here on it may stall, not be late."""
        if attempt.first_content_us is None and (attempt is self.attempt or attempt is self.rival):
            attempt.first_content_us = now_us
            self._move_idle(now_us, attempt)

    def first_content(self, now_us: int, attempt: Attempt) -> Action | None:
        """Something of it is worth delivering: commit to it."""
        if not self._settle_on(now_us, attempt):
            return None
        if attempt.first_content_us is None:
            attempt.first_content_us = now_us
        self.state = _COMMITTED
        self.committed = True
        self.due_us = attempt.due_us = min(self._deadline_us, now_us + self._timing.idle_us)
        return RELAY

    def progress(self, now_us: int, attempt: Attempt) -> None:
        """Bytes of its answer arrived: the idle clock starts anew (once an answer has begun)."""
        if attempt.first_content_us is not None and (attempt is self.attempt or attempt is self.rival):
            self._move_idle(now_us, attempt)

    def end(self, now_us: int, attempt: Attempt) -> Action | None:
        """Its answer is complete and well-formed."""
        if (self.rival is not None or attempt is not self.attempt) and not self._settle_on(now_us, attempt):
            return None
        attempt.ended_us = now_us
        self.attempt = None
        self.state = _DONE
        return FINISH

    def failed(
        self,
        now_us: int,
        attempt: Attempt,
        fault: Fault,
        *,
        status: int | None = None,
        detail: str = "",
        cool_until_us: int | None = None,
        features: frozenset[str] = frozenset(),
    ) -> Action | None:
        """It failed. ``cool_until_us``: end of its 429; ``features``: what an UNSUPPORTED one lacks."""
        if attempt is self.attempt:
            self.attempt, self.rival = self.rival, None
        elif attempt is self.rival:
            self.rival = None
        else:
            return None
        other = self.attempt
        attempt.ended_us = now_us
        attempt.fault = fault
        attempt.status = status
        attempt.detail = detail
        rule = TABLE[fault]
        if fault is Fault.RATE_LIMITED and cool_until_us is not None:
            self._note_cooled(now_us, cool_until_us)
        if rule.to_client and not self.committed:
            if self._held is None or self._held.fault is not Fault.SCHEMA or fault is Fault.SCHEMA:
                # (A whole answer that breaks its schema is worth more to the client than a later refusal.)
                self._held = attempt
            if not rule.next_endpoint:
                if other is not None:
                    self._beat(now_us, other)
                return self._give(attempt)
        if fault is Fault.CONTEXT_LENGTH:
            self._candidates.require(context_over=attempt.endpoint.context_window)
        elif fault is Fault.UNSUPPORTED and features:
            self._candidates.require(features=features)
        if other is not None:
            self.due_us = other.due_us
            return None
        if self.committed and self.sealed:
            return self._fail(now_us)
        return self._next(now_us, attempt)

    def clock(self, now_us: int, watch: Watch) -> Action | None:
        """Time passed. Does nothing before ``due_us``; may have more to say when asked again at once."""
        if now_us < self.due_us or self.state is _DONE:
            return None
        if self.state is State.WAITING:
            endpoint, self._waiting_for = self._waiting_for, None
            if endpoint is None or now_us >= self._deadline_us:
                return self._fail(now_us)
            self._candidates.mark(endpoint)
            waited = self._try(now_us, endpoint)
            waited.attempt.why = Why.WAITED
            return waited
        attempt, rival = self.attempt, self.rival
        if attempt is None:
            return None
        if now_us >= self._deadline_us:
            if rival is not None:
                self.failed(now_us, rival, Fault.TOTAL_TIMEOUT)
            return self.failed(now_us, attempt, Fault.TOTAL_TIMEOUT)
        if rival is None:
            return self._look_at(now_us, attempt, watch)
        one = attempt if attempt.due_us <= rival.due_us else rival
        self._look_at(now_us, one, watch)
        if self.rival is None:
            return Drop(one)
        self._merge_due()
        return None

    def client_gone(self, now_us: int) -> None:
        """The client left: whatever was live is dropped and counts against nobody."""
        del now_us
        self.attempt = self.rival = None
        self.state = _DONE

    # ---- clocks of one attempt -----------------------------------------------------------------------------------

    def _look_at(self, now_us: int, attempt: Attempt, watch: Watch) -> Action | None:
        """Its clock has run out, or says when it is to be looked at next."""
        if attempt.first_content_us is not None:
            return self.failed(now_us, attempt, Fault.IDLE_TIMEOUT)
        if attempt.connected_us is None:
            fault, late_us = Fault.CONNECT_TIMEOUT, attempt.started_us + self._timing.connect_us
        else:
            fault, late_us = Fault.FIRST_TOKEN_TIMEOUT, self._compute_late_us(now_us, attempt, watch)
        if now_us >= late_us:
            return self.failed(now_us, attempt, fault)
        self.due_us = attempt.due_us = min(self._deadline_us, late_us)
        return None if self._hedged or self.committed else self._hedge(now_us, attempt, watch)

    def _compute_late_us(self, now_us: int, attempt: Attempt, watch: Watch) -> int:
        """When a silent endpoint is late. While no candidate is left none is: nobody else would answer sooner."""
        candidates = self._candidates
        if not self._later and not (candidates.more_here(now_us) if self.committed else candidates.more(now_us)):
            return self._deadline_us
        silence = watch.get_silence_us(attempt.endpoint, self._deadline_us - attempt.started_us)
        return min(self._deadline_us, attempt.started_us + silence)

    def _hedge(self, now_us: int, attempt: Attempt, watch: Watch) -> Action | None:
        """A second attempt beside this one, or when to think of it."""
        after_us = watch.get_hedge_us(attempt.endpoint)
        if after_us is None:
            return None
        due_us = attempt.started_us + after_us
        if now_us < due_us:
            self.due_us = attempt.due_us = min(attempt.due_us, due_us)
            return None
        budget = watch.hedges
        endpoint = self._candidates.next(now_us, spare=True) if budget.has_one() else None
        if endpoint is None:
            again_us = max(FIRST_LOOK_US, (now_us - attempt.started_us) // HEDGE_STEPS)
            self.due_us = attempt.due_us = min(attempt.due_us, now_us + again_us)
            return None
        budget.take()
        self._hedged = True
        self.rival = Attempt(endpoint, self._candidates.model, now_us, hedge=True, why=Why.HEDGE)
        self.rival.due_us = min(self._deadline_us, now_us + FIRST_LOOK_US)
        self._log.append(self.rival)
        self._merge_due()
        return Hedge(self.rival)

    def _move_idle(self, now_us: int, attempt: Attempt) -> None:
        self.due_us = attempt.due_us = min(self._deadline_us, now_us + self._timing.idle_us)
        if self.rival is not None:
            self._merge_due()

    def _merge_due(self) -> None:
        """Two are live: the earlier clock is the machine's."""
        assert self.attempt is not None
        assert self.rival is not None
        self.due_us = min(self.attempt.due_us, self.rival.due_us)

    def _settle_on(self, now_us: int, attempt: Attempt) -> bool:
        """Of two live attempts go on with this one. False: it is not live."""
        rival = self.rival
        if rival is None:
            return attempt is self.attempt
        if attempt is rival:
            rival, self.attempt = self.attempt, rival
            assert rival is not None
        elif attempt is not self.attempt:
            return False
        self._beat(now_us, rival)
        return True

    def _beat(self, now_us: int, attempt: Attempt) -> None:
        """It is of no use any more."""
        if attempt is self.attempt:
            self.attempt = None
        self.rival = None
        attempt.ended_us = now_us
        attempt.beaten = True

    # ---- the walk ------------------------------------------------------------------------------------------------

    def _next(self, now_us: int, failed: Attempt | None) -> Action:
        if now_us >= self._deadline_us:
            return self._fail(now_us)
        rule = TABLE[failed.fault] if failed is not None and failed.fault is not None else None
        if rule is not None and not rule.next_endpoint and not self.committed:
            # (A refusal of what continues a delivered answer is no answer to the client: on to another endpoint.)
            return self._fail(now_us)
        while True:
            endpoint = self._choose(now_us)
            if endpoint is not None:
                return self._try(now_us, endpoint)
            if failed is not None and rule is not None and rule.retry_last and self._retried != failed.model:
                self._retried = failed.model
                low, high = RETRY_PAUSE_US
                pause_us = low + int(self._jitter() * (high - low))
                if now_us + pause_us < self._deadline_us:
                    again = self._try(now_us, failed.endpoint, pause_us)
                    again.attempt.why = Why.RETRY
                    return again
            waiting = self._wait(now_us)
            if waiting is not None:
                return waiting
            if self.committed:
                break
            if rule is not None and not rule.next_model:
                return self._fail(now_us)
            if not self._candidates.advance(now_us):
                break
            failed, self._patience_end_us = None, None
        endpoint = self._candidates.last_resort(now_us, here=self.committed)
        return self._fail(now_us) if endpoint is None else self._try(now_us, endpoint)

    def _choose(self, now_us: int) -> Endpoint | None:
        """The best candidate; to continue a delivered answer, those that can be prefilled come first."""
        if not self.committed:
            return self._candidates.next(now_us)
        while (endpoint := self._candidates.next(now_us)) is not None:
            if "prefill" in endpoint.features:
                return endpoint
            self._later.append(endpoint)
        return self._later.pop(0) if self._later else None

    def _wait(self, now_us: int) -> Action | None:
        """Wait for the model's first endpoint to cool down, if that is within patience."""
        cooled = self._candidates.earliest_cooled_us(now_us)
        if cooled is None:
            return None
        endpoint, free_us = cooled
        self._cooled = free_us if self._cooled is None else min(self._cooled, free_us)
        # One that failed here for another reason is not tried again because others made it cool meanwhile.
        avoid = {a.endpoint.id for a in self._log if a.fault is not Fault.RATE_LIMITED}
        if endpoint.id in avoid:
            cooled = self._candidates.earliest_cooled_us(now_us, avoid)
            if cooled is None:
                return None
            endpoint, free_us = cooled
        if self._patience_end_us is None:
            self._patience_end_us = now_us + self._timing.patience_us
        if free_us > min(self._patience_end_us, self._deadline_us):
            return None
        self.state = State.WAITING
        self._waiting_for = endpoint
        first, last = self.wake_us
        self.due_us = min(self._deadline_us, free_us + first + int(self._jitter() * (last - first)))
        return Wait(self.due_us)

    def _note_cooled(self, now_us: int, until_us: int) -> None:
        """Keep when the first rate limit ends, for the client's ``Retry-After``; one that has ended says nothing."""
        if self._cooled is None or self._cooled <= now_us or until_us < self._cooled:
            self._cooled = until_us

    def _try(self, now_us: int, endpoint: Endpoint, pause_us: int = 0) -> Try:
        start = now_us + pause_us
        candidates = self._candidates
        self.due_us = due_us = min(self._deadline_us, start + FIRST_LOOK_US)
        attempt = Attempt(endpoint, candidates.model, start, self.committed, why=candidates.why, due_us=due_us)
        self.attempt = attempt
        self._log.append(attempt)
        self.state = _TRYING
        return Try(attempt, pause_us)

    def _give(self, attempt: Attempt) -> Answer:
        self.state = _DONE
        return Answer(attempt)

    def _fail(self, now_us: int) -> Answer | Fail:
        if self._held is not None and not self.committed:
            return self._give(self._held)
        self.state = _DONE
        faults = [a.fault for a in self._log if a.fault is not None]
        retry_after = None if self._cooled is None else max(0, self._cooled - now_us)
        status, code = compute_failure(faults, now_us >= self._deadline_us, retry_after is not None)
        return Fail(status, code, describe(self._log, self._candidates.model, retry_after), retry_after)


def compute_failure(faults: list[Fault], out_of_time: bool, rate_limited: bool) -> tuple[int, str]:
    """Status and code of the one error that stands for all attempts.

    429 where rate limits alone are to blame (the client's own retry logic then does the right thing),
    504 where time ran out, 503 where nothing could be tried, 502 otherwise.
    """
    silent = {Fault.CONNECT_TIMEOUT, Fault.FIRST_TOKEN_TIMEOUT, Fault.IDLE_TIMEOUT, Fault.TOTAL_TIMEOUT}
    if rate_limited and all(f is Fault.RATE_LIMITED for f in faults):
        return 429, "rate_limit_exceeded"
    if out_of_time or (faults and all(f in silent for f in faults)):
        return 504, "upstream_timeout"
    if not faults:
        return 503, "no_endpoint_available"
    return 502, "all_endpoints_failed"


def describe(log: list[Attempt], model: str, retry_after_us: int | None) -> str:
    """One sentence that names each attempt and why it failed."""
    later = "" if retry_after_us is None else f" The first rate limit ends in {retry_after_us / 1e6:.1f} s."
    if not log:
        return f"No endpoint of {model} can be tried now.{later}"
    parts = []
    for attempt in log:
        why = "abandoned" if attempt.fault is None else attempt.fault.value
        status = "" if attempt.status is None else f" (HTTP {attempt.status})"
        parts.append(f"{attempt.endpoint.id}: {why}{status}")
    return f"Every endpoint failed after {len(log)} attempt{'s' if len(log) > 1 else ''}: {'; '.join(parts)}.{later}"
