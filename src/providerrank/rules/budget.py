"""Budgets: what a buyer's key may still use, decided before anything is sent.

A key may have three limits: requests and tokens in any 60 seconds, and what it spends in a day (UTC). Each is held by
*charging first*: admission charges the most a request can cost (a ``Hold``), and when the request has ended ``settle``
gives back what it did not use. So however requests interleave, and in however many processes, what was admitted
never adds up to more than the limit; and a process that dies in the middle leaves its requests charged in full, since
nobody can know what they cost. Nothing has to be repaired after it.

A *row* holds everything about one key as integers of 64 bits, so that it can lie in a file that several processes share
(``engines.ledger_file``) as well as in a list. All functions here change or read one row; whoever calls them
sees to it that nobody else does meanwhile.

- *Minute.* A ring of one slot for each second, with the time of the slot's latest admission: a slot is counted until
  60 s after that. So what is counted is never less than what was admitted in the last 60 s, and more only by what
  shares a second with something younger. Tokens count at the time of admission, whenever they are written.
- *Day.* What a request costs is charged to the day it was admitted on; an answer that ends past midnight changes
  nothing of the new day.
- *Clocks* of several processes differ a little: a row's time never goes back by up to a minute. If it does by more, a
  clock was set: what the minute holds is then counted for another minute, what was spent today stays spent.

Invariants, held by a property test: ``SPENT`` is the cost of what has ended plus the holds of what has not, both of
those admitted today; ``HELD`` of all workers together is the second part; the sum of the ring is ``MINUTE_REQUESTS``
and ``MINUTE_TOKENS``; a slot without requests is all zero.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from providerrank.rules.cells import TOKENS_PER_PRICE, Price

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
DAY_US: Final = 86_400 * SECOND_US
"""A day of UTC: Unix time knows no leap seconds."""

MAX_TOKENS: Final = 1_000_000_000
"""Of one request. A client may ask for any number; more than this is not a number of tokens."""
MAX_COST_NUSD: Final = 1_000_000_000_000_000
"""Of one request: a million USD. A row's sums stay far within 64 bits."""

EXPECTED_OUTPUT_TOKENS: Final = 4_096
"""Set aside for an answer whose request names no limit: what many endpoints stop at by themselves."""
PROMPT_MARGIN: Final = 2
"""Prompt tokens are estimated at 4 bytes each. Numbers, base64 and rare scripts take a token for every 2: for money,
which is not to be overdrawn, that many are set aside."""
IMAGE_TOKENS: Final = 2_000
"""Set aside for a prompt with images, whose bytes say nothing of their tokens."""

SLOTS: Final = 61
"""Seconds that 60 s can touch."""
WORKERS: Final = 64
"""Processes whose holds are told apart. The money does not depend on it, only who is known to hold it."""

# Where things are in a row.
EPOCH: Final = 0
"""When the day's accounts were begun: which holds are of today. Never the same twice, even where a row was lost."""
DAY: Final = 1
"""Days since 1970."""
SPENT: Final = 2
"""Nano-USD charged today, holds included."""
REQUESTS: Final = 3
"""Admitted today."""
INPUT: Final = 4
OUTPUT: Final = 5
"""Tokens of today's requests that have ended."""
NOW_US: Final = 6
"""The row's time: when it was last looked at."""
OLDEST: Final = 7
"""The first second that may still be in the ring."""
MINUTE_REQUESTS: Final = 8
MINUTE_TOKENS: Final = 9
MINUTE_EPOCH: Final = 10
"""When the ring was begun, or begun anew since a clock was set back: which holds may be in it."""
RING: Final = 11
"""For each second, by its remainder: time of the latest admission in it, requests, tokens."""
HELD: Final = RING + 3 * SLOTS
"""Nano-USD of today's holds, by worker."""
ROW_WORDS: Final = HELD + WORKERS


class Row(Protocol):
    """``ROW_WORDS`` integers of 64 bits; all zero is a key nobody has used."""

    def __getitem__(self, at: int, /) -> int: ...

    def __setitem__(self, at: int, value: int, /) -> None: ...


class Limit(enum.Enum):
    """What ran out; the value is the key it has in the configuration."""

    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    SPEND = "spend_per_day"


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one key; None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    spend_per_day_nusd: int | None = None


UNLIMITED: Final = Budget()


@dataclass(frozen=True, slots=True)
class Hold:
    """What was charged for one request when it was admitted."""

    epoch: int
    minute_epoch: int
    second: int
    tokens: int
    cost_nusd: int
    minute_requests: int
    """This minute's, this one included; tokens likewise."""
    minute_tokens: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not admitted. Of several limits that are out, the one that frees last."""

    limit: Limit
    allowed: int
    """Requests, tokens or nano-USD; so are the next three."""
    used: int
    """Held included."""
    held: int
    """Of ``used``, what requests under way have set aside and may give back; known for money only."""
    asked: int
    wait_us: int | None
    """Until it would be admitted if nobody else asks and nothing is given back; None: never, it alone is too much."""
    minute_requests: int
    minute_tokens: int
    minute_resets_us: int
    """Until nothing is left in this minute."""

    @property
    def is_transient(self) -> bool:
        """Whether it would have been admitted had the requests under way ended without a cost."""
        return self.limit is Limit.SPEND and self.used - self.held + self.asked <= self.allowed


@dataclass(frozen=True, slots=True)
class Standing:
    """How one key stands at one moment."""

    day: int
    """Days since 1970, UTC."""
    requests: int
    """Admitted today."""
    input_tokens: int
    output_tokens: int
    """Of today's requests that have ended."""
    spent_nusd: int
    """Charged today, held included."""
    held_nusd: int
    """Of it, set aside for requests under way."""
    minute_requests: int
    minute_tokens: int
    day_ends_us: int
    """Time left of the day."""


# ---- what a request can cost -----------------------------------------------------------------------------------------


def compute_cost_nusd(price: Price, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
    """Cost of that many tokens in nano-USD, rounded up: 0 and up, exact where it is whole.

    ``cached_tokens`` of the input were found in the endpoint's cache, and are billed at its price for them.
    """
    cost = input_tokens * price.input_nusd + output_tokens * price.output_nusd
    if cached_tokens and price.cached_input_nusd is not None:
        cost -= min(cached_tokens, input_tokens) * (price.input_nusd - price.cached_input_nusd)
    return -(-cost // TOKENS_PER_PRICE)


def compute_dearest(prices: Iterable[Price]) -> Price:
    """The highest input and the highest output price, which need not be one endpoint's; free where there is none."""
    input_nusd = output_nusd = 0
    for price in prices:
        input_nusd = max(input_nusd, price.input_nusd, price.cached_input_nusd or 0)
        output_nusd = max(output_nusd, price.output_nusd)
    return Price(input_nusd, output_nusd)


def compute_hold(
    prompt_tokens: int, output_tokens: int | None, choices: int, expected_tokens: int, dearest: Price
) -> tuple[int, int]:
    """Tokens and nano-USD to set aside for a request: the most it can come to, as far as that can be known.

    ``prompt_tokens`` is an estimate; ``output_tokens`` the request's own limit for each of ``choices`` answers, and
    ``expected_tokens`` stands for it where there is none; ``dearest`` is the highest price of all it may go to.
    """
    each = expected_tokens if output_tokens is None else output_tokens
    output = min(each * max(choices, 1), MAX_TOKENS)
    prompt = min(prompt_tokens, MAX_TOKENS)
    cost = compute_cost_nusd(dearest, prompt * PROMPT_MARGIN, output)
    return prompt + output, min(cost, MAX_COST_NUSD)


# ---- one row ---------------------------------------------------------------------------------------------------------


def reserve(row: Row, worker: int, budget: Budget, now_us: int, tokens: int, cost_nusd: int) -> Hold | Refusal:
    """Admit one request and charge its hold, or say which limit is out. ``now_us`` is Unix time."""
    at_us = process_time(row, now_us)
    if (
        _is_over(budget.requests_per_minute, row[MINUTE_REQUESTS], 1)
        or _is_over(budget.tokens_per_minute, row[MINUTE_TOKENS], tokens)
        or _is_over(budget.spend_per_day_nusd, row[SPENT], cost_nusd)
    ):
        return _refuse(row, budget, now_us, tokens, cost_nusd)
    second = at_us // SECOND_US
    if not row[MINUTE_REQUESTS]:
        row[OLDEST] = second
    slot = RING + 3 * (second % SLOTS)
    row[slot] = at_us
    row[slot + 1] += 1
    row[slot + 2] += tokens
    row[MINUTE_REQUESTS] += 1
    row[MINUTE_TOKENS] += tokens
    row[REQUESTS] += 1
    row[SPENT] += cost_nusd
    row[HELD + worker] += cost_nusd
    return Hold(row[EPOCH], row[MINUTE_EPOCH], second, tokens, cost_nusd, row[MINUTE_REQUESTS], row[MINUTE_TOKENS])


def settle(
    row: Row, worker: int, hold: Hold, now_us: int, input_tokens: int, output_tokens: int, cost_nusd: int
) -> None:
    """Replace what was held for a request that has ended by what it used; once for each hold."""
    process_time(row, now_us)
    slot = RING + 3 * (hold.second % SLOTS)
    if row[slot] // SECOND_US == hold.second and row[MINUTE_EPOCH] == hold.minute_epoch:
        change = min(input_tokens + output_tokens, MAX_TOKENS) - hold.tokens
        row[slot + 2] += change
        row[MINUTE_TOKENS] += change
    if row[EPOCH] == hold.epoch:
        row[SPENT] += min(cost_nusd, MAX_COST_NUSD) - hold.cost_nusd
        # (Never below none: a worker that shares its place with one that died may find it emptied.)
        row[HELD + worker] = max(0, row[HELD + worker] - hold.cost_nusd)
        row[INPUT] += min(input_tokens, MAX_TOKENS)
        row[OUTPUT] += min(output_tokens, MAX_TOKENS)


def reclaim(row: Row, workers: Iterable[int]) -> int:
    """Take over from workers that died: what they held stays charged and is no longer held. Returns how much it is."""
    held = 0
    for worker in workers:
        held += row[HELD + worker]
        row[HELD + worker] = 0
    return held


def read(row: Row, now_us: int) -> Standing:
    """How the key stands; brings the row's time up to date."""
    at_us = process_time(row, now_us)
    return Standing(
        day=row[DAY],
        requests=row[REQUESTS],
        input_tokens=row[INPUT],
        output_tokens=row[OUTPUT],
        spent_nusd=row[SPENT],
        held_nusd=_get_held(row),
        minute_requests=row[MINUTE_REQUESTS],
        minute_tokens=row[MINUTE_TOKENS],
        day_ends_us=max(0, (row[DAY] + 1) * DAY_US - at_us),
    )


def process_time(row: Row, now_us: int) -> int:
    """Let a row's day and minute go on to ``now_us``; returns the row's time, which may be a little ahead of it."""
    last_us = row[NOW_US]
    if now_us < last_us:
        if last_us - now_us <= MINUTE_US:
            now_us = last_us
        else:
            _restart_minute(row, now_us)
    elif not last_us:
        row[MINUTE_EPOCH] = now_us
    row[NOW_US] = now_us
    day = now_us // DAY_US
    if day != row[DAY]:
        _turn_day(row, day, now_us)
    if row[MINUTE_REQUESTS]:
        ended_us = now_us - MINUTE_US
        for second in range(row[OLDEST], row[OLDEST] + SLOTS):
            slot = RING + 3 * (second % SLOTS)
            if row[slot] > ended_us:
                row[OLDEST] = second
                break
            if row[slot + 1]:
                row[MINUTE_REQUESTS] -= row[slot + 1]
                row[MINUTE_TOKENS] -= row[slot + 2]
                row[slot] = row[slot + 1] = row[slot + 2] = 0
        else:
            # All of the ring is past: nothing can be left.
            row[MINUTE_REQUESTS] = row[MINUTE_TOKENS] = 0
    return now_us


def _turn_day(row: Row, day: int, now_us: int) -> None:
    """Another day than the row's. One back, the row's day goes on; more, and it was a clock's mistake."""
    if day > row[DAY]:
        row[EPOCH] = now_us
        for at in (SPENT, REQUESTS, INPUT, OUTPUT, *range(HELD, HELD + WORKERS)):
            row[at] = 0
        row[DAY] = day
    elif day < row[DAY] - 1:
        row[DAY] = day


def _restart_minute(row: Row, now_us: int) -> None:
    """The clock was set back: count all of the minute as if it had been admitted now."""
    requests, tokens = row[MINUTE_REQUESTS], row[MINUTE_TOKENS]
    row[MINUTE_EPOCH] = now_us
    for at in range(RING, RING + 3 * SLOTS):
        row[at] = 0
    if requests:
        row[OLDEST] = now_us // SECOND_US
        slot = RING + 3 * (row[OLDEST] % SLOTS)
        row[slot], row[slot + 1], row[slot + 2] = now_us, requests, tokens


def _is_over(allowed: int | None, used: int, asked: int) -> bool:
    return allowed is not None and used + asked > allowed


def _get_held(row: Row) -> int:
    return sum(row[at] for at in range(HELD, HELD + WORKERS))


def _refuse(row: Row, budget: Budget, now_us: int, tokens: int, cost_nusd: int) -> Refusal:
    """The limit that frees last, of those that are out."""
    found: list[tuple[int | None, Limit, int, int, int]] = []
    allowed = budget.requests_per_minute
    if allowed is not None and _is_over(allowed, row[MINUTE_REQUESTS], 1):
        found.append((_get_wait_us(row, now_us, 1, allowed, 1), Limit.REQUESTS, allowed, row[MINUTE_REQUESTS], 1))
    allowed = budget.tokens_per_minute
    if allowed is not None and _is_over(allowed, row[MINUTE_TOKENS], tokens):
        wait_us = _get_wait_us(row, now_us, 2, allowed, tokens)
        found.append((wait_us, Limit.TOKENS, allowed, row[MINUTE_TOKENS], tokens))
    allowed = budget.spend_per_day_nusd
    if allowed is not None and _is_over(allowed, row[SPENT], cost_nusd):
        day_wait_us = None if cost_nusd > allowed else (row[DAY] + 1) * DAY_US - now_us
        found.append((day_wait_us, Limit.SPEND, allowed, row[SPENT], cost_nusd))
    wait_us, limit, allowed, used, asked = max(found, key=lambda one: (one[0] is None, one[0] or 0))
    return Refusal(
        limit=limit,
        allowed=allowed,
        used=used,
        held=_get_held(row) if limit is Limit.SPEND else 0,
        asked=asked,
        wait_us=wait_us,
        minute_requests=row[MINUTE_REQUESTS],
        minute_tokens=row[MINUTE_TOKENS],
        minute_resets_us=max([0, *(row[at] + MINUTE_US - now_us for at in range(RING, RING + 3 * SLOTS, 3))]),
    )


def _get_wait_us(row: Row, now_us: int, part: int, allowed: int, asked: int) -> int | None:
    """Until enough of the ring has left it; ``part`` is 1 for requests and 2 for tokens. None: it never will be."""
    if asked > allowed:
        return None
    left = row[MINUTE_REQUESTS + part - 1]
    second, wait_us = row[OLDEST], 0
    while left + asked > allowed:
        slot = RING + 3 * (second % SLOTS)
        left -= row[slot + part]
        wait_us = row[slot] + MINUTE_US - now_us
        second += 1
    return wait_us
