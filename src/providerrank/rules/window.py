"""The decayed, mergeable summary of a cell's observations.

*Decay.* An observation made at ``t`` weighs ``2^((t - now) / H)`` when read at ``now``. Kept naively, every
sum would have to be multiplied down at each step. Instead each mass is kept *forward-decayed* (Cormode et al.,
"Forward decay", ICDE 2009): relative to a landmark ``L`` an observation adds ``2^((t - L) / H)``, which never
changes, and a reader scales by ``2^((L - now) / H)`` once. Landmarks are multiples of ``H``, so moving one is
multiplication by a power of two: exact in binary floating point. Observations may arrive in any order.

*Quantiles.* TTFT goes into buckets with borders at powers of ``gamma = (1 + a) / (1 - a)`` (DDSketch, Masson et
al., VLDB 2019): the bucket's middle is within ``a`` = 2 % of anything in it, whatever the distribution. Since
decay scales all buckets alike, time alone moves no quantile; only an observation does, and then by a step or two.
So the quantiles of an estimate are found when they are read after one, in a single sum over the buckets (a few
dozen), and kept until the next: an estimate is made far more seldom than an observation. The 99th percentile, which
every attempt's clock reads, is found anew only when the mass beyond its bucket says that it has moved.

*Merging* adds masses. Hence the window of two halves equals the window of the whole, in any order and grouping,
up to floating-point rounding.

Invariants: ``requests = successes + failures + explained``; buckets hold only positive mass, their sum is
``timed``; ``up_us`` and ``down_us`` are decayed microseconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import accumulate
from math import ceil, log
from typing import Final

from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS

RELATIVE_ERROR: Final = 0.02
GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
MIN_TTFT_US: Final = 100
"""0.1 ms: faster than any network; clamped up."""
MAX_TTFT_US: Final = 3_600_000_000
"""1 h: longer than any clock; clamped down."""
HALF_LIFE_US: Final = PARAMS.history_half_life_us
MEDIAN: Final = 0.5
TAIL: Final = 0.95
SLOWEST: Final = 0.99
UNIT: Final = 1_000_000
"""Masses are recorded in millionths of a request."""
RECORD_VERSION: Final = 1

_INV_LOG_GAMMA: Final = 1 / math.log(GAMMA)
_MIN_INDEX: Final = math.ceil(math.log(MIN_TTFT_US) * _INV_LOG_GAMMA)
_MAX_INDEX: Final = math.ceil(math.log(MAX_TTFT_US) * _INV_LOG_GAMMA)
_MIDDLE: Final = {i: 2 * GAMMA**i / (GAMMA + 1) for i in range(_MIN_INDEX, _MAX_INDEX + 1)}
_MIDDLE_US: Final = {i: round(v) for i, v in _MIDDLE.items()}
_EDGE_US: Final = {i: int(GAMMA**i) for i in range(_MIN_INDEX, _MAX_INDEX + 1)}
"""The longest TTFT a bucket may hold."""
_LOG_MIDDLE: Final = {i: math.log(v) for i, v in _MIDDLE.items()}
_MEDIAN_POWER: Final = PARAMS.ttft_median_power
_TAIL_POWER: Final = PARAMS.ttft_tail_power
_REBASE_HALF_LIVES: Final = 40
"""The landmark moves when the newest weight passes 2^40: sums keep a dozen digits for the oldest that matter."""
_NEGLIGIBLE: Final = 1e-9
"""Bucket mass dropped when the landmark moves: a request of a week ago."""
_INV_HALF_LIFE: Final = 1 / HALF_LIFE_US
_LN2: Final = math.log(2)

_SUCCESS: Final = Outcome.SUCCESS
_NOBODYS: Final = Outcome.NOBODYS

_NEARLY: Final = 1 - 1e-9
"""Slack when a running sum is compared with a share of the total, so that rounding does not pick a neighbour."""
_SLOWEST_SHARE: Final = 1 - SLOWEST * _NEARLY
"""Of the total, at most this much lies beyond the bucket of the 99th percentile."""

_COUNTS: Final = ("successes", "failures", "explained")
_AMOUNTS: Final = ("up_us", "down_us", "output_tokens", "generation_us", "counted_tokens", "billed_tokens")
_SUMS: Final = ("_successes", "_failures", "_explained", "_log", "_log_sq", *(f"_{name}" for name in _AMOUNTS))
_RECORD_KEYS: Final = frozenset(
    {"version", "at_us", "elapsed_us", "log_ttft", "log_ttft_sq", "ttft", *_COUNTS, *_AMOUNTS}
)

Record = dict[str, int | list[list[int]]]
Figures = tuple[float, float, float, float, float, bool]
"""Successes, blamed failures, timed requests; log of ``p50^0.7 * p95^0.3`` and mean log TTFT (of microseconds; 0.0 when
nothing was timed); whether it was never down and billed no more than was counted, so that nobody need ask further."""
Spread = Mapping[int, float]
"""Shares of one request by the bucket its TTFT may be in."""
Conduct = tuple[float, float, float, float]
"""Microseconds up and down; completion tokens counted and billed."""


class Window:
    """Mutable summary of one cell; its public figures are as of ``at_us``, the newest observation."""

    __slots__ = (
        "_beyond",
        "_billed_tokens",
        "_buckets",
        "_counted_tokens",
        "_down_us",
        "_explained",
        "_failures",
        "_generation_us",
        "_landmark_us",
        "_log",
        "_log_sq",
        "_measure",
        "_output_tokens",
        "_slowest",
        "_stale",
        "_successes",
        "_tail",
        "_timed",
        "_up_us",
        "at_us",
        "elapsed_us",
    )

    def __init__(self) -> None:
        self.at_us = 0
        """Time of the newest observation, Unix microseconds; 0: none yet."""
        self.elapsed_us = 0
        """Uptime is accounted for up to here; 0: not begun."""
        self._landmark_us = 0
        self._successes = self._failures = self._explained = 0.0
        self._timed = self._log = self._log_sq = 0.0
        self._up_us = self._down_us = 0.0
        self._output_tokens = self._generation_us = 0.0
        self._counted_tokens = self._billed_tokens = 0.0
        self._buckets: dict[int, float] = {}
        self._measure = 0.0
        """Log of ``p50^0.7 * p95^0.3`` in microseconds; 0.0: nothing was timed."""
        self._tail = 0
        """The bucket of the 95th percentile, and"""
        self._slowest = 0
        """that of the 99th; 0: nothing was timed."""
        self._beyond = 0.0
        """What the buckets beyond that one hold now."""
        self._stale = False
        """An observation has come since measure, tail and slowest were found."""

    # Writing

    def observe(self, obs: Observation, blame: float = 1.0) -> float | None:
        """Add one observation, O(1); returns the log of its TTFT where that counted.

        ``blame``, 0..1, is the share of a failure that an outage does not explain: it counts against the
        healthy rate, the rest is kept apart as ``explained``.
        """
        outcome = obs.outcome
        if outcome is _NOBODYS:
            return None
        at_us = obs.at_us
        half_lives = (at_us - self._landmark_us) * _INV_HALF_LIFE
        if half_lives > _REBASE_HALF_LIVES:
            half_lives = self._move_landmark(at_us)
        weight = 2.0**half_lives
        if at_us > self.at_us:
            self.at_us = at_us
        if outcome is _SUCCESS:
            self._successes += weight
        elif outcome is Outcome.RATE_LIMITED:
            self._failures += weight * PARAMS.rate_limited_weight
            return None
        elif outcome is Outcome.SCHEMA_VIOLATION:
            self._failures += weight
        else:
            self._failures += weight * blame
            self._explained += weight * (1.0 - blame)
            return None
        ttft_us, counted, billed = obs.ttft_us, obs.output_tokens_counted, obs.output_tokens_billed
        if billed is not None and counted is not None:
            self._counted_tokens += weight * counted
            self._billed_tokens += weight * billed
        if ttft_us is None:
            return None
        total_us = obs.total_us
        if counted and total_us is not None and total_us > ttft_us:
            self._output_tokens += weight * counted
            self._generation_us += weight * (total_us - ttft_us)
        if not MIN_TTFT_US <= ttft_us <= MAX_TTFT_US:
            ttft_us = MIN_TTFT_US if ttft_us < MIN_TTFT_US else MAX_TTFT_US
        log_ttft = log(ttft_us)
        index = ceil(log_ttft * _INV_LOG_GAMMA)
        buckets = self._buckets
        buckets[index] = buckets.get(index, 0.0) + weight
        if index > self._slowest:
            self._beyond += weight
        self._timed += weight
        weighed = weight * log_ttft
        self._log += weighed
        self._log_sq += weighed * log_ttft
        self._stale = True
        return log_ttft

    def compute_spread(self, silent_us: int) -> Spread:
        """Where the TTFT of a request that was dropped after ``silent_us`` without content belongs, O(buckets).

        It is not known, only that it is longer: a right-censored observation. Its mass goes where the longer ones
        of those seen are, in proportion (Efron's redistribution to the right, which makes quantiles those of Kaplan
        and Meier), and into its own bucket where none was longer. Returns shares by bucket, which sum to 1.
        """
        own = _get_index(silent_us)
        longer = {index: self._buckets[index] for index in sorted(self._buckets) if index > own}
        total = sum(longer.values())
        return {index: mass / total for index, mass in longer.items()} if longer else {own: 1.0}

    def get_longer_share(self, silent_us: int) -> float:
        """Share of the TTFTs seen, 0..1, that were longer than this; 0.0 when none was seen."""
        own = _get_index(silent_us)
        longer = sum(self._buckets[index] for index in sorted(self._buckets) if index > own)
        return longer / self._timed if longer else 0.0

    def get_lasting_us(self, from_us: int, by_us: float, share: float) -> int:
        """The first time from ``from_us`` on after which a silence is likely to last, O(buckets).

        That is when, of the TTFTs seen that are longer, at least ``share`` are longer by ``by_us``; or when none is.
        """
        order, sums = self._sum_up()
        at_us = from_us
        for index in order:
            if _EDGE_US[index] <= from_us:
                continue
            longer = self._count_beyond(at_us, order, sums)
            if self._count_beyond(at_us + round(by_us), order, sums) >= share * longer:
                return at_us
            at_us = _EDGE_US[index]
        return at_us

    def _count_beyond(self, us: int, order: list[int], sums: list[float]) -> float:
        """Mass of the buckets beyond that of ``us``."""
        at = bisect_right(order, _get_index(us))
        return sums[-1] - sums[at - 1] if at else sums[-1]

    def observe_spread(self, at_us: int, spread: Spread) -> float:
        """Add one request whose TTFT is known as a spread; it neither succeeded nor failed. Returns its mean log."""
        half_lives = (at_us - self._landmark_us) * _INV_HALF_LIFE
        if half_lives > _REBASE_HALF_LIVES:
            half_lives = self._move_landmark(at_us)
        weight = 2.0**half_lives
        self.at_us = max(self.at_us, at_us)
        buckets = dict(self._buckets)
        mean = 0.0
        for index, share in spread.items():
            buckets[index] = buckets.get(index, 0.0) + weight * share
            mean += share * _LOG_MIDDLE[index]
            self._log_sq += weight * share * _LOG_MIDDLE[index] ** 2
        self._log += weight * mean
        self._set_buckets(buckets)
        return mean

    def elapse(self, now_us: int, up: bool) -> None:
        """Account the time since the last call as up or down; the first call only starts the clock."""
        if self.elapsed_us and now_us > self.elapsed_us:
            if (now_us - self._landmark_us) * _INV_HALF_LIFE > _REBASE_HALF_LIVES:
                self._move_landmark(now_us)
            # The integral of 2^((t - L) / H) over the interval.
            since = 2.0 ** ((self.elapsed_us - self._landmark_us) * _INV_HALF_LIFE)
            until = 2.0 ** ((now_us - self._landmark_us) * _INV_HALF_LIFE)
            mass = (until - since) * HALF_LIFE_US / _LN2
            if up:
                self._up_us += mass
            else:
                self._down_us += mass
        if now_us > self.elapsed_us:
            self.elapsed_us = now_us

    def _move_landmark(self, at_us: int) -> float:
        """Move the landmark to the half-life ``at_us`` is in; returns half-lives from there to ``at_us``."""
        self._rescale(at_us // HALF_LIFE_US * HALF_LIFE_US)
        return (at_us - self._landmark_us) * _INV_HALF_LIFE

    def _rescale(self, landmark_us: int) -> None:
        steps = (self._landmark_us - landmark_us) // HALF_LIFE_US
        self._landmark_us = landmark_us
        for name in _SUMS:
            setattr(self, name, math.ldexp(getattr(self, name), steps))
        scaled = {i: math.ldexp(mass, steps) for i, mass in self._buckets.items()}
        self._set_buckets({i: mass for i, mass in scaled.items() if mass > _NEGLIGIBLE})

    def _set_buckets(self, buckets: dict[int, float]) -> None:
        """Take ``buckets`` and what they sum to."""
        self._buckets = buckets
        self._timed = sum(buckets[i] for i in sorted(buckets))
        self._slowest, self._beyond = 0, self._timed
        self._stale = True

    def _sum_up(self) -> tuple[list[int], list[float]]:
        """The buckets in order, and what each and those before it hold together."""
        order = sorted(self._buckets)
        return order, list(accumulate(map(self._buckets.__getitem__, order)))

    def _find(self, quantile: float, sums: list[float]) -> int:
        """Where in the order the quantile is. Rounding may leave the last sum a hair below it."""
        return min(bisect_left(sums, quantile * self._timed * _NEARLY), len(sums) - 1)

    def _settle(self) -> None:
        """Find measure, tail and slowest anew."""
        order, sums = self._sum_up()
        if order:
            median, tail = order[self._find(MEDIAN, sums)], order[self._find(TAIL, sums)]
            self._measure = _MEDIAN_POWER * _LOG_MIDDLE[median] + _TAIL_POWER * _LOG_MIDDLE[tail]
            self._tail = tail
            at = self._find(SLOWEST, sums)
            self._slowest, self._beyond = order[at], sums[-1] - sums[at]
        else:
            self._measure, self._tail, self._slowest, self._beyond = 0.0, 0, 0, 0.0
        self._stale = False

    # Reading

    @property
    def _scale(self) -> float:
        return float(2.0 ** ((self._landmark_us - self.at_us) * _INV_HALF_LIFE))

    @property
    def successes(self) -> float:
        """Requests completed well-formed, decayed."""
        return self._successes * self._scale

    @property
    def failures(self) -> float:
        """Failures held against the endpoint's healthy rate, decayed; a 429 counts as a share of one."""
        return self._failures * self._scale

    @property
    def explained(self) -> float:
        """Failures an outage explains, decayed."""
        return self._explained * self._scale

    @property
    def requests(self) -> float:
        """Accepted requests, decayed."""
        return (self._successes + self._failures + self._explained) * self._scale

    @property
    def timed(self) -> float:
        """Requests with a TTFT, decayed."""
        return self._timed * self._scale

    def get_figures(self, now_us: int) -> Figures:
        """What every estimate needs, as of ``now_us``, in one call: see `Figures`."""
        if self._stale:
            self._settle()
        scale = 2.0 ** ((self._landmark_us - now_us) * _INV_HALF_LIFE)
        timed = self._timed
        return (
            self._successes * scale,
            self._failures * scale,
            timed * scale,
            self._measure,
            self._log / timed if timed else 0.0,
            not self._down_us and self._billed_tokens <= self._counted_tokens,
        )

    def get_conduct(self, now_us: int) -> Conduct:
        """The rest, as of ``now_us``: see `Conduct`."""
        scale = 2.0 ** ((self._landmark_us - now_us) * _INV_HALF_LIFE)
        return (
            self._up_us * scale,
            self._down_us * scale,
            self._counted_tokens * scale,
            self._billed_tokens * scale,
        )

    @property
    def uptime(self) -> float | None:
        """Share of accounted time that was up, 0..1; None before any was accounted."""
        total = self._up_us + self._down_us
        return self._up_us / total if total > 0 else None

    @property
    def throughput(self) -> float | None:
        """Completion tokens a second after the first one; None when never measured."""
        return self._output_tokens / self._generation_us * 1e6 if self._generation_us > 0 else None

    @property
    def counted_tokens(self) -> float:
        """Completion tokens we counted where the seller billed too, decayed."""
        return self._counted_tokens * self._scale

    @property
    def billed_tokens(self) -> float:
        """Completion tokens billed where we counted too, decayed."""
        return self._billed_tokens * self._scale

    def quantile_us(self, q: float) -> int | None:
        """TTFT at quantile ``q`` (0..1), within 2 %; None when no request had one."""
        order, sums = self._sum_up()
        return _MIDDLE_US[order[self._find(q, sums)]] if order else None

    @property
    def log_ttft(self) -> float | None:
        """Log of ``p50^0.7 * p95^0.3`` in microseconds, the measure of latency. None when never measured."""
        if self._stale:
            self._settle()
        return self._measure or None

    @property
    def p95_us(self) -> int | None:
        """What no more than one TTFT in twenty is longer than. None when never measured.

        It is the upper border of the 95th percentile's bucket, so that the sketch's error makes those no more.
        """
        if self._stale:
            self._settle()
        return _EDGE_US[self._tail] if self._tail else None

    @property
    def p99_us(self) -> int | None:
        """TTFT at the 99th percentile. None when never measured."""
        slowest = self._slowest
        if self._stale and not (
            slowest and self._beyond <= self._timed * _SLOWEST_SHARE < self._beyond + self._buckets[slowest]
        ):
            self._settle()
            slowest = self._slowest
        return _MIDDLE_US[slowest] if slowest else None

    @property
    def log_mean(self) -> float | None:
        """Mean of log TTFT in microseconds; None when never measured."""
        return self._log / self._timed if self._timed > 0 else None

    @property
    def log_sd(self) -> float | None:
        """Standard deviation of log TTFT; None when never measured."""
        if self._timed <= 0:
            return None
        mean = self._log / self._timed
        return math.sqrt(max(0.0, self._log_sq / self._timed - mean * mean))

    # Merging and recording

    @staticmethod
    def merged(a: Window, b: Window) -> Window:
        """The window of both sets of observations; neither argument changes."""
        out = Window()
        out.at_us = max(a.at_us, b.at_us)
        out.elapsed_us = max(a.elapsed_us, b.elapsed_us)
        out._landmark_us = max(a._landmark_us, b._landmark_us)
        buckets: dict[int, float] = {}
        for part in (a, b):
            steps = (part._landmark_us - out._landmark_us) // HALF_LIFE_US  # noqa: SLF001  # of its own class
            for name in _SUMS:
                setattr(out, name, getattr(out, name) + math.ldexp(getattr(part, name), steps))
            for index, mass in part._buckets.items():  # noqa: SLF001  # of its own class
                buckets[index] = buckets.get(index, 0.0) + math.ldexp(mass, steps)
        out._set_buckets({i: mass for i, mass in buckets.items() if mass > 0})
        return out

    def to_record(self) -> Record:
        """Integers only, canonical: as of ``at_us``, masses in millionths; buckets as ``[index, mass]`` ascending."""
        scale = self._scale * UNIT
        record: Record = {"version": RECORD_VERSION, "at_us": self.at_us, "elapsed_us": self.elapsed_us}
        for name in _COUNTS + _AMOUNTS:
            record[name] = round(getattr(self, f"_{name}") * scale / _get_unit(name))
        record["log_ttft"] = round(self._log * scale)
        record["log_ttft_sq"] = round(self._log_sq * scale)
        masses = ((index, round(mass * scale)) for index, mass in sorted(self._buckets.items()))
        record["ttft"] = [[index, mass] for index, mass in masses if mass]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Window:
        """The window of a record; raises ValueError on anything `to_record` would not write."""
        if set(record) != _RECORD_KEYS:
            raise ValueError(f"window record: keys must be {sorted(_RECORD_KEYS)}")
        numbers = {key: _get_number(key, value) for key, value in record.items() if key != "ttft"}
        if numbers["version"] != RECORD_VERSION:
            raise ValueError(f"window record: version must be {RECORD_VERSION}")
        buckets = _get_buckets(record["ttft"])
        if (buckets or any(numbers[name] for name in _COUNTS)) and not numbers["at_us"]:
            raise ValueError("window record: at_us must be set where there are observations")
        window = cls()
        window.at_us = numbers["at_us"]
        window.elapsed_us = numbers["elapsed_us"]
        window._landmark_us = window.at_us // HALF_LIFE_US * HALF_LIFE_US
        scale = 1.0 / (window._scale * UNIT)
        for name in _COUNTS + _AMOUNTS:
            setattr(window, f"_{name}", numbers[name] * scale * _get_unit(name))
        window._log = numbers["log_ttft"] * scale
        window._log_sq = numbers["log_ttft_sq"] * scale
        window._set_buckets({index: mass * scale for index, mass in buckets.items()})
        return window


def _get_index(ttft_us: int) -> int:
    """The bucket of a TTFT."""
    return ceil(log(min(max(ttft_us, MIN_TTFT_US), MAX_TTFT_US)) * _INV_LOG_GAMMA)


def _get_unit(name: str) -> int:
    """Millionths of a request or token, whole microseconds: every figure stays exact in a float."""
    return UNIT if name.endswith("_us") else 1


def _get_number(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"window record: {key} must be an integer from 0 to 2^63")
    return value


def _get_buckets(value: object) -> dict[int, int]:
    if not isinstance(value, list):
        raise ValueError("window record: ttft must be a list")
    buckets: dict[int, int] = {}
    last = _MIN_INDEX - 1
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError("window record: ttft must hold pairs of bucket and mass")
        index, mass = _get_number("ttft bucket", pair[0]), _get_number("ttft mass", pair[1])
        if not last < index <= _MAX_INDEX or not mass:
            raise ValueError("window record: ttft buckets must ascend within range and hold something")
        buckets[index] = mass
        last = index
    return buckets
