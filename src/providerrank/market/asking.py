"""Asking an endpoint one challenge, and what is known afterwards: the port both miner and validator measure through.

A *probe* is what was seen. ``own_fault`` says that it tells nothing of the endpoint: our network, our key, our machine
too busy to time it. Whoever measures throws such a probe away; it was paid for all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from providerrank.rules.cells import Cell, Endpoint
from providerrank.rules.challenges.shape import Answer, Challenge
from providerrank.rules.observation import Outcome
from providerrank.rules.records import CHECK_NONE, SCHEMA_CHECKS

BYTES_PER_TOKEN: Final = 3
"""Least bytes of a prompt that make a token, for what a request may cost at most: English has four."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One request as it went. Times are microseconds; tokens as the endpoint states them, None when it does not."""

    started_us: int
    outcome: Outcome
    ttft_us: int | None
    total_us: int
    tokens_in: int | None = None
    tokens_out: int | None = None
    answer: Answer = Answer()
    """Empty unless the outcome is a success."""
    own_fault: str = ""
    """Why this says nothing of the endpoint, in a few words; empty: it does."""
    check: str = CHECK_NONE
    """What the challenge's checker says; none where there was no whole answer."""


class Prober(Protocol):
    """Asks endpoints."""

    async def ask(self, cell: Cell, challenge: Challenge) -> Probe:
        """Send one challenge; never raises for what an endpoint does. ``check`` is still to be made."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


class Checker(Protocol):
    """Judges an answer; code runs somewhere safe."""

    async def check(self, challenge: Challenge, answer: Answer) -> str | None:
        """The short code of the verdict; None where this machine cannot judge it (no sandbox)."""
        ...


async def measure(prober: Prober, checker: Checker, cell: Cell, challenge: Challenge) -> Probe:
    """Ask and judge: a probe with its check, and SCHEMA_VIOLATION where the answer breaks the schema it was to have."""
    probe = await prober.ask(cell, challenge)
    if probe.own_fault or probe.outcome is not Outcome.SUCCESS:
        return probe
    code = await checker.check(challenge, probe.answer)
    if code is None:
        return replace(probe, own_fault="the answer cannot be judged on this machine")
    outcome = Outcome.SCHEMA_VIOLATION if code in SCHEMA_CHECKS else Outcome.SUCCESS
    return replace(probe, check=code, outcome=outcome)


def compute_most_nusd(endpoint: Endpoint, challenge: Challenge, prompt_bytes: int) -> int:
    """What one challenge may cost at most, in nano-USD: what is set aside before it is sent."""
    tokens_in = prompt_bytes / BYTES_PER_TOKEN
    return round(endpoint.price.cost_nusd(tokens_in, challenge.pinned.max_tokens))


def compute_spent_nusd(endpoint: Endpoint, probe: Probe, most_nusd: int) -> int:
    """What a request cost, in nano-USD: by the tokens stated, else all that was set aside; failures are free."""
    if probe.outcome not in (Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION) and not probe.answer.text:
        return 0
    if probe.tokens_in is None or probe.tokens_out is None:
        return most_nusd
    return min(most_nusd, round(endpoint.price.cost_nusd(probe.tokens_in, probe.tokens_out)))


@dataclass(frozen=True, slots=True)
class Market:
    """What is measured: endpoints by id, the tasks asked of each, and how much demand there is for every cell."""

    endpoints: Mapping[str, Endpoint]
    demand: Mapping[Cell, float]
    """By cell; the cells that are measured are those in it. Any positive scale."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, in the order of ``demand``."""
        return tuple(self.demand)
