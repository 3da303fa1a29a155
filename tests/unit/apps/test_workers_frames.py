"""Frames between processes: whatever is written is read, however it is cut; what is no frame is refused."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.apps.workers import frames, messages
from providerrank.apps.workers.frames import Ask, BrokenLink, Frame, FrameReader, Reply, Tell, write_frame
from providerrank.apps.workers.places import LONGEST_WAIT_S, compute_adoptions, compute_wait_s
from providerrank.apps.workers.sharing import SharingRouter
from providerrank.rules.catalog import Catalog
from providerrank.rules.observation import Observation, Outcome
from tests.unit.rules.market import Market, S, T, endpoint

kinds = st.text(max_size=12)
bodies = st.binary(max_size=300)
numbers = st.integers(0, 2**63 - 1)
some_frames = st.lists(
    st.builds(Tell, kinds, bodies)
    | st.builds(Ask, numbers, kinds, bodies)
    | st.builds(Reply, numbers, st.none() | bodies),
    max_size=8,
)


@given(some_frames, st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_what_is_written_is_read_however_it_arrives(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(map(write_frame, sent))
    reader, read, at, turn = FrameReader(), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        read += reader.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert read == sent


@given(st.binary(min_size=1, max_size=40))
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    try:
        [frame] = FrameReader().feed(struct.pack(">I", len(body)) + body)
    except BrokenLink:
        return
    assert FrameReader().feed(write_frame(frame)) == [frame]


def test_a_frame_of_an_impossible_length_is_refused_before_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokenLink, match="4294967295 bytes"):
        FrameReader().feed(b"\xff\xff\xff\xff")
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 10)
    with pytest.raises(BrokenLink):
        write_frame(Tell("kind", bytes(20)))


def test_what_a_worker_begins_with_survives_the_way() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    market.see("a", times=5)
    market.fail("b")
    router = market.router
    begin = messages.Begin(
        messages.Terms("text", "/p.toml", {"KEY": "sk-1"}),
        7,
        messages.write_windows(router.windows(changed_only=False)),
        router.conditions(),
    )
    read = messages.decode_begin(messages.encode(begin))
    assert read.terms == begin.terms
    assert read.conditions == begin.conditions
    twin = SharingRouter(router._boards.catalog, random.Random(0), windows=messages.read_windows(read.windows))
    twin.resume(read.conditions)
    assert [row.endpoint.id for row in twin.ranking("m", market.now).rows] == [
        row.endpoint.id for row in router.ranking("m", market.now).rows
    ]


def test_routers_that_share_know_the_same() -> None:
    catalog = Catalog((endpoint("a"), endpoint("b")))
    cooled: list[tuple[str, int]] = []
    one, other = (SharingRouter(catalog, random.Random(0)) for _ in range(2))
    one.share(lambda endpoint_id, until_us: cooled.append((endpoint_id, until_us)))
    other.share(lambda endpoint_id, until_us: pytest.fail("what was heard is not said again"))
    for at in range(5):
        outcome = Outcome.FAILURE if at % 2 else Outcome.SUCCESS
        one.observe(Observation("a/m", "chat", T + at * S, outcome, 300_000, S), "s" if at else None)
    one.cool("b/m", T + 60 * S)

    other.learn(messages.decode_seen(messages.encode(one.take_seen())))
    for endpoint_id, until_us in cooled:
        other.cool_too(endpoint_id, until_us)

    now = T + 6 * S
    assert other.ranking("m", now, session="s") == one.ranking("m", now, session="s")
    assert (one.take_seen(), other.take_seen()) == ([], [])
    assert {row.endpoint.id: row.state for row in other.ranking("m", now).rows}["b/m"] == "cooling"


@given(st.sets(st.integers(0, 15)), st.integers(1, 16))
def test_somebody_accepts_at_every_socket_while_anybody_can(ready: set[int], count: int) -> None:
    ready = {index for index in ready if index < count}
    adoptions = compute_adoptions(ready, count)
    if not ready:
        assert adoptions == {}
        return
    assert set(adoptions) | ready == set(range(count))
    assert not set(adoptions) & ready
    assert set(adoptions.values()) <= ready
    loads = [list(adoptions.values()).count(index) for index in ready]
    assert max(loads) - min(loads) <= 1


@given(st.integers(0, 10_000))
def test_waits_grow_and_end(failures: int) -> None:
    assert compute_wait_s(0) == compute_wait_s(1) == 0.0
    assert compute_wait_s(failures) <= compute_wait_s(failures + 1) <= LONGEST_WAIT_S
