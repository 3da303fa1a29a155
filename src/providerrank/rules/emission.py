"""From miners' scores to the weights a validator sets: proportional, capped, the rest burned; exact in integers.

*Proportional*: a miner's share is its score over all scores, so two miners' shares are in the ratio of their scores.

*Cap*: nobody gets more than 15 %. By water-filling: whoever is above the cap is fixed at it, what is left goes to
the others in proportion, until nobody is above. Equal scores stay equal, order is kept. (With six earners or fewer that
brings all of them to the cap, whatever their scores: scores decide between miners, the cap between miners and burn.)

*Burn*: fewer than seven earners cannot take everything. A chain renormalises what is left out, which would undo the
cap; so the remainder is given, explicitly, to the subnet owner's UID, where the chain recycles it. The owner's UID
earns nothing by a score: what it would is burned.

*Integers*: a chain keeps weights as u16, scaled so that the greatest of a row is 65535 (it multiplies what it is sent
by ``65535 / max`` and rounds), and reads them as shares of the row's sum. `compute_weights` therefore makes rows whose
greatest entry is 65535, which that scaling leaves as they are, and rounds everyone down, the lost units going to burn:
so the cap, the order and the equalities hold of the very integers on the chain, not of some real numbers near them.

*Average*: weights follow an exponential average of a hotkey's scores, so that one lucky or missed epoch moves little.
A miner that trips the gate loses the epoch and all of its average, and begins anew from nothing. A score may be
negative and so may an average: who gambles pays for the bets it loses with what it won on others.

*Earning*: an average above zero, and at least a share of the best: the cap raises whoever earns where few do, so who
earns must be more than noise. Where no bundle of the last epochs had news (endpoints did what they always do, or too
few cells were measured to tell) luck would decide; then those who watched are paid for that, alike, a tenth of the
emission in all: nothing tells them from whoever repeats what is known.

Scores are any finite non-negative floats; they are taken as the exact binary fractions they are.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

from providerrank.rules.market_params import MARKET, MarketParams

U16_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Emission:
    """Exact shares of the emission: miners' by uid, and what is burned; they sum to exactly one."""

    shares: Mapping[int, Fraction]
    burn: Fraction


@dataclass(frozen=True, slots=True)
class Earnings:
    """What miners are paid in proportion to, by hotkey, all above zero; and how much of the emission is for them."""

    amounts: Mapping[str, float]
    pool_ppm: int


def compute_emission(scores: Mapping[int, float], params: MarketParams = MARKET, pool_ppm: int = 1_000_000) -> Emission:
    """Divide the emission among miners by score, none above the cap; what the cap leaves over is burned.

    ``pool_ppm`` of the emission is for them; the cap is of the whole. Raises ValueError for a score that is negative,
    infinite or not a number.
    """
    for uid, score in scores.items():
        if not (math.isfinite(score) and score >= 0):
            raise ValueError(f"the score of uid {uid} is {score}: scores are finite and not negative")
    earning = sorted(((Fraction(score), uid) for uid, score in scores.items() if score > 0), reverse=True)
    cap = Fraction(params.cap_ppm, 1_000_000)
    rest: Fraction = sum((score for score, _ in earning), Fraction(0))
    unclaimed = pool = Fraction(pool_ppm, 1_000_000)
    shares = {uid: Fraction(0) for uid in scores}
    fixed = 0
    while fixed < len(earning) and earning[fixed][0] * unclaimed > cap * rest:
        # Of equal scores all or none are above: fixing one leaves the next's claim on the rest no lower.
        shares[earning[fixed][1]] = cap
        rest -= earning[fixed][0]
        unclaimed -= cap
        fixed += 1
    if fixed == len(earning):
        return Emission(shares, burn=unclaimed + 1 - pool)
    for claim, uid in earning[fixed:]:
        shares[uid] = claim * unclaimed / rest
    return Emission(shares, burn=1 - pool)


def compute_weights(emission: Emission, owner_uid: int, params: MarketParams = MARKET) -> dict[int, int]:
    """The row to set on the chain: uid to 1..65535, the greatest being 65535; uids that get nothing are left out.

    Of the row's own integers: no miner's weight times a million exceeds ``cap_ppm`` times the row's sum; a greater
    share never has a smaller weight; equal shares have equal weights.
    """
    shares = {uid: share for uid, share in emission.shares.items() if uid != owner_uid}
    burn = 1 - sum(shares.values(), Fraction(0))
    scale = U16_MAX / max([burn, *shares.values()])
    weights = {uid: int(share * scale) for uid, share in shares.items()}
    burned = min(U16_MAX, math.ceil(scale) - sum(weights.values()))
    # Where burn is at the top of the range it cannot take the lost units, and the cap must be met by the miners.
    while True:
        most = (sum(weights.values()) + burned) * params.cap_ppm // 1_000_000
        if all(weight <= most for weight in weights.values()):
            break
        weights = {uid: min(weight, most) for uid, weight in weights.items()}
    weights[owner_uid] = burned
    return {uid: weight for uid, weight in sorted(weights.items()) if weight}


def compute_averages(
    averages: Mapping[str, float],
    scores: Mapping[str, float],
    tripped: Collection[str],
    params: MarketParams = MARKET,
) -> dict[str, float]:
    """The averages after an epoch, by hotkey.

    ``scores`` are the epoch's; a hotkey that submitted nothing scores 0, and one in ``tripped`` is forgotten: a new
    miner and a caught one both begin from nothing, so a fresh hotkey launders no past.
    """
    step = params.average_step
    after: dict[str, float] = {}
    for hotkey in sorted(averages.keys() | scores.keys()):
        if hotkey in tripped:
            continue
        average = (1 - step) * averages.get(hotkey, 0.0) + step * scores.get(hotkey, 0.0)
        if abs(average) >= params.average_negligible:
            after[hotkey] = average
    return after


def compute_earning(
    averages: Mapping[str, float], standby: Mapping[str, float], *, is_news: bool, params: MarketParams = MARKET
) -> Earnings:
    """What each hotkey is paid in proportion to.

    ``standby`` is what this epoch's verified bundles are worth where there ``is_news`` of nobody (`is_newsworthy`).
    """
    best = max(averages.values(), default=0.0)
    if not is_news or best <= 0.0:
        return Earnings({hotkey: worth for hotkey, worth in standby.items() if worth > 0.0}, params.standby_ppm)
    floor = params.floor_share * best
    return Earnings({hotkey: average for hotkey, average in averages.items() if average >= floor}, 1_000_000)


def is_newsworthy(epoch: int, news_epoch: int | None, params: MarketParams = MARKET) -> bool:
    """Whether an epoch is paid by gains; ``news_epoch`` is the last, up to this one, with a bundle that had news."""
    return news_epoch is not None and epoch - news_epoch <= params.news_epochs
