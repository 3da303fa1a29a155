"""The local chain as neurons see it: the port `market.ports.Chain` over a ledger.

A ledger in a file is asked on a thread of its own, so that a neuron's event loop never waits for the disk or for
another process's write. One in memory is asked at once, on the caller's: the arena runs on a clock of its own making,
which threads would not keep to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import sqlalchemy as sa

from providerrank.engines import chain_acts, chain_reads
from providerrank.engines.chain_ledger import Ledger, now_us, open_ledger
from providerrank.engines.chain_state import State
from providerrank.market.errors import ChainUnavailable
from providerrank.market.ports import Commitment, Head, Hyperparameters, Metagraph, Receipt, WeightRow
from providerrank.rules.schedule import Phases
from providerrank.wire.signature import decode_address

LONGEST_WAIT_S: Final = 60.0
"""Between two looks while waiting for a block: a chain that stood still comes later than was computed."""

T = TypeVar("T")
_Call = Callable[[sa.Connection, State], T]


class LocalChain:
    """A ``Chain`` acting for one hotkey; made by ``open_chain``, or over a ledger several share in one process."""

    def __init__(
        self,
        ledger: Ledger,
        hotkey: str,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        thread: ThreadPoolExecutor | None = None,
    ) -> None:
        """Raises ``BadAddress``. With a ``thread`` the ledger is this object's own, and closed with it."""
        decode_address(hotkey)
        self._ledger = ledger
        self._hotkey = hotkey
        self._sleep = sleep
        self._thread = thread
        self._is_closed = False

    @property
    def hotkey(self) -> str:
        """Who acts."""
        return self._hotkey

    async def head(self) -> Head:
        """Where the chain is now."""
        return await self._read(lambda _, state: state.head)

    async def hyperparameters(self) -> Hyperparameters:
        """The subnet's settings."""
        return await self._read(lambda _, state: chain_reads.read_hyperparameters(state))

    async def beacon(self, block: int) -> bytes:
        """A block's hash."""
        return await self._read(lambda connection, state: chain_reads.read_beacon(connection, state, block))

    async def metagraph(self) -> Metagraph:
        """All neurons."""
        return await self._read(chain_reads.read_metagraph)

    async def weights(self) -> Mapping[int, WeightRow]:
        """The weights that count now."""
        return await self._read(lambda connection, _: chain_reads.read_weights(connection))

    async def commitments(self, phases: Phases) -> tuple[Commitment, ...]:
        """An epoch's commitments."""
        return await self._read(lambda connection, _: chain_reads.read_commitments(connection, phases.epoch))

    async def advance(self, block: int) -> Head:
        """Wait until a block exists."""
        while True:
            state = await self._read(lambda _, state: state)
            if state.block >= block:
                return state.head
            # The chain must not stand still because all who wait for it sleep too long.
            halt = state.settings.halt_after_blocks * state.clock.block_time_us / 2_000_000 or LONGEST_WAIT_S
            wait_s = (state.clock.get_time(block) - self._ledger.clock()) / 1_000_000
            await self._sleep(max(0.0, min(wait_s, halt, LONGEST_WAIT_S)))

    async def register(self) -> int:
        """Take a uid."""
        return await self._write(
            lambda connection, state: chain_acts.register(
                connection, state, self._hotkey, state.settings.registration_rao
            )
        )

    async def announce(self, address: str) -> Receipt:
        """Publish where this neuron serves."""
        return await self._write(
            lambda connection, state: chain_acts.announce(connection, state, self._hotkey, address)
        )

    async def commit(self, epoch: int, digest: str) -> Receipt:
        """Commit to a hash."""
        return await self._write(
            lambda connection, state: chain_acts.commit(connection, state, self._hotkey, epoch, digest)
        )

    async def reveal(self, epoch: int, opening: bytes) -> Receipt:
        """Publish what opens the commitment."""
        return await self._write(
            lambda connection, state: chain_acts.reveal(connection, state, self._hotkey, epoch, opening)
        )

    async def set_weights(self, weights: Mapping[int, int], version: int = 0) -> Receipt:
        """Replace this validator's weights."""
        return await self._write(
            lambda connection, state: chain_acts.set_weights(connection, state, self._hotkey, weights, version)
        )

    # What only a local chain has: money for nothing, and stake without a wallet.

    async def fund(self, rao: int) -> None:
        """Issue coins to this hotkey: for tests. Raises ValueError for an amount that is none."""
        await self._write(lambda connection, state: chain_acts.fund(connection, state, self._hotkey, rao))

    async def move_stake(self, rao: int) -> None:
        """Stake so many rao of this hotkey's own, or take them back. Raises ``NotEnoughFunds``."""
        await self._write(lambda connection, _: chain_acts.move_stake(connection, self._hotkey, rao))

    async def balance(self) -> tuple[int, int]:
        """What this hotkey holds in rao, free and staked."""
        return await self._read(lambda connection, _: chain_acts.get_balance(connection, self._hotkey))

    async def report(self) -> chain_reads.Report:
        """Everything of the present."""
        return await self._read(chain_reads.read_report)

    async def epoch(self, epoch: int) -> chain_reads.PastEpoch | None:
        """An epoch that has ended; None for one that has not."""
        return await self._read(lambda connection, _: chain_reads.read_epoch(connection, epoch))

    async def close(self) -> None:
        """Let go of the ledger, and close it if it is this object's own."""
        if not self._is_closed:
            self._is_closed = True
            if self._thread is not None:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._ledger.close)
                self._thread.shutdown()

    async def _read(self, question: _Call[T]) -> T:
        return await self._call(lambda: self._ledger.read(question))

    async def _write(self, act: _Call[T]) -> T:
        return await self._call(lambda: self._ledger.write(act))

    async def _call(self, call: Callable[[], T]) -> T:
        if self._is_closed:
            raise ChainUnavailable(self._ledger.place, "it was closed")
        if self._thread is None:
            return call()
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


async def open_chain(
    path: Path,
    hotkey: str,
    clock: Callable[[], int] = now_us,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> LocalChain:
    """Open a chain's file for one neuron. Raises ``ChainUnavailable`` or ``BadAddress``."""
    decode_address(hotkey)
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chain")
    try:
        ledger = await asyncio.get_running_loop().run_in_executor(thread, open_ledger, path, clock)
    except BaseException:
        thread.shutdown(wait=False)
        raise
    return LocalChain(ledger, hotkey, sleep, thread)
