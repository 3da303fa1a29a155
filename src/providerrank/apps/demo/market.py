"""The second act: the same endpoints are measured by miners, replayed by validators, and ranked by what is verified.

A whole subnet on this machine: a local chain, four miners of whom one makes records up, two validators. Every neuron is
the real one; only the clock is quick (an epoch is most of a minute instead of 72) and the samples are few, since
all endpoints of the demo share this machine's cores. How long an epoch has to be for those few is measured first,
since it depends on the machine and on what else that does. What validators verify goes into the store that the demo's
gateway ranks from, and the gateway's own ranking then cites it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from providerrank.apps.demo.scenario import MODEL, Seller
from providerrank.apps.market.nodes import probing
from providerrank.apps.market.subnet import EpochReport, MinerRow, MinerSpec, SubnetSpec, running
from providerrank.engines.chain_settings import derive_settings
from providerrank.engines.prober_http import Clocks, Target
from providerrank.market.asking import Market
from providerrank.market.miner import Miner, MinerSettings
from providerrank.market.ports import RAO
from providerrank.market.validator import Publisher, ValidatorSettings
from providerrank.rules.cells import CHAT, Cell, Endpoint
from providerrank.rules.challenge import compute_challenge
from providerrank.rules.market_params import MARKET
from providerrank.rules.params import PARAMS
from providerrank.rules.schedule import COMMIT_PPM, REVEAL_PPM
from providerrank.sim.liars import Fabricator

EPOCHS = 3
BLOCKS = 40
"""Of an epoch: half of them to measure in, two fifths to replay in."""
LEAST_EPOCH_S = 20.0
MOST_EPOCH_S = 120.0
"""A machine so slow that this is too short shows fewer samples, and the show says so."""
SLACK = 1.15
"""Neurons take turns, and compute a little themselves."""
TRIALS = 8
"""Answers that the machine's pace is taken from, all asked for at once, as the neurons will."""
CONCURRENCY = 2
"""Requests of one neuron at a time."""
REFERENCES = 1
"""A validator's own measurements of a cell before the deadline."""

LIAR = "mallory"
MINERS = (MinerSpec("alice"), MinerSpec("bob"), MinerSpec("carol"), MinerSpec(LIAR, Fabricator))
VALIDATORS = ("vera", "viktor")

CHALLENGE = replace(PARAMS.challenge, chat_max_tokens=8)
"""The demo's model is asked for few words: a second of its thread is dear."""
PROBES = 12
"""Of a miner in an epoch, at most: three of each endpoint."""
SMALL = replace(MARKET, samples_min=3, records_min=3, replays_min=4, replays_max=16)
"""An epoch of seconds holds no hundred replays; what is asked of them otherwise is the same."""


WORDS = {"passed": "gate 1", "tripped": "gate 0", "uncovered": "gate 1, too few replays", "duplicate": "a duplicate"}
"""A validator's verdict in few words; other codes are words already."""
PAID_FOR = (
    "Paid is what a miner knew better than the public; where nobody did, a tenth is shared out, and the rest is burned."
)


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
    reasons: dict[str, str] = {}
    """By miner: what a validator says of its bundle, where it has something to say."""


class MarketSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the act came to."""

    liar: str
    caught_in_epoch: int | None
    epochs: list[Epoch]
    evidence: dict[str, str]
    """By endpoint: what its place in the gateway's ranking rests on."""
    interrupted: bool = False
    """Before all epochs were over: what was not seen by then is nobody's fault."""

    @property
    def is_sound(self) -> bool:
        """The liar was caught and earned nothing from then on, and the gateway ranks by verified evidence."""
        caught = self.caught_in_epoch
        if caught is None:
            return self.interrupted
        is_unpaid = all(one.emission.get(self.liar, 0.0) == 0.0 for one in self.epochs if one.epoch >= caught)
        return is_unpaid and (bool(self.evidence) or self.interrupted)


@dataclass(frozen=True, slots=True)
class Act:
    """How long, and how many."""

    epochs: int = EPOCHS
    epoch_s: float | None = None
    """None: as long as this machine needs for the samples."""


async def measure_pace(targets: Mapping[str, Target]) -> float:
    """Challenges a second that these endpoints answer together, on this machine as busy as it is; 0: none."""
    cells = [Cell(endpoint_id, CHAT) for endpoint_id in targets]
    beacon = secrets.token_bytes(32)
    challenges = [
        (cells[at % len(cells)], compute_challenge(beacon, cells[at % len(cells)], at, CHALLENGE))
        for at in range(TRIALS)
    ]
    async with probing(targets, Clocks(), TRIALS) as prober:
        began_s = time.monotonic()
        probes = await asyncio.gather(*(prober.ask(cell, challenge) for cell, challenge in challenges))
        took_s = time.monotonic() - began_s
    return sum(probe.ttft_us is not None for probe in probes) / took_s


def compute_epoch_s(pace: float, cells: int) -> float:
    """How long an epoch has to be for every miner's probes and every validator's replays at ``pace`` a second."""
    honest = sum(miner.kind is Miner for miner in MINERS)
    probes = honest * PROBES + len(VALIDATORS) * REFERENCES * cells
    replays = len(VALIDATORS) * cells * SMALL.samples_min
    to_measure, to_replay = COMMIT_PPM / 1_000_000, (1_000_000 - REVEAL_PPM) / 1_000_000
    wanted_s = SLACK * max(probes / to_measure, replays / to_replay) / max(pace, 1e-3)
    return min(max(wanted_s, LEAST_EPOCH_S), MOST_EPOCH_S)


async def play(
    act: Act,
    sellers: Sequence[Seller],
    base_urls: Mapping[str, str],
    folder: Path,
    publisher: Publisher,
    say: Callable[..., None],
    told: list[Epoch],
) -> None:
    """Run the subnet for so many epochs, telling each as it ends into ``told``; ``base_urls`` by seller's name."""
    for name in ("httpx", "providerrank.miner", "providerrank.validator", "providerrank.replays"):
        # What was cut short by the end of an epoch shows in the figures; on a slow machine there is a lot of it.
        logging.getLogger(name).setLevel(logging.ERROR)
    endpoints = {seller.endpoint_id: Endpoint(seller.endpoint_id, MODEL, seller.price) for seller in sellers}
    targets = {seller.endpoint_id: Target(base_urls[seller.name], MODEL, None) for seller in sellers}
    epoch_s, because = act.epoch_s, "as asked"
    if epoch_s is None:
        pace = await measure_pace(targets)
        epoch_s = compute_epoch_s(pace, len(targets))
        because = f"enough for this machine, which answers {pace:.1f} challenges a second"
    minutes = act.epochs * epoch_s / 60
    say(f"{act.epochs} epochs of {epoch_s:.0f} s each ({minutes:.1f} minutes), {because}.", PAID_FOR)
    spec = SubnetSpec(
        miners=MINERS,
        validators=VALIDATORS,
        targets=targets,
        market=Market(endpoints, {Cell(name, CHAT): 1.0 for name in endpoints}),
        chain=derive_settings(BLOCKS, round(epoch_s * 1_000_000 / BLOCKS)),
        miner=MinerSettings(params=SMALL, most_probes=PROBES, challenge=CHALLENGE),
        validator=ValidatorSettings(params=SMALL, challenge=CHALLENGE, references=REFERENCES),
        concurrency=CONCURRENCY,
    )
    async with running(spec, folder, publisher) as subnet:
        for number in range(act.epochs):
            told.append(build_epoch(await subnet.report(number)))
            say(*format_epoch(told[-1]))


def build_epoch(report: EpochReport) -> Epoch:
    """Turn a subnet's report into what is shown of it."""
    return Epoch(
        epoch=report.epoch,
        emission={row.name: row.emission_rao / RAO for row in report.miners},
        verdicts={row.name: get_verdicts(row) for row in report.miners},
        burned=report.burned_rao / RAO,
        verified_cells=report.verified_cells,
        replays=report.replays,
        reasons={row.name: reason for row in report.miners if (reason := get_reason(row))},
    )


def get_verdicts(row: MinerRow) -> list[str]:
    """What each validator made of a miner's bundle, in the order of their names."""
    return [row.judgements[name].code for name in sorted(row.judgements)]


def get_reason(row: MinerRow) -> str:
    """What the first validator that says why says of a miner's bundle."""
    return next((row.judgements[name].reason for name in sorted(row.judgements) if row.judgements[name].reason), "")


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
        verdicts = ", ".join(WORDS.get(code, code) for code in one.verdicts[name]) or "not judged"
        lines.append(f"  {name:8} {emission:7.3f} TAO  {verdicts}{'  <- makes records up' if name == LIAR else ''}")
    lines.append(f"  {'burned':8} {one.burned:7.3f} TAO")
    silent = () if any(one.emission.values()) else one.emission
    explained = [name for name in dict.fromkeys((LIAR, *silent)) if name in one.reasons]
    return lines + [f"  why {name}: {one.reasons[name]}" for name in explained]


def format_end(mined: MarketSummary) -> list[str]:
    """What the act came to, as lines."""
    if mined.caught_in_epoch is not None:
        said = f"{mined.liar} was caught in epoch {mined.caught_in_epoch}, and earned nothing from then on."
        if not mined.is_sound and mined.evidence:
            said = f"{mined.liar} was caught in epoch {mined.caught_in_epoch}, and was paid all the same."
    else:
        said = f"{mined.liar} was not caught."
    if mined.interrupted:
        said = f"Interrupted after {len(mined.epochs)} whole epochs. {said}"
    if not mined.evidence:
        too_few = "" if mined.interrupted else ": too few samples for this machine; a longer --epoch-seconds gives more"
        return [f"{said} The gateway's ranking rests on nothing verified yet{too_few}."]
    rests = [f"  {name:8} {words}" for name, words in mined.evidence.items()]
    return [f"{said} The gateway's ranking now rests on:", *rests]
