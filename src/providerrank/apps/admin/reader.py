"""Reads the router and the data plane's counters into what the admin port shows.

Reading thousands of endpoints takes ten milliseconds of the loop that also relays requests, and a whole ranking five
times that; anyone may ask for the page, the metrics or readiness as often as they like. So these are shared by all who
ask for a second, or for twenty times as long as they took to make: together with what they cost, at most a small share
of the loop.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from providerrank.apps.admin.metrics import US_PER_S, EndpointHealth, Snapshot, StatsSource, get_snapshot
from providerrank.apps.admin.requests import RequestSource, RingRequests
from providerrank.apps.admin.usage import KeySource, view_usage
from providerrank.apps.admin.view import (
    BundleView,
    EndpointView,
    FailureView,
    Figures,
    FindingView,
    PageView,
    PriceView,
    RankingView,
    Readiness,
    SessionCellView,
    SessionsView,
    SessionView,
    State,
    UsageView,
    VerifiedView,
    WeightsView,
)
from providerrank.apps.reload import Reloaded, ReloadRefused
from providerrank.gateway.ports import LedgerLost
from providerrank.rules.catalog import Catalog
from providerrank.rules.cells import CHAT, NUSD_PER_USD, TASKS, Cell, Price
from providerrank.rules.explanation import Brief, Explanation
from providerrank.rules.ranking import OFFERED, Glance, Ranked, Ranking, Weights
from providerrank.rules.records import PPM
from providerrank.rules.session import SeenSession
from providerrank.rules.verified import Verified
from providerrank.rules.window import Window

FRESH_US: Final = US_PER_S
"""How long what was read stays good: half the page's own period, and shorter than any probe's."""

REFRESH_US: Final = US_PER_S // 10
"""Counters of other processes are asked for at most this often."""

RAO_PER_TAO: Final = 1_000_000_000

REST: Final = 20
"""What took ``t`` to make is not made again before ``REST * t``: 5 % of the loop at most."""

MAX_ROWS: Final = 50
"""Rows of one model on the page: a market of thousands would make a refresh heavy, and no reader goes further."""

MAX_TASK_LENGTH: Final = 64
"""The list of tasks is open, but nothing in it is longer than a word."""

MAX_ID: Final = 128
"""Characters of a request's id; a longer one is shown shortened."""

MAX_SESSIONS: Final = 1_000
"""Named sessions in one answer."""

MAX_LATEST: Final = 50
"""Requests in the list of the latest."""

MAX_VIEWS: Final = 64
"""Combinations of task and tier kept for ``FRESH_US``; past it all are forgotten."""

STATES: Final[dict[str, State]] = {
    "ok": "ok",
    "suspect": "suspect",
    "cooling": "cooling",
    "out": "out",
    "excluded": "excluded",
}

T = TypeVar("T")


class RankingSource(Protocol):
    """The part of ``rules.router.Router`` read here."""

    def resolve(self, name: str) -> str | None:
        """Model id of a model or alias; None when unknown."""

    def models(self) -> list[str]:
        """Every model id."""

    def ranking(
        self, model: str, now_us: int, task: str = CHAT, tier: str | None = None, *, limit: int | None = None
    ) -> Ranking:
        """The model's endpoints, best first; the first ``limit`` of them cost a fraction."""

    def glance(self, model: str, now_us: int) -> list[Glance]:
        """How each of them stands for chat, in no order."""

    def has_usable(self, now_us: int) -> bool:
        """Whether any endpoint is in its model's pool and not believed out."""

    def sessions(self, limit: int, now_us: int) -> list[SeenSession]:
        """The named sessions used last, the latest first."""

    def get_window(self, cell: Cell) -> Window | None:
        """What was measured of a cell."""


@dataclass(frozen=True, slots=True)
class AdminSources:
    """Everything the admin port reads."""

    catalog: Catalog
    router: RankingSource
    stats: StatsSource
    is_listening: Callable[[], bool]
    """Whether the data plane accepts connections: false before it starts and while it drains."""
    now_us: Callable[[], int]
    """Unix time in microseconds."""
    version: str
    requests: RequestSource = RingRequests(None)
    keys: KeySource = list
    """Requests that were served, to be explained."""
    get_catalog: Callable[[], Catalog] | None = None
    """The catalog of now, where it may be replaced; None: ``catalog`` stays."""
    refresh: Callable[[], Awaitable[None]] | None = None
    """Brings ``stats`` up to date, where they are not by themselves."""
    reload: Callable[[], Awaitable[Reloaded]] | None = None
    """Reads the configuration again; raises ``ReloadRefused``. None: there is none to read."""
    get_window: Callable[[Cell], Window | None] | None = None
    """A cell's own window, for its TTFT quantiles; None: the router's."""


class NotFoundError(Exception):
    """A name that is not known; ``known`` are the ones that are."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.what = what
        self.name = name
        self.known = list(known)
        super().__init__(f"Unknown {what} {name!r}; known: {', '.join(self.known) or 'none'}.")


class RequestNotFoundError(Exception):
    """No request of this id is remembered; ``size`` is how many are."""

    def __init__(self, request_id: str, size: int) -> None:
        shown = request_id if len(request_id) <= MAX_ID else f"{request_id[:MAX_ID]}…"
        super().__init__(
            f"No request {shown!r} is remembered: the latest {size:,} since the gateway started are "
            "([gateway] explain). A request's id is its answer's x-request-id header."
            if size
            else "Requests are not remembered here: set [gateway] explain to how many should be."
        )


class AdminReader:
    """Answers the admin port's questions; to be used on the data plane's loop only."""

    def __init__(self, sources: AdminSources) -> None:
        self._sources = sources
        self._labelled = {endpoint.id: endpoint for endpoint in sources.catalog.endpoints}
        self._refreshed_us = 0
        self._pages: dict[tuple[str, str | None], _Kept[PageView]] = {}
        self._latest: tuple[int, list[Brief]] = (-FRESH_US, [])
        self._readiness = _Kept(sources.now_us, self._compute_readiness)
        self._usage = _Kept(sources.now_us, self._compute_usage)
        self._health = _Kept(sources.now_us, self._compute_health)

    @property
    def version(self) -> str:
        """The version running."""
        return self._sources.version

    def get_ranking(self, name: str, task: str, tier: str | None) -> RankingView:
        """The whole ranking of a model or alias; raises ``NotFoundError`` for a name it does not know."""
        self._check(task, tier)
        router = self._sources.router
        model = router.resolve(name)
        if model is None:
            raise NotFoundError("model", name, router.models())
        ranking = router.ranking(model, self._sources.now_us(), task=task, tier=tier)
        return self._view(ranking, ranking.rows, self._get_windows())

    def get_sessions(self, limit: int) -> SessionsView:
        """The named sessions used last."""
        now_us = self._sources.now_us()
        seen = self._sources.router.sessions(max(1, min(limit, MAX_SESSIONS)), now_us)
        return SessionsView(sessions=[_view_session(session, now_us) for session in seen])

    async def explain(self, request_id: str) -> Explanation:
        """What was done with a request and why; raises ``RequestNotFoundError``."""
        requests = self._sources.requests
        found = await requests.find(request_id)
        if found is None:
            raise RequestNotFoundError(request_id, requests.size)
        return found

    async def get_latest(self) -> list[Brief]:
        """The latest requests, the newest first; shared for a second by all who ask."""
        now_us = self._sources.now_us()
        made_us, latest = self._latest
        if not made_us <= now_us < made_us + FRESH_US:
            latest = await self._sources.requests.get_latest(MAX_LATEST)
            self._latest = now_us, latest
        return latest

    async def refresh(self) -> None:
        """Bring the counters up to date; to be awaited before they are read."""
        if self._sources.refresh is not None and self._sources.now_us() - self._refreshed_us >= REFRESH_US:
            self._refreshed_us = self._sources.now_us()
            await self._sources.refresh()

    async def reload(self) -> Reloaded:
        """Go on by the configuration as it is now; raises ``ReloadRefused``."""
        if self._sources.reload is None:
            raise ReloadRefused(["there is no configuration to read again here"])
        reloaded = await self._sources.reload()
        # What is shown is of now.
        self._pages.clear()
        return reloaded

    @property
    def _catalog(self) -> Catalog:
        get_catalog = self._sources.get_catalog
        return self._sources.catalog if get_catalog is None else get_catalog()

    def get_readiness(self) -> Readiness:
        """Ready: the data plane listens, and some endpoint is not believed out."""
        # Draining shows at once, whatever was true a moment ago.
        return self._readiness.get() if self._sources.is_listening() else _NOT_LISTENING

    def get_usage(self) -> UsageView:
        """What each key has used. Raises ``LedgerLost``."""
        return self._usage.get()

    def get_page(self, task: str, tier: str | None) -> PageView:
        """What the page shows; raises ``NotFoundError`` for an unknown tier."""
        self._check(task, tier)
        kept = self._pages.get((task, tier))
        if kept is None:
            if len(self._pages) >= MAX_VIEWS:
                self._pages.clear()
            kept = _Kept(self._sources.now_us, partial(self._compute_page, task, tier))
            self._pages[task, tier] = kept
        return kept.get()

    def get_snapshot(self) -> Snapshot:
        """What a scrape shows."""
        # An endpoint that is gone keeps its counters, and they their labels.
        self._labelled |= {endpoint.id: endpoint for endpoint in self._catalog.endpoints}
        return get_snapshot(self._sources.stats, self._labelled.values(), self._health.get(), self.version)

    def _check(self, task: str, tier: str | None) -> None:
        if not task or len(task) > MAX_TASK_LENGTH:
            raise NotFoundError("task", task[:MAX_TASK_LENGTH], TASKS)
        tiers = [known.name for known in self._catalog.tiers]
        if tier is not None and tier not in tiers:
            raise NotFoundError("tier", tier, tiers)

    def _compute_usage(self) -> UsageView:
        return view_usage(self._sources.keys(), self._sources.now_us())

    def _get_shown_usage(self) -> UsageView | None:
        """For the page, which shows the rest where this cannot be read."""
        try:
            usage = self.get_usage()
        except LedgerLost:
            return None
        return usage if usage.keys else None

    def _compute_health(self) -> list[EndpointHealth]:
        router, now_us = self._sources.router, self._sources.now_us()
        return [
            EndpointHealth(
                endpoint_id=one.endpoint_id,
                score=one.effective,
                reputation=one.reputation,
                outage_belief=one.belief,
                usable=one.state in OFFERED,
                state=STATES[one.state],
            )
            for model in router.models()
            for one in router.glance(model, now_us)
        ]

    def _compute_readiness(self) -> Readiness:
        if self._sources.router.has_usable(self._sources.now_us()):
            return Readiness(ready=True, because=None)
        return Readiness(ready=False, because="every endpoint is believed out or excluded")

    def _compute_page(self, task: str, tier: str | None) -> PageView:
        now_us = self._sources.now_us()
        catalog, router, stats = self._catalog, self._sources.router, self._sources.stats
        rankings = [router.ranking(model, now_us, task, tier, limit=MAX_ROWS) for model in router.models()]
        readiness = self.get_readiness()
        windows = self._get_windows()
        return PageView(
            version=self.version,
            ready=readiness.ready,
            not_ready_because=readiness.because,
            at_s=now_us / US_PER_S,
            task=task,
            tasks=[*TASKS, *(() if task in TASKS else (task,))],
            tier=tier,
            tiers=[known.name for known in catalog.tiers],
            figures=Figures(
                endpoints=sum(len(ranking.rows) + ranking.left_out for ranking in rankings),
                endpoints_offered=sum(
                    sum(row.state in OFFERED for row in ranking.rows) + ranking.left_out_offered for ranking in rankings
                ),
                requests=sum(stats.requests.values()),
                failed_requests=sum(count for (_, status), count in stats.requests.items() if status == "5xx"),
                fallbacks=stats.fallbacks,
                continuations=stats.continuations,
                pending=stats.pending,
                connections=stats.connections,
                cost_usd=sum(stats.cost_nusd.values()) / NUSD_PER_USD,
            ),
            rankings=[self._view(ranking, ranking.rows, windows) for ranking in rankings],
            left_out=[ranking.left_out for ranking in rankings],
            usage=self._get_shown_usage(),
        )

    def _get_windows(self) -> Callable[[Cell], Window | None]:
        return self._sources.get_window or self._sources.router.get_window

    def _view(
        self, ranking: Ranking, rows: Iterable[Ranked], get_window: Callable[[Cell], Window | None]
    ) -> RankingView:
        failures = self._sources.stats.last_failures
        return RankingView(
            model=ranking.model,
            task=ranking.task,
            tier=ranking.tier,
            at_s=ranking.at_us / US_PER_S,
            parameters=ranking.version,
            weights=_view_weights(self._get_weights(ranking.tier)),
            endpoints=[
                _view_row(
                    row,
                    get_window(Cell(row.endpoint.id, ranking.task)),
                    failures.get(row.endpoint.id),
                    ranking.at_us,
                )
                for row in rows
            ],
        )

    def _get_weights(self, tier: str | None) -> Weights:
        catalog = self._catalog
        for known in catalog.tiers:
            if known.name == tier and known.weights is not None:
                return known.weights
        return catalog.buyer.weights


def compute_reason(row: Ranked, now_us: int) -> str | None:
    """Say in a few words why an endpoint is not offered; None when it is."""
    if row.excluded is not None:
        return f"not in the pool: {row.excluded}"
    if row.state == "cooling" and row.cooling_until_us is not None:
        return f"rate-limited for another {max(0, row.cooling_until_us - now_us) / US_PER_S:.0f} s"
    if row.state == "out":
        return f"out with a probability of {row.belief:.0%}; tried now and then"
    return None


_NOT_LISTENING: Final = Readiness(ready=False, because="the data plane is not listening")


class _Kept(Generic[T]):
    """A value shared by all who ask while it is fresh."""

    __slots__ = ("_compute", "_made_us", "_now_us", "_until_us", "_value")

    def __init__(self, now_us: Callable[[], int], compute: Callable[[], T]) -> None:
        self._now_us = now_us
        self._compute = compute
        self._value: T | None = None
        self._made_us = self._until_us = 0

    def get(self) -> T:
        value, now_us = self._value, self._now_us()
        # A clock set back makes nothing fresh for longer than it was meant to be.
        if value is None or not self._made_us <= now_us < self._until_us:
            self._value = value = self._compute()
            done_us = self._now_us()
            self._made_us, self._until_us = now_us, done_us + max(FRESH_US, REST * (done_us - now_us))
        return value


def _view_row(row: Ranked, window: Window | None, failure: tuple[int, str] | None, now_us: int) -> EndpointView:
    endpoint = row.endpoint
    return EndpointView(
        rank=row.rank,
        endpoint=endpoint.id,
        provider=endpoint.provider,
        state=STATES[row.state],
        reason=compute_reason(row, now_us),
        score=row.effective,
        composite=row.composite,
        reputation=row.reputation,
        latency=row.latency,
        reliability=row.reliability,
        uptime=row.uptime,
        price_score=row.price_score,
        outage_belief=row.belief,
        ttft_s=row.ttft_us / US_PER_S,
        ttft_p50_s=_get_quantile_s(window, 0.5),
        ttft_p95_s=_get_quantile_s(window, 0.95),
        success=row.success,
        output_tokens_per_s=row.throughput,
        billing_ratio=row.billing_ratio,
        requests=row.requests,
        price=_view_price(endpoint.price),
        cost_usd=row.cost_nusd / NUSD_PER_USD,
        in_flight=row.in_flight,
        concurrency_limit=row.concurrency_limit,
        last_failure=None if failure is None else FailureView(at_s=failure[0] / US_PER_S, kind=failure[1]),
        verified=None if row.verified is None else view_verified(row.verified, now_us),
    )


def _view_session(session: SeenSession, now_us: int) -> SessionView:
    return SessionView(
        id=session.name,
        age_s=max(0, now_us - session.began_us) / US_PER_S,
        idle_s=max(0, now_us - session.last_us) / US_PER_S,
        attempts=session.attempts,
        cells=[
            SessionCellView(
                endpoint=cell.endpoint_id,
                task=cell.task,
                requests=cell.requests,
                failures=cell.failures,
                outage_belief=cell.belief,
            )
            for cell in session.cells
        ],
    )


def view_verified(verified: Verified, now_us: int) -> VerifiedView:
    """Show a verified figure with its evidence."""
    return VerifiedView(
        epoch=verified.epoch,
        at_s=verified.at_us / US_PER_S,
        ttft_s=math.exp(verified.log_ttft) / US_PER_S,
        success=verified.success,
        replays=verified.replays,
        worth=verified.get_worth(now_us),
        validators=[
            FindingView(
                validator=finding.validator,
                stake_tao=finding.stake_rao / RAO_PER_TAO,
                epoch=finding.epoch,
                replays=finding.replays,
                bundles=[
                    BundleView(miner=one.hotkey, root=one.root, score=one.score_ppm / PPM) for one in finding.backing
                ],
            )
            for finding in verified.findings
        ],
    )


def _get_quantile_s(window: Window | None, q: float) -> float | None:
    quantile_us = None if window is None else window.quantile_us(q)
    return None if quantile_us is None else quantile_us / US_PER_S


def _view_price(price: Price) -> PriceView:
    cached = price.cached_input_nusd
    return PriceView(
        input_usd=price.input_nusd / NUSD_PER_USD,
        output_usd=price.output_nusd / NUSD_PER_USD,
        cached_input_usd=None if cached is None else cached / NUSD_PER_USD,
    )


def _view_weights(weights: Weights) -> WeightsView:
    total = weights.reputation + weights.price
    return WeightsView(reputation=weights.reputation / total, price=weights.price / total)
