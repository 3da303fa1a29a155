"""What every work queue promises: once published, given out until acknowledged, and never to two live workers."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from providerrank.engines.journal_file import JournalFile
from providerrank.engines.queue_local import LocalQueue
from providerrank.market.asking import Probe, compute_spent_nusd
from providerrank.market.journal import Purpose
from providerrank.market.notes import encode_probe
from providerrank.market.replays import Job, ReplayDesk, Worker
from providerrank.market.stats import ValidatorStats
from providerrank.rules.cells import Cell
from providerrank.rules.challenges.shape import Answer, Challenge
from providerrank.rules.observation import Outcome
from tests.market_bed import ENDPOINTS, FakeChecker, make_bed

SOON_S = 0.05


@pytest.fixture(params=["local"])
def queue(request: pytest.FixtureRequest) -> LocalQueue:
    return LocalQueue(ack_wait_s=SOON_S, max_attempts=3)


async def test_a_job_is_given_out_once_and_gone_when_acknowledged(queue: LocalQueue) -> None:
    assert await queue.publish("a", b"1")
    assert not await queue.publish("a", b"2")
    [delivery] = await queue.pull(5, 0)
    assert (delivery.id, delivery.payload, delivery.attempt) == ("a", b"1", 1)
    assert await queue.pull(5, 0) == []
    assert await queue.count() == 1
    await delivery.ack()
    assert await queue.count() == 0
    assert not await queue.publish("a", b"3")
    assert await queue.pull(5, 2 * SOON_S) == []


async def test_jobs_come_in_order_and_as_many_as_asked_for(queue: LocalQueue) -> None:
    for name in "abc":
        await queue.publish(name, b"")
    assert [one.id for one in await queue.pull(2, 0)] == ["a", "b"]
    assert [one.id for one in await queue.pull(2, 0)] == ["c"]


async def test_a_worker_that_waits_gets_a_job_as_soon_as_there_is_one(queue: LocalQueue) -> None:
    waiting = asyncio.create_task(queue.pull(1, 10))
    await asyncio.sleep(0)
    await queue.publish("a", b"")
    assert [one.id for one in await asyncio.wait_for(waiting, 5)] == ["a"]


async def test_a_dead_worker_s_job_goes_to_another_and_its_late_word_changes_nothing(queue: LocalQueue) -> None:
    await queue.publish("a", b"")
    [dead] = await queue.pull(1, 0)
    [other] = await queue.pull(1, 10)
    assert (other.id, other.attempt) == ("a", 2)
    await dead.ack()
    await dead.nak()
    assert await queue.count() == 1
    await other.ack()
    assert await queue.count() == 0


async def test_whoever_says_that_it_takes_longer_keeps_it(queue: LocalQueue) -> None:
    await queue.publish("a", b"")
    [held] = await queue.pull(1, 0)
    for _ in range(4):
        assert await queue.pull(1, SOON_S / 2) == []
        await held.in_progress()
    await held.ack()
    assert await queue.count() == 0


async def test_given_back_it_comes_again_terminated_never(queue: LocalQueue) -> None:
    await queue.publish("a", b"")
    [first] = await queue.pull(1, 0)
    await first.nak(SOON_S)
    assert await queue.pull(1, 0) == []
    [second] = await queue.pull(1, 10)
    assert second.attempt == 2
    await second.term()
    assert await queue.count() == 0


async def test_a_job_nobody_can_do_is_dropped_in_the_end(queue: LocalQueue) -> None:
    await queue.publish("a", b"")
    for _ in range(3):
        [held] = await queue.pull(1, 10)
        await held.nak()
    assert await queue.pull(1, 0) == []
    assert (await queue.count(), queue.dropped) == (0, 1)


# ---- a worker on it ------------------------------------------------------------------------------------------------


class Prober:
    """Answers from the second request on; the first is the one its worker dies in."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, cell: Cell, challenge: Challenge) -> Probe:
        self.asked += 1
        if self.asked == 1:
            await asyncio.Event().wait()
        return Probe(1, Outcome.SUCCESS, 5, 9, 1, 1, Answer(challenge.solution.text))

    async def close(self) -> None:
        pass


async def test_a_worker_may_die_in_mid_replay(queue: LocalQueue) -> None:
    results, prober = LocalQueue(), Prober()
    job = Job(epoch=1, purpose=Purpose.REPLAY, endpoint_id="a/m", task="chat", index=0, beacon="00" * 32)
    await queue.publish(job.id, msgspec.json.encode(job))
    dying = asyncio.create_task(Worker(queue, results, prober, FakeChecker(), at_once=1).run())
    while not prober.asked:
        await asyncio.sleep(0)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    living = asyncio.create_task(Worker(queue, results, prober, FakeChecker(), at_once=1).run())
    [result] = await results.pull(1, 10)
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    assert result.id == job.id
    assert msgspec.msgpack.decode(result.payload)[0] == 2, "what was begun twice may be billed twice"
    assert await queue.count() == 0


async def test_a_job_that_cannot_be_read_is_not_tried_for_ever(queue: LocalQueue) -> None:
    await queue.publish("bad", b"{")
    [delivery] = await queue.pull(1, 0)
    await Worker(queue, LocalQueue(), Prober(), FakeChecker()).process(delivery)
    assert await queue.count() == 0


async def test_what_a_dead_worker_began_is_paid_for_and_settled_once(queue: LocalQueue) -> None:
    results, prober, journal = LocalQueue(), Prober(), JournalFile(":memory:")
    bed = make_bed()
    async with bed.validator(journal) as validator:
        tools = validator.desk.tools
    desk = ReplayDesk(tools, queue, results, ENDPOINTS, None, ValidatorStats())
    job = Job(epoch=1, purpose=Purpose.REPLAY, endpoint_id="alpha/m", task="chat", index=0, beacon="00" * 32)
    most_nusd = desk.get_nusd(job)
    measuring = asyncio.create_task(desk.measure([job], tools.now_us() + 10_000_000))
    taking = asyncio.create_task(desk.run())
    dying = asyncio.create_task(Worker(queue, results, prober, FakeChecker(), at_once=1).run())
    while not prober.asked:
        await asyncio.sleep(0)
    assert journal.get_spent_nusd(tools.now_us()) == most_nusd, "charged before it is sent"
    dying.cancel()
    living = asyncio.create_task(Worker(queue, results, prober, FakeChecker(), at_once=1).run())
    await asyncio.wait_for(measuring, 10)
    probe = desk.get(job)
    assert probe is not None
    spent_nusd = 2 * compute_spent_nusd(ENDPOINTS["alpha/m"], probe, most_nusd)
    assert journal.get_spent_nusd(tools.now_us()) == spent_nusd > 0
    # The dead one's word, were it to come after all, and the same job once more: nothing is paid again.
    desk.results = LocalQueue()
    await desk.results.publish(job.id, msgspec.msgpack.encode((1, encode_probe(probe))))
    again = asyncio.create_task(desk.run())
    while await desk.results.count():
        await asyncio.sleep(0)
    await desk.measure([job], tools.now_us() + 10_000_000)
    assert prober.asked == 2
    assert journal.get_spent_nusd(tools.now_us()) == spent_nusd
    assert await desk.results.count() == 0
    for task in (taking, living, again):
        task.cancel()
    await asyncio.gather(dying, taking, living, again, return_exceptions=True)
