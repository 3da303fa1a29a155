"""Saving what the router learns."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from providerrank.apps.keeper import RENEW_S, Keeper, Watch
from providerrank.apps.workers import messages
from providerrank.engines.errors import StoreUnavailableError
from providerrank.engines.store_memory import MemoryStore
from providerrank.rules.catalog import Catalog
from providerrank.rules.cells import Cell, Endpoint, Price
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.router import Router
from providerrank.rules.verified import Verified, combine_findings
from providerrank.rules.window import Window
from tests.findings import make_finding


class FlakyStore:
    """Remembers which cells each save was about, and fails while told to."""

    def __init__(self) -> None:
        self.saves: list[set[str]] = []
        self.broken = False

    async def load(self) -> list[tuple[Cell, Window]]:
        return []

    async def save(self, windows: Sequence[tuple[Cell, Window]]) -> None:
        if self.broken:
            raise StoreUnavailableError("here", "the disk is full")
        self.saves.append({cell.endpoint_id for cell, _ in windows})

    async def close(self) -> None:
        """Nothing to close."""


def make_router() -> Router:
    endpoints = tuple(Endpoint(f"{name}/llama", "llama", Price(1, 1)) for name in "ab")
    return Router(Catalog(endpoints), random.Random(1))


def observe(router: Router, endpoint_id: str, at_us: int) -> None:
    router.observe(Observation(endpoint_id, "chat", at_us, Outcome.SUCCESS, ttft_us=100_000, total_us=200_000))


async def test_only_what_changed_is_saved() -> None:
    router, store = make_router(), FlakyStore()
    keeper = Keeper(router, store)

    observe(router, "a/llama", 1_000_000)
    await keeper.save()
    observe(router, "b/llama", 2_000_000)
    await keeper.save()
    await keeper.save()

    assert store.saves == [{"a/llama"}, {"b/llama"}, set()]


async def test_what_could_not_be_saved_is_saved_with_the_next(caplog: pytest.LogCaptureFixture) -> None:
    router, store = make_router(), FlakyStore()
    keeper = Keeper(router, store)
    store.broken = True
    observe(router, "a/llama", 1_000_000)

    with caplog.at_level(logging.WARNING):
        await keeper.save()
        await keeper.save()
        store.broken = False
        observe(router, "b/llama", 2_000_000)
        await keeper.save()

    assert store.saves == [{"a/llama", "b/llama"}]
    assert len(caplog.messages) == 2
    assert "the disk is full" in caplog.messages[0]


async def test_the_end_saves_a_last_time() -> None:
    router, store = make_router(), FlakyStore()
    keeper = Keeper(router, store, every_s=3600)
    task = asyncio.create_task(keeper.run())
    await asyncio.sleep(0)
    observe(router, "a/llama", 1_000_000)

    keeper.end()
    await task

    assert store.saves == [{"a/llama"}]


async def test_what_is_verified_is_told_when_it_changes_and_when_it_has_aged() -> None:
    store = MemoryStore()
    told: list[Mapping[Cell, Verified]] = []
    watch = Watch(store, told.append, every_s=RENEW_S)
    await watch.look()
    assert told == []
    cell = Cell("a/m", "chat")
    await store.save_findings([make_finding(cell, epoch=5)])
    await watch.look()
    await watch.look()
    assert [verified[cell].epoch for verified in told] == [5]
    await store.save_findings([make_finding(cell, epoch=6)])
    await watch.look()
    assert [verified[cell].epoch for verified in told] == [5, 6]


def test_what_workers_are_told_of_it_is_what_ranks() -> None:
    cell = Cell("a/m", "chat")
    verified = combine_findings([make_finding(cell)])
    told = messages.read_verified(messages.write_verified(verified))
    assert told == {cell: replace(verified[cell], findings=())}
