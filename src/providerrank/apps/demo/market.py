"""The second act: the same endpoints are measured by miners, replayed by validators, and ranked by what is verified.

A whole subnet on this machine: a local chain, four miners of whom one makes records up, two validators. Every neuron is
the real one; only the clock is quick (an epoch is most of a minute instead of 72) and the samples are few, since
all endpoints of the demo share this machine's cores. What validators verify goes into the store that the demo's gateway
ranks from, and the gateway's own ranking then cites it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from providerrank.apps.demo.scenario import MODEL, Seller
from providerrank.apps.market.subnet import EpochReport, MinerRow, MinerSpec, SubnetSpec, running
from providerrank.engines.chain_settings import derive_settings
from providerrank.engines.prober_http import Target
from providerrank.market.asking import Market
from providerrank.market.miner import MinerSettings
from providerrank.market.ports import RAO
from providerrank.market.validator import Publisher, ValidatorSettings
from providerrank.rules.cells import CHAT, Cell, Endpoint
from providerrank.rules.market_params import MARKET
from providerrank.rules.params import PARAMS
from providerrank.sim.liars import Fabricator

EPOCHS = 3
EPOCH_S = 40.0
BLOCKS = 40
"""Of an epoch: half of them to measure in, two fifths to replay in."""

LIAR = "mallory"
MINERS = (MinerSpec("alice"), MinerSpec("bob"), MinerSpec("carol"), MinerSpec(LIAR, Fabricator))
VALIDATORS = ("vera", "viktor")

CHALLENGE = replace(PARAMS.challenge, chat_max_tokens=8)
"""The demo's model is asked for few words: a second of its thread is dear."""
PROBES = 12
"""Of a miner in an epoch, at most: three of each endpoint."""
SMALL = replace(MARKET, samples_min=3, records_min=3, replays_min=4, replays_max=16)
"""An epoch of seconds holds no hundred replays; what is asked of them otherwise is the same."""


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch of the act, as ``--json`` prints it."""

    epoch: int
    emission: dict[str, float]
    """By miner."""
    verdicts: dict[str, list[str]]
    """Of each validator that judged the miner's bundle."""
    burned: float
    verified_cells: int
    replays: int


class MarketSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the act came to."""

    liar: str
    caught_in_epoch: int | None
    epochs: list[Epoch]
    evidence: dict[str, str]
    """By endpoint: what its place in the gateway's ranking rests on."""

    @property
    def is_sound(self) -> bool:
        """The liar was caught and earned nothing from then on, and the gateway ranks by verified evidence."""
        caught = self.caught_in_epoch
        return (
            caught is not None
            and all(one.emission.get(self.liar, 0.0) == 0.0 for one in self.epochs if one.epoch >= caught)
            and bool(self.evidence)
        )


@dataclass(frozen=True, slots=True)
class Act:
    """How long, and how many."""

    epochs: int = EPOCHS
    epoch_s: float = EPOCH_S


async def play(
    act: Act,
    sellers: Sequence[Seller],
    base_urls: Mapping[str, str],
    folder: Path,
    publisher: Publisher,
    say: Callable[..., None],
) -> list[Epoch]:
    """Run the subnet for so many epochs, telling each; ``base_urls`` by seller's name."""
    for name in ("httpx", "providerrank.miner", "providerrank.validator", "providerrank.replays"):
        # What was cut short by the end of an epoch shows in the figures; on a slow machine there is a lot of it.
        logging.getLogger(name).setLevel(logging.ERROR)
    endpoints = {seller.endpoint_id: Endpoint(seller.endpoint_id, MODEL, seller.price) for seller in sellers}
    spec = SubnetSpec(
        miners=MINERS,
        validators=VALIDATORS,
        targets={seller.endpoint_id: Target(base_urls[seller.name], MODEL, None) for seller in sellers},
        market=Market(endpoints, {Cell(name, CHAT): 1.0 for name in endpoints}),
        chain=derive_settings(BLOCKS, round(act.epoch_s * 1_000_000 / BLOCKS)),
        miner=MinerSettings(params=SMALL, most_probes=PROBES, challenge=CHALLENGE),
        validator=ValidatorSettings(params=SMALL, challenge=CHALLENGE, references=1),
        concurrency=2,
    )
    told: list[Epoch] = []
    async with running(spec, folder, publisher) as subnet:
        for number in range(act.epochs):
            told.append(build_epoch(await subnet.report(number)))
            say(*format_epoch(told[-1]))
    return told


def build_epoch(report: EpochReport) -> Epoch:
    """Turn a subnet's report into what is shown of it."""
    return Epoch(
        epoch=report.epoch,
        emission={row.name: row.emission_rao / RAO for row in report.miners},
        verdicts={row.name: get_verdicts(row) for row in report.miners},
        burned=report.burned_rao / RAO,
        verified_cells=report.verified_cells,
        replays=report.replays,
    )


def get_verdicts(row: MinerRow) -> list[str]:
    """What each validator made of a miner's bundle, in the order of their names."""
    return [row.judgements[name].code for name in sorted(row.judgements)]


def find_caught(epochs: Sequence[Epoch], liar: str = LIAR) -> int | None:
    """The first epoch in which every validator that judged the liar's bundle gave it a 0."""
    for one in epochs:
        verdicts = one.verdicts.get(liar, [])
        if verdicts and all(code == "tripped" for code in verdicts):
            return one.epoch
    return None


def format_epoch(one: Epoch) -> list[str]:
    """An epoch, as lines."""
    lines = [f"Epoch {one.epoch}: {one.replays} replays so far, {one.verified_cells} cells verified"]
    for name, emission in one.emission.items():
        verdicts = ", ".join(one.verdicts[name]) or "not judged"
        lines.append(f"  {name:8} {emission:7.3f} TAO  {verdicts}{'  <- makes records up' if name == LIAR else ''}")
    lines.append(f"  {'burned':8} {one.burned:7.3f} TAO")
    return lines
