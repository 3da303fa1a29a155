"""High before normal before best-effort, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from providerrank.gateway.settings import Clocks, Limits, Priority
from providerrank.rules.catalog import Tier
from providerrank.rules.observation import Observation, Outcome
from providerrank.sim.faults import Fault
from providerrank.sim.spec import EndpointSpec, Ttft
from tests.integration.gateway_bed import CHAT, Bed, Seller, bed, until

PRIORITIES: dict[str, Priority] = {"first": "high", "last": "best-effort"}
TIERS = (Tier("first"), Tier("last"))


def slow(name: str, seconds: float) -> Seller:
    return Seller(name, spec=EndpointSpec(name=name, ttft=Ttft(median=seconds)))


def limit(it: Bed, name: str, in_flight: int) -> None:
    """Have the endpoint's limit learned from a 429, and as many requests under way as it takes."""
    router, now = it.gateway.router, it.gateway.now_us()
    for _ in range(in_flight):
        router.acquire(f"{name}/m")
    router.observe(Observation(f"{name}/m", "chat", now, Outcome.RATE_LIMITED))
    for _ in range(4):
        router.observe(Observation(f"{name}/m", "chat", now, Outcome.SUCCESS, 1000, 1000))


def free(it: Bed, name: str, in_flight: int) -> None:
    """Have those requests end."""
    for _ in range(in_flight):
        it.gateway.router.release(f"{name}/m")


async def test_best_effort_waits_for_room_and_the_others_do_not() -> None:
    async with bed(Seller("a"), tiers=TIERS, tier_priorities=PRIORITIES) as it:
        limit(it, "a", 8)
        waiting = asyncio.create_task(it.ask(CHAT, headers={"x-providerrank-tier": "last"}))
        await until(lambda: it.gateway.pending == 1)
        for tier in ("first", None):
            headers = {} if tier is None else {"x-providerrank-tier": tier}
            assert (await it.ask(CHAT, headers=headers)).status == 200
        assert not waiting.done()
        free(it, "a", 8)
        answer = await waiting
        assert answer.status == 200
        assert len(it.ended) == 3


async def test_best_effort_waits_no_longer_than_patience() -> None:
    clocks = Clocks(patience_us=200_000)
    async with bed(Seller("a"), tiers=TIERS, tier_priorities=PRIORITIES, clocks=clocks) as it:
        limit(it, "a", 8)
        answer = await it.ask(CHAT, headers={"x-providerrank-tier": "last"})
        assert answer.status == 200
        free(it, "a", 8)


async def test_a_client_that_leaves_while_it_waits_is_forgotten() -> None:
    async with bed(Seller("a"), tiers=TIERS, tier_priorities=PRIORITIES) as it:
        limit(it, "a", 8)
        waiting = asyncio.create_task(it.ask(CHAT, headers={"x-providerrank-tier": "last"}))
        await until(lambda: it.gateway.pending == 1)
        waiting.cancel()
        await until(lambda: it.gateway.pending == 0)
        assert it.ended == []
        free(it, "a", 8)


async def test_a_full_gateway_keeps_room_for_who_comes_first() -> None:
    limits = Limits(max_pending=4)
    async with bed(slow("a", 5.0), tiers=TIERS, tier_priorities=PRIORITIES, limits=limits) as it:
        tasks = [asyncio.create_task(it.ask(CHAT)) for _ in range(3)]
        await until(lambda: it.gateway.pending == 3)
        for tier, status in (("last", 503), (None, 503)):
            headers = {} if tier is None else {"x-providerrank-tier": tier}
            answer = await it.ask(CHAT, headers=headers)
            assert answer.status == status
            assert answer.headers["retry-after"] == "1"
        tasks.append(asyncio.create_task(it.ask(CHAT, headers={"x-providerrank-tier": "first"})))
        await until(lambda: it.gateway.pending == 4)
        for task in tasks:
            task.cancel()
        await until(lambda: it.gateway.pending == 0)


async def test_after_a_rate_limit_the_first_go_first() -> None:
    async with bed(Seller("a"), tiers=TIERS, tier_priorities=PRIORITIES) as it:
        it.sims["a"].script([Fault.RATE_LIMIT] * 2)
        order: list[str] = []

        async def ask(tier: str) -> None:
            answer = await it.ask(CHAT, headers={"x-providerrank-tier": tier})
            assert answer.status == 200
            order.append(tier)

        async with asyncio.TaskGroup() as group:
            for tier in ("last", "first"):
                group.create_task(ask(tier))
        assert order == ["first", "last"]


@pytest.mark.parametrize("tier", ["first", "last"])
async def test_where_there_is_room_priority_changes_nothing(tier: str) -> None:
    async with bed(Seller("a"), tiers=TIERS, tier_priorities=PRIORITIES) as it:
        assert (await it.ask(CHAT, headers={"x-providerrank-tier": tier})).status == 200
