"""The tables of a local chain's ledger. Amounts are integers of rao, times Unix microseconds, heights block numbers.

A ledger is a file of its own: it is shared by neurons that share nothing else, and it is what they all must agree on,
so it is never set aside and begun anew as a damaged store of windows is.
"""

from __future__ import annotations

import sqlalchemy as sa

LEDGER_VERSION = 1

metadata = sa.MetaData()

chain = sa.Table(
    "chain",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("genesis_us", sa.Integer, nullable=False),
    sa.Column("halted_us", sa.Integer, nullable=False),
    sa.Column("block", sa.Integer, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("issued_rao", sa.Integer, nullable=False),
    sa.Column("burned_rao", sa.Integer, nullable=False),
    sa.Column("seed", sa.LargeBinary, nullable=False),
)
"""One row: where the chain is. ``halted_us``: time it stood still; negative where blocks were skipped by hand."""

seals = sa.Table(
    "seals",
    metadata,
    sa.Column("last_block", sa.Integer, primary_key=True),
    sa.Column("first_block", sa.Integer, nullable=False),
    sa.Column("seed", sa.LargeBinary, nullable=False),
)
"""What the hashes of the blocks from ``first_block`` to ``last_block`` follow from; drawn when they came to be."""

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("address", sa.Text, primary_key=True),
    sa.Column("free_rao", sa.Integer, sa.CheckConstraint("free_rao >= 0"), nullable=False),
    sa.Column("stake_rao", sa.Integer, sa.CheckConstraint("stake_rao >= 0"), nullable=False),
)
"""Hotkey and coldkey are one here: what a key has, and what of it is staked on itself."""

neurons = sa.Table(
    "neurons",
    metadata,
    sa.Column("uid", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hotkey", sa.Text, nullable=False, unique=True),
    sa.Column("registered_at", sa.Integer, nullable=False),
    sa.Column("last_update", sa.Integer, nullable=False),
    sa.Column("weights_at", sa.Integer),
    sa.Column("permit", sa.Boolean, nullable=False, default=False),
    sa.Column("active", sa.Boolean, nullable=False, default=True),
    sa.Column("trust", sa.Integer, nullable=False, default=0),
    sa.Column("consensus", sa.Integer, nullable=False, default=0),
    sa.Column("incentive", sa.Integer, nullable=False, default=0),
    sa.Column("dividends", sa.Integer, nullable=False, default=0),
    sa.Column("emission_rao", sa.Integer, nullable=False, default=0),
    sa.Column("address", sa.Text),
    sa.Column("announced_at", sa.Integer),
)
"""``weights_at``: when weights were last set; ``last_update`` also counts the registration, as on the chain."""

weights = sa.Table(
    "weights",
    metadata,
    sa.Column("uid", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("set_at", sa.Integer, nullable=False),
    sa.Column("pairs", sa.Text, nullable=False),
)
"""The weights that count; ``pairs`` is JSON, [[uid, weight], ...]."""

sealed_weights = sa.Table(
    "sealed_weights",
    metadata,
    sa.Column("uid", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("set_at", sa.Integer, nullable=False),
    sa.Column("pairs", sa.Text, nullable=False),
)
"""Weights that do not count yet, by the epoch they were set in."""

bonds = sa.Table(
    "bonds",
    metadata,
    sa.Column("uid", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("pairs", sa.Text, nullable=False),
)

commitments = sa.Table(
    "commitments",
    metadata,
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hotkey", sa.Text, primary_key=True),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("block", sa.Integer, nullable=False),
    sa.Column("opening", sa.LargeBinary),
    sa.Column("revealed_at", sa.Integer),
)
"""``place``: which of the epoch's it was, counting from 0: order within a block, too."""

epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("begins", sa.Integer, nullable=False),
    sa.Column("ends", sa.Integer, nullable=False),
    sa.Column("emission_rao", sa.Integer, nullable=False),
    sa.Column("miners_rao", sa.Integer, nullable=False),
    sa.Column("validators_rao", sa.Integer, nullable=False),
    sa.Column("burned_rao", sa.Integer, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)
"""What each epoch decided, for whoever looks back; ``record`` is JSON of the neurons and weights it was decided on."""
