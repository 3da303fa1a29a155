"""What the admin port shows of a ranking: the JSON of /v1/rankings and the rows of the page are the same values."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["ok", "suspect", "cooling", "out", "excluded"]
"""ok: offered; suspect: offered, with some belief of an outage; cooling: rate-limited until a known moment;
out: believed out, tried now and then; excluded: not in the pool, for ``reason``."""


class PriceView(msgspec.Struct, frozen=True, kw_only=True):
    """List price in US dollars per million tokens."""

    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None


class FailureView(msgspec.Struct, frozen=True, kw_only=True):
    """The latest failed attempt."""

    kind: str
    """One label of a closed set."""
    at_s: float
    """Unix time in seconds."""


class BundleView(msgspec.Struct, frozen=True, kw_only=True):
    """A miner's bundle that a verified figure stands on."""

    miner: str
    """Its hotkey."""
    root: str
    """Of its Merkle tree, 64 hex digits: what `providerrank bundle verify` shows of the file."""
    score: float


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """What one validator found."""

    validator: str
    """Its hotkey."""
    stake_tao: float
    epoch: int
    replays: int
    """Of its own, on this endpoint and task."""
    bundles: list[BundleView]


class VerifiedView(msgspec.Struct, frozen=True, kw_only=True):
    """What the market has verified of an endpoint at this task, and the evidence for it."""

    epoch: int
    at_s: float
    """Unix time in seconds."""
    ttft_s: float
    success: float
    replays: int
    worth: float
    """What it counts for in the ranking now, in requests; it fades."""
    validators: list[FindingView]


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of a ranking; scores and beliefs are 0 to 1."""

    rank: int | None
    """1 is tried first; none when excluded."""
    endpoint: str
    provider: str
    state: State
    reason: str | None
    """Why it is not offered, in one sentence; none when it is."""
    score: float
    """What the order goes by: the composite, lowered by the outage belief."""
    composite: float
    reputation: float
    latency: float
    reliability: float
    uptime: float
    price_score: float
    outage_belief: float
    """Probability that it is out right now."""
    ttft_s: float
    """Expected ``p50^0.7 * p95^0.3``, what latency is judged by; from other endpoints while it has no own evidence."""
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    """Of its own window for this task; none while nothing was measured."""
    success: float
    """Expected share of requests that succeed, outages aside."""
    output_tokens_per_s: float | None
    billing_ratio: float
    """Tokens billed over tokens counted."""
    requests: float
    """Evidence: requests in the window, decayed."""
    price: PriceView
    cost_usd: float
    """Expected cost of one request of this task."""
    in_flight: int
    concurrency_limit: float
    last_failure: FailureView | None
    verified: VerifiedView | None = None
    """None: the market has found nothing of it that still counts."""


class WeightsView(msgspec.Struct, frozen=True, kw_only=True):
    """How much each side of the composite counts; they add up to 1."""

    reputation: float
    price: float


class RankingView(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints of one model, best first, those not in the pool last."""

    model: str
    task: str
    tier: str | None
    at_s: float
    """Unix time in seconds at which this was true."""
    parameters: str
    """Version of the protocol parameters behind the figures."""
    weights: WeightsView
    endpoints: list[EndpointView]


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one limit is used."""

    used: float
    """Requests, tokens or US dollars; what requests under way have set aside is in it."""
    limit: float | None
    remaining: float | None
    """None: there is no limit; never below 0."""


class KeyEndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """What one key used of one endpoint since this process started."""

    endpoint: str
    input_tokens: int
    output_tokens: int
    cost_usd: float


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """One key with a name: what it may use, and what it has used."""

    key: str
    """Its name."""
    priority: str
    models: list[str] | None
    """None: all."""
    tiers: list[str]
    """Empty: all."""
    requests_today: int
    input_tokens_today: int
    output_tokens_today: int
    """Of requests that have ended; days are UTC's."""
    spend_today: BudgetView
    spent_today_nusd: int
    """The same as the spend's ``used``, exactly."""
    held_usd: float
    """Of it, set aside for requests under way."""
    requests_this_minute: BudgetView
    tokens_this_minute: BudgetView
    endpoints: list[KeyEndpointView]


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """Every key with a name."""

    at_s: float
    day: str
    """The day that is counted, as 2026-01-31."""
    day_ends_s: float
    """Seconds until budgets for a day are renewed."""
    keys: list[KeyView]


class SessionCellView(msgspec.Struct, frozen=True, kw_only=True):
    """What a named session knows of one endpoint, for one kind of task."""

    endpoint: str
    task: str
    requests: float
    """Decayed, with a half-life of two minutes; so are the failures."""
    failures: float
    outage_belief: float
    """The session's own, beside everybody's; the greater holds."""


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """One named session: what a client calls it in ``x-providerrank-session``."""

    id: str
    age_s: float
    """Since its first attempt ended."""
    idle_s: float
    """Since its latest did."""
    attempts: int
    cells: list[SessionCellView]
    """The most recently used first; the eight latest are kept."""


class SessionsView(msgspec.Struct, frozen=True, kw_only=True):
    """The named sessions used last, the latest first."""

    sessions: list[SessionView]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The totals shown above the tables, since the gateway started."""

    endpoints: int
    endpoints_offered: int
    requests: int
    failed_requests: int
    """Answered with a 5xx."""
    fallbacks: int
    continuations: int
    pending: int
    connections: int
    cost_usd: float


class PageView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page shows at one moment."""

    version: str
    ready: bool
    not_ready_because: str | None
    at_s: float
    task: str
    tasks: list[str]
    tier: str | None
    tiers: list[str]
    figures: Figures
    rankings: list[RankingView]
    """Cut to the first rows of each."""
    left_out: list[int]
    """How many rows each ranking was cut by."""
    usage: UsageView | None = None
    """None: there are no keys with names."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests can be served now."""

    ready: bool
    because: str | None
    """Why not; none when ready."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """This process answers."""

    status: Literal["ok"] = "ok"
    version: str


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, in the shape of OpenAI's API."""

    message: str
    type: str = "invalid_request_error"
    code: str
    known: list[str] | None = None
    """Names that would have been right."""
    mistakes: list[str] | None = None
    """Of a configuration, each with its line and remedy."""


class ErrorView(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every refusal."""

    error: ErrorBody
