"""Probes of idle endpoints over real sockets: what they ask, teach and cost, and that no client sees any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from providerrank.engines.ledger_memory import MemoryLedger
from providerrank.gateway.prober import ACCOUNT
from providerrank.gateway.settings import Clocks
from providerrank.rules.cells import ASSUMED_FEATURES
from providerrank.rules.idle_probes import ProbeRules
from providerrank.sim.faults import Fault
from tests.integration.gateway_bed import CHAT, STREAM, Bed, Seller, bed

RULES = ProbeRules(interval_us=20_000)
FREE = Seller("a", price=0.0)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what takes milliseconds."""
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.005)


async def probe(it: Bed, name: str = "a", times: int = 1, model: str = "m") -> None:
    """Have an endpoint probed so often; others may be too."""
    prober, stats = it.gateway.prober, it.gateway.stats.endpoints[f"{name}/{model}"]
    wanted = sum(stats.probes) + times
    prober.start()

    def is_done() -> bool:
        prober.look()
        return sum(stats.probes) >= wanted

    await until(is_done)


async def test_an_idle_endpoint_is_asked_for_a_token_and_learned_from() -> None:
    async with bed(FREE, probes=RULES, explain=10) as it:
        await probe(it, times=3)
        await until(lambda: it.gateway.prober.live == 0)
        body = it.received("a")[0]
        assert (body["max_tokens"], body["stream"], body["model"]) == (1, True, "upstream-m")
        row = it.row("a")
        assert row.requests == pytest.approx(it.gateway.stats.probes["a/m", "success"], rel=0.01)
        assert row.ttft_us < 200_000
        # And nothing of it counts as a client's.
        stats = it.gateway.stats
        assert (stats.requests, stats.attempts, stats.models, stats.pending) == ({}, {}, {}, 0)
        assert stats.input_tokens["a/m"] == stats.output_tokens["a/m"] == stats.cost_nusd["a/m"] == 0
        assert it.gateway.hedges.requests == 0
        assert it.ended == []
        assert it.gateway.ring is not None
        assert it.gateway.ring.get_latest(10) == []


async def test_a_probe_is_explained_by_its_id() -> None:
    async with bed(FREE, probes=RULES, explain=10) as it:
        await probe(it)
        [sent, *_] = it.sims["a"].log
        request_id = {name.lower(): value for name, value in sent.headers.items()}["x-request-id"]
        assert request_id.startswith("probe-")
        assert it.gateway.ring is not None
        explained = it.gateway.ring.find(request_id)
        assert explained is not None
        assert explained.probe
        assert explained.summary.startswith("A probe of ours")
        assert [(one.endpoint, one.why, one.outcome) for one in explained.attempts] == [("a/m", "probe", "answered")]


async def test_paid_endpoints_are_not_probed_unless_that_is_allowed() -> None:
    async with bed(Seller("a", price=0.0), Seller("b"), probes=RULES) as it:
        await probe(it, times=3)
        assert it.received("b") == []


async def test_nobody_probes_before_it_is_started_nor_without_rules() -> None:
    async with bed(FREE, probes=RULES) as it:
        await asyncio.sleep(0.05)
        it.gateway.prober.look()
        assert it.gateway.prober.live == 0
    async with bed(FREE) as it:
        it.gateway.prober.start()
        await asyncio.sleep(0.05)
        it.gateway.prober.look()
        assert it.received("a") == []


async def test_while_there_is_traffic_there_are_no_probes() -> None:
    async with bed(FREE, probes=ProbeRules(interval_us=60_000_000)) as it:
        it.gateway.prober.start()
        for _ in range(3):
            assert (await it.ask(CHAT)).status == 200
            it.gateway.prober.look()
        assert len(it.received("a")) == 3


async def test_an_outage_is_noticed_and_its_end_too_at_no_clients_cost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "providerrank.gateway")
    async with bed(FREE, Seller("b"), probes=RULES) as it:
        it.sims["a"].script([Fault.STATUS_500] * 4)
        await probe(it, times=4)
        assert it.row("a").state in {"out", "suspect"}
        answer = await it.ask(CHAT)
        assert answer.endpoint == "b"
        await probe(it, times=4)
        assert it.row("a").belief < 0.1
        assert (await it.ask(STREAM)).endpoint == "a"
        assert it.gateway.stats.fallbacks == 0
        assert it.gateway.stats.probes["a/m", "failure"] == 4
        assert len(it.received("a")) >= 9
        said = [record.getMessage() for record in caplog.records if "probe" in record.getMessage()]
        assert said == ["fails a probe: endpoint=a/m fault=server_error", "answers probes again: endpoint=a/m"]


async def test_one_attempt_and_no_other() -> None:
    async with bed(FREE, Seller("b", price=0.0), probes=ProbeRules(interval_us=20_000, only=frozenset({"a/m"}))) as it:
        it.sims["a"].script([Fault.STATUS_500])
        await probe(it)
        await until(lambda: it.gateway.prober.live == 0)
        assert it.gateway.stats.probes["a/m", "failure"] == 1
        assert it.received("b") == []
        assert len(it.received("a")) == sum(it.gateway.stats.endpoints["a/m"].probes)


@pytest.mark.parametrize("fault", [Fault.RESET_ON_ACCEPT, Fault.RESET_AFTER_HEAD, Fault.CUT_BEFORE_CONTENT])
async def test_whatever_breaks_is_a_failure(fault: Fault) -> None:
    async with bed(FREE, Seller("b"), probes=RULES) as it:
        it.sims["a"].script([fault])
        await probe(it)
        assert sum(it.gateway.stats.endpoints["a/m"].probes[1:]) == 1


async def test_a_wrong_key_is_told_and_not_asked_again_soon(caplog: pytest.LogCaptureFixture) -> None:
    async with bed(FREE, Seller("b"), probes=RULES) as it:
        it.sims["a"].script([Fault.STATUS_401] * 2)
        await probe(it)
        await asyncio.sleep(0.05)
        it.gateway.prober.look()
        assert it.gateway.prober.live == 0
        assert len(it.received("a")) == 1
        assert it.row("a").state == "out"
        assert any("endpoint refuses us" in record.getMessage() for record in caplog.records)


async def test_one_that_is_cooling_is_left_alone() -> None:
    async with bed(FREE, Seller("b"), probes=RULES) as it:
        it.sims["a"].script([Fault.RATE_LIMIT])
        await probe(it)
        await asyncio.sleep(0.05)
        it.gateway.prober.look()
        assert it.gateway.prober.live == 0
        assert it.row("a").state == "cooling"


async def test_one_that_cannot_be_reached_is_given_up() -> None:
    clocks = Clocks(connect_us=100_000)
    async with bed(FREE, Seller("b"), probes=RULES, clocks=clocks) as it:
        await it.sims["a"].switch(Fault.CONNECT_HANG)
        await probe(it)
        assert it.gateway.stats.probes["a/m", "failure"] == 1


async def test_an_embeddings_endpoint_is_asked_for_a_vector() -> None:
    seller = Seller("a", price=0.0, features=frozenset({"embeddings"}), apis=("embeddings",))
    async with bed(seller, probes=RULES) as it:
        await probe(it)
        assert it.gateway.stats.probes == {("a/m", "success"): 1}
        assert it.received("a")[0]["input"]


async def test_one_of_which_that_is_not_said_is_found_out_and_not_blamed() -> None:
    async with bed(Seller("a", price=0.0, apis=("embeddings",)), probes=RULES) as it:
        await probe(it, times=3)
        assert it.gateway.stats.probes["a/m", "nobodys"] == 1
        assert set(it.gateway.stats.probes) == {("a/m", "nobodys"), ("a/m", "success")}
        assert it.row("a").belief < 0.05


async def test_one_that_speaks_only_anthropics_api_is_asked_in_it() -> None:
    seller = Seller("a", price=0.0, features=ASSUMED_FEATURES | {"messages"}, apis=("messages",), dialect="anthropic")
    async with bed(seller, probes=RULES) as it:
        await probe(it)
        assert it.gateway.stats.probes == {("a/m", "success"): 1}
        assert next(iter(it.sims["a"].log)).path.endswith("/messages")


async def test_draining_drops_what_is_under_way() -> None:
    async with bed(FREE, probes=RULES) as it:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        it.gateway.prober.start()

        def is_live() -> bool:
            it.gateway.prober.look()
            return it.gateway.prober.live == 1

        await until(is_live)
        assert it.gateway.pending == 0, "it is no request"
        await it.gateway.drain(0.5)
        assert it.gateway.prober.live == 0
        assert it.gateway.stats.probes == {("a/m", "nobodys"): 1}


async def test_a_reload_changes_who_is_probed() -> None:
    async with bed(FREE, probes=RULES) as it:
        await probe(it)
        await until(lambda: it.gateway.prober.live == 0)
        it.gateway.reconfigure(replace(it.gateway.settings, probes=None))
        count = len(it.received("a"))
        await asyncio.sleep(0.05)
        it.gateway.prober.look()
        assert len(it.received("a")) == count
        it.gateway.reconfigure(replace(it.gateway.settings, probes=RULES))
        await probe(it)


# ---- money -----------------------------------------------------------------------------------------------------------


async def test_what_is_paid_for_is_within_the_days_limit_and_outlives_the_process() -> None:
    ledger = MemoryLedger()
    limit = 2_000_000
    rules = ProbeRules(interval_us=10_000, paid=True, spend_per_day_nusd=limit)
    for expected in (True, False):
        async with bed(Seller("a", price=10.0), probes=rules, ledger=ledger) as it:
            it.gateway.prober.start()
            async with asyncio.timeout(20):
                for _ in range(300):
                    await asyncio.sleep(0.01)
                    it.gateway.prober.look()
            await until(lambda: it.gateway.prober.live == 0)
            spent = it.gateway.stats.probe_cost_nusd.get("a/m", 0)
            assert (spent > 0) == expected, "the second process finds the day's money spent"
            standing = ledger.open(ACCOUNT).read(it.gateway.now_us())
            assert standing.spent_nusd <= limit
            assert standing.held_nusd == 0
            if expected:
                assert standing.spent_nusd == spent
                assert standing.spent_nusd > limit - 1_000_000, "it is used up to where one more might exceed it"
            assert it.gateway.stats.cost_nusd["a/m"] == 0


async def test_what_broke_off_may_have_been_billed() -> None:
    ledger = MemoryLedger()
    async with bed(Seller("a"), Seller("b"), probes=ProbeRules(20_000, paid=True), ledger=ledger) as it:
        it.sims["a"].script([Fault.STATUS_500, Fault.RESET_AFTER_HEAD])
        await probe(it)
        refused = it.gateway.stats.probe_cost_nusd["a/m"]
        await probe(it)
        assert refused == 0
        assert it.gateway.stats.probe_cost_nusd["a/m"] > 0


async def test_no_client_can_speak_for_probes() -> None:
    async with bed(FREE) as it:
        assert (await it.ask(CHAT, headers={"x-providerrank-task": "probe"})).status == 200
        [(_, observation)] = it.ended
        assert observation.task == "chat"
