"""What can be done on a local chain: each function is one act, in the caller's transaction, at the state's block.

An act checks everything before it writes anything, and raises what `market.errors` names; the caller's transaction then
leaves the ledger as it was.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from providerrank.engines.chain_epoch import OWNER_UID, decode_pairs, encode_pairs
from providerrank.engines.chain_schema import accounts, bonds, commitments, neurons, sealed_weights, weights
from providerrank.engines.chain_settings import U16_MAX
from providerrank.engines.chain_state import State, save_state
from providerrank.market.errors import (
    AlreadyCommitted,
    BadWeights,
    DeadlinePassed,
    NoPermit,
    NoRoom,
    NotCommitted,
    NotEnoughFunds,
    NotRegistered,
    RateLimited,
    TooEarly,
    TooLarge,
)
from providerrank.market.ports import MAX_OPENING_BYTES, Receipt

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
MAX_FUND_RAO: Final = 10**17
"""Of one gift: a hundred million TAO. Sums of a ledger stay far within SQLite's 64 bits."""


# ---- money -----------------------------------------------------------------------------------------------------------


def fund(connection: sa.Connection, state: State, address: str, rao: int) -> int:
    """Issue coins out of nothing to an account: for tests; returns how many there are now in all, in rao.

    Raises ValueError for an amount that is none.
    """
    if not 0 < rao <= MAX_FUND_RAO:
        raise ValueError(f"{rao} rao cannot be given: it is from 1 to {MAX_FUND_RAO}")
    _open_account(connection, address)
    _process_move(connection, address, rao, 0)
    issued_rao = state.issued_rao + rao
    save_state(connection, replace(state, issued_rao=issued_rao))
    return issued_rao


def move_stake(connection: sa.Connection, address: str, rao: int) -> None:
    """Stake so much of an account's coins on itself; a negative amount takes it back. Raises ``NotEnoughFunds``."""
    free, stake = get_balance(connection, address)
    held = free if rao > 0 else stake
    if held < abs(rao):
        raise NotEnoughFunds(address, abs(rao), held)
    _process_move(connection, address, -rao, rao)


def get_balance(connection: sa.Connection, address: str) -> tuple[int, int]:
    """Return what an account holds, free and staked."""
    row = connection.execute(sa.select(accounts).where(accounts.c.address == address)).one_or_none()
    return (0, 0) if row is None else (row.free_rao, row.stake_rao)


def _open_account(connection: sa.Connection, address: str) -> None:
    connection.execute(
        sqlite.insert(accounts).values(address=address, free_rao=0, stake_rao=0).on_conflict_do_nothing()
    )


def _process_move(connection: sa.Connection, address: str, free: int, stake: int) -> None:
    connection.execute(
        accounts.update()
        .where(accounts.c.address == address)
        .values(free_rao=accounts.c.free_rao + free, stake_rao=accounts.c.stake_rao + stake)
    )


# ---- uids ------------------------------------------------------------------------------------------------------------


def register(connection: sa.Connection, state: State, hotkey: str, cost_rao: int) -> int:
    """Give a hotkey a uid, its own if it has one. Raises ``NotEnoughFunds`` or ``NoRoom``."""
    found = connection.execute(sa.select(neurons.c.uid).where(neurons.c.hotkey == hotkey)).scalar()
    if found is not None:
        return int(found)
    _open_account(connection, hotkey)
    free, _ = get_balance(connection, hotkey)
    if free < cost_rao:
        raise NotEnoughFunds(hotkey, cost_rao, free)
    uid = connection.execute(sa.select(sa.func.count()).select_from(neurons)).scalar_one()
    if uid >= state.settings.max_uids:
        uid = find_replaceable(connection, state)
        _process_replaced(connection, uid)
    connection.execute(
        neurons.insert().values(uid=uid, hotkey=hotkey, registered_at=state.block, last_update=state.block)
    )
    _process_move(connection, hotkey, -cost_rao, 0)
    save_state(connection, replace(state, burned_rao=state.burned_rao + cost_rao))
    return int(uid)


def find_replaceable(connection: sa.Connection, state: State) -> int:
    """Return whose uid goes to a newcomer: who earned least in the last epoch, of those the one longest here.

    Neither the owner nor who is immune. Raises ``NoRoom``.
    """
    old = neurons.c.registered_at + state.settings.immunity_blocks
    others = sa.select(neurons.c.uid).where(neurons.c.uid != OWNER_UID)
    order = (neurons.c.emission_rao, neurons.c.registered_at, neurons.c.uid)
    uid = connection.execute(others.where(old <= state.block).order_by(*order).limit(1)).scalar()
    if uid is None:
        until = connection.execute(sa.select(sa.func.min(old)).where(neurons.c.uid != OWNER_UID)).scalar()
        raise NoRoom(state.block + state.settings.immunity_blocks if until is None else until)
    return int(uid)


def _process_replaced(connection: sa.Connection, uid: int) -> None:
    """Forget what a uid's last owner was, said, and was bonded to; what others said of it goes when it is read."""
    for table in (weights, sealed_weights, bonds, neurons):
        connection.execute(table.delete().where(table.c.uid == uid))
    for row in connection.execute(sa.select(bonds)).all():
        pairs = [pair for pair in decode_pairs(row.pairs) if pair[0] != uid]
        connection.execute(bonds.update().where(bonds.c.uid == row.uid).values(pairs=encode_pairs(pairs)))


def announce(connection: sa.Connection, state: State, hotkey: str, address: str) -> Receipt:
    """Publish where a neuron serves."""
    check_address(address)
    row = _get_neuron(connection, hotkey)
    if row.address == address:
        return Receipt(row.announced_at)
    if row.announced_at is not None:
        until = row.announced_at + state.settings.announce_rate_limit_blocks
        if state.block < until:
            raise RateLimited("announcing an address", until)
    connection.execute(
        neurons.update().where(neurons.c.uid == row.uid).values(address=address, announced_at=state.block)
    )
    return Receipt(state.block)


def check_address(address: str) -> None:
    """Raise ValueError for what is not ``host:port`` with a literal IP address and a port."""
    host, _, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        bracketed = host.startswith("[")
        if bracketed == (ip.version == 6) and port.isascii() and port.isdigit() and 0 < int(port) <= U16_MAX:
            return
    except ValueError:
        pass
    raise ValueError(f"{address!r} is not an address a chain can keep: write 192.0.2.1:9100 or [2001:db8::1]:9100")


def _get_neuron(connection: sa.Connection, hotkey: str) -> sa.Row[tuple[object, ...]]:
    row = connection.execute(sa.select(neurons).where(neurons.c.hotkey == hotkey)).one_or_none()
    if row is None:
        raise NotRegistered(hotkey)
    return row


# ---- commitments -----------------------------------------------------------------------------------------------------


def commit(connection: sa.Connection, state: State, hotkey: str, epoch: int, digest: str) -> Receipt:
    """Keep a hotkey's commitment of an epoch."""
    if DIGEST.fullmatch(digest) is None:
        raise ValueError(f"a commitment is 64 lower-case hex digits, not {digest[:80]!r}")
    _get_neuron(connection, hotkey)
    of_epoch = commitments.c.epoch == epoch
    made = connection.execute(sa.select(commitments).where(of_epoch, commitments.c.hotkey == hotkey)).one_or_none()
    if made is not None:
        if made.digest != digest:
            raise AlreadyCommitted(hotkey, epoch, "committed to")
        return Receipt(made.block)
    phases = state.get_phases(epoch)
    _check_open(f"committing in epoch {epoch}", state.block, phases.begins, phases.commit_until)
    place = connection.execute(sa.select(sa.func.count()).select_from(commitments).where(of_epoch)).scalar_one()
    connection.execute(
        commitments.insert().values(epoch=epoch, hotkey=hotkey, place=place, digest=digest, block=state.block)
    )
    return Receipt(state.block)


def reveal(connection: sa.Connection, state: State, hotkey: str, epoch: int, opening: bytes) -> Receipt:
    """Keep what opens a hotkey's commitment of an epoch."""
    if not opening:
        raise ValueError("an empty opening opens nothing")
    if len(opening) > MAX_OPENING_BYTES:
        raise TooLarge("an opening", len(opening), MAX_OPENING_BYTES)
    _get_neuron(connection, hotkey)
    its = (commitments.c.epoch == epoch, commitments.c.hotkey == hotkey)
    made = connection.execute(sa.select(commitments).where(*its)).one_or_none()
    if made is None:
        raise NotCommitted(hotkey, epoch)
    if made.opening is not None:
        if made.opening != opening:
            raise AlreadyCommitted(hotkey, epoch, "revealed")
        return Receipt(made.revealed_at)
    phases = state.get_phases(epoch)
    _check_open(f"revealing in epoch {epoch}", state.block, phases.commit_until, phases.reveal_until)
    connection.execute(commitments.update().where(*its).values(opening=opening, revealed_at=state.block))
    return Receipt(state.block)


def _check_open(what: str, block: int, begins: int, until: int) -> None:
    if block < begins:
        raise TooEarly(what, begins, block)
    if block >= until:
        raise DeadlinePassed(what, until, block)


# ---- weights ---------------------------------------------------------------------------------------------------------


def set_weights(connection: sa.Connection, state: State, hotkey: str, said: Mapping[int, int], version: int) -> Receipt:
    """Replace a validator's weights, or seal them for later."""
    settings = state.settings
    row = _get_neuron(connection, hotkey)
    uid: int = row.uid
    if not (row.permit or uid == OWNER_UID):
        raise NoPermit(hotkey, uid)
    if version < settings.weights_version:
        raise BadWeights(f"they name version {version}, and the subnet asks for {settings.weights_version}")
    count = connection.execute(sa.select(sa.func.count()).select_from(neurons)).scalar_one()
    pairs = check_weights(said, count, settings.min_allowed_weights, settings.max_weight_u16)
    if row.weights_at is not None:
        until = row.weights_at + settings.weights_rate_limit_blocks
        if state.block < until:
            raise RateLimited("setting weights", until)
    values = {"uid": uid, "set_at": state.block, "pairs": encode_pairs(pairs)}
    if settings.weights_are_sealed:
        its = (sealed_weights.c.uid == uid, sealed_weights.c.epoch == state.epoch)
        connection.execute(sealed_weights.delete().where(*its))
        connection.execute(sealed_weights.insert().values(epoch=state.epoch, **values))
    else:
        connection.execute(weights.delete().where(weights.c.uid == uid))
        connection.execute(weights.insert().values(values))
    connection.execute(
        neurons.update().where(neurons.c.uid == uid).values(last_update=state.block, weights_at=state.block)
    )
    return Receipt(state.block)


def check_weights(said: Mapping[int, int], count: int, least: int, greatest_share: int) -> tuple[tuple[int, int], ...]:
    """Return weights as a chain keeps them: by uid, without zeros, the greatest 65535. Raises ``BadWeights``."""
    for uid, weight in said.items():
        if not 0 <= uid < count:
            raise BadWeights(f"there is no uid {uid}")
        if not 0 <= weight <= U16_MAX:
            raise BadWeights(f"that of uid {uid} is {weight}, not from 0 to {U16_MAX}")
    pairs = sorted((uid, weight) for uid, weight in said.items() if weight)
    if not pairs:
        raise BadWeights("all of them are zero")
    if len(pairs) < least:
        raise BadWeights(f"they name {len(pairs)} neurons, and the subnet asks for {least}")
    greatest = max(weight for _, weight in pairs)
    total = sum(weight for _, weight in pairs)
    if greatest * U16_MAX > greatest_share * total:
        raise BadWeights(f"the greatest is {greatest} of {total}, more than {greatest_share} of {U16_MAX}")
    return tuple((uid, (2 * weight * U16_MAX + greatest) // (2 * greatest)) for uid, weight in pairs)
