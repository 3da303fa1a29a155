"""What the data plane is built from: plain values, already validated by whoever composes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from providerrank.rules.budget import EXPECTED_OUTPUT_TOKENS, UNLIMITED, Budget
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.idle_probes import ProbeRules
from providerrank.rules.params import PARAMS

Priority = Literal["high", "normal", "best-effort"]

UPSTREAM_DIALECTS = ("openai", "anthropic")
"""What an endpoint may be said to speak; the second means: nothing else."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where an endpoint is reached. The key never leaves this process but towards ``base_url``."""

    endpoint: Endpoint
    base_url: str
    upstream_model: str
    key: str | None = field(default=None, repr=False)
    dialect: str | None = None
    """One of ``UPSTREAM_DIALECTS``. None: OpenAI's, unless it turns out to know only the other."""
    prefill: str | None = None
    """How it is told to go on from the beginning of an answer: one of ``wire.intake.PREFILLS``. None: by that alone."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time limits of one request, in microseconds."""

    connect_us: int = 2_000_000
    first_token_us: int | None = None
    """None: adaptive, from the cell's own p99 with a floor."""
    idle_us: int = 15_000_000
    total_us: int = 300_000_000
    patience_us: int = 3_000_000
    """Longest wait for a rate-limited endpoint before a fallback model is used."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on everything a client or an endpoint can make us hold."""

    max_body_bytes: int = 32 * 1024 * 1024
    max_response_bytes: int = 64 * 1024 * 1024
    max_header_bytes: int = 64 * 1024
    max_connections: int = 20_000
    max_pending: int = 4_096
    """Requests under way at once; past it 503 with Retry-After, at once."""
    max_sessions: int = 100_000
    client_head_us: int = 30_000_000
    """A client has this long to send a whole request head, and again for its body."""
    client_stall_us: int = 60_000_000
    """A client that reads nothing for this long while we hold bytes for it is gone."""
    keep_alive_us: int = 300_000_000
    upstream_keep_alive_us: int = 60_000_000
    max_idle_per_upstream: int = 256
    drain_us: int = 30_000_000


@dataclass(frozen=True, slots=True)
class BuyerKey:
    """A key with a name, and what whoever has it may use."""

    name: str
    """Also the name of its account: it keeps that when the secret changes."""
    secret: str = field(repr=False)
    models: frozenset[str] | None = None
    """Model ids; None: all."""
    tiers: tuple[str, ...] = ()
    """The ones it may ask for, the first of them also where it asks for none; empty: all, and none by default."""
    price_cap: Price | None = None
    """Beside the buyer's and the tier's: the lowest holds."""
    budget: Budget = UNLIMITED
    priority: Priority = "normal"
    expected_output_tokens: int = EXPECTED_OUTPUT_TOKENS
    """Set aside for the answer to a request that names no limit."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The data plane's whole configuration."""

    host: str = "127.0.0.1"
    port: int = 8080
    keys: tuple[str, ...] = field(default=(), repr=False)
    """Accepted bearer keys, without limits; none here and in ``buyer_keys``: only loopback may call."""
    buyer_keys: tuple[BuyerKey, ...] = ()
    tier_priorities: Mapping[str, Priority] = field(default_factory=dict)
    """Of requests that ask for a tier, by its name; a tier that is not here says nothing of priority."""
    upstreams: tuple[Upstream, ...] = ()
    clocks: Clocks = Clocks()
    limits: Limits = Limits()
    explain: int = 0
    """How many of the latest requests can be explained; their router must take looks (``rules.sight``)."""
    hedge: float = PARAMS.hedge_share
    """Of requests, 0..1, at most this many have a second attempt while the first is slow; 0: none."""
    probes: ProbeRules | None = None
    """Of endpoints that nobody asks; None: none."""
