"""The statistical layer of the gate: whether what the validator sees agrees with what the miner claims.

Four tests run side by side over a bundle's replays, each a wealth process (`rules.eprocess`) with its share of alpha:

* *latency*: a replayed claim is compared with two of the validator's own measurements of that cell, one from before or
  during the claim's epoch and one after. Both more than twice the claim is a hit. Two, because an endpoint that merely
  became slower (or was slow for a while) exceeds an honest claim once, and not on both sides of it. Null:
  `rules.nulls`.
* *success*: a measurement that does not complete. Null: the failures the miner itself claims on that provider, over
  all its records, plus a drift. (Claiming more failures raises it, and that is the honest thing to do.) Measurements
  during the epoch and after it are clusters of their own, since incidents last minutes to hours and lies do not end.
* *schema*: a completed replay that fails its checker, likewise.
* *answer*: on endpoints that answer deterministically, an answer other than the miner's. Null: how often the
  endpoint differs from itself.

A fault on the validator's side (its network, its key, a 429 of its own) is no replay at all: it abstains.
"""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from providerrank.rules.cells import Cell
from providerrank.rules.eprocess import Evidence, compute_bet
from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.nulls import Nulls, Timing, is_exceeded
from providerrank.rules.observation import Outcome
from providerrank.rules.records import Record

COMPLETED = frozenset({Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION})
VALIDATORS_OWN = frozenset({Outcome.RATE_LIMITED, Outcome.REFUSED_US, Outcome.NOBODYS})
"""Outcomes of a replay that say nothing of the endpoint as others meet it."""


class Test(enum.StrEnum):
    """The four tests."""

    __test__ = False

    LATENCY = "latency"
    SUCCESS = "success"
    SCHEMA = "schema"
    ANSWER = "answer"


class Decision(enum.StrEnum):
    """What the replays so far say."""

    MORE = "more"
    PASS = "pass"
    TRIP = "trip"


@dataclass(frozen=True, slots=True)
class Measured:
    """One request of the validator's own."""

    status: Outcome
    timing: Timing | None
    """None where it did not complete."""
    response_hash: str


@dataclass(frozen=True, slots=True)
class Replay:
    """A claim of the bundle, and what the validator got for the same challenge, twice."""

    claim: Record
    second: Measured
    """Replayed after the deadline."""
    first: Measured | None = None
    """The validator's own measurement of the cell from before or during the claim's epoch; None where it has none."""


def get_cluster(cell: Cell) -> str:
    """The provider: what shares an incident."""
    return cell.endpoint_id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Claimed:
    """Per provider, how often the miner's own records failed, and how often completed ones failed their check."""

    failure: Mapping[str, float]
    violation: Mapping[str, float]

    @classmethod
    def count(cls, records: Iterable[Record]) -> Claimed:
        """Count a whole bundle; a provider's rates lean up while it has few records."""
        requests: dict[str, int] = defaultdict(int)
        failed: dict[str, int] = defaultdict(int)
        violated: dict[str, int] = defaultdict(int)
        named: dict[str, str] = {}
        for record in records:
            endpoint_id = record.cell.endpoint_id
            cluster = named.get(endpoint_id) or named.setdefault(endpoint_id, get_cluster(record.cell))
            requests[cluster] += 1
            failed[cluster] += record.status not in COMPLETED
            violated[cluster] += record.status is Outcome.SCHEMA_VIOLATION
        return cls(
            {c: (failed[c] + 0.5) / (n + 1.0) for c, n in requests.items()},
            {c: (violated[c] + 0.5) / (n - failed[c] + 1.0) for c, n in requests.items()},
        )


class ReplayTest:
    """The four tests over one bundle, replay by replay; ``carried`` is the log-wealth of the hotkey's past epochs."""

    __slots__ = ("_claimed", "_nulls", "evidence", "params", "replays")

    def __init__(
        self,
        claimed: Claimed,
        nulls: Nulls,
        carried: Mapping[Test, float] | None = None,
        params: MarketParams = MARKET,
    ) -> None:
        self._claimed = claimed
        self._nulls = nulls
        self.params = params
        self.replays = 0
        """Judged so far; those that abstained are not counted."""
        self.evidence = {
            test: Evidence(params.cluster_reach * self.get_threshold(test), (carried or {}).get(test, 0.0))
            for test in Test
        }

    def add(self, replay: Replay) -> Decision:
        """Judge one replay. Those of one bundle come in the planned order, which goes round the providers."""
        if replay.second.status in VALIDATORS_OWN:
            return self.decide()
        self.replays += 1
        cluster = get_cluster(replay.claim.cell)
        self._bet_outcome(replay.second.status, cluster, cluster + " after")
        if replay.first is not None and replay.first.status not in VALIDATORS_OWN:
            self._bet_outcome(replay.first.status, cluster, cluster + " during")
        if replay.claim.status in COMPLETED and replay.second.status in COMPLETED:
            self._bet_latency(replay, cluster)
            self._bet_answer(replay, cluster)
        return self.decide()

    def decide(self) -> Decision:
        """The verdict so far: a trip as soon as one test has its evidence; a pass when none will get it."""
        if self.get_tripped():
            return Decision.TRIP
        if self.replays >= self.params.replays_max:
            return Decision.PASS
        hopeless = math.log(self.params.futility)
        if self.replays >= self.params.replays_min and all(
            evidence.log_wealth <= hopeless or not evidence.bets for evidence in self.evidence.values()
        ):
            return Decision.PASS
        return Decision.MORE

    def get_tripped(self) -> list[Test]:
        """The tests that have their evidence."""
        return [test for test, evidence in self.evidence.items() if evidence.log_wealth >= self.get_threshold(test)]

    def get_threshold(self, test: Test) -> float:
        """Log-wealth at which a test trips: of one over its share of alpha."""
        share = {
            Test.LATENCY: self.params.latency_alpha_share,
            Test.SUCCESS: self.params.success_alpha_share,
            Test.SCHEMA: self.params.schema_alpha_share,
            Test.ANSWER: self.params.answer_alpha_share,
        }[test]
        return -math.log(self.params.gate_alpha * share)

    def get_carried(self) -> dict[Test, float]:
        """What the hotkey's next bundle starts with."""
        return {test: max(0.0, evidence.log_wealth) for test, evidence in self.evidence.items()}

    def _bet_outcome(self, status: Outcome, provider: str, cluster: str) -> None:
        failed = status not in COMPLETED
        self._bet_share(Test.SUCCESS, cluster, self._claimed.failure.get(provider, 0.5), happened=failed)
        if not failed:
            violated = status is Outcome.SCHEMA_VIOLATION
            self._bet_share(Test.SCHEMA, cluster, self._claimed.violation.get(provider, 0.5), happened=violated)

    def _bet_share(self, test: Test, cluster: str, claimed: float, *, happened: bool) -> None:
        null = claimed + self.params.failure_drift
        alternative = null + self.params.hidden_share
        if alternative < 1.0:
            self.evidence[test].add(cluster, compute_bet(happened=happened, null=null, alternative=alternative))

    def _bet_latency(self, replay: Replay, cluster: str) -> None:
        claim = replay.claim
        if replay.first is None or replay.first.timing is None or replay.second.timing is None or claim.ttft_us is None:
            return
        null = self._nulls.get_slow(claim.cell.endpoint_id)
        if null >= self.params.latency_odds:
            return
        timing = Timing(claim.ttft_us, claim.total_us)
        happened = is_exceeded(timing, replay.first.timing, replay.second.timing, self.params.understatement)
        bet = compute_bet(happened=happened, null=null, alternative=self.params.latency_odds)
        self.evidence[Test.LATENCY].add(cluster, bet)

    def _bet_answer(self, replay: Replay, cluster: str) -> None:
        null = self._nulls.get_differ(replay.claim.cell.endpoint_id)
        if null is None:
            return
        happened = replay.second.response_hash != replay.claim.response_hash
        bet = compute_bet(happened=happened, null=null, alternative=null + self.params.foreign_share)
        self.evidence[Test.ANSWER].add(cluster, bet)
