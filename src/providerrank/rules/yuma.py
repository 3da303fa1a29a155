"""Yuma: how many validators' weights become one division of the epoch's emission, exactly as the chain does it.

Each validator sets weights on miners; none is believed alone. Per miner the *consensus* is the greatest weight that a
stake majority of kappa puts on it (a stake-weighted median); what a validator put above it is cut off. What is left,
stake-weighted, is the miners' *incentive*. Validators are paid *dividends* through *bonds*: shares in a miner, bought
a little every epoch by weighting it (an exponential average), so who found a good miner early and honestly earns more
than who copies or exaggerates. Half of the emission goes each way when both sides have something to show.

Arithmetic is the chain's own: 32-bit fractions, rounded down at each step (`providerrank.rules.fixed`), in the same
order of operations, so a local chain and the real one agree to the last bit. Two modes, as on the chain today: the
original (default), where bonds are columns normalised to one; and "Yuma 3", where each bond moves on its own, by the
same fixed step or by a "liquid" one between two bounds, which grows with how far the validator leads consensus.

Source: the public chain's epoch, pallets/subtensor/src/epoch/{run_epoch,math}.rs of opentensor/subtensor at 14bc6f9
(2026-06-30): defaults are that runtime's. It no longer computes ranks, trust and pruning scores apart: rank is
incentive, and who is pruned is decided from emission.

Invariants: incentive, dividends sum to one or to zero (less rounding); emission never exceeds what was put in; a
validator without stake or permit moves nothing; with a majority of kappa honest, no weight above the honest ones'
greatest reaches incentive.

numpy is imported here and in `fixed` only: validators and the local chain run epochs, gateways do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from providerrank.rules import fixed
from providerrank.rules.fixed import ONE, U16_MAX, Bits

Row: TypeAlias = Sequence[tuple[int, int]]
"""What one neuron says of others: (uid, 0..65535) pairs, no uid twice."""
Mask: TypeAlias = NDArray[np.bool_]

MILLION = 1_000_000
_STEEPNESS_SCALE = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """A subnet's hyperparameters; the defaults are the chain's."""

    kappa_u16: int = 32_767
    """Share of stake that makes a majority, of 65535."""
    bonds_moving_average_ppm: int = 900_000
    """What of a bond stays per epoch; the rest, 0.1, is the step towards the present weights."""
    bonds_penalty_u16: int = U16_MAX
    """How much of the weight above consensus bonds lose too: all of it."""
    activity_cutoff_blocks: int = 5_000
    """A validator that set no weights for longer has no active stake."""
    max_validators: int = 64
    min_stake: int = 0
    """Stake below which a neuron counts as having none, unless it is the owner's."""
    tempo_blocks: int = 360
    yuma3: bool = False
    liquid_alpha: bool = False
    """Only under Yuma 3."""
    alpha_low_u16: int = 45_875
    alpha_high_u16: int = 58_982
    alpha_steepness: int = 1_000
    """Of the sigmoid from low to high, in hundredths."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """What the chain knows of a subnet of ``n`` neurons when an epoch ends. Vectors are indexed by uid."""

    block: int
    stake: Sequence[int]
    """Non-negative, any unit."""
    last_update: Sequence[int]
    """Block at which each neuron last set weights."""
    registered_at: Sequence[int]
    """Block at which each uid got its present owner."""
    permits: Sequence[bool]
    """Who may validate this epoch: the permits the previous epoch gave."""
    weights: Mapping[int, Row] = field(default_factory=dict)
    bonds: Mapping[int, Row] = field(default_factory=dict)
    owner_uid: int | None = None
    last_step_block: int = 0
    """Block of the last epoch, 0 for never: then one tempo ago is taken."""
    commit_blocks: Sequence[int | None] | None = None
    """With commit-reveal: the block of each neuron's earliest pending commitment."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What lies between the two: normalised stake, and matrices of one row per uid in ``rows``, in fixed-point bits."""

    rows: tuple[int, ...]
    active_stake: Bits
    weights: Bits
    consensus: Bits
    clipped: Bits
    validator_trust: Bits
    bonds: Bits
    """Of before, as the step takes them."""
    bonds_ema: Bits
    """After the step; each column summing to one in the original mode."""
    bonds_kept: Bits
    """What is stored, before rounding to u16."""
    incentive: Bits
    dividends: Bits
    emission: Bits


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch decides. Vectors are indexed by uid; proportions are u16, emissions in the unit put in."""

    active: tuple[bool, ...]
    stake_weight: tuple[int, ...]
    consensus: tuple[int, ...]
    validator_trust: tuple[int, ...]
    incentive: tuple[int, ...]
    dividends: tuple[int, ...]
    server_emission: tuple[int, ...]
    validator_emission: tuple[int, ...]
    emission: tuple[int, ...]
    permits: tuple[bool, ...]
    """Who may validate next epoch."""
    bonds: Mapping[int, tuple[tuple[int, int], ...]]
    stages: Stages


def compute_epoch(subnet: Subnet, emission: int, settings: Settings = Settings()) -> Epoch:
    """Run one epoch over a subnet and ``emission`` (an integer, in the smallest unit).

    Raises ValueError where the vectors' lengths differ.
    """
    n = len(subnet.stake)
    if not n == len(subnet.last_update) == len(subnet.registered_at) == len(subnet.permits):
        raise ValueError(
            f"the subnet has {n} stakes, but another vector of it has another length: give one entry per uid"
        )
    active = tuple(update + settings.activity_cutoff_blocks >= subnet.block for update in subnet.last_update)
    stake = compute_stake(subnet, settings)
    permits = _with_owner(subnet.permits, subnet.owner_uid)
    active_stake = fixed.normalize(np.where(np.array(active) & np.array(permits), stake, 0))

    rows = tuple(uid for uid in range(n) if permits[uid] or subnet.bonds.get(uid))
    row_stake = active_stake[list(rows)]
    named, weights = _load_weights(subnet, permits, rows)
    consensus = compute_consensus(row_stake, weights, settings.kappa_u16)
    clipped = np.minimum(weights, consensus)
    trust = clipped.sum(axis=1)
    incentive = fixed.normalize(fixed.mul(clipped, row_stake[:, None]).sum(axis=0))

    bonds = _load_bonds(subnet, rows, settings)
    penalty = fixed.from_proportion(settings.bonds_penalty_u16, U16_MAX)
    bought = weights + fixed.mul(clipped - weights, penalty)
    if settings.yuma3:
        named &= _is_kept(weights, clipped, bought, penalty)
        bonds_ema = compute_bonds_yuma3(bought, named, bonds, consensus, settings)
        shares = fixed.mul(fixed.normalize_columns(bonds_ema), incentive).sum(axis=1)
        paid = fixed.normalize(fixed.mul(shares, row_stake))
        bonds_kept = bonds_ema
    else:
        bonds_ema = compute_bonds(bought, bonds, row_stake, settings)
        paid = fixed.normalize(fixed.mul(bonds_ema, incentive).sum(axis=1))
        bonds_kept = fixed.upscale_columns(bonds_ema)
    dividends, validator_trust = np.zeros(n, np.int64), np.zeros(n, np.int64)
    dividends[list(rows)], validator_trust[list(rows)] = paid, trust

    servers, validators, combined = _split(incentive, dividends, active_stake, stake)
    new_permits = compute_permits(stake, settings.max_validators, subnet.owner_uid)
    return Epoch(
        active=active,
        stake_weight=fixed.to_u16(stake),
        consensus=fixed.to_u16(consensus),
        validator_trust=fixed.to_u16(validator_trust),
        incentive=fixed.to_u16(incentive),
        dividends=fixed.to_u16(dividends),
        server_emission=_scale(servers, emission),
        validator_emission=_scale(validators, emission),
        emission=_scale(combined, emission),
        permits=new_permits,
        bonds=_store_bonds(bonds_kept, rows, new_permits),
        stages=Stages(
            rows=rows,
            active_stake=active_stake,
            weights=weights,
            consensus=consensus,
            clipped=clipped,
            validator_trust=validator_trust,
            bonds=bonds,
            bonds_ema=bonds_ema,
            bonds_kept=bonds_kept,
            incentive=incentive,
            dividends=dividends,
            emission=combined,
        ),
    )


def compute_stake(subnet: Subnet, settings: Settings) -> Bits:
    """Stake as a share of all stake, per uid, what is below the minimum counting as none."""
    kept = [
        amount if amount >= settings.min_stake or uid == subnet.owner_uid else 0
        for uid, amount in enumerate(subnet.stake)
    ]
    total = sum(kept) or 1
    return np.array([fixed.from_proportion(amount, total) for amount in kept], np.int64)


def compute_permits(stake: Bits, max_validators: int, owner_uid: int | None) -> tuple[bool, ...]:
    """Who may validate next: the ``max_validators`` greatest stakes above zero (of equals the later uid), the owner."""
    permits = stake != 0
    if max_validators <= len(stake):
        permits[np.argsort(stake, kind="stable")[: len(stake) - max_validators]] = False
    return tuple(_with_owner([bool(p) for p in permits], owner_uid))


def compute_consensus(row_stake: Bits, weights: Bits, kappa_u16: int) -> Bits:
    """Per column the least weight with more than ``1 - kappa`` of the stake at or below it; zero without stake."""
    held = row_stake > 0
    if not held.any():
        return np.zeros(weights.shape[1], np.int64)
    stake = fixed.normalize(row_stake[held])
    minority = int(stake.sum()) - fixed.from_proportion(kappa_u16, U16_MAX)
    scores = weights[held]
    order = np.argsort(scores, axis=0, kind="stable")
    above = np.cumsum(stake[order], axis=0) > minority
    above[-1] = True
    first = np.take_along_axis(order, above.argmax(axis=0)[None], axis=0)
    medians: Bits = np.take_along_axis(scores, first, axis=0)[0]
    return medians


def compute_bonds(bought: Bits, bonds: Bits, row_stake: Bits, settings: Settings) -> Bits:
    """The original bonds, columns of shares: a step towards the shares that weights times stake make now."""
    step = ONE - fixed.from_proportion(settings.bonds_moving_average_ppm, MILLION)
    delta = fixed.normalize_columns(fixed.mul(bought, row_stake[:, None]))
    return fixed.normalize_columns(fixed.mul(delta, step) + fixed.mul(bonds, ONE - step))


def compute_bonds_yuma3(bought: Bits, named: Mask, bonds: Bits, consensus: Bits, settings: Settings) -> Bits:
    """Yuma 3's bonds: each moves towards the validator's weight, by a fixed or a liquid step."""
    if not (settings.liquid_alpha and consensus.any()):
        step = ONE - fixed.from_proportion(settings.bonds_moving_average_ppm, MILLION)
        return fixed.mul(bought, step) + fixed.mul(bonds, ONE - step)
    alpha = compute_liquid_alpha(bought, bonds, consensus, settings)
    moved = np.minimum(fixed.mul(bonds, ONE - alpha) + fixed.mul(bought, alpha), ONE)
    return np.where(named, moved, 0)  # a miner the row no longer names loses its bond at once


def compute_liquid_alpha(bought: Bits, bonds: Bits, consensus: Bits, settings: Settings) -> Bits:
    """The step of each bond: a sigmoid, from low to high, of how far the weight leads consensus or trails the bond."""
    low = fixed.from_proportion(settings.alpha_low_u16, U16_MAX)
    high = fixed.from_proportion(settings.alpha_high_u16, U16_MAX)
    lead = np.clip(np.where(bought >= bonds, bought - consensus, bonds - bought), 0, ONE)
    distances, where = np.unique(lead, return_inverse=True)
    slope = -_truncated(settings.alpha_steepness * ONE, _STEEPNESS_SCALE)
    sigmoids = [
        (ONE << fixed.FRACTION_BITS) // (ONE + fixed.exp(slope * (int(d) - ONE // 2) >> fixed.FRACTION_BITS))
        for d in distances
    ]
    alphas = [max(low, min(high, low + (s * (high - low) >> fixed.FRACTION_BITS))) for s in sigmoids]
    return np.array(alphas, np.int64)[where].reshape(lead.shape)


def _truncated(a: int, b: int) -> int:
    """``a / b`` rounded towards zero, as the chain divides."""
    return a // b if a >= 0 else -(-a // b)


def _with_owner(permits: Sequence[bool], owner_uid: int | None) -> list[bool]:
    return [bool(permit) or uid == owner_uid for uid, permit in enumerate(permits)]


def _load_weights(subnet: Subnet, permits: Sequence[bool], rows: tuple[int, ...]) -> tuple[Mask, Bits]:
    """Whom each row names, and its weights normalised: what may not count is left out.

    That is rows without permit, self-weights (but the owner's), and miners that registered since the weights were set.
    """
    n = len(subnet.stake)
    named, raw = np.zeros((len(rows), n), np.bool_), np.zeros((len(rows), n), np.int64)
    registered = np.array(subnet.registered_at, np.int64)
    for i, uid in enumerate(rows):
        row = [pair for pair in subnet.weights.get(uid, ()) if pair[0] < n] if permits[uid] else []
        for j, weight in row:
            if j != uid or uid == subnet.owner_uid:
                named[i, j], raw[i, j] = True, weight
        named[i] &= registered < subnet.last_update[uid]
        committed = subnet.commit_blocks[uid] if subnet.commit_blocks is not None else None
        if committed is not None:
            named[i] &= registered <= committed
    raw *= named
    total = raw.sum(axis=1, keepdims=True)
    return named, (raw << fixed.FRACTION_BITS) // np.where(total == 0, 1, total)


def _load_bonds(subnet: Subnet, rows: tuple[int, ...], settings: Settings) -> Bits:
    """Stored bonds as shares of their column, under Yuma 3 of 65535; none in uids registered since the last epoch."""
    n = len(subnet.stake)
    bonds = np.zeros((len(rows), n), np.int64)
    for i, uid in enumerate(rows):
        for j, bond in subnet.bonds.get(uid, ()):
            if j < n:
                bonds[i, j] = bond
    last = subnet.last_step_block + 1 if subnet.last_step_block else max(0, subnet.block - settings.tempo_blocks)
    bonds[:, np.array(subnet.registered_at, np.int64) >= last] = 0
    if settings.yuma3:
        return (bonds << fixed.FRACTION_BITS) // U16_MAX
    return fixed.normalize_columns(bonds << _BOND_BITS)


_BOND_BITS = 16
"""The chain takes a stored bond as a whole number and divides by the column's sum, where any unit gives the same
quotient: this one keeps the sum of a thousand rows within what `fixed.div` takes."""


def _is_kept(weights: Bits, clipped: Bits, bought: Bits, penalty: int) -> Mask:
    """Which entries of a row its bonds still see: the chain's sparse rows drop what was clipped to zero."""
    if penalty == 0:
        return np.ones(weights.shape, np.bool_)
    if penalty == ONE:
        uncut: Mask = (clipped > 0) | (weights == 0)
        return uncut
    kept: Mask = bought > 0
    return kept


def _split(incentive: Bits, dividends: Bits, active_stake: Bits, stake: Bits) -> tuple[Bits, Bits, Bits]:
    """Shares of emission: servers', validators', and both. When nobody earned, by active stake, or by all stake."""
    both = incentive + dividends
    total = int(both.sum())
    if total:
        return fixed.div(incentive, total), fixed.div(dividends, total), fixed.div(both, total)
    fallback = active_stake if active_stake.any() else stake
    return incentive, fallback, fallback


def _scale(shares: Bits, emission: int) -> tuple[int, ...]:
    return tuple(int(share) * emission >> fixed.FRACTION_BITS for share in shares)


def _store_bonds(bonds: Bits, rows: tuple[int, ...], permits: Sequence[bool]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Bonds as stored: of 65535, rounded down, of next epoch's validators; nobody else keeps any."""
    stored: dict[int, tuple[tuple[int, int], ...]] = {}
    for i, uid in enumerate(rows):
        held = np.flatnonzero(bonds[i])
        if permits[uid] and held.size:
            stored[uid] = tuple(zip(held.tolist(), fixed.to_u16(bonds[i][held]), strict=True))
    return stored
