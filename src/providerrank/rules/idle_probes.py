"""When to ask an endpoint that nobody asks: active probes of a gateway's own.

An endpoint without traffic is unknown: it may have been out for an hour, or be well again after an outage, and the
first client to be sent there finds out. So it is asked a tiny request of our own, as seldom as will do:

- *well*: once an interval, counted from whatever was last learned of it, so that traffic alone keeps probes away;
- *suspect* (some belief of an outage): every five seconds, since two answers clear it;
- *out*: every ten seconds. From the strongest belief there is an endpoint is due for a client's try after twenty: it is
  asked before, so that whoever finds out that it is still out, or back, is no client;
- *refusing us* (a wrong key or name): just before its next try is due, which falls behind with each refusal;
- *cooling*: never.

Each wait is longer than said by up to a quarter, drawn anew each time: probes do not march in step, here or elsewhere.
At the start all are taken for well and fresh: nobody is probed before an interval has gone by without traffic.

*What a probe may teach.* A success or a failure, uptime and belief: as anybody's request. But its prompt is two words
long, and an endpoint that answers those may fail with real ones, and certainly takes longer for them. So a probe is an
observation of a task of its own (`cells.PROBE`): where the endpoint has nothing else, its other cells borrow from it in
full; a cell with observations of its own takes it as a prior worth ``borrowed_requests`` at most, and as its own
traffic grows the probes fade (see `state`).

Invariants, held by property tests: nobody is asked while requests are under way or before its wait is over; one probe
of an endpoint at a time, and ``at_once`` in all; every endpoint that is idle and well is asked within one and a quarter
intervals of the last word of it, and the time others before it take; a day's probes are never admitted past the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from providerrank.rules.budget import compute_cost_nusd
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.params import PARAMS, SECOND_US, Params

OUT_US: Final = 10 * SECOND_US
"""Well below the 20 s after which an endpoint that is believed out is offered to a client again."""
SUSPECT_US: Final = 5 * SECOND_US
AHEAD_US: Final = 2 * SECOND_US
"""So long before a refused endpoint is due for a try."""
SPREAD: Final = 0.25
"""Waits are longer by up to this share."""

AT_ONCE_LEAST: Final = 4
AT_ONCE_MOST: Final = 64
PROBE_US: Final = 2 * SECOND_US
"""What a probe may take as a mean, connecting included, for how many must run at once to get round in an interval."""

LOOKS: Final = 1_000
"""Endpoints looked at in one go: two milliseconds of the loop that also serves requests."""

PROMPT_TOKENS: Final = 64
"""Set aside for a probe's prompt: two words, with whatever an endpoint's template puts around them."""
SPARE_TOKENS: Final = 16
"""Of the answer, beyond the limit: some endpoints count the end of it."""


@dataclass(frozen=True, slots=True)
class ProbeRules:
    """What the operator allows."""

    interval_us: int = 60 * SECOND_US
    free: bool = True
    """Endpoints whose price is nothing."""
    paid: bool = False
    spend_per_day_nusd: int = 100_000_000
    max_tokens: int = 1
    """Of an answer."""
    only: frozenset[str] | None = None
    """Endpoint ids; None: all."""

    def allows(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint may be probed at all."""
        if self.only is not None and endpoint.id not in self.only:
            return False
        return self.free if is_free(endpoint.price) else self.paid


@dataclass(frozen=True, slots=True)
class Rest:
    """What is known of an endpoint at a moment; times are Unix microseconds, 0 where there is none."""

    belief: float
    """Probability that it is out, now."""
    seen_us: int
    """When something was last learned of it."""
    in_flight: int
    cooling_until_us: int
    hold_until_us: int
    """It refuses us, and is not due for a try before."""


def is_free(price: Price) -> bool:
    """Whether whatever is asked costs nothing."""
    return not (price.input_nusd or price.output_nusd or price.cached_input_nusd)


def compute_wait_us(belief: float, interval_us: int, params: Params = PARAMS) -> int:
    """How long an endpoint may go unheard of."""
    if belief > params.belief_out:
        return min(OUT_US, interval_us)
    return min(SUSPECT_US, interval_us) if belief > params.belief_suspect else interval_us


def compute_due_us(rest: Rest, asked_us: int, calm_us: int, spread: float, interval_us: int) -> int | None:
    """When to probe it; None: not while requests are under way.

    ``asked_us`` is when its last probe began (0: none did); ``calm_us`` since when it is looked after, and taken for
    well then; ``spread`` is in [0, 1).
    """
    if rest.in_flight:
        return None
    wait_us = compute_wait_us(rest.belief, interval_us)
    since_us = max(rest.seen_us, asked_us)
    if wait_us == interval_us:
        since_us = max(since_us, calm_us)
    due_us = since_us + wait_us + int(wait_us * SPREAD * spread)
    return max(due_us, rest.cooling_until_us, rest.hold_until_us - AHEAD_US)


def compute_at_once(endpoints: int, interval_us: int) -> int:
    """How many probes may run at once so that all are asked within an interval, within bounds."""
    return min(AT_ONCE_MOST, max(AT_ONCE_LEAST, -(-endpoints * PROBE_US // interval_us)))


def compute_hold_nusd(price: Price, max_tokens: int, dearest_nusd: int = 0) -> int:
    """The most a probe can cost, to be set aside; no less than the dearest one of this endpoint so far."""
    return max(dearest_nusd, compute_cost_nusd(price, PROMPT_TOKENS, max_tokens + SPARE_TOKENS))


class _Turn:
    """Where one endpoint is in the round."""

    __slots__ = ("asked_us", "calm_us", "is_live", "is_waiting", "spread")

    def __init__(self, calm_us: int, spread: float) -> None:
        self.asked_us = 0
        self.calm_us = calm_us
        self.spread = spread
        self.is_live = False
        self.is_waiting = False


class Round:
    """Whose turn it is. Pure state: time, chance and what is known of endpoints are passed in."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._rules = ProbeRules()
        self._turns: dict[str, _Turn] = {}
        self._order: list[str] = []
        self._allowed: frozenset[str] = frozenset()
        self._at = 0
        self._waiting: list[str] = []
        """Those that are due and had no room yet, the one that waits longest first."""
        self.live = 0
        """Probes under way."""
        self.at_once = 0

    def take(self, rules: ProbeRules | None, endpoints: Iterable[Endpoint], now_us: int) -> None:
        """Go by these rules from now on (None: probe nobody). Who stays keeps its turn."""
        known, self._rules = self._turns, rules or ProbeRules()
        allowed = [] if rules is None else [endpoint.id for endpoint in endpoints if rules.allows(endpoint)]
        # (What is under way has yet to end, whoever it is.)
        live = [name for name, turn in known.items() if turn.is_live]
        self._turns = {name: known.get(name) or _Turn(now_us, self._rng.random()) for name in (*allowed, *live)}
        self._order, self._allowed, self._at = allowed, frozenset(allowed), 0
        self._waiting = [name for name in self._waiting if name in self._allowed]
        self.at_once = compute_at_once(len(allowed), self._rules.interval_us)

    def choose(self, now_us: int, get_rest: Callable[[str, int], Rest | None]) -> list[str]:
        """Who is to be probed now: each is under way from here until `end`. Looks at `LOOKS` endpoints at most."""
        order = self._order
        for _ in range(min(LOOKS, len(order))):
            self._at = (self._at + 1) % len(order)
            name = order[self._at]
            turn = self._turns[name]
            if not (turn.is_waiting or turn.is_live) and self._is_due(name, turn, now_us, get_rest):
                turn.is_waiting = True
                self._waiting.append(name)
        chosen: list[str] = []
        at = 0
        while at < len(self._waiting) and self.live < self.at_once:
            name = self._waiting[at]
            at += 1
            turn = self._turns[name]
            turn.is_waiting = False
            # Traffic may have come meanwhile.
            if self._is_due(name, turn, now_us, get_rest):
                turn.is_live, turn.asked_us, turn.spread = True, now_us, self._rng.random()
                self.live += 1
                chosen.append(name)
        del self._waiting[:at]
        return chosen

    def _is_due(self, name: str, turn: _Turn, now_us: int, get_rest: Callable[[str, int], Rest | None]) -> bool:
        rest = get_rest(name, now_us)
        if rest is None:
            return False
        due_us = compute_due_us(rest, turn.asked_us, turn.calm_us, turn.spread, self._rules.interval_us)
        return due_us is not None and due_us <= now_us

    def end(self, name: str) -> None:
        """Its probe is over."""
        self._turns[name].is_live = False
        self.live -= 1
        if name not in self._allowed:
            del self._turns[name]
