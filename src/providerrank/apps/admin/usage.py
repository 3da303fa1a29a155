"""What each key with a name has used, read from the accounts that all processes share and from this one's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from providerrank.apps.admin.metrics import US_PER_S
from providerrank.apps.admin.view import BudgetView, KeyEndpointView, KeyView, UsageView
from providerrank.gateway.settings import BuyerKey
from providerrank.gateway.stats import KeyStats
from providerrank.rules.budget import DAY_US, Standing
from providerrank.rules.cells import NUSD_PER_USD

if TYPE_CHECKING:
    from providerrank.gateway.server import Gateway

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class KeyReading:
    """One key at one moment."""

    settings: BuyerKey
    standing: Standing
    stats: KeyStats


KeySource = Callable[[], list[KeyReading]]
"""Reads every key with a name. Raises ``gateway.ports.LedgerLost``."""


def read_keys(gateway: Gateway) -> list[KeyReading]:
    """Read the keys of a running gateway; to be called on its loop."""
    keyring = gateway.door.keyring
    if keyring is None:
        return []
    return [KeyReading(key.settings, key.read(), key.stats) for key in keyring.keys.values()]


def view_usage(readings: Iterable[KeyReading], now_us: int) -> UsageView:
    """Lay out what was read; ``now_us`` is Unix time."""
    readings = list(readings)
    day = max((one.standing.day for one in readings), default=now_us // DAY_US)
    return UsageView(
        at_s=now_us / US_PER_S,
        day=(EPOCH + timedelta(days=day)).isoformat(),
        day_ends_s=max(0, (day + 1) * DAY_US - now_us) / US_PER_S,
        keys=[_view_key(one) for one in readings],
    )


def describe_end(view: UsageView) -> str:
    """When the day ends, as a person reads it."""
    return datetime.fromtimestamp(view.at_s + view.day_ends_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _view_key(one: KeyReading) -> KeyView:
    settings, standing, budget = one.settings, one.standing, one.settings.budget
    spend = budget.spend_per_day_nusd
    return KeyView(
        key=settings.name,
        priority=settings.priority,
        models=None if settings.models is None else sorted(settings.models),
        tiers=list(settings.tiers),
        requests_today=standing.requests,
        input_tokens_today=standing.input_tokens,
        output_tokens_today=standing.output_tokens,
        spend_today=BudgetView(
            used=standing.spent_nusd / NUSD_PER_USD,
            limit=None if spend is None else spend / NUSD_PER_USD,
            remaining=None if spend is None else max(0, spend - standing.spent_nusd) / NUSD_PER_USD,
        ),
        spent_today_nusd=standing.spent_nusd,
        held_usd=standing.held_nusd / NUSD_PER_USD,
        requests_this_minute=_view_minute(standing.minute_requests, budget.requests_per_minute),
        tokens_this_minute=_view_minute(standing.minute_tokens, budget.tokens_per_minute),
        endpoints=[
            KeyEndpointView(
                endpoint=endpoint, input_tokens=used[0], output_tokens=used[1], cost_usd=used[2] / NUSD_PER_USD
            )
            for endpoint, used in sorted(one.stats.endpoints.items())
        ],
    )


def _view_minute(used: int, limit: int | None) -> BudgetView:
    return BudgetView(used=used, limit=limit, remaining=None if limit is None else max(0, limit - used))
