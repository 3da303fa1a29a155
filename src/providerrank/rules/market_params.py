"""The market's parameters: every number its rules use, with its unit and reason.

Versioned together with `providerrank.rules.params`: a bundle names that version, and validators judge it by these.
Units are in the names; a bare number is a ratio or a count.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MarketParams:
    """Parameters of gate, scoring and emission."""

    # Gate.
    gate_alpha: float = 1e-3
    """Chance that an honest bundle is tripped: the sum over the replay tests below."""
    latency_alpha_share: float = 0.2
    success_alpha_share: float = 0.5
    """The largest: a few hidden failures are the least visible in a hundred replays."""
    schema_alpha_share: float = 0.2
    answer_alpha_share: float = 0.1
    understatement: float = 2.0
    """A claim less than 1 / this of what the validator saw counts as understated."""
    vantage: float = 0.7
    """An honest miner may be this much nearer to the endpoint: the null rates allow for it."""
    latency_odds: float = 0.33
    """Share of claims understated by 2x that both of the validator's measurements exceed: a third, by symmetry."""
    hidden_share: float = 0.1
    """Failures hidden, of all requests, that the success and schema tests are tuned to."""
    fabricated_share: float = 0.05
    """Records fabricated, of all, that opening leaves is meant to find, with"""
    catch_power: float = 0.99
    """this chance at least. With 0.95 one such bundle in twenty slipped through: 2 % of an honest miner's pay."""
    foreign_share: float = 0.2
    """Answers from elsewhere, of all, that the answer test is tuned to."""
    latency_null_floor: float = 0.02
    """No endpoint is believed steadier than this, however few exceedances its doubled replays showed."""
    failure_drift: float = 0.002
    """An endpoint may fail this much more often at replay than at the claims, by chance of the hour."""
    answer_null_floor: float = 0.005
    answer_null_ceiling: float = 0.1
    """An endpoint whose own answers differ more often is not deterministic, and its answers are not compared."""
    null_prior_replays: float = 10.0
    """Weight of all endpoints' null rate in that of one."""
    null_doubles_min: float = 20.0
    """Doubled replays on an endpoint before its answers are compared at all."""
    cluster_reach: float = 0.36
    """How far towards a trip one provider's replays in one epoch may go, in log-wealth: two incidents in the
    same hour trip no bundle, however bad; evidence of three kinds may."""
    futility: float = 0.005
    """Evidence of every test below this: the bundle passes, and replays are saved. Costs at most this much power."""
    replays_min: int = 20
    """Replays judged before a bundle counts as verified; fewer pass without coverage."""
    replays_max: int = 100
    """Replays spent on one bundle at most."""
    telling_failures: float = 0.02
    """Admitted failures, of all, up to which a provider has a replay in every round of the plan; with more it has"""
    telling_share_min: float = 0.25
    """a smaller share of the rounds, but never less than this: to admit failures must not be a place to hide others."""
    token_bytes_max: int = 256
    """Longest text of one token in the vocabularies in use (128 spaces in some), twice over."""

    # Scoring.
    accuracy_weight: float = 0.7
    usefulness_weight: float = 0.3
    samples_min: int = 30
    """Verified samples of a cell before it counts: a 95 % quantile of fewer is a guess."""
    records_min: int = 20
    """Records of its own that a miner must have of a cell: with fewer its claimed failure rate says little, and bets
    against it find little, so they must not earn."""
    coverage_min: float = 0.25
    """Share of demand under which a bundle earns nothing: what ranks a corner of the market ranks nothing, and one
    purse must not fill many uids with a few easy cells each."""
    answered_share: float = 0.7
    """Of a cell's records, that must have an answer for all of them to count: one that claims a failure has nothing to
    open or replay. Few endpoints fail more often, and their cells need more records."""
    index_slack: float = 1.5
    """Challenges of a cell are measured from 0 on; an index past so many times the records there are shows that the
    telling ones were picked out of many, or that overlap with others was avoided, and the cell does not count."""
    baseline_loss_min: float = 1e-3
    """Nobody is asked to beat a public forecast that is all but right: loss below this is noise of the clock."""
    news_sigmas: float = 3.0
    """Standard errors that a gain must be above zero to be news and no luck: once in 700 bundles that have none."""
    news_cells_min: int = 10
    """Cells that it takes to tell."""
    standby_ppm: int = 100_000
    """Of the emission, shared out where nobody has news: a tenth, and the rest is burned. What is then said could be
    said by whoever measured nothing, so it is not worth more."""
    news_epochs: int = 10
    """Epochs that are paid by gains after one that brought news: twice the memory of the averages."""
    standby_gain_min: float = -0.5
    """Gain under which a bundle is not even paid for having watched: it says what is not so."""
    history_step: float = 0.1
    """Of the newest public forecast in the long-run one: ten epochs make two thirds of it."""

    # Emission.
    cap_ppm: int = 150_000
    """Greatest share of one miner: 15 %, so that seven miners are needed to take all there is."""
    average_step: float = 0.2
    """Of an epoch's score in the average: five epochs (six hours on Bittensor) make two thirds of it."""
    average_negligible: float = 1e-6
    """An average nearer to zero is forgotten: 1e-6 of a perfect score is no weight in 65535."""

    floor_share: float = 0.15
    """Of the best average, under which an average earns nothing: with few earners the cap would pay the luckiest nobody
    as much as the best. Under ``average_step``, so that a newcomer as good as the best is paid from its first epoch."""

    # Duplicates.
    duplicate_records: int = 3
    """Measurements two bundles share to the microsecond before they are one: chance gives one in 1e5 records at most,
    where total times spread over no more than half a millisecond; three in a few hundred, once in 1e8 pairs."""
    duplicate_shared: int = 60
    """Challenges both must have measured before their residuals are compared."""
    duplicate_agreement: float = 0.75
    """Share of residuals on the same side: 0.5 by chance, 0.6 where two miners share a vantage point and an hour."""
    duplicate_p: float = 1e-9
    """Chance of so much agreement between independent miners, per pair: with 256 miners, once in 30,000 epochs."""


MARKET = MarketParams()
