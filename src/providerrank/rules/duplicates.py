"""Bundles that are one measurement under several names.

Nobody can copy a committed bundle, so what is found here is one operator behind several hotkeys. By the gate's measure
that is no cheating (every record may be true); it is being paid twice. Two tests, on what the bundles reveal:

* *same measurements*: two miners never measure the same two durations, to the microsecond, of the same challenge, but
  by rare coincidence; `duplicate_records` of them are none. (Response hashes prove nothing: a deterministic endpoint
  gives everyone the same answer.)
* *same residuals*: a copy with noise over it. Per challenge both measured, take how far each was from the median of
  all miners who measured that challenge: this removes what the endpoint, the prompt and the hour did to everyone.
  From that take the miner's own median over the cell: this removes its vantage point. Of what is left only the sign
  counts, on which independent miners agree half the time. Too much agreement, in size and by an exact binomial test,
  is one measurement. Signs assume nothing of how latency is distributed, and compare quickly.

Duplicates share one allocation: the bundle committed first keeps its score, the others score zero. Being a duplicate
is transitive. A challenge measured by fewer than three miners says nothing of residuals.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import TypeAlias

from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET, MarketParams

Times: TypeAlias = tuple[int, int]
"""Time to first token and total time, microseconds."""

MIN_MINERS = 3
"""Who measured a challenge before their median means anything to each of them."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What of one hotkey's bundle tells it from others': when it was committed, and its timed successes."""

    hotkey: str
    committed: tuple[int, int]
    """Block and position in the block: the order of commitments."""
    times: Mapping[Cell, Mapping[int, Times]]
    """By cell, then by the index of the challenge within it."""


def find_originals(submissions: Sequence[Submission], params: MarketParams = MARKET) -> dict[str, str]:
    """For each hotkey, whose allocation it shares: its own, unless it duplicates one committed earlier."""
    ordered = sorted(submissions, key=lambda s: (s.committed, s.hotkey))
    position = {submission.hotkey: i for i, submission in enumerate(ordered)}
    first = list(range(len(ordered)))

    def find(i: int) -> int:
        while first[i] != i:
            i = first[i]
        return i

    for one, other in [*_find_same_times(ordered, params), *_find_same_residuals(ordered, params)]:
        a, b = find(position[one]), find(position[other])
        first[max(a, b)] = min(a, b)
    return {submission.hotkey: ordered[find(i)].hotkey for i, submission in enumerate(ordered)}


def _find_same_times(submissions: Sequence[Submission], params: MarketParams) -> list[tuple[str, str]]:
    """Pairs with ``duplicate_records`` equal measurements."""
    by_cell: dict[Cell, list[tuple[str, Mapping[int, Times]]]] = defaultdict(list)
    for submission in submissions:
        for cell, times in submission.times.items():
            by_cell[cell].append((submission.hotkey, times))
    shared: dict[tuple[str, str], int] = defaultdict(int)
    for owners in by_cell.values():
        seen: dict[tuple[int, Times], list[str]] = {}
        for hotkey, times in owners:
            for measured in times.items():
                seen.setdefault(measured, []).append(hotkey)
        for hotkeys in seen.values():
            if len(hotkeys) > 1:
                for pair in combinations(hotkeys, 2):
                    shared[pair] += 1
    return [pair for pair, count in shared.items() if count >= params.duplicate_records]


def _find_same_residuals(submissions: Sequence[Submission], params: MarketParams) -> list[tuple[str, str]]:
    """Pairs whose residuals lie on the same side too often. Signs are bits, so that a pair costs two operations."""
    known, above = _compute_signs(submissions)
    pairs = []
    for i, j in combinations(range(len(submissions)), 2):
        both = known[i] & known[j]
        shared = both.bit_count()
        agreed = shared - ((above[i] ^ above[j]) & both).bit_count()
        if (
            shared >= params.duplicate_shared
            and agreed >= params.duplicate_agreement * shared
            and compute_chance(agreed, shared) <= params.duplicate_p
        ):
            pairs.append((submissions[i].hotkey, submissions[j].hotkey))
    return pairs


def _compute_signs(submissions: Sequence[Submission]) -> tuple[list[int], list[int]]:
    """Per submission two bit sets over all challenges: where its residual is known, and where it is above zero."""
    measured: dict[Cell, dict[int, list[int]]] = {}
    for submission in submissions:
        for cell, times in submission.times.items():
            of_cell = measured.setdefault(cell, {})
            for index, (ttft_us, _) in times.items():
                of_cell.setdefault(index, []).append(ttft_us)
    middles: dict[Cell, dict[int, tuple[int, float]]] = {}
    bit = 0
    for cell, of_cell in measured.items():
        middles[cell] = {}
        for index, values in of_cell.items():
            if len(values) >= MIN_MINERS:
                middles[cell][index] = (bit, max(statistics.median(values), 1))
                bit += 1
    known, above = [0] * len(submissions), [0] * len(submissions)
    for i, submission in enumerate(submissions):
        is_known, is_above = bytearray(bit), bytearray(bit)
        for cell, times in submission.times.items():
            of_middle = middles[cell]
            ratios = [
                (at, ttft_us / middle)
                for index, (ttft_us, _) in times.items()
                if index in of_middle
                for at, middle in (of_middle[index],)
            ]
            own = statistics.median([ratio for _, ratio in ratios]) if ratios else 0.0
            for at, ratio in ratios:
                is_known[at] = ratio != own
                is_above[at] = ratio > own
        known[i], above[i] = _pack(is_known), _pack(is_above)
    return known, above


def _pack(flags: bytearray) -> int:
    """Flags of 0 or 1 as the bits of one number."""
    return int(flags.translate(_DIGITS) or b"0", 2)


_DIGITS = bytes([48, 49]) + bytes(254)


def compute_chance(agreed: int, shared: int) -> float:
    """The chance that ``shared`` fair coins agree ``agreed`` times or more."""
    return float(Fraction(sum(math.comb(shared, k) for k in range(agreed, shared + 1)), 2**shared))
