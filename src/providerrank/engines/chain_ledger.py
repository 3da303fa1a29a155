"""A local chain's ledger: a SQLite file several processes share, or one in memory; synchronous, one call at a time.

Every call first brings the chain to the present: whoever comes first after a block's time writes it down, and whoever
comes first after an epoch's last block runs Yuma and pays. Each of these steps, and each act, is one transaction under
SQLite's write lock, so a process killed at any instant leaves what was before or what is after, and what several
processes do happens in some order, one after the other. What only reads takes no write lock where there is no new
block.

``synchronous=FULL``: a receipt for a commitment, and a hash somebody has acted on, are on the disk before anyone hears
of them, so a power failure takes back neither.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

import sqlalchemy as sa

from providerrank.engines import chain_acts
from providerrank.engines.chain_blocks import SEED_BYTES, compute_due
from providerrank.engines.chain_schema import LEDGER_VERSION, chain, metadata, neurons
from providerrank.engines.chain_settings import ChainSettings
from providerrank.engines.chain_state import State, create_state, load_state, process_blocks
from providerrank.market.errors import ChainUnavailable
from providerrank.wire.signature import decode_address, encode_address

BUSY_S: Final = 10.0
"""How long a process waits for another's write: the end of an epoch of 256 neurons takes a twentieth of a second."""
NOBODY: Final = encode_address(hashlib.sha256(b"providerrank/local-chain/nobody/1\n").digest())
"""The owner where none is named: the address of a key nobody has. What the owner earns is burned anyway."""
_IMMEDIATE: Final = "chain_writes"

T = TypeVar("T")


def now_us() -> int:
    """The computer's clock: Unix microseconds."""
    return time.time_ns() // 1_000


class _DriverConnection(Protocol):
    """The part of a DB-API connection that setting it up needs."""

    isolation_level: str | None

    def execute(self, sql: str) -> object: ...

    def close(self) -> object: ...


class Ledger:
    """A chain's ledger; made by ``create_ledger``, ``open_ledger`` or ``create_memory_ledger``."""

    def __init__(
        self,
        engine: sa.Engine,
        place: str,
        clock: Callable[[], int] = now_us,
        draw: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**{_IMMEDIATE: True})
        self.place = place
        self.clock = clock
        self._draw = draw
        self.is_closed = False

    def read(self, question: Callable[[sa.Connection, State], T]) -> T:
        """Answer a question at the present block. Raises ``ChainUnavailable``, and what the question raises."""
        with self._guarded():
            at_us = self.clock()
            while True:
                with self._engine.begin() as connection:
                    state = self._load(connection)
                    if _get_due(state, at_us)[0] == state.block:
                        return question(connection, state)
                with self._writing.begin() as connection:
                    self._process_due(connection, at_us)

    def write(self, act: Callable[[sa.Connection, State], T]) -> T:
        """Act at the present block, wholly or not at all. Raises ``ChainUnavailable``, and what the act raises."""
        with self._guarded():
            at_us = None
            while True:
                with self._writing.begin() as connection:
                    # Looked at once, with the lock in hand: what the present is must not run away from who catches up.
                    at_us = self.clock() if at_us is None else at_us
                    state = self._process_due(connection, at_us)
                    if _get_due(state, at_us)[0] == state.block:
                        return act(connection, state)

    def skip(self, blocks: int) -> State:
        """Let time jump so many blocks ahead, for tests by hand; every epoch that ends on the way is run."""
        if blocks < 0:
            raise ValueError(f"{blocks} blocks cannot be skipped: time only goes on")
        state = self.write(lambda _, state: state)
        target = state.block + blocks
        while state.block < target:
            with self._guarded(), self._writing.begin() as connection:
                state = self._load(connection)
                if state.block < target:
                    last = min(target, state.get_phases(state.epoch).ends)
                    halted_us = state.clock.halted_us - (last - state.block) * state.clock.block_time_us
                    state = process_blocks(connection, state, last, halted_us, self._draw)
        return state

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.is_closed = True
        self._engine.dispose()

    def create(self, settings: ChainSettings, owner: str, validators: Sequence[tuple[str, int]]) -> None:
        """Begin the chain: block 0, the owner as uid 0, then validators with their stake (rao) and permits.

        Raises ``ChainUnavailable`` where there is a chain already, ValueError for an address or amount that is none.
        """
        if len(validators) >= settings.max_uids:
            raise ValueError(f"{len(validators)} validators and the owner: the subnet has {settings.max_uids} uids")
        if len({owner, *(hotkey for hotkey, _ in validators)}) != len(validators) + 1:
            raise ValueError("an address is named twice among owner and validators: each takes one uid")
        with self._guarded(), self._writing.begin() as connection:
            if sa.inspect(connection).has_table(chain.name):
                raise ChainUnavailable(self.place, "there is a chain already")
            metadata.create_all(connection)
            state = create_state(connection, settings, self.clock(), self._draw(SEED_BYTES))
            for hotkey, rao in ((owner, 0), *validators):
                decode_address(hotkey)
                chain_acts.register(connection, state, hotkey, 0)
                if rao:
                    state = replace(state, issued_rao=chain_acts.fund(connection, state, hotkey, rao))
                    chain_acts.move_stake(connection, hotkey, rao)
                    connection.execute(neurons.update().where(neurons.c.hotkey == hotkey).values(permit=True))

    def check(self) -> None:
        """Raise ``ChainUnavailable`` where the file holds no chain of this version."""
        with self._guarded(), self._engine.begin() as connection:
            if not sa.inspect(connection).has_table(chain.name):
                raise ChainUnavailable(self.place, "it holds no chain: make one with `providerrank chain init`")
            self._load(connection)

    def _load(self, connection: sa.Connection) -> State:
        state = load_state(connection)
        if state is None:
            raise ChainUnavailable(self.place, f"its ledger is not of version {LEDGER_VERSION}, the one known here")
        return state

    def _process_due(self, connection: sa.Connection, at_us: int) -> State:
        """Take the chain one step towards a time: up to its block, or to the end of the epoch under way."""
        state = self._load(connection)
        due, halted_us = _get_due(state, at_us)
        if due > state.block:
            state = process_blocks(connection, state, due, halted_us, self._draw)
        return state

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Translate what the driver says."""
        if self.is_closed:
            raise ChainUnavailable(self.place, "it was closed")
        try:
            yield
        except (sa.exc.DBAPIError, sa.exc.TimeoutError, OSError) as error:
            original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            raise ChainUnavailable(self.place, str(original)) from error
        except ImportError as error:
            reason = f"{error.name}, without which no epoch can be ended, is not installed: add providerrank[market]"
            raise ChainUnavailable(self.place, reason) from error


def _get_due(state: State, at_us: int) -> tuple[int, int]:
    return compute_due(state.clock, state.block, at_us, state.settings.halt_after_blocks)


def create_ledger(
    path: Path,
    settings: ChainSettings,
    owner: str = NOBODY,
    validators: Sequence[tuple[str, int]] = (),
    clock: Callable[[], int] = now_us,
) -> Ledger:
    """Make a chain in a new file. Raises what ``Ledger.create`` raises; an existing chain is left as it is."""
    ledger = Ledger(_open_engine(path), str(path), clock)
    try:
        ledger.create(settings, owner, validators)
    except BaseException:
        ledger.close()
        raise
    return ledger


def open_ledger(path: Path, clock: Callable[[], int] = now_us) -> Ledger:
    """Open a chain's file. Raises ``ChainUnavailable`` for one that is missing or holds none."""
    if not path.is_file():
        raise ChainUnavailable(str(path), "there is no such file: make a chain with `providerrank chain init`")
    ledger = Ledger(_open_engine(path), str(path), clock)
    try:
        ledger.check()
    except BaseException:
        ledger.close()
        raise
    return ledger


def create_memory_ledger(
    settings: ChainSettings,
    owner: str = NOBODY,
    validators: Sequence[tuple[str, int]] = (),
    clock: Callable[[], int] = now_us,
    draw: Callable[[int], bytes] = secrets.token_bytes,
) -> Ledger:
    """Make a chain that lasts as long as the object; ``draw`` may be seeded, for runs that are to be repeated."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    sa.event.listen(engine, "connect", _process_connect)
    sa.event.listen(engine, "begin", _process_begin)
    ledger = Ledger(engine, "the chain in memory", clock, draw)
    ledger.create(settings, owner, validators)
    return ledger


def _open_engine(path: Path) -> sa.Engine:
    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(
        url, pool_size=1, max_overflow=0, connect_args={"timeout": BUSY_S, "check_same_thread": False}
    )
    sa.event.listen(engine, "connect", _process_connect)
    sa.event.listen(engine, "begin", _process_begin)
    return engine


def _process_connect(connection: _DriverConnection, _record: object) -> None:
    # The driver's own transactions begin too late (at the first write); BEGIN is sent by _process_begin instead.
    try:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error:
        connection.close()
        raise


def _process_begin(connection: sa.Connection) -> None:
    # Immediate for whoever writes: it queues for the lock here, and what it then reads nobody else changes.
    writes = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
