"""``tests/vectors/attempts.json``: what happened to a request, event by event, and what was to be done each time.

Clocks: connect 2 s, first token 5 s, idle 15 s, total 300 s, patience 3 s; no jitter. Where ``hedge_us`` is given, a
second attempt may begin after so much silence. An event is about the live attempt on its ``endpoint``, or the only one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from providerrank.rules.attempt import Attempt, Fault, Try
from providerrank.rules.attempts import Action, Answer, Attempts, Drop, Fail, Finish, Hedge, Relay, Timing, Wait
from providerrank.rules.cells import Endpoint
from providerrank.rules.hedging import HedgeBudget
from tests.playbook import FIRST_TOKEN_US, TIMING, Pool, endpoint

VECTORS = Path(__file__).parents[2] / "vectors" / "attempts.json"


class Candidate(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    model: str
    features: list[str] = []
    context_window: int | None = None
    out: bool = False


class Event(msgspec.Struct, forbid_unknown_fields=True):
    event: str
    at_us: int
    endpoint: str | None = None
    fault: str | None = None
    cool_until_us: int | None = None
    features: list[str] = []


class Expected(msgspec.Struct, forbid_unknown_fields=True):
    action: str
    endpoint: str | None = None
    resuming: bool = False
    pause_us: int = 0
    until_us: int | None = None
    status: int | None = None
    code: str | None = None
    retry_after_us: int | None = None


class Input(msgspec.Struct, forbid_unknown_fields=True):
    endpoints: list[Candidate]
    events: list[Event]
    total_us: int = TIMING.total_us
    hedge_us: int | None = None
    hedges: int = 1
    """How many are paid for."""


class Vector(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    input: Input
    expected: list[Expected | None]


def load() -> list[Vector]:
    return msgspec.json.decode(VECTORS.read_bytes(), type=list[Vector])


def build_pool(candidates: list[Candidate]) -> Pool:
    models = list(dict.fromkeys(c.model for c in candidates)) or ["m"]
    return Pool(
        [
            (
                model,
                [
                    endpoint(
                        c.id.partition("/")[0],
                        model,
                        features=frozenset(c.features),
                        context_window=c.context_window,
                    )
                    for c in candidates
                    if c.model == model
                ],
            )
            for model in models
        ],
        out={c.id for c in candidates if c.out},
    )


class Watch:
    """Every endpoint is alike."""

    def __init__(self, given: Input) -> None:
        self._hedge_us = given.hedge_us
        self.hedges = HedgeBudget(1.0)
        self.hedges.requests = given.hedges

    def get_silence_us(self, endpoint: Endpoint, budget_us: int) -> int:
        del endpoint, budget_us
        return FIRST_TOKEN_US

    def get_hedge_us(self, endpoint: Endpoint) -> int | None:
        del endpoint
        return self._hedge_us


def find(machine: Attempts, event: Event) -> Attempt:
    live = [one for one in (machine.attempt, machine.rival) if one is not None]
    [attempt] = [one for one in live or machine.log[-1:] if event.endpoint in (None, one.endpoint.id)]
    return attempt


def process(machine: Attempts, pool: Pool, watch: Watch, event: Event) -> Action | None:
    """Tell the machine, and see to the cooling as the gateway does."""
    now_us = event.at_us
    if event.event == "failed":
        assert event.fault is not None
        attempt = find(machine, event)
        if event.cool_until_us is not None:
            pool.cooling[attempt.endpoint.id] = event.cool_until_us
        return machine.failed(
            now_us, attempt, Fault[event.fault], cool_until_us=event.cool_until_us, features=frozenset(event.features)
        )
    if event.event == "clock":
        return machine.clock(now_us, watch)
    if event.event == "sealed":
        machine.sealed = True
        return None
    about = () if event.event in ("begin", "client_gone") else (find(machine, event),)
    happened: Action | None = getattr(machine, event.event)(now_us, *about)
    return happened


def show(action: Action | None) -> Expected | None:
    """An action as the vectors write it."""
    if action is None:
        return None
    if isinstance(action, Try):
        attempt = action.attempt
        return Expected("try", endpoint=attempt.endpoint.id, resuming=attempt.resuming, pause_us=action.pause_us)
    if isinstance(action, (Hedge, Drop)):
        return Expected(type(action).__name__.lower(), endpoint=action.attempt.endpoint.id)
    if isinstance(action, Wait):
        return Expected("wait", until_us=action.until_us)
    if isinstance(action, Answer):
        return Expected("answer", endpoint=action.attempt.endpoint.id)
    if isinstance(action, Fail):
        return Expected("fail", status=action.status, code=action.code, retry_after_us=action.retry_after_us)
    assert isinstance(action, (Relay, Finish))
    return Expected("relay" if isinstance(action, Relay) else "finish")


@pytest.mark.parametrize("vector", load(), ids=lambda vector: vector.name)
def test_vectors(vector: Vector) -> None:
    pool = build_pool(vector.input.endpoints)
    timing = Timing(TIMING.connect_us, TIMING.idle_us, vector.input.total_us, TIMING.patience_us)
    machine = Attempts(pool, timing, lambda: 0.0)
    watch = Watch(vector.input)
    for number, (event, expected) in enumerate(zip(vector.input.events, vector.expected, strict=True)):
        assert show(process(machine, pool, watch, event)) == expected, f"event {number}: {event.event}"
