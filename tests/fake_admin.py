"""A small world for the admin port to show: a catalog, a router that answers from a table, and a set clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from providerrank.apps.admin.reader import AdminSources
from providerrank.apps.admin.requests import RingRequests
from providerrank.apps.admin.usage import KeyReading, KeySource
from providerrank.gateway.ring import Ring
from providerrank.rules.ask import Ask
from providerrank.rules.attempt import Attempt, Fault
from providerrank.rules.catalog import Catalog, ModelRules, Tier
from providerrank.rules.cells import Cell, Endpoint, Price
from providerrank.rules.finished import Finished
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Glance, Ranked, Ranking, Weights
from providerrank.rules.router import Router
from providerrank.rules.session import SeenCell, SeenSession
from providerrank.rules.sight import Looks
from providerrank.rules.window import Window

NOW_US = 1_700_000_000_000_000

LLAMA = "llama-3.3-70b"
SLASHED = "meta/llama"


def make_ranked(endpoint_id: str, rank: int | None, state: str = "ok", model: str = LLAMA) -> Ranked:
    """One row with plausible figures."""
    return Ranked(
        endpoint=Endpoint(endpoint_id, model, Price.from_usd(0.9, 0.95)),
        rank=rank,
        effective=0.8 - 0.1 * (rank or 5),
        composite=0.8 - 0.1 * (rank or 5),
        reputation=0.85,
        latency=0.7,
        reliability=0.95,
        uptime=0.99,
        price_score=0.6,
        cost_nusd=1_250_000.0,
        ttft_us=340_000.0,
        success=0.98765,
        throughput=61.5,
        requests=1234.5,
        belief=0.01,
        in_flight=3,
        concurrency_limit=32.0,
        billing_ratio=1.0,
        state=state,
    )


ROWS = (
    make_ranked("fireworks/llama-3.3-70b", 1),
    replace(make_ranked("together/llama-3.3-70b@eu:fp8", 2, "suspect"), belief=0.3),
    replace(make_ranked("slow/llama-3.3-70b", 3, "cooling"), cooling_until_us=NOW_US + 12_000_000),
    replace(make_ranked("fallen/llama-3.3-70b", 4, "out"), belief=0.97, effective=0.02),
    replace(make_ranked("dear/llama-3.3-70b", None, "excluded"), excluded="price cap"),
    replace(make_ranked("<script>alert(1)</script>/x", None, "excluded"), excluded="feature <tools>"),
)

OTHER_ROWS = (replace(make_ranked("solo/meta-llama", 1, model=SLASHED), requests=0.0),)


@dataclass
class FakeRouter:
    """Answers from a table, and counts how often it was asked."""

    tables: dict[str, tuple[Ranked, ...]] = field(default_factory=lambda: {LLAMA: ROWS, SLASHED: OTHER_ROWS})
    asked: int = 0
    asked_sessions: list[int] = field(default_factory=list)

    def resolve(self, name: str) -> str | None:
        return LLAMA if name == "default" else name if name in self.tables else None

    def models(self) -> list[str]:
        return list(self.tables)

    def ranking(
        self, model: str, now_us: int, task: str = "chat", tier: str | None = None, *, limit: int | None = None
    ) -> Ranking:
        self.asked += 1
        rows = self.tables[model][:limit]
        rest = self.tables[model][len(rows) :]
        return Ranking(
            model, task, tier, now_us, "1", rows, len(rest), sum(row.state in {"ok", "suspect"} for row in rest)
        )

    def glance(self, model: str, now_us: int) -> list[Glance]:
        self.asked += 1
        return [
            Glance(row.endpoint.id, row.effective, row.reputation, row.belief, row.state) for row in self.tables[model]
        ]

    def has_usable(self, now_us: int) -> bool:
        return any(row.state not in {"out", "excluded"} for rows in self.tables.values() for row in rows)

    def sessions(self, limit: int, now_us: int) -> list[SeenSession]:
        self.asked_sessions.append(limit)
        cells = (SeenCell("fireworks/llama-3.3-70b", "chat", 2.5, 0.5, 0.2),)
        return [SeenSession("agent-7", now_us - 60_000_000, now_us - 1_500_000, 4, cells)]

    def get_window(self, cell: Cell) -> Window | None:
        return make_window() if cell == Cell("fireworks/llama-3.3-70b", "chat") else None


@dataclass
class FakeStats:
    """Counters anyone may set."""

    attempts: dict[tuple[str, str], int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    ttft_bounds_s: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    ttft_buckets: dict[str, list[int]] = field(default_factory=dict)
    ttft_sum_us: dict[str, int] = field(default_factory=dict)
    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    duration_bounds_s: tuple[float, ...] = (0.5, 5.0)
    duration_buckets: dict[str, list[int]] = field(default_factory=dict)
    duration_sum_us: dict[str, int] = field(default_factory=dict)
    first_buckets: dict[str, list[int]] = field(default_factory=dict)
    first_sum_us: dict[str, int] = field(default_factory=dict)
    fallback_reasons: dict[str, int] = field(default_factory=dict)
    reloads: dict[str, int] = field(default_factory=dict)
    fallbacks: int = 0
    hedges: int = 0
    hedges_won: int = 0
    continuations: int = 0
    client_cancels: int = 0
    input_tokens: dict[str, int] = field(default_factory=dict)
    output_tokens: dict[str, int] = field(default_factory=dict)
    cost_nusd: dict[str, int] = field(default_factory=dict)
    probes: dict[tuple[str, str], int] = field(default_factory=dict)
    probe_cost_nusd: dict[str, int] = field(default_factory=dict)
    key_requests: dict[tuple[str, str], int] = field(default_factory=dict)
    key_tokens: dict[tuple[str, str, str], int] = field(default_factory=dict)
    key_cost_nusd: dict[tuple[str, str], int] = field(default_factory=dict)
    connections: int = 0
    pending: int = 0
    last_failures: dict[str, tuple[int, str]] = field(default_factory=dict)


def make_finished(request_id: str = "req-1") -> Finished:
    """A request that needed a second endpoint, 42 s ago."""
    router = Router(Catalog(tuple(row.endpoint for row in ROWS[:3])), Random(0), looks=Looks(100, PARAMS))
    began_us = NOW_US - 42_000_000
    plan = router.plan(Ask(LLAMA), began_us)
    first = plan.next(began_us)
    second = plan.next(began_us + 100_000)
    assert first is not None
    assert second is not None
    log = (
        Attempt(first, LLAMA, began_us, ended_us=began_us + 100_000, fault=Fault.SERVER_ERROR, status=500),
        Attempt(second, LLAMA, began_us + 100_000, False, began_us + 101_000, began_us + 300_000, began_us + 900_000),
    )
    return Finished(
        request_id.encode(),
        "chat",
        plan.ask,
        True,
        200,
        log,
        plan.tell(),
        plan.sights,
        (1200, 200, 1_250_000),
        began_us,
        began_us + 900_000,
        attempts=2,
    )


@dataclass
class World:
    """What the admin port reads, and the means to change it."""

    router: FakeRouter = field(default_factory=FakeRouter)
    stats: FakeStats = field(default_factory=FakeStats)
    listening: bool = True
    keys: list[KeyReading] = field(default_factory=list)
    read_keys: KeySource | None = None
    """In place of ``keys``."""
    now_us: int = NOW_US
    ring: Ring | None = field(default_factory=lambda: Ring(100))

    def get_sources(self) -> AdminSources:
        endpoints = tuple(row.endpoint for rows in self.router.tables.values() for row in rows)
        return AdminSources(
            catalog=Catalog(
                endpoints=endpoints,
                models=(ModelRules(LLAMA, aliases=("default",)),),
                tiers=(Tier("high", 0.85, Weights(9, 1)), Tier("best-effort")),
            ),
            router=self.router,
            stats=self.stats,
            is_listening=lambda: self.listening,
            now_us=lambda: self.now_us,
            version="1.2.3",
            requests=RingRequests(self.ring),
            keys=self.read_keys or (lambda: self.keys),
        )


def make_window() -> Window:
    """Ninety first tokens at a quarter of a second, ten at 1.4 s."""
    window = Window()
    for number in range(100):
        ttft_us = 250_000 if number < 90 else 1_400_000
        window.observe(Observation("fireworks/llama-3.3-70b", "chat", NOW_US, Outcome.SUCCESS, ttft_us, 2_000_000))
    return window


def make_stats() -> FakeStats:
    """Counters after some traffic."""
    return FakeStats(
        attempts={
            ("fireworks/llama-3.3-70b", "success"): 1200,
            ("fireworks/llama-3.3-70b", "failure"): 3,
            ("slow/llama-3.3-70b", "rate_limited"): 41,
            ("solo/meta-llama", "success"): 7,
        },
        in_flight={"fireworks/llama-3.3-70b": 3},
        ttft_buckets={"fireworks/llama-3.3-70b": [0, 1000, 0, 200, 0]},
        ttft_sum_us={"fireworks/llama-3.3-70b": 530_000_000},
        requests={("chat", "2xx"): 1207, ("chat", "4xx"): 2, ("models", "2xx"): 1, ("chat", "5xx"): 1},
        duration_buckets={LLAMA: [900, 300, 7]},
        duration_sum_us={LLAMA: 1_500_000_000},
        first_buckets={LLAMA: [0, 1000, 0, 200, 0]},
        first_sum_us={LLAMA: 560_000_000},
        fallback_reasons={"rate_limited": 41, "server_error": 3},
        reloads={"ok": 2, "refused": 1},
        fallbacks=44,
        continuations=2,
        client_cancels=5,
        input_tokens={"fireworks/llama-3.3-70b": 480_000},
        output_tokens={"fireworks/llama-3.3-70b": 120_000},
        cost_nusd={"fireworks/llama-3.3-70b": 546_000_000},
        probes={("fireworks/llama-3.3-70b", "success"): 7},
        probe_cost_nusd={"fireworks/llama-3.3-70b": 2_000_000},
        key_requests={("team", "2xx"): 90, ("team", "cancelled"): 1},
        key_tokens={("team", "fireworks/llama-3.3-70b", "input"): 700},
        key_cost_nusd={("team", "fireworks/llama-3.3-70b"): 250_000_000},
        connections=32,
        pending=3,
        last_failures={"slow/llama-3.3-70b": (NOW_US - 75_000_000, "rate_limited")},
    )
