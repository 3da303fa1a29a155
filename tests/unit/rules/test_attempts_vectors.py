"""``tests/vectors/attempts.json``: what happened to a request, event by event, and what was to be done each time.

Clocks: connect 2 s, first token 5 s, idle 15 s, total 300 s, patience 3 s; no jitter.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from providerrank.rules.attempts import Action, Answer, Attempts, Fail, Fault, Finish, Relay, Timing, Try, Wait
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


def process(machine: Attempts, pool: Pool, event: Event) -> Action | None:
    """Tell the machine, and see to the cooling as the gateway does."""
    now_us = event.at_us
    if event.event == "failed":
        assert event.fault is not None
        if event.cool_until_us is not None and machine.attempt is not None:
            pool.cooling[machine.attempt.endpoint.id] = event.cool_until_us
        return machine.failed(
            now_us, Fault[event.fault], cool_until_us=event.cool_until_us, features=frozenset(event.features)
        )
    if event.event == "clock":
        return machine.clock(now_us, lambda *_: FIRST_TOKEN_US)
    if event.event == "sealed":
        machine.sealed = True
        return None
    happened: Action | None = getattr(machine, event.event)(now_us)
    return happened


def show(action: Action | None) -> Expected | None:
    """An action as the vectors write it."""
    if action is None:
        return None
    if isinstance(action, Try):
        attempt = action.attempt
        return Expected("try", endpoint=attempt.endpoint.id, resuming=attempt.resuming, pause_us=action.pause_us)
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
    for number, (event, expected) in enumerate(zip(vector.input.events, vector.expected, strict=True)):
        assert show(process(machine, pool, event)) == expected, f"event {number}: {event.event}"
