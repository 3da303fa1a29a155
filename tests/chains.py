"""Local chains on a clock the test moves, and keys to put on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from providerrank.engines.chain_settings import ChainSettings
from providerrank.market.ports import RAO
from providerrank.wire.signature import Hotkey

BEGAN_US = 1_800_000_000_000_000
BLOCK_US = 1_000_000
TEMPO = 20
SETTINGS = ChainSettings(
    tempo_blocks=TEMPO,
    block_time_us=BLOCK_US,
    max_uids=8,
    max_validators=4,
    immunity_blocks=30,
    weights_rate_limit_blocks=5,
    announce_rate_limit_blocks=5,
    halt_after_blocks=0,
)
STAKE = 1_000 * RAO
DIGEST = "ab" * 32
OTHER_DIGEST = "cd" * 32


@dataclass(slots=True)
class Time:
    """A clock that stands still unless told."""

    at_us: int = BEGAN_US
    slept_s: float = 0.0

    def now_us(self) -> int:
        return self.at_us

    def go(self, blocks: float) -> None:
        self.at_us += round(blocks * BLOCK_US)

    async def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.at_us += round(seconds * 1_000_000)


def make_seed(name: str) -> bytes:
    return sha256(name.encode()).digest()


@cache
def make_key(name: str) -> Hotkey:
    return Hotkey(make_seed(name))


def get_address(name: str) -> str:
    return make_key(name).address
