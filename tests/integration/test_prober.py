"""Asking endpoints over real sockets: what each fault says, and of whom."""

from __future__ import annotations

import pytest

from providerrank.engines.prober_http import Clocks, HttpProber, Target
from providerrank.market.asking import compute_most_nusd, compute_spent_nusd, measure
from providerrank.rules.cells import CHAT, JSON, TOOLS, Cell, Endpoint, Price
from providerrank.rules.challenge import compute_challenge
from providerrank.rules.observation import Outcome
from providerrank.sim.faults import Fault
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec, Ttft
from tests.market_bed import FakeChecker

BEACON = bytes(32)
CLOCKS = Clocks(connect_s=1.0, idle_s=1.0, total_s=3.0)


def make_prober(sims: SimProviders, key: str | None = None) -> HttpProber:
    targets = {f"{sim.name}/m": Target(sim.url, "m", key) for sim in sims}
    return HttpProber(targets, CLOCKS)


async def test_a_whole_answer_is_timed_and_read() -> None:
    async with SimProviders([EndpointSpec(name="a", ttft=Ttft(median=0.05), reply_tokens=5)]) as sims:
        prober = make_prober(sims)
        for task in (CHAT, JSON, TOOLS):
            cell = Cell("a/m", task)
            probe = await measure(prober, FakeChecker(), cell, compute_challenge(BEACON, cell, 0))
            for index in range(1, 50):
                # A busy machine times itself, and says so.
                if probe.own_fault:
                    probe = await measure(prober, FakeChecker(), cell, compute_challenge(BEACON, cell, index))
            assert probe.outcome in (Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION)
            assert probe.check != "none"
            assert probe.ttft_us is not None
            assert 50_000 <= probe.ttft_us <= probe.total_us
            assert probe.answer.text or probe.answer.tool_calls
            assert probe.tokens_out is not None
            sent = sims["a"].log.last.body
            assert b'"temperature":0' in sent.replace(b" ", b"")
        await prober.close()


@pytest.mark.parametrize(
    ("fault", "outcome", "is_ours"),
    [
        (Fault.STATUS_500, Outcome.FAILURE, False),
        (Fault.STATUS_503, Outcome.FAILURE, False),
        (Fault.CUT_ABORT, Outcome.FAILURE, False),
        (Fault.RATE_LIMIT, Outcome.RATE_LIMITED, True),
    ],
)
async def test_a_fault_is_held_against_whom_it_belongs_to(fault: Fault, outcome: Outcome, is_ours: bool) -> None:
    async with SimProviders([EndpointSpec(name="a", reply_tokens=30)]) as sims:
        prober = make_prober(sims)
        sims["a"].script([fault])
        probe = await prober.ask(Cell("a/m", CHAT), compute_challenge(BEACON, Cell("a/m", CHAT), 0))
        assert probe.outcome is outcome
        assert bool(probe.own_fault) is is_ours
        assert probe.ttft_us is None
        assert not probe.answer.text
        await prober.close()


async def test_a_refused_key_is_our_own_affair() -> None:
    async with SimProviders([EndpointSpec(name="a", key="right")]) as sims:
        prober = make_prober(sims, "wrong")
        probe = await prober.ask(Cell("a/m", CHAT), compute_challenge(BEACON, Cell("a/m", CHAT), 0))
        assert probe.outcome is Outcome.REFUSED_US
        assert "key" in probe.own_fault
        assert "wrong" not in probe.own_fault
        await prober.close()


async def test_who_cannot_be_reached_is_out_only_if_somebody_else_can() -> None:
    async with SimProviders([EndpointSpec(name="a"), EndpointSpec(name="b")]) as sims:
        prober = make_prober(sims)
        cell = Cell("a/m", CHAT)
        challenge = compute_challenge(BEACON, cell, 0)
        await sims["a"].down()
        alone = await prober.ask(cell, challenge)
        assert "network" in alone.own_fault
        await prober.ask(Cell("b/m", CHAT), challenge)
        witnessed = await prober.ask(cell, challenge)
        assert (witnessed.outcome, witnessed.own_fault) == (Outcome.FAILURE, "")
        await prober.close()


def test_what_a_request_costs_is_bounded_before_and_exact_after() -> None:
    from providerrank.market.asking import Probe
    from providerrank.rules.challenges.shape import Answer

    endpoint = Endpoint("a/m", "m", Price.from_usd(1, 2))
    challenge = compute_challenge(BEACON, Cell("a/m", CHAT), 0)
    most = compute_most_nusd(endpoint, challenge, 600)
    assert most == 200 * 1_000 + challenge.pinned.max_tokens * 2_000
    stated = Probe(0, Outcome.SUCCESS, 1, 2, 50, 10, Answer("x"))
    assert compute_spent_nusd(endpoint, stated, most) == 50 * 1_000 + 10 * 2_000
    assert compute_spent_nusd(endpoint, Probe(0, Outcome.SUCCESS, 1, 2, None, None, Answer("x")), most) == most
    assert compute_spent_nusd(endpoint, Probe(0, Outcome.FAILURE, None, 2), most) == 0
    assert compute_spent_nusd(endpoint, Probe(0, Outcome.SUCCESS, 1, 2, 10**9, 10**9, Answer("x")), most) == most
