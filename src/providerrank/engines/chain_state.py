"""Where a local chain is: its one row, and the steps that bring it to the present."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import msgspec
import sqlalchemy as sa

from providerrank.engines.chain_blocks import Clock, compute_seed
from providerrank.engines.chain_epoch import process_epoch
from providerrank.engines.chain_schema import LEDGER_VERSION, chain, seals
from providerrank.engines.chain_settings import ChainSettings
from providerrank.market.ports import Head
from providerrank.rules.schedule import Phases, compute_phases


@dataclass(frozen=True, slots=True)
class State:
    """The chain's row, read in the caller's transaction. ``epoch`` is the one under way."""

    settings: ChainSettings
    clock: Clock
    block: int
    epoch: int
    issued_rao: int
    burned_rao: int
    seed: bytes

    @property
    def head(self) -> Head:
        """The same, as neurons see it."""
        phases = self.get_phases(self.epoch)
        return Head(self.block, self.clock.get_time(self.block), self.epoch, phases.begins, phases.ends)

    def get_phases(self, epoch: int) -> Phases:
        """Return any epoch's blocks: here all are of one length, from block 0 on."""
        tempo = self.settings.tempo_blocks
        return compute_phases(epoch, epoch * tempo, (epoch + 1) * tempo)


def load_state(connection: sa.Connection) -> State | None:
    """Read where the chain is; None where there is none of this version."""
    row = connection.execute(sa.select(chain).where(chain.c.version == LEDGER_VERSION)).one_or_none()
    if row is None:
        return None
    settings = _decode_settings(row.settings)
    return State(
        settings=settings,
        clock=Clock(row.genesis_us, row.halted_us, settings.block_time_us),
        block=row.block,
        epoch=row.epoch,
        issued_rao=row.issued_rao,
        burned_rao=row.burned_rao,
        seed=row.seed,
    )


def create_state(connection: sa.Connection, settings: ChainSettings, now_us: int, entropy: bytes) -> State:
    """Begin a chain with its block 0, now."""
    seed = compute_seed(b"", 0, 0, entropy)
    state = State(settings, Clock(now_us, 0, settings.block_time_us), 0, 0, 0, 0, seed)
    connection.execute(
        chain.insert().values(
            version=LEDGER_VERSION,
            settings=msgspec.json.encode(asdict(settings)).decode(),
            genesis_us=now_us,
            halted_us=0,
            block=0,
            epoch=0,
            issued_rao=0,
            burned_rao=0,
            seed=seed,
        )
    )
    connection.execute(seals.insert().values(last_block=0, first_block=0, seed=seed))
    return state


def process_blocks(
    connection: sa.Connection, state: State, block: int, halted_us: int, draw: Callable[[int], bytes]
) -> State:
    """Write down the blocks up to ``block``, but no further than the epoch's end, and run the epoch there.

    All of it belongs into one transaction, so that an epoch has been run, paid and counted, or nothing of it has.
    """
    first = state.block + 1
    last = min(block, state.get_phases(state.epoch).ends)
    seed = compute_seed(state.seed, first, last, draw(32))
    connection.execute(seals.insert().values(last_block=last, first_block=first, seed=seed))
    state = replace(state, block=last, seed=seed, clock=replace(state.clock, halted_us=halted_us))
    phases = state.get_phases(state.epoch)
    if last == phases.ends:
        issued, burned = process_epoch(connection, state.settings, phases)
        state = replace(
            state,
            epoch=state.epoch + 1,
            issued_rao=state.issued_rao + issued,
            burned_rao=state.burned_rao + burned,
        )
    save_state(connection, state)
    return state


def save_state(connection: sa.Connection, state: State) -> None:
    """Write the chain's row."""
    connection.execute(
        chain.update().values(
            halted_us=state.clock.halted_us,
            block=state.block,
            epoch=state.epoch,
            issued_rao=state.issued_rao,
            burned_rao=state.burned_rao,
            seed=state.seed,
        )
    )


_settings_read: dict[str, ChainSettings] = {}
"""By their text: they never change, and every call reads them."""


def _decode_settings(text: str) -> ChainSettings:
    settings = _settings_read.get(text)
    if settings is None:
        _settings_read.clear()
        settings = _settings_read[text] = msgspec.json.decode(text, type=ChainSettings)
    return settings
