"""A subnet: a local chain, four miners of whom one lies, two validators, simulated endpoints, three epochs or more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from providerrank.apps.market.publisher import MemoryPublisher
from providerrank.apps.market.subnet import EpochReport, MinerSpec, SubnetSpec, running
from providerrank.engines.chain_settings import derive_settings
from providerrank.engines.prober_http import Target
from providerrank.market.asking import Market
from providerrank.market.miner import MinerSettings
from providerrank.market.validator import ValidatorSettings
from providerrank.rules.cells import CHAT, Cell, Endpoint, Price
from providerrank.rules.market_params import MARKET
from providerrank.rules.verified import combine_findings
from providerrank.sim.liars import Understater
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec, Ttft

EPOCHS = 3
MOST_EPOCHS = 7
"""A busy machine replays little in an epoch of seconds. Then the bets against the liar, which are carried from epoch to
epoch, take longer to be won, and an honest miner that was replayed too little waits for its pay."""
HONEST = ("one", "two", "three")
EPOCH_US = 12_000_000
BLOCKS = 40
MEDIANS_S = {"alpha": 0.06, "beta": 0.08, "gamma": 0.12, "delta": 0.2}
SMALL = replace(MARKET, samples_min=6, records_min=6, replays_min=12, replays_max=40)
"""Seconds of an epoch hold no hundred replays; what is asked of them otherwise is the same."""


@pytest.mark.timeout(200)
async def test_the_liar_earns_nothing_and_what_is_verified_is_the_truth(tmp_path: Path) -> None:
    specs = [
        EndpointSpec(name=name, ttft=Ttft(median=median, sigma=0.1), reply_tokens=8)
        for name, median in MEDIANS_S.items()
    ]
    publisher = MemoryPublisher()
    async with SimProviders(specs) as sims:
        ids = {sim.name: f"{sim.name}/llama" for sim in sims}
        endpoints = {id_: Endpoint(id_, "llama", Price.from_usd(1, 1)) for id_ in ids.values()}
        spec = SubnetSpec(
            miners=[MinerSpec("one"), MinerSpec("two"), MinerSpec("three"), MinerSpec("liar", Understater)],
            validators=["first", "second"],
            targets={ids[sim.name]: Target(sim.url, "llama", None) for sim in sims},
            market=Market(endpoints, {Cell(id_, CHAT): 1.0 for id_ in endpoints}),
            chain=derive_settings(BLOCKS, EPOCH_US // BLOCKS),
            miner=MinerSettings(params=SMALL, most_probes=40),
            validator=ValidatorSettings(params=SMALL),
        )
        async with running(spec, tmp_path, publisher) as subnet:
            reports = [await subnet.report(epoch) for epoch in range(EPOCHS)]
            while len(reports) < MOST_EPOCHS and not (
                find_tripped(reports) and are_paid(reports) and are_verified(publisher)
            ):
                reports.append(await subnet.report(len(reports)))
    check_liar(reports)
    check_verified(publisher)


def find_tripped(reports: list[EpochReport]) -> list[int]:
    """The epochs in which all who judged the liar tripped it."""
    return [
        report.epoch
        for report in reports
        for row in report.miners
        if row.name == "liar" and all(judged.code == "tripped" for judged in row.judgements.values()) and row.judgements
    ]


def are_paid(reports: list[EpochReport]) -> bool:
    """Whether every honest miner has earned something."""
    paid = {row.name for report in reports for row in report.miners if row.emission_rao > 0}
    return paid.issuperset(HONEST)


def check_liar(reports: list[EpochReport]) -> None:
    tripped = find_tripped(reports)
    assert tripped, "nobody caught the liar"
    for report in reports[tripped[0] :]:
        emission = {row.name: row.emission_rao for row in report.miners}
        assert emission.pop("liar") == 0
    assert are_paid(reports)
    last = {row.name: row for row in reports[-1].miners}
    codes = {judged.code for name in HONEST for judged in last[name].judgements.values()}
    assert codes <= {"passed", "uncovered"}


def are_verified(publisher: MemoryPublisher) -> bool:
    """Whether both validators have verified every cell."""
    verified = combine_findings(publisher.findings.values())
    return len(verified) == len(MEDIANS_S) and all(len(one.findings) == 2 for one in verified.values())


def check_verified(publisher: MemoryPublisher) -> None:
    verified = combine_findings(publisher.findings.values())
    assert are_verified(publisher)
    by_name = {cell.endpoint_id.partition("/")[0]: one for cell, one in verified.items()}
    # In the order of the truth, whatever the liar said of it.
    assert sorted(by_name, key=lambda name: by_name[name].log_ttft) == sorted(MEDIANS_S, key=lambda n: MEDIANS_S[n])
    assert all(one.replays > 0 for one in by_name.values())
