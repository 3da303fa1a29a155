"""The one request all gateways are asked, as a plain answer or as a stream."""

from __future__ import annotations

import json
from dataclasses import dataclass

HOST = "127.0.0.1"
PATH = "/v1/chat/completions"
MODEL = "mock"
PROMPT = "Say something about foxes, in one short paragraph. " * 3


@dataclass(frozen=True, slots=True)
class Route:
    """Where a gateway is asked, and what it wants to be told."""

    port: int
    model: str = MODEL
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How the upstream is to stream. It rides in fields that every gateway passes through."""

    events: int
    gap_ms: int
    """0: each event in a write of its own, as fast as they go."""


def make_headers(route: Route, key: str) -> dict[str, str]:
    """The request's headers, but for host and length."""
    return {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **dict(route.headers)}


def make_body(route: Route, pace: Pace | None = None) -> str:
    """A prompt of usual shape; ``max_tokens`` and ``seed`` tell the upstream how to stream."""
    body: dict[str, object] = {
        "model": route.model,
        "messages": [{"role": "system", "content": "You are terse."}, {"role": "user", "content": PROMPT}],
        "max_tokens": 256,
    }
    if pace is not None:
        body |= {"stream": True, "max_tokens": pace.events, "seed": pace.gap_ms}
    return json.dumps(body)


def read_pace(body: bytes) -> Pace | None:
    """What ``make_body`` asked for, whatever a gateway did to the spacing; None: no stream."""
    if b'"stream"' not in body:
        return None
    asked = json.loads(body)
    return Pace(int(asked["max_tokens"]), int(asked["seed"])) if asked["stream"] else None
