"""What every chain does, whatever keeps it: the same tests over each engine of `market.ports.Chain`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from providerrank.engines.chain_ledger import Ledger, create_ledger, create_memory_ledger
from providerrank.engines.chain_local import LocalChain, open_chain
from providerrank.engines.chain_reads import PastEpoch, Report
from providerrank.engines.chain_settings import ChainSettings
from providerrank.market.errors import (
    AlreadyCommitted,
    BadWeights,
    ChainUnavailable,
    DeadlinePassed,
    NoPermit,
    NoRoom,
    NotCommitted,
    NotEnoughFunds,
    NotRegistered,
    RateLimited,
    Refused,
    TooEarly,
    TooLarge,
)
from providerrank.market.ports import RAO, Chain, Neuron
from tests.chains import DIGEST, OTHER_DIGEST, SETTINGS, STAKE, TEMPO, Time, get_address

VALIDATORS = ("alice", "bob")


@dataclass(slots=True)
class Bed:
    """A chain with two validators of equal stake, and a way onto it for anybody."""

    time: Time
    join: Callable[[str], Awaitable[LocalChain]]

    async def join_miner(self, name: str) -> LocalChain:
        chain = await self.join(name)
        await chain.fund(RAO)
        await chain.register()
        return chain

    async def go_to_epoch(self, epoch: int) -> None:
        head = await (await self.join("alice")).head()
        self.time.go(epoch * TEMPO - head.block)


Make = Callable[[ChainSettings], Awaitable[Bed]]


@pytest.fixture(params=["memory", "file"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        async def make(settings: ChainSettings) -> Bed:
            time = Time()
            validators = [(get_address(name), STAKE) for name in VALIDATORS]
            if request.param == "memory":
                ledger = create_memory_ledger(settings, validators=validators, clock=time.now_us)
                stack.callback(ledger.close)
            else:
                create_ledger(tmp_path / "chain.db", settings, validators=validators, clock=time.now_us).close()

            async def join(name: str) -> LocalChain:
                if request.param == "memory":
                    chain = LocalChain(ledger, get_address(name), time.sleep)
                else:
                    chain = await open_chain(tmp_path / "chain.db", get_address(name), time.now_us, time.sleep)
                stack.push_async_callback(chain.close)
                return chain

            return Bed(time, join)

        yield make


@pytest.fixture
async def bed(make: Make) -> Bed:
    return await make(SETTINGS)


def find(neurons: tuple[Neuron, ...], name: str) -> Neuron:
    return next(neuron for neuron in neurons if neuron.hotkey == get_address(name))


# ---- time and randomness ---------------------------------------------------------------------------------------------


async def test_blocks_come_with_time_and_epochs_with_blocks(bed: Bed) -> None:
    chain: Chain = await bed.join("alice")
    assert (await chain.head()).block == 0
    bed.time.go(1.9)
    assert (await chain.head()).block == 1
    bed.time.go(18)
    head = await chain.head()
    assert (head.block, head.epoch, head.begins, head.ends) == (19, 0, 0, 20)
    bed.time.go(1)
    head = await chain.head()
    assert (head.block, head.epoch, head.begins, head.ends) == (20, 1, 20, 40)
    assert (head.phases.commit_until, head.phases.reveal_until) == (30, 32)


async def test_a_clock_set_back_takes_no_block_back(bed: Bed) -> None:
    chain = await bed.join("alice")
    bed.time.go(7)
    assert (await chain.head()).block == 7
    bed.time.go(-3)
    assert (await chain.head()).block == 7


async def test_waiting_for_a_block_ends_when_it_is_there(bed: Bed) -> None:
    chain = await bed.join("alice")
    assert (await chain.advance(45)).block == 45
    assert bed.time.slept_s == 45
    assert (await chain.advance(3)).block == 45


async def test_a_beacon_is_the_same_for_everybody_and_different_for_every_block(bed: Bed) -> None:
    alice, bob = await bed.join("alice"), await bed.join("bob")
    bed.time.go(3)
    early = [await alice.beacon(block) for block in range(4)]
    bed.time.go(40)
    hashes = [await bob.beacon(block) for block in range(44)]
    assert hashes[:4] == early
    assert hashes == [await alice.beacon(block) for block in range(44)]
    assert len(set(hashes)) == 44
    assert {len(one) for one in hashes} == {32}


async def test_a_block_to_come_has_no_beacon(bed: Bed) -> None:
    chain = await bed.join("alice")
    bed.time.go(3)
    with pytest.raises(TooEarly) as refused:
        await chain.beacon(4)
    assert (refused.value.from_block, refused.value.block) == (4, 3)
    with pytest.raises(ValueError, match="no block -1"):
        await chain.beacon(-1)


async def test_a_chain_nobody_looks_at_stands_still(make: Make) -> None:
    bed = await make(replace(SETTINGS, halt_after_blocks=2 * TEMPO))
    chain = await bed.join("alice")
    bed.time.go(25)
    before = await chain.head()
    bed.time.go(10_000)
    after = await chain.head()
    assert (before.block, after.block, after.epoch) == (25, 26, 1)
    bed.time.go(14)
    assert (await chain.head()).epoch == 2


# ---- uids ------------------------------------------------------------------------------------------------------------


async def test_a_registration_burns_its_cost_and_gives_the_next_uid_once(bed: Bed) -> None:
    chain = await bed.join("miner")
    with pytest.raises(NotEnoughFunds) as refused:
        await chain.register()
    assert (refused.value.needed_rao, refused.value.held_rao) == (RAO // 10, 0)
    await chain.fund(RAO)
    assert await chain.register() == 3
    assert await chain.register() == 3
    assert await chain.balance() == (RAO - RAO // 10, 0)
    books = (await chain.report()).books
    assert books.burned_rao == RAO // 10
    assert books.difference_rao == 0


async def test_the_metagraph_shows_who_is_there(bed: Bed) -> None:
    chain: Chain = await bed.join_miner("miner")
    graph = await chain.metagraph()
    assert [neuron.uid for neuron in graph.neurons] == [0, 1, 2, 3]
    assert graph.owner_uid == 0
    alice, miner = find(graph.neurons, "alice"), find(graph.neurons, "miner")
    assert (alice.stake_rao, alice.permit) == (STAKE, True)
    assert (miner.stake_rao, miner.permit, miner.registered_at) == (0, False, 0)
    assert graph.find(get_address("miner")) == miner
    assert graph.find(get_address("stranger")) is None


async def test_when_all_uids_are_taken_the_least_paid_that_is_not_immune_makes_room(bed: Bed) -> None:
    alice, bob = await bed.join("alice"), await bed.join("bob")
    for number in range(5):
        bed.time.go(1)
        await bed.join_miner(f"miner{number}")
    late = await bed.join("late")
    await late.fund(RAO)
    with pytest.raises(NoRoom) as refused:
        await late.register()
    assert refused.value.until_block == 30
    bed.time.go(2)
    for chain in (alice, bob):
        await chain.set_weights({3: 65_535, 5: 100, 6: 65_535, 7: 65_535})
    await bed.go_to_epoch(2)
    # uid 4 earned nothing; the owner never makes room.
    assert await late.register() == 4
    graph = await late.metagraph()
    assert graph.find(get_address("miner1")) is None
    assert find(graph.neurons, "late").emission_rao == 0
    with pytest.raises(NotRegistered):
        await (await bed.join("miner1")).announce("127.0.0.1:9")


async def test_what_was_said_of_a_uid_does_not_pass_to_its_next_owner(bed: Bed) -> None:
    alice, bob = await bed.join("alice"), await bed.join("bob")
    for number in range(5):
        await bed.join_miner(f"miner{number}")
    bed.time.go(2)
    for chain in (alice, bob):
        await chain.set_weights({3: 10, 4: 65_535})
    await bed.go_to_epoch(2)
    assert find((await alice.metagraph()).neurons, "miner1").emission_rao > 0
    for chain in (alice, bob):
        await chain.set_weights({3: 65_535, 5: 65_535, 6: 65_535, 7: 65_535, 4: 1})
    await bed.go_to_epoch(3)
    late = await bed.join_miner("late")
    assert find((await late.metagraph()).neurons, "late").uid == 4
    await bed.go_to_epoch(4)
    assert find((await late.metagraph()).neurons, "late").emission_rao == 0
    assert (await late.report()).books.difference_rao == 0


async def test_an_address_is_announced_and_limited(bed: Bed) -> None:
    chain: Chain = await bed.join_miner("miner")
    assert (await chain.announce("127.0.0.1:9100")).block == 0
    bed.time.go(2)
    assert (await chain.announce("127.0.0.1:9100")).block == 0
    with pytest.raises(RateLimited) as refused:
        await chain.announce("[::1]:9100")
    assert refused.value.until_block == 5
    bed.time.go(3)
    assert (await chain.announce("[::1]:9100")).block == 5
    assert find((await chain.metagraph()).neurons, "miner").address == "[::1]:9100"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "miner.example:9100",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:\u0663",
        "::1:9",
        "[127.0.0.1]:9",
    ],
)
async def test_only_a_numeric_address_can_be_announced(bed: Bed, address: str) -> None:
    chain = await bed.join_miner("miner")
    with pytest.raises(ValueError, match="not an address a chain can keep"):
        await chain.announce(address)


# ---- commitments -----------------------------------------------------------------------------------------------------


async def test_a_commitment_is_made_revealed_and_read_in_order(bed: Bed) -> None:
    first, second = await bed.join_miner("first"), await bed.join_miner("second")
    bed.time.go(3)
    assert (await second.commit(0, OTHER_DIGEST)).block == 3
    assert (await first.commit(0, DIGEST)).block == 3
    bed.time.go(7)
    assert (await first.reveal(0, b"salt")).block == 10
    phases = (await first.head()).phases
    found = await second.commitments(phases)
    assert [(one.hotkey, one.digest, one.block, one.opening, one.revealed_at) for one in found] == [
        (get_address("second"), OTHER_DIGEST, 3, None, None),
        (get_address("first"), DIGEST, 3, b"salt", 10),
    ]


async def test_the_first_commitment_and_the_first_reveal_stand(bed: Bed) -> None:
    chain: Chain = await bed.join_miner("miner")
    await chain.commit(0, DIGEST)
    bed.time.go(2)
    assert (await chain.commit(0, DIGEST)).block == 0
    with pytest.raises(AlreadyCommitted, match="committed to something else in epoch 0"):
        await chain.commit(0, OTHER_DIGEST)
    bed.time.go(8)
    await chain.reveal(0, b"salt")
    bed.time.go(1)
    assert (await chain.reveal(0, b"salt")).block == 10
    with pytest.raises(AlreadyCommitted, match="revealed something else in epoch 0"):
        await chain.reveal(0, b"sugar")
    bed.time.go(30)
    assert (await chain.commit(0, DIGEST)).block == 0
    assert (await chain.reveal(0, b"salt")).block == 10


async def test_deadlines_hold(bed: Bed) -> None:
    chain: Chain = await bed.join_miner("miner")
    idle: Chain = await bed.join_miner("idle")
    with pytest.raises(TooEarly) as early:
        await chain.commit(1, DIGEST)
    assert early.value.from_block == 20
    bed.time.go(9)
    await chain.commit(0, DIGEST)
    with pytest.raises(TooEarly) as early:
        await chain.reveal(0, b"salt")
    assert early.value.from_block == 10
    bed.time.go(1)
    with pytest.raises(DeadlinePassed) as late:
        await idle.commit(0, DIGEST)
    assert (late.value.until_block, late.value.block) == (10, 10)
    with pytest.raises(NotCommitted):
        await idle.reveal(0, b"salt")
    bed.time.go(2)
    with pytest.raises(DeadlinePassed) as late:
        await chain.reveal(0, b"salt")
    assert (late.value.until_block, late.value.block) == (12, 12)


async def test_what_is_no_commitment_is_refused(bed: Bed) -> None:
    chain: Chain = await bed.join_miner("miner")
    stranger: Chain = await bed.join("stranger")
    for digest in ("", "AB" * 32, "ab" * 31, "ab" * 33, DIGEST + "\n"):
        with pytest.raises(ValueError, match="64 lower-case hex digits"):
            await chain.commit(0, digest)
    with pytest.raises(NotRegistered):
        await stranger.commit(0, DIGEST)
    await chain.commit(0, DIGEST)
    bed.time.go(10)
    with pytest.raises(ValueError, match="empty opening"):
        await chain.reveal(0, b"")
    with pytest.raises(TooLarge) as large:
        await chain.reveal(0, bytes(97))
    assert (large.value.size, large.value.allowed) == (97, 96)
    with pytest.raises(NotRegistered):
        await stranger.reveal(0, b"salt")
    await chain.reveal(0, bytes(96))


# ---- weights and money -----------------------------------------------------------------------------------------------


async def test_weights_are_kept_as_they_are_and_paid_for_at_the_epochs_end(bed: Bed) -> None:
    alice, bob = await bed.join("alice"), await bed.join("bob")
    good, bad = await bed.join_miner("good"), await bed.join_miner("bad")
    bed.time.go(1)
    for chain in (alice, bob):
        assert (await chain.set_weights({3: 65_535, 4: 21_845, 0: 0})).block == 1
    assert await good.weights() == dict.fromkeys((1, 2), ((3, 65_535), (4, 21_845)))
    await bed.go_to_epoch(1)
    graph = await good.metagraph()
    issued = SETTINGS.emission_rao * TEMPO
    paid = {name: find(graph.neurons, name).emission_rao for name in ("good", "bad", *VALIDATORS)}
    assert paid["good"] == pytest.approx(issued * 3 / 8, rel=1e-6)
    assert paid["bad"] == pytest.approx(issued / 8, rel=1e-6)
    assert paid["alice"] == paid["bob"] == pytest.approx(issued / 4, rel=1e-6)
    assert (await good.balance())[0] == RAO - RAO // 10 + paid["good"]
    assert (await alice.balance()) == (0, STAKE + paid["alice"])
    past = await bad.epoch(0)
    assert past is not None
    assert past.miners_rao == paid["good"] + paid["bad"]
    assert past.validators_rao == 2 * paid["alice"]
    assert past.miners_rao + past.validators_rao + past.burned_rao == past.emission_rao == issued
    assert past.weights == await good.weights()
    assert past.neurons[3].emission_rao == paid["good"]
    assert await bad.epoch(1) is None
    assert (await bad.report()).books.difference_rao == 0


async def test_what_goes_to_the_owner_is_burned(bed: Bed) -> None:
    alice, bob = await bed.join("alice"), await bed.join("bob")
    miner = await bed.join_miner("miner")
    bed.time.go(1)
    for chain in (alice, bob):
        await chain.set_weights({0: 65_535, 3: 65_535})
    await bed.go_to_epoch(1)
    past = await miner.epoch(0)
    assert past is not None
    issued = SETTINGS.emission_rao * TEMPO
    assert past.burned_rao == pytest.approx(issued / 4, rel=1e-6)
    assert past.miners_rao == pytest.approx(issued / 4, rel=1e-6)
    owner = (await miner.metagraph()).neurons[0]
    assert (owner.emission_rao, owner.stake_rao) == (0, 0)
    assert (await miner.report()).books.difference_rao == 0


async def test_weights_are_limited_in_rate(bed: Bed) -> None:
    alice: Chain = await bed.join("alice")
    await bed.join_miner("miner")
    bed.time.go(1)
    await alice.set_weights({3: 65_535})
    bed.time.go(4)
    with pytest.raises(RateLimited) as refused:
        await alice.set_weights({3: 65_535})
    assert refused.value.until_block == 6
    bed.time.go(1)
    assert (await alice.set_weights({0: 65_535})).block == 6
    assert find((await alice.metagraph()).neurons, "alice").last_update == 6
    assert await alice.weights() == {1: ((0, 65_535),)}


async def test_only_who_has_a_permit_sets_weights(bed: Bed) -> None:
    miner = await bed.join_miner("miner")
    stranger: Chain = await bed.join("stranger")
    with pytest.raises(NotRegistered):
        await stranger.set_weights({0: 65_535})
    with pytest.raises(NoPermit) as refused:
        await miner.set_weights({0: 65_535})
    assert refused.value.uid == 3
    await miner.fund(2 * STAKE)
    with pytest.raises(NotEnoughFunds):
        await miner.move_stake(10 * STAKE)
    await miner.move_stake(2 * STAKE)
    with pytest.raises(NoPermit):
        await miner.set_weights({0: 65_535})
    await bed.go_to_epoch(1)
    await miner.set_weights({0: 65_535})
    await miner.move_stake(-STAKE)
    assert (await miner.balance())[1] >= STAKE
    with pytest.raises(NotEnoughFunds):
        await miner.move_stake(-10 * STAKE)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({}, "all of them are zero"),
        ({3: 0}, "all of them are zero"),
        ({9: 1}, "no uid 9"),
        ({-1: 1}, "no uid -1"),
        ({3: 65_536}, "65536, not from 0"),
        ({3: -1}, "-1, not from 0"),
        ({3: 1}, "name 1 neurons, and the subnet asks for 2"),
        ({0: 1, 3: 2}, "the greatest is 2 of 3"),
    ],
)
async def test_weights_no_chain_would_take_are_refused(make: Make, weights: dict[int, int], reason: str) -> None:
    bed = await make(replace(SETTINGS, min_allowed_weights=2, max_weight_u16=32_768))
    alice: Chain = await bed.join("alice")
    await bed.join_miner("miner")
    with pytest.raises(BadWeights, match=reason):
        await alice.set_weights(weights)
    assert await alice.weights() == {}
    await alice.set_weights({0: 7, 3: 7})
    assert await alice.weights() == {1: ((0, 65_535), (3, 65_535))}


async def test_weights_name_their_version(make: Make) -> None:
    bed = await make(replace(SETTINGS, weights_version=3))
    alice: Chain = await bed.join("alice")
    with pytest.raises(BadWeights, match="version 2, and the subnet asks for 3"):
        await alice.set_weights({0: 65_535}, 2)
    await alice.set_weights({0: 65_535}, 3)


async def test_sealed_weights_count_an_epoch_later_and_are_not_seen_before(make: Make) -> None:
    bed = await make(replace(SETTINGS, weights_are_sealed=True))
    alice, bob = await bed.join("alice"), await bed.join("bob")
    miner: LocalChain = await bed.join_miner("miner")
    assert (await miner.hyperparameters()).weights_are_sealed
    bed.time.go(1)
    for chain in (alice, bob):
        await chain.set_weights({0: 65_535})
    bed.time.go(5)
    for chain in (alice, bob):
        await chain.set_weights({3: 65_535})
    assert find((await miner.metagraph()).neurons, "alice").last_update == 6
    await bed.go_to_epoch(1)
    assert await miner.weights() == {}
    assert find((await miner.metagraph()).neurons, "miner").emission_rao == 0
    await bed.go_to_epoch(2)
    assert await miner.weights() == {1: ((3, 65_535),), 2: ((3, 65_535),)}
    assert find((await miner.metagraph()).neurons, "miner").emission_rao > 0


async def test_the_same_history_ends_in_the_same_ledger_whatever_keeps_it(tmp_path: Path) -> None:
    reports: list[tuple[Report, PastEpoch | None]] = []
    validators = [(get_address(name), STAKE) for name in VALIDATORS]
    for on_disk in (False, True):
        time = Time()
        if on_disk:
            ledger = create_ledger(tmp_path / "chain.db", SETTINGS, validators=validators, clock=time.now_us)
        else:
            ledger = create_memory_ledger(SETTINGS, validators=validators, clock=time.now_us)
        alice, bob, m1, m2 = (LocalChain(ledger, get_address(name), time.sleep) for name in (*VALIDATORS, "m1", "m2"))
        for chain in (m1, m2):
            await chain.fund(RAO)
            await chain.register()
        await m1.commit(0, DIGEST)
        time.go(1)
        await alice.set_weights({3: 65_535, 4: 40_000})
        await bob.set_weights({0: 100, 3: 1, 4: 65_535})
        for _ in range(30):  # looked at often or seldom: the same
            time.go(2 if on_disk else 1)
            await m1.head()
            if not on_disk:
                time.go(1)
        reports.append((await m2.report(), await m2.epoch(2)))
        ledger.close()
    assert reports[0] == reports[1]


# ---- the end ---------------------------------------------------------------------------------------------------------


async def test_a_closed_chain_answers_nothing(bed: Bed) -> None:
    chain: Chain = await bed.join("alice")
    await chain.close()
    await chain.close()
    with pytest.raises(ChainUnavailable, match="it was closed") as closed:
        await chain.head()
    assert not isinstance(closed.value, Refused)


async def test_a_gift_is_an_amount(bed: Bed) -> None:
    chain = await bed.join("alice")
    for rao in (0, -1, 10**18):
        with pytest.raises(ValueError, match="cannot be given"):
            await chain.fund(rao)


def test_a_ledger_says_what_it_cannot_begin_with() -> None:
    twice = [(get_address("alice"), STAKE)] * 2
    with pytest.raises(ValueError, match="named twice"):
        create_memory_ledger(SETTINGS, validators=twice)
    many = [(get_address(str(number)), STAKE) for number in range(8)]
    with pytest.raises(ValueError, match="8 validators and the owner: the subnet has 8 uids"):
        create_memory_ledger(SETTINGS, validators=many)


def test_blocks_can_be_skipped_by_hand() -> None:
    time = Time()
    ledger: Ledger = create_memory_ledger(replace(SETTINGS, halt_after_blocks=TEMPO), clock=time.now_us)
    time.go(3)
    assert ledger.skip(50).block == 53
    time.go(2)
    head = ledger.read(lambda _, state: state.head)
    assert (head.block, head.epoch) == (55, 2)
    with pytest.raises(ValueError, match="cannot be skipped"):
        ledger.skip(-1)
    ledger.close()
