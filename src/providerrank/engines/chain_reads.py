"""What can be read of a local chain, in the caller's transaction: all of one answer is of one block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from providerrank.engines.chain_blocks import compute_hash
from providerrank.engines.chain_epoch import OWNER_UID, decode_pairs
from providerrank.engines.chain_schema import accounts, commitments, epochs, neurons, seals, weights
from providerrank.engines.chain_state import State
from providerrank.market.errors import TooEarly
from providerrank.market.ports import Commitment, Head, Hyperparameters, Metagraph, Neuron, WeightRow


class Books(msgspec.Struct, frozen=True):
    """Where every coin is; rao. ``difference`` is zero, or the ledger was tampered with."""

    issued_rao: int
    free_rao: int
    staked_rao: int
    burned_rao: int
    difference_rao: int


class PastNeuron(msgspec.Struct, frozen=True):
    """A neuron as an epoch's end left it; stake as it was before being paid. Shares of 65535."""

    uid: int
    hotkey: str
    stake_rao: int
    last_update: int
    permit: bool
    active: bool
    trust: int
    consensus: int
    incentive: int
    dividends: int
    emission_rao: int


class _Record(msgspec.Struct, frozen=True):
    neurons: tuple[PastNeuron, ...]
    weights: dict[int, WeightRow]


@dataclass(frozen=True, slots=True)
class PastEpoch:
    """An epoch that has ended: what was issued and to whom it went, on what weights."""

    epoch: int
    begins: int
    ends: int
    emission_rao: int
    miners_rao: int
    validators_rao: int
    burned_rao: int
    neurons: tuple[PastNeuron, ...]
    weights: Mapping[int, WeightRow]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything an operator wants to see of the present, as of one block."""

    head: Head
    hyperparameters: Hyperparameters
    metagraph: Metagraph
    free_rao: Mapping[str, int]
    weights: Mapping[int, WeightRow]
    commitments: tuple[Commitment, ...]
    books: Books


def read_hyperparameters(state: State) -> Hyperparameters:
    """The settings, as neurons see them."""
    settings = state.settings
    return Hyperparameters(
        netuid=settings.netuid,
        tempo_blocks=settings.tempo_blocks,
        block_time_us=settings.block_time_us,
        max_uids=settings.max_uids,
        max_validators=settings.max_validators,
        immunity_blocks=settings.immunity_blocks,
        registration_rao=settings.registration_rao,
        weights_rate_limit_blocks=settings.weights_rate_limit_blocks,
        weights_version=settings.weights_version,
        min_allowed_weights=settings.min_allowed_weights,
        max_weight_u16=settings.max_weight_u16,
        activity_cutoff_blocks=settings.activity_cutoff_blocks,
        weights_are_sealed=settings.weights_are_sealed,
    )


def read_beacon(connection: sa.Connection, state: State, block: int) -> bytes:
    """A block's hash. Raises ``TooEarly``, and ValueError for a negative block."""
    if block < 0:
        raise ValueError(f"there is no block {block}")
    if block > state.block:
        raise TooEarly(f"reading the hash of block {block}", block, state.block)
    after = seals.c.last_block >= block
    seed = connection.execute(sa.select(seals.c.seed).where(after).order_by(seals.c.last_block).limit(1)).scalar_one()
    return compute_hash(seed, block)


def read_metagraph(connection: sa.Connection, state: State) -> Metagraph:
    """All neurons."""
    rows = connection.execute(
        sa.select(neurons, accounts.c.stake_rao)
        .join(accounts, accounts.c.address == neurons.c.hotkey)
        .order_by(neurons.c.uid)
    ).all()
    return Metagraph(
        netuid=state.settings.netuid,
        block=state.block,
        owner_uid=OWNER_UID,
        neurons=tuple(
            Neuron(
                uid=row.uid,
                hotkey=row.hotkey,
                coldkey=row.hotkey,
                stake_rao=row.stake_rao,
                active=row.active,
                permit=row.permit,
                last_update=row.last_update,
                registered_at=row.registered_at,
                trust_u16=row.trust,
                consensus_u16=row.consensus,
                incentive_u16=row.incentive,
                dividends_u16=row.dividends,
                emission_rao=row.emission_rao,
                address=row.address,
            )
            for row in rows
        ),
    )


def read_weights(connection: sa.Connection) -> dict[int, WeightRow]:
    """The weights that count now, by uid of who set them."""
    rows = connection.execute(sa.select(weights).order_by(weights.c.uid)).all()
    return {row.uid: decode_pairs(row.pairs) for row in rows}


def read_commitments(connection: sa.Connection, epoch: int) -> tuple[Commitment, ...]:
    """An epoch's commitments, in their order."""
    rows = connection.execute(
        sa.select(commitments).where(commitments.c.epoch == epoch).order_by(commitments.c.place)
    ).all()
    return tuple(Commitment(row.hotkey, row.epoch, row.digest, row.block, row.opening, row.revealed_at) for row in rows)


def read_books(connection: sa.Connection, state: State) -> Books:
    """Add up all accounts and compare."""
    free, staked = connection.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(accounts.c.free_rao), 0),
            sa.func.coalesce(sa.func.sum(accounts.c.stake_rao), 0),
        )
    ).one()
    difference = state.issued_rao - free - staked - state.burned_rao
    return Books(state.issued_rao, free, staked, state.burned_rao, difference)


def read_report(connection: sa.Connection, state: State) -> Report:
    """Everything of the present."""
    free = connection.execute(sa.select(accounts.c.address, accounts.c.free_rao).order_by(accounts.c.address)).all()
    return Report(
        head=state.head,
        hyperparameters=read_hyperparameters(state),
        metagraph=read_metagraph(connection, state),
        free_rao={row.address: row.free_rao for row in free},
        weights=read_weights(connection),
        commitments=read_commitments(connection, state.epoch),
        books=read_books(connection, state),
    )


def read_epoch(connection: sa.Connection, epoch: int) -> PastEpoch | None:
    """An epoch that has ended; None for one that has not."""
    row = connection.execute(sa.select(epochs).where(epochs.c.epoch == epoch)).one_or_none()
    if row is None:
        return None
    record = msgspec.json.decode(row.record, type=_Record, strict=False)
    return PastEpoch(
        epoch=row.epoch,
        begins=row.begins,
        ends=row.ends,
        emission_rao=row.emission_rao,
        miners_rao=row.miners_rao,
        validators_rao=row.validators_rao,
        burned_rao=row.burned_rao,
        neurons=record.neurons,
        weights=record.weights,
    )
