"""The demo's cast and its script, as plain values.

Four sellers offer one model. Nothing tells the gateway which is good: the dearest answers at once,
the cheapest keeps one waiting, and value for money lies between. The script then breaks *the leader
of the moment* four times over, so that every breakage lands where the traffic is.

Times are fractions of the show, so that 15 seconds and 10 minutes tell the same story.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from providerrank.rules.cells import Price
from providerrank.sim.faults import Fault, Play
from providerrank.sim.llama_relay import Manners

MODEL = "smollm2-135m"
CAP = Price.from_usd(1.0, 2.0)
"""The demo's buyer pays at most this per million tokens; every seller is under it, the dearest just."""


@dataclass(frozen=True, slots=True)
class Seller:
    """One provider of the model: what it charges and how it behaves on a good day."""

    name: str
    price: Price
    manners: Manners

    @property
    def endpoint_id(self) -> str:
        """The id under which the gateway knows it."""
        return f"{self.name}/{MODEL}"


SELLERS = (
    Seller("swift", Price.from_usd(0.90, 1.80), Manners()),
    Seller("steady", Price.from_usd(0.45, 0.90), Manners(ttft_ms=80, token_ms=3)),
    Seller("thrifty", Price.from_usd(0.20, 0.40), Manners(ttft_ms=350, token_ms=8)),
    Seller("frugal", Price.from_usd(0.10, 0.20), Manners(ttft_ms=800, token_ms=15)),
)


class Mishap(enum.StrEnum):
    """What the script does to an endpoint; the value is what the table shows meanwhile."""

    KILLED = "killed"
    RATE_LIMITED = "rate-limiting"
    CUTTING = "cutting"
    FAILING = "failing"


PLAYS = {
    Mishap.RATE_LIMITED: Play(Fault.RATE_LIMIT, seconds=2),
    Mishap.CUTTING: Play(Fault.CUT_ABORT, after=8),
    Mishap.FAILING: Play(Fault.STATUS_500),
}
SENTENCES = {
    Mishap.KILLED: "is killed: SIGKILL to its process",
    Mishap.RATE_LIMITED: "answers 429 to everything, Retry-After 2 s",
    Mishap.CUTTING: "cuts every answer in the middle",
    Mishap.FAILING: "answers 500 to everything",
}


@dataclass(frozen=True, slots=True)
class Event:
    """From ``begin`` to ``end``, fractions of the show, the leader at ``begin`` suffers ``mishap``."""

    begin: float
    end: float
    mishap: Mishap


SCRIPT = (
    Event(0.10, 0.28, Mishap.KILLED),
    Event(0.24, 0.40, Mishap.RATE_LIMITED),
    Event(0.46, 0.62, Mishap.CUTTING),
    Event(0.56, 0.70, Mishap.FAILING),
)
"""At most two of the four are broken at once. An endpoint that fell is tried again half a minute later (the belief in
its outage halves every 30 s), so in a show of a minute the killed one is back for the last third."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One moment of the script: an event begins or is over."""

    at_s: float
    event: Event
    is_begin: bool


def compute_cues(seconds: float, script: Sequence[Event] = SCRIPT) -> list[Cue]:
    """The script's moments in order of time, for a show of ``seconds``."""
    cues = [Cue(event.begin * seconds, event, is_begin=True) for event in script]
    cues += [Cue(event.end * seconds, event, is_begin=False) for event in script]
    return sorted(cues, key=lambda cue: (cue.at_s, cue.is_begin))


def choose_victim(by_rank: Sequence[str], broken: Sequence[str]) -> str | None:
    """The best-ranked endpoint that nothing is wrong with; None when the last one must be left in peace."""
    whole = [name for name in by_rank if name not in broken]
    return whole[0] if len(whole) > 1 else None
