"""What a local chain's calls cost: an epoch of 256 neurons and 64 validators, and single calls, in memory and on disk.

python bench/chain.py
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from providerrank.engines import chain_acts
from providerrank.engines.chain_ledger import Ledger, create_ledger, create_memory_ledger
from providerrank.engines.chain_reads import read_books, read_metagraph
from providerrank.engines.chain_settings import ChainSettings
from providerrank.wire.signature import Hotkey

MINERS, VALIDATORS = 255 - 64, 64
TEMPO = 100
BLOCK_US = 1_000_000
SETTINGS = ChainSettings(
    tempo_blocks=TEMPO, block_time_us=BLOCK_US, max_uids=256, weights_rate_limit_blocks=1, halt_after_blocks=0
)
KEYS = [Hotkey(sha256(str(number).encode()).digest()).address for number in range(MINERS + VALIDATORS)]


class Clock:
    us = 1_800_000_000_000_000

    def now(self) -> int:
        return self.us


def measure(name: str, times: int, call: Callable[[int], object]) -> None:
    took = []
    for number in range(times):
        began = time.perf_counter()
        call(number)
        took.append(time.perf_counter() - began)
    print(f"  {name:<24} {statistics.median(took) * 1e3:8.2f} ms  {1 / statistics.fmean(took):8.0f} /s")


def run(name: str, ledger: Ledger, clock: Clock) -> None:
    print(name)
    chance = random.Random(1)
    miners = KEYS[VALIDATORS:]
    measure("register", MINERS, lambda n: ledger.write(lambda c, s: chain_acts.register(c, s, miners[n], 0)))
    clock.us += BLOCK_US
    rows = [{uid: chance.randrange(1, 65_536) for uid in range(65, 256)} for _ in range(VALIDATORS)]
    measure(
        "set_weights, 191 of them",
        VALIDATORS,
        lambda n: ledger.write(lambda c, s: chain_acts.set_weights(c, s, KEYS[n], rows[n], 0)),
    )
    digest = "ab" * 32
    measure("commit", MINERS, lambda n: ledger.write(lambda c, s: chain_acts.commit(c, s, miners[n], 0, digest)))
    clock.us += 50 * BLOCK_US
    measure("reveal", MINERS, lambda n: ledger.write(lambda c, s: chain_acts.reveal(c, s, miners[n], 0, b"salt")))
    measure("head", 500, lambda _: ledger.read(lambda _, s: s.head))
    measure("metagraph, 256 neurons", 50, lambda _: ledger.read(read_metagraph))

    def look_after_a_block(_: int) -> None:
        clock.us += BLOCK_US
        ledger.read(lambda _, s: s.head)

    measure("head, a new block", 20, look_after_a_block)

    def end_epoch(_: int) -> None:
        clock.us += TEMPO * BLOCK_US
        ledger.read(lambda _, s: s.head)

    measure("an epoch's end, 256 x 64", 10, end_epoch)
    print(f"  books: {ledger.read(read_books)}")
    ledger.close()


stake = [(key, (number + 1) * 10**9) for number, key in enumerate(KEYS[:VALIDATORS])]
clock = Clock()
run("in memory", create_memory_ledger(SETTINGS, validators=stake, clock=clock.now), clock)
with tempfile.TemporaryDirectory() as folder:
    clock = Clock()
    run("in a file", create_ledger(Path(folder) / "chain.db", SETTINGS, validators=stake, clock=clock.now), clock)
