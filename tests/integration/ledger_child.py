"""A process that asks one key's account until told to stop, for tests of several at once.

    python ledger_child.py LEDGER KEY REQUESTS MODE

MODE ``settle``: each request that is admitted is settled at a third of what was held. ``hold``: none is, and the
process then waits to be killed. ``endless``: as ``settle``, without limits. Says that it is ready, waits
for a line, and prints one in the end: admitted, refused, and nano-USD used (or held).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from providerrank.engines.ledger_file import LedgerFile
from providerrank.rules.budget import UNLIMITED, Budget, Hold

HELD_NUSD = 3_000
HELD_TOKENS = 30
BUDGET = Budget(requests_per_minute=100_000, tokens_per_minute=10_000_000, spend_per_day_nusd=2_000_001)


def main(path: str, key: str, requests: str, mode: str) -> None:
    account = LedgerFile(Path(path)).open(key)
    admitted = refused = 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for _ in range(int(requests)):
        now_us = time.time_ns() // 1000
        hold = account.reserve(UNLIMITED if mode == "endless" else BUDGET, now_us, HELD_TOKENS, HELD_NUSD)
        if not isinstance(hold, Hold):
            refused += 1
            continue
        admitted += 1
        if mode != "hold":
            account.settle(hold, now_us, 5, 5, HELD_NUSD // 3)
    used = admitted * (HELD_NUSD // 3 if mode == "settle" else HELD_NUSD)
    sys.stdout.write(f"{admitted} {refused} {used}\n")
    sys.stdout.flush()
    if mode == "hold":
        time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
