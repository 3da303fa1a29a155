"""Miner and validator over a chain in memory: what is handed in, what is refused, and what a kill changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from typing_extensions import override

from providerrank.engines.chain_local import LocalChain
from providerrank.engines.journal_file import JournalFile
from providerrank.market.asking import Probe
from providerrank.market.journal import Purpose
from providerrank.market.miner import Miner, MinerSettings
from providerrank.market.ports import Receipt
from providerrank.market.validator import ValidatorSettings
from providerrank.rules.cells import Cell
from providerrank.rules.observation import Outcome
from providerrank.sim.liars import Fabricator
from tests.chains import DIGEST, get_address
from tests.market_bed import SMALL, Bed, FakeProber, make_bed


class Killed(BaseException):
    """The process is gone."""


async def judge(bed: Bed, journal: JournalFile | None = None, prober: FakeProber | None = None) -> dict[str, str]:
    """Have the validator judge the present epoch; codes by hotkey."""
    async with bed.validator(journal or JournalFile(":memory:"), prober) as validator:
        head = await bed.connect("validator").head()
        await validator.run_epoch(head)
        outcome = validator.get_outcome(head.epoch)
    return {} if outcome is None else {one.hotkey: one.code for one in outcome.judgements}


async def mine(bed: Bed, miner: Miner) -> None:
    await miner.run_epoch(await bed.connect("miner").head())


async def test_an_epoch_from_probe_to_weights() -> None:
    bed = make_bed()
    miner = await bed.make_miner()
    await mine(bed, miner)
    assert await judge(bed) == {get_address("miner"): "passed"}
    weights = await bed.connect("validator").weights()
    assert list(weights) == [1]


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "garbage": (lambda _: b"\xff\x00 nonsense", "malformed"),
    "nothing": (lambda _: b"", "malformed"),
    "cut": (lambda data: data[:-40], "malformed"),
    "another version": (lambda data: data.replace(b'"version":1', b'"version":9', 1), "wrong-version"),
    "another epoch": (lambda data: data.replace(b'"epoch":0', b'"epoch":5', 1), "wrong-epoch"),
    "mis-signed": (lambda data: data.replace(b'"created_us":1', b'"created_us":2', 1), "mis-signed"),
    "altered": (lambda data: data.replace(b',"pass"]\n', b',"empty"]\n', 1), "altered"),
    "a line without end": (lambda data: data + b"[" * 600_000, "oversized"),
    "a line twice": (lambda data: data + data.splitlines(keepends=True)[-1], "malformed"),
}


@pytest.mark.parametrize(("change", "code"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_bad_bundle_is_refused_with_its_code_and_stops_nothing(
    change: Callable[[bytes], bytes], code: str
) -> None:
    bed = make_bed()
    bad, good = await bed.make_miner("miner"), await bed.make_miner("other")
    await mine(bed, bad)
    bed.neurons.change = change
    journal = JournalFile(":memory:")
    assert await judge(bed, journal) == {get_address("miner"): code}
    # The next epoch is as if nothing had been.
    bed.neurons.change = lambda data: data
    head = await bed.connect("miner").head()
    await bed.connect("miner").advance(head.ends)
    await mine(bed, good)
    assert await judge(bed, journal) == {get_address("other"): "passed"}


async def test_a_bundle_that_was_not_committed_to_is_refused() -> None:
    bed = make_bed()

    class Twofaced(LocalChain):
        @override
        async def commit(self, epoch: int, digest: str) -> Receipt:
            return await super().commit(epoch, "ab" * 32)

    chain = Twofaced(bed.ledger, get_address("miner"), bed.time.sleep)
    await mine(bed, await bed.make_miner(chain=chain))
    assert await judge(bed) == {get_address("miner"): "not-committed"}


async def test_who_made_records_up_is_tripped_by_what_it_cannot_open() -> None:
    bed = make_bed()
    await mine(bed, await bed.make_miner(kind=Fabricator))
    assert await judge(bed) == {get_address("miner"): "tripped"}
    assert bed.publisher.findings == {}


async def test_openings_that_are_withheld_or_another_s_trip() -> None:
    for change in (lambda _: [], lambda shown: shown[:1] * len(shown), lambda _: [b"nonsense"]):
        bed = make_bed()
        bed.neurons.change_openings = change
        await mine(bed, await bed.make_miner())
        assert await judge(bed) == {get_address("miner"): "tripped"}


@pytest.mark.parametrize(
    ("gone", "codes"),
    [
        ({"other"}, {"miner": "passed", "other": "unreachable"}),
        # Of several that are gone at once none is judged: more likely it is we who are cut off.
        ({"miner", "other"}, {}),
    ],
)
async def test_an_unreachable_miner_loses_its_epoch_and_all_of_them_is_our_own_network(
    gone: set[str], codes: dict[str, str]
) -> None:
    bed = make_bed()
    miner = await bed.make_miner()
    await bed.make_miner("other")
    other = bed.connect("other")
    await other.commit(0, DIGEST)
    await mine(bed, miner)
    await other.reveal(0, b"salt")
    bed.neurons.unreachable = {get_address(name) for name in gone}
    assert await judge(bed) == {get_address(name): code for name, code in codes.items()}


async def test_who_reveals_too_late_is_passed_over_and_stops_nothing() -> None:
    bed = make_bed()

    class Late(LocalChain):
        @override
        async def reveal(self, epoch: int, opening: bytes) -> Receipt:
            await self.advance((await self.head()).phases.reveal_until)
            return await super().reveal(epoch, opening)

    late = await bed.make_miner("miner", chain=Late(bed.ledger, get_address("miner"), bed.time.sleep))
    await mine(bed, late)
    assert late.stats.missed == {"DeadlinePassed": 1}
    assert not late.is_shown(0)
    chain = bed.connect("validator")
    phases = (await chain.head()).phases
    assert [one.opening for one in await chain.commitments(phases)] == [None]
    journal = JournalFile(":memory:")
    async with bed.validator(journal) as validator:
        await validator.run_epoch(await chain.head())
        outcome = validator.get_outcome(0)
        assert outcome is not None
        assert outcome.judgements == ()


@pytest.mark.parametrize("outcome", [Outcome.REFUSED_US, Outcome.FAILURE])
async def test_our_own_faults_trip_nobody(outcome: Outcome) -> None:
    bed = make_bed()
    await mine(bed, await bed.make_miner())

    def refuse(_: Cell, probe: Probe) -> Probe:
        return replace(probe, outcome=outcome, own_fault="the endpoint refuses our key", ttft_us=None)

    prober = FakeProber(bed.time, spoil=refuse)
    assert await judge(bed, prober=prober) == {get_address("miner"): "uncovered"}
    assert prober.asked
    assert bed.publisher.findings == {}


async def test_a_cell_whose_endpoint_refuses_our_key_is_abstained_from_and_the_others_are_judged() -> None:
    bed = make_bed()
    await mine(bed, await bed.make_miner())

    def refuse(cell: Cell, probe: Probe) -> Probe:
        if cell.endpoint_id != "beta/m":
            return probe
        return replace(probe, outcome=Outcome.REFUSED_US, own_fault="the endpoint refuses our key", ttft_us=None)

    async with bed.validator(JournalFile(":memory:"), FakeProber(bed.time, spoil=refuse)) as validator:
        head = await bed.connect("validator").head()
        await validator.run_epoch(head)
        outcome = validator.get_outcome(head.epoch)
        assert outcome is not None
        [judged] = outcome.judgements
        assert judged.code == "passed"
        assert judged.replays > 0
        assert validator.stats.abstained_cells == 1


async def test_a_replay_limit_is_kept() -> None:
    bed = make_bed()
    await mine(bed, await bed.make_miner())
    journal = JournalFile(":memory:")
    async with bed.validator(
        journal, settings=ValidatorSettings(params=SMALL, spend_per_day_nusd=400_000)
    ) as validator:
        await validator.run_epoch(await bed.connect("validator").head())
        assert validator.desk.is_broke
    assert journal.get_spent_nusd(bed.time.now_us()) <= 400_000


async def test_a_validator_that_comes_back_pays_and_sets_nothing_twice() -> None:
    bed = make_bed()
    await mine(bed, await bed.make_miner())
    journal = JournalFile(":memory:")
    first = await judge(bed, journal)
    before = (await bed.connect("validator").metagraph()).neurons[1].last_update
    spent = journal.get_spent_nusd(bed.time.now_us())
    bed.time.go(6)
    prober = FakeProber(bed.time)
    assert await judge(bed, journal, prober) == first
    assert prober.asked == []
    assert journal.get_spent_nusd(bed.time.now_us()) == spent
    assert (await bed.connect("validator").metagraph()).neurons[1].last_update == before


@pytest.mark.parametrize("act", ["commit", "reveal"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_miner_killed_beside_a_step_takes_it_once(act: str, when: str) -> None:
    bed = make_bed()

    class Fragile(LocalChain):
        killed = False

        async def _die(self, step: str, receipt: Receipt | None = None) -> None:
            if step == act and (receipt is None) == (when == "before") and not self.killed:
                self.killed = True
                raise Killed

        @override
        async def commit(self, epoch: int, digest: str) -> Receipt:
            await self._die("commit")
            receipt = await super().commit(epoch, digest)
            await self._die("commit", receipt)
            return receipt

        @override
        async def reveal(self, epoch: int, opening: bytes) -> Receipt:
            await self._die("reveal")
            receipt = await super().reveal(epoch, opening)
            await self._die("reveal", receipt)
            return receipt

    journal, prober = JournalFile(":memory:"), FakeProber(bed.time)
    chain = Fragile(bed.ledger, get_address("miner"), bed.time.sleep)
    miner = await bed.make_miner(journal=journal, prober=prober, chain=chain)
    with pytest.raises(Killed):
        await mine(bed, miner)
    asked = list(prober.asked)
    again = await bed.make_miner(journal=journal, prober=prober, chain=chain)
    await mine(bed, again)
    assert prober.asked == asked, "probed twice"
    assert await judge(bed) == {get_address("miner"): "passed"}


async def test_a_miner_killed_while_probing_sends_no_probe_twice() -> None:
    bed = make_bed()
    journal = JournalFile(":memory:")

    def die(_: Cell, probe: Probe) -> Probe:
        if len(prober.asked) == 5:
            raise Killed
        return probe

    prober = FakeProber(bed.time, spoil=die)
    miner = await bed.make_miner(journal=journal, prober=prober)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await mine(bed, miner)
    await mine(bed, await bed.make_miner(journal=journal, prober=prober))
    assert len(prober.asked) == len(set(prober.asked))
    calls = journal.calls([0], [Purpose.PROBE])
    assert sum(call.note is None for call in calls) == 1
    assert sum(call.nusd for call in calls) == journal.get_spent_nusd(bed.time.now_us())


async def test_a_miner_without_money_asks_nobody_and_commits_to_nothing() -> None:
    bed = make_bed()
    prober = FakeProber(bed.time)
    miner = await bed.make_miner(prober=prober, settings=MinerSettings(params=SMALL, spend_per_day_nusd=0))
    await mine(bed, miner)
    assert prober.asked == []
    assert miner.stats.missed["nothing-measured"] == 1
    assert await judge(bed) == {}


async def test_a_dry_run_spends_and_submits_nothing() -> None:
    bed = make_bed()
    prober = FakeProber(bed.time)
    miner = await bed.make_miner(prober=prober, settings=MinerSettings(params=SMALL, dry_run=True))
    await mine(bed, miner)
    async with bed.validator(
        JournalFile(":memory:"), prober, ValidatorSettings(params=SMALL, dry_run=True)
    ) as validator:
        await validator.run_epoch(await bed.connect("validator").head())
    assert prober.asked == []
    assert (await bed.connect("validator").metagraph()).find(get_address("miner")) is None
    assert await bed.connect("validator").weights() == {}
