from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.engines import chain_ledger, chain_state
from providerrank.engines.chain_blocks import Clock, compute_due, compute_hash, compute_seed
from providerrank.engines.chain_ledger import create_ledger, create_memory_ledger, open_ledger
from providerrank.engines.chain_reads import read_beacon
from providerrank.engines.chain_settings import ChainSettings, derive_settings
from providerrank.market.errors import ChainUnavailable
from tests.chains import BEGAN_US, BLOCK_US, SETTINGS, Time

CLOCK = Clock(BEGAN_US, 0, BLOCK_US)


def test_a_hash_follows_from_everything_before_it() -> None:
    seed = compute_seed(b"before", 3, 5, b"drawn")
    others = [
        compute_seed(b"Before", 3, 5, b"drawn"),
        compute_seed(b"before", 2, 5, b"drawn"),
        compute_seed(b"before", 3, 6, b"drawn"),
        compute_seed(b"before", 3, 5, b"Drawn"),
    ]
    assert len({seed, *others}) == 5
    assert compute_hash(seed, 3) != compute_hash(seed, 4)
    assert compute_hash(seed, 3) == compute_hash(compute_seed(b"before", 3, 5, b"drawn"), 3)


def test_no_file_knows_the_hash_of_a_block_before_its_time(tmp_path: Path) -> None:
    """Two ledgers alike to the last byte go on with different hashes: what decides them is in neither."""
    time = Time()
    first, copy = tmp_path / "first.db", tmp_path / "copy.db"
    ledger = create_ledger(first, SETTINGS, clock=time.now_us)
    time.go(5)
    known = ledger.read(lambda c, s: read_beacon(c, s, 5))
    ledger.close()
    with sqlite3.connect(first) as database:
        assert database.execute("SELECT max(last_block) FROM seals").fetchone() == (5,)
    database.close()
    copy.write_bytes(first.read_bytes())
    time.go(1)
    hashes = []
    for path in (first, copy):
        ledger = open_ledger(path, time.now_us)
        assert ledger.read(lambda c, s: read_beacon(c, s, 5)) == known
        hashes.append(ledger.read(lambda c, s: read_beacon(c, s, 6)))
        ledger.close()
    assert hashes[0] != hashes[1]


def test_drawn_alike_goes_alike() -> None:
    hashes = []
    for _ in range(2):
        time = Time()
        ledger = create_memory_ledger(SETTINGS, clock=time.now_us, draw=lambda count: bytes(range(count)))
        time.go(30)
        hashes.append([ledger.read(lambda c, s, b=block: read_beacon(c, s, b)) for block in range(31)])  # type: ignore[misc]
        ledger.close()
    assert hashes[0] == hashes[1]


def test_halting_goes_on_with_the_next_block_from_now() -> None:
    now_us = BEGAN_US + 1_000 * BLOCK_US + 7
    assert compute_due(CLOCK, 10, now_us, 0) == (1_000, 0)
    assert compute_due(CLOCK, 900, now_us, 100) == (1_000, 0)
    block, halted_us = compute_due(CLOCK, 899, now_us, 100)
    assert block == 900
    assert replace(CLOCK, halted_us=halted_us).get_time(block) == now_us


@given(st.integers(-(10**6), 10**9), st.integers(0, 10**5), st.integers(0, 50), st.integers(1, 10**7))
def test_blocks_never_go_back_and_are_never_early(at: int, block: int, halt: int, block_us: int) -> None:
    clock = Clock(0, 0, block_us)
    due, halted_us = compute_due(clock, block, at, halt)
    assert due >= block
    assert due == block or clock.genesis_us + halted_us + due * block_us <= at
    assert halted_us >= 0
    assert not halt or due - block <= halt


def test_settings_scale_with_the_tempo() -> None:
    assert derive_settings(360, 12_000_000) == ChainSettings()
    scaled = derive_settings(36, 1_000_000)
    assert (scaled.weights_rate_limit_blocks, scaled.immunity_blocks, scaled.halt_after_blocks) == (10, 409, 72)
    assert derive_settings(5, 1_000_000).weights_rate_limit_blocks == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("registration_rao", -1),
        ("tempo_blocks", 4),
        ("block_time_us", 999),
        ("max_uids", 0),
        ("max_uids", 4_097),
        ("max_validators", 0),
        ("max_weight_u16", 65_536),
        ("kappa_u16", 65_536),
        ("bonds_moving_average_ppm", 1_000_001),
        ("halt_after_blocks", 359),
    ],
)
def test_settings_no_chain_can_have_are_named(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{name} is {value}"):
        replace(ChainSettings(), **{name: value})  # type: ignore[arg-type]


def test_blocks_faster_than_the_disk_do_not_keep_a_reader_from_its_answer(tmp_path: Path) -> None:
    """The clock here goes on by ten blocks each time somebody looks at it."""
    time = Time()

    def look() -> int:
        time.go(10)
        return time.at_us

    ledger = create_ledger(tmp_path / "chain.db", SETTINGS, clock=look)
    assert ledger.read(lambda _, state: state.block) == 10
    assert ledger.write(lambda _, state: state.block) == 20
    assert ledger.read(lambda _, state: state.block) == 30
    ledger.close()


def test_what_is_missing_to_end_an_epoch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    ledger = create_memory_ledger(SETTINGS, clock=time.now_us)

    def fail(*_: object) -> tuple[int, int]:
        raise ImportError(name="numpy")

    monkeypatch.setattr(chain_state, "process_epoch", fail)
    time.go(20)
    with pytest.raises(ChainUnavailable, match=r"numpy, .*, is not installed: add providerrank\[market\]"):
        ledger.read(lambda _, state: state.block)
    monkeypatch.undo()
    assert ledger.read(lambda _, state: state.epoch) == 1
    ledger.close()


def test_a_ledger_somebody_holds_for_too_long_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_ledger, "BUSY_S", 0.01)
    ledger = create_ledger(tmp_path / "chain.db", SETTINGS)
    holder = sqlite3.connect(tmp_path / "chain.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(ChainUnavailable, match=r"chain.db cannot be used: database is locked\."):
        ledger.write(lambda _, state: state.block)
    holder.close()
    assert ledger.write(lambda _, state: state.block) == 0
    ledger.close()
