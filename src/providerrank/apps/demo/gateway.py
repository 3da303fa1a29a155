"""The gateway of the demo: composed from a configuration file, as `providerrank serve` does, and looked into."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from providerrank.apps import serve
from providerrank.apps.config import load
from providerrank.apps.demo.scenario import CAP, MODEL, Seller
from providerrank.apps.demo.summary import Counters
from providerrank.apps.demo.table import Row
from providerrank.apps.market.publisher import StorePublisher
from providerrank.gateway.stats import Stats
from providerrank.market.validator import Publisher
from providerrank.rules.cells import NUSD_PER_USD, Price
from providerrank.rules.router import Router


def _format_price(price: Price) -> str:
    return f"{{ input = {price.input_nusd / NUSD_PER_USD}, output = {price.output_nusd / NUSD_PER_USD} }}"


def write_config(folder: Path, sellers: Sequence[Seller], base_urls: Mapping[str, str]) -> Path:
    """Write the demo's configuration file, which anybody may read and go on with; ``base_urls`` by seller's name."""
    parts = [
        "# What `providerrank demo` runs on: four sellers of one model, all on this machine.",
        "[gateway]",
        'listen = "127.0.0.1:0"',
        'admin = "127.0.0.1:0"',
        "",
        "[buyer]",
        f"price_cap = {_format_price(CAP)}",
        "",
        "[timeouts]",
        "idle = 5.0",
        "total = 50.0",
    ]
    for seller in sellers:
        parts += [
            "",
            "[[endpoints]]",
            f'id = "{seller.endpoint_id}"',
            f'model = "{MODEL}"',
            f'base_url = "{base_urls[seller.name]}"',
            f"price = {_format_price(seller.price)}",
            "context_window = 1024",
            'features = ["json_schema", "prefill", "logprobs"]',
        ]
    path = folder / "providerrank.toml"
    path.write_text("\n".join(parts) + "\n")
    return path


class DemoGateway:
    """A running gateway, with a view of its ranking and its counters."""

    def __init__(self, base_url: str, admin_url: str, router: Router, stats: Stats, service: serve.Service) -> None:
        self.base_url = base_url
        self.admin_url = admin_url
        self._service = service
        self._router = router
        self._stats = stats

    @classmethod
    @asynccontextmanager
    async def opened(cls, config: Path) -> AsyncIterator[DemoGateway]:
        """Run the gateway of a configuration file until the block ends."""
        async with serve.opened(load(config)) as service:
            yield cls(f"{service.url}/v1", service.admin_url, service.router, service.plane.stats, service)

    @property
    def publisher(self) -> Publisher:
        """Puts what validators verify where this gateway ranks from."""
        return StorePublisher(self._service.store)

    async def get_evidence(self) -> dict[str, str]:
        """By seller's name, best first: what the market has verified of it, as the ranking cites it."""
        await self._service.look_at_verified()
        found = {}
        for row in self._router.ranking(MODEL, _now_us()).rows:
            verified = row.verified
            if verified is not None:
                roots = sorted({backing.root for finding in verified.findings for backing in finding.backing})
                found[row.endpoint.provider] = (
                    f"TTFT {math.exp(verified.log_ttft) / 1000:.0f} ms, success {verified.success:.0%}: "
                    f"epoch {verified.epoch}, {verified.replays} replays by {len(verified.findings)} validators, "
                    f"{len(roots)} bundles ({roots[0][:12]}…)"
                )
        return found

    def get_counters(self) -> Counters:
        """What it has counted so far."""
        stats = self._stats
        return Counters(
            attempts=sum(stats.attempts.values()),
            fallbacks=stats.fallbacks,
            continuations=stats.continuations,
            input_tokens=dict(stats.input_tokens),
            output_tokens=dict(stats.output_tokens),
        )

    def get_names_by_rank(self) -> list[str]:
        """Sellers' names, best first; those out of the pool left out."""
        rows = self._router.ranking(MODEL, _now_us()).rows
        return [row.endpoint.provider for row in rows if row.rank is not None]

    def get_rows(self, get_doing: Callable[[str], str]) -> list[Row]:
        """The ranking as the table shows it; ``get_doing`` tells what is being done to a seller."""
        now_us = _now_us()
        rows = []
        for ranked in self._router.ranking(MODEL, now_us).rows:
            name = ranked.endpoint.provider
            failure = self._stats.last_failures.get(ranked.endpoint.id)
            rows.append(
                Row(
                    rank=ranked.rank,
                    name=name,
                    score=ranked.effective,
                    ttft_us=round(ranked.ttft_us),
                    reliability=ranked.reliability,
                    price=ranked.endpoint.price,
                    in_flight=self._stats.in_flight.get(ranked.endpoint.id, 0),
                    last_failure=None if failure is None else ((now_us - failure[0]) / 1_000_000, failure[1]),
                    doing=get_doing(name),
                )
            )
        return rows


def _now_us() -> int:
    return time.time_ns() // 1000
