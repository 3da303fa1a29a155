"""An explanation as a value: what the gateway did with one request and why, for people and for programs.

The JSON of ``/v1/explain`` is these dataclasses as they are, so names here are a public contract. Times are seconds;
those within a request are relative to its beginning. Scores and beliefs are 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "answered",
    "failed",
    "abandoned",
    "excluded",
    "cooling",
    "out",
    "peer",
    "behind",
    "not_needed",
]
"""What became of a candidate. ``answered``, ``failed``, ``abandoned`` (the client left, or another was quicker): it was
tried. ``excluded``: a filter keeps it out. ``cooling``: rate-limited. ``out``: believed out, or it refuses our key.
``peer``: as good as the one chosen, which load or the draw decided. ``behind``: came after those tried.
``not_needed``: of a fallback model that was not reached."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a candidate's score was made of, at the moment it was last considered."""

    at_s: float
    """When this was true, relative to the request's beginning: a little before it, usually."""
    effective: float
    """What the order goes by: the composite, lowered by the outage belief."""
    composite: float
    reputation: float
    latency: float
    reliability: float
    uptime: float
    price: float
    """The price score: 1 is free, 0 is at the cap or above it."""
    outage_belief: float
    honesty: float
    """Below 1 where it bills more tokens than others do for as much text; the composite was multiplied by it."""
    ttft_s: float
    success: float
    cost_usd: float
    """Expected, for one request of this task."""
    requests: float
    """Evidence of its own, decayed."""
    in_flight: int
    concurrency_limit: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One endpoint of one of the request's models."""

    endpoint: str
    rank: int | None
    """By score, 1 is best; none when excluded."""
    verdict: Verdict
    words: str
    """The verdict and its reason, for a person."""
    excluded_by: tuple[str, ...]
    """Names of every filter that keeps it out."""
    scores: Scores | None
    """None where they are no longer kept."""


@dataclass(frozen=True, slots=True)
class ModelPart:
    """What was considered of one model."""

    model: str
    fallback: bool
    """It was not the model asked for."""
    words: str
    candidates: tuple[Candidate, ...]
    left_out: int
    """Further endpoints of the model, of which nothing is kept."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt."""

    endpoint: str
    model: str
    why: str
    """Why this endpoint: ``best``, ``class``, ``pin``, ``order``, ``sort``, ``sample``, ``session``, ``last_resort``,
    ``retry``, ``waited``, ``hedge`` or ``probe``."""
    outcome: str
    """``answered``, ``abandoned``, or the kind of failure."""
    status: int | None
    """HTTP status it failed with, where it had one."""
    continues: bool
    """It continued an answer that another had begun."""
    started_s: float
    connected_s: float | None
    first_content_s: float | None
    ended_s: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request, explained."""

    request_id: str
    at_s: float
    """Unix time in seconds of its beginning."""
    api: str
    model: str
    """As asked for."""
    task: str
    tier: str | None
    session: str | None
    stream: bool
    status: int
    """What the client was told; 499: it left."""
    endpoint: str | None
    """Whose answer the client has."""
    total_s: float
    ttft_s: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    key: str | None
    """Name of the caller's key, where keys have names."""
    summary: str
    """All of it in one sentence or two."""
    attempts: tuple[Tried, ...]
    attempts_left_out: int
    models: tuple[ModelPart, ...]
    probe: bool = False
    """No client's request: the gateway's own, of an endpoint that nobody asked."""


@dataclass(frozen=True, slots=True)
class Brief:
    """One line of a list of requests."""

    request_id: str
    at_s: float
    api: str
    model: str
    status: int
    endpoint: str | None
    attempts: int
    total_s: float
    ttft_s: float | None
    cost_usd: float
