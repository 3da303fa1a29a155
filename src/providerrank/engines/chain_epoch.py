"""The end of an epoch on a local chain: weights become consensus, consensus becomes money, and the books balance.

What is issued for an epoch goes, by Yuma, to miners' accounts and onto validators' stake. Burned is what goes to the
owner's uid (a subnet's unused share), and what Yuma's rounding down leaves over. So ``issued = free + staked + burned``
at any time, in rao, exactly; ``providerrank chain show`` checks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from providerrank.engines.chain_schema import accounts, bonds, epochs, neurons, sealed_weights, weights
from providerrank.engines.chain_settings import ChainSettings
from providerrank.market.ports import WeightRow
from providerrank.rules.schedule import Phases

OWNER_UID = 0
"""The owner registers first, when the chain begins, and is never replaced."""

_PAIRS = msgspec.json.Decoder(WeightRow)


def encode_pairs(pairs: Sequence[tuple[int, int]]) -> str:
    """Write a row of weights or bonds."""
    return msgspec.json.encode(pairs).decode()


def decode_pairs(text: str) -> WeightRow:
    """Read a row of weights or bonds."""
    return _PAIRS.decode(text)


def process_epoch(connection: sa.Connection, settings: ChainSettings, phases: Phases) -> tuple[int, int]:
    """Run Yuma over an epoch that ends, and pay; returns what was issued and what of it was burned, in rao."""
    # Imported here: numpy, which a process needs only when it is the one that ends an epoch.
    from providerrank.rules import yuma

    _process_unsealed(connection, phases.epoch)
    rows = connection.execute(
        sa.select(neurons, sa.func.coalesce(accounts.c.stake_rao, 0).label("stake_rao"))
        .outerjoin(accounts, accounts.c.address == neurons.c.hotkey)
        .order_by(neurons.c.uid)
    ).all()
    registered_at = [row.registered_at for row in rows]
    said = _load_weights(connection, registered_at)
    emission_rao = settings.emission_rao * settings.tempo_blocks
    result = yuma.compute_epoch(
        yuma.Subnet(
            block=phases.ends,
            stake=[row.stake_rao for row in rows],
            last_update=[row.last_update for row in rows],
            registered_at=registered_at,
            permits=[row.permit for row in rows],
            weights=said,
            bonds={row.uid: decode_pairs(row.pairs) for row in connection.execute(sa.select(bonds))},
            owner_uid=OWNER_UID,
            last_step_block=phases.begins,
        ),
        emission_rao,
        yuma.Settings(
            kappa_u16=settings.kappa_u16,
            bonds_moving_average_ppm=settings.bonds_moving_average_ppm,
            activity_cutoff_blocks=settings.activity_cutoff_blocks,
            max_validators=settings.max_validators,
            tempo_blocks=settings.tempo_blocks,
            yuma3=settings.yuma3,
            liquid_alpha=settings.liquid_alpha,
        ),
    )
    miners = [0 if uid == OWNER_UID else rao for uid, rao in enumerate(result.server_emission)]
    validators = list(result.validator_emission)
    _process_payments(connection, [row.hotkey for row in rows], miners, validators)
    decided = [
        {
            "b_uid": uid,
            "permit": result.permits[uid],
            "active": result.active[uid],
            "trust": result.validator_trust[uid],
            "consensus": result.consensus[uid],
            "incentive": result.incentive[uid],
            "dividends": result.dividends[uid],
            "emission_rao": miners[uid] + validators[uid],
        }
        for uid in range(len(rows))
    ]
    connection.execute(_DECIDE, decided)
    connection.execute(bonds.delete())
    if result.bonds:
        stored = [{"uid": uid, "pairs": encode_pairs(pairs)} for uid, pairs in result.bonds.items()]
        connection.execute(bonds.insert(), stored)
    burned_rao = emission_rao - sum(miners) - sum(validators)
    record = {
        "neurons": [
            {"uid": row.uid, "hotkey": row.hotkey, "stake_rao": row.stake_rao, "last_update": row.last_update}
            | {name: value for name, value in one.items() if name != "b_uid"}
            for row, one in zip(rows, decided, strict=True)
        ],
        "weights": {str(uid): pairs for uid, pairs in said.items()},
    }
    connection.execute(
        epochs.insert().values(
            epoch=phases.epoch,
            begins=phases.begins,
            ends=phases.ends,
            emission_rao=emission_rao,
            miners_rao=sum(miners),
            validators_rao=sum(validators),
            burned_rao=burned_rao,
            record=msgspec.json.encode(record).decode(),
        )
    )
    return emission_rao, burned_rao


_DECIDED = ("permit", "active", "trust", "consensus", "incentive", "dividends", "emission_rao")
_DECIDE = (
    neurons.update()
    .where(neurons.c.uid == sa.bindparam("b_uid"))
    .values({name: sa.bindparam(name) for name in _DECIDED})
)
_PAY = (
    accounts.update()
    .where(accounts.c.address == sa.bindparam("b_address"))
    .values(
        free_rao=accounts.c.free_rao + sa.bindparam("b_free"),
        stake_rao=accounts.c.stake_rao + sa.bindparam("b_stake"),
    )
)


def _process_payments(
    connection: sa.Connection, hotkeys: Sequence[str], miners: Sequence[int], validators: Sequence[int]
) -> None:
    """Pay miners to their account, validators onto their stake."""
    paid = [
        {"b_address": hotkey, "b_free": free, "b_stake": stake}
        for hotkey, free, stake in zip(hotkeys, miners, validators, strict=True)
        if free or stake
    ]
    if paid:
        connection.execute(_PAY, paid)


def _process_unsealed(connection: sa.Connection, epoch: int) -> None:
    """Let the weights count that were sealed in an epoch before this one."""
    due = sealed_weights.c.epoch < epoch
    for row in connection.execute(sa.select(sealed_weights).where(due).order_by(sealed_weights.c.epoch)).all():
        connection.execute(weights.delete().where(weights.c.uid == row.uid))
        connection.execute(weights.insert().values(uid=row.uid, set_at=row.set_at, pairs=row.pairs))
    connection.execute(sealed_weights.delete().where(due))


def _load_weights(connection: sa.Connection, registered_at: Sequence[int]) -> Mapping[int, WeightRow]:
    """What was said of neurons that are still the ones it was said of."""
    return {
        row.uid: tuple(pair for pair in decode_pairs(row.pairs) if registered_at[pair[0]] < row.set_at)
        for row in connection.execute(sa.select(weights).order_by(weights.c.uid)).all()
    }
