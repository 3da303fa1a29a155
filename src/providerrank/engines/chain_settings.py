"""What a local chain was made with: every number of its subnet, kept in the ledger itself.

Defaults are Bittensor's where it has one (its runtime's, as `rules.yuma` names it), so that what is tried here behaves
the same there. Those that are counted in blocks make no sense on a chain whose epochs last seconds; ``derive_settings``
scales them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from providerrank.market.ports import RAO
from providerrank.rules.schedule import MIN_EPOCH_BLOCKS

U16_MAX: Final = 65_535
MAX_UIDS: Final = 4_096
"""Of any subnet: weights are rows of uids, and an epoch's matrices are this wide."""


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """A subnet's settings. Blocks, rao, microseconds, and shares of 65535 or of a million."""

    netuid: int = 1
    tempo_blocks: int = 360
    """Blocks of an epoch."""
    block_time_us: int = 12_000_000
    max_uids: int = 256
    max_validators: int = 64
    immunity_blocks: int = 4_096
    registration_rao: int = RAO // 10
    """Burned for a uid. On the real chain it follows demand; here it stays."""
    emission_rao: int = RAO
    """New coins a block: half for miners, half for validators."""
    weights_rate_limit_blocks: int = 100
    announce_rate_limit_blocks: int = 50
    weights_version: int = 0
    min_allowed_weights: int = 1
    max_weight_u16: int = U16_MAX
    activity_cutoff_blocks: int = 5_000
    kappa_u16: int = 32_767
    bonds_moving_average_ppm: int = 900_000
    yuma3: bool = False
    liquid_alpha: bool = False
    weights_are_sealed: bool = False
    """Weights count, and are shown, only from the end of the epoch after the one they were set in."""
    halt_after_blocks: int = 720
    """When nobody has looked at the chain for longer, it stood still meanwhile, as one without block producers does. So
    a laptop that slept for a night wakes up to the epoch it left, not to a hundred empty ones. 0: never."""

    def __post_init__(self) -> None:
        """Raise ValueError for what no chain can be made with, naming the setting."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0:
                raise ValueError(f"{field.name} is {value}: it cannot be negative")
        _check("tempo_blocks", self.tempo_blocks, MIN_EPOCH_BLOCKS, 1_000_000)
        _check("block_time_us", self.block_time_us, 1_000, 3_600_000_000)
        _check("max_uids", self.max_uids, 1, MAX_UIDS)
        _check("max_validators", self.max_validators, 1, MAX_UIDS)
        _check("max_weight_u16", self.max_weight_u16, 1, U16_MAX)
        _check("kappa_u16", self.kappa_u16, 0, U16_MAX)
        _check("bonds_moving_average_ppm", self.bonds_moving_average_ppm, 0, 1_000_000)
        if 0 < self.halt_after_blocks < self.tempo_blocks:
            raise ValueError(f"halt_after_blocks is {self.halt_after_blocks}: less than an epoch stops a chain in use")


def derive_settings(tempo_blocks: int, block_time_us: int) -> ChainSettings:
    """Return Bittensor's settings, those in blocks scaled from its epochs of 360 to ones of ``tempo_blocks``."""
    return ChainSettings(
        tempo_blocks=tempo_blocks,
        block_time_us=block_time_us,
        immunity_blocks=_scale(4_096, tempo_blocks),
        weights_rate_limit_blocks=_scale(100, tempo_blocks),
        announce_rate_limit_blocks=_scale(50, tempo_blocks),
        activity_cutoff_blocks=_scale(5_000, tempo_blocks),
        halt_after_blocks=2 * tempo_blocks,
    )


def _scale(blocks: int, tempo_blocks: int) -> int:
    return max(1, blocks * tempo_blocks // 360)


def _check(name: str, value: int, least: int, greatest: int) -> None:
    if not least <= value <= greatest:
        raise ValueError(f"{name} is {value}: it is from {least} to {greatest}")
