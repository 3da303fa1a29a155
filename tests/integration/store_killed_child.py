"""A process that saves until it is killed: PATH CELLS loop|hang. Prints each generation once it is committed."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from providerrank.engines.store_sql import open_sqlite
from providerrank.rules.cells import Cell
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.window import Window

NOW_US = 1_700_000_000_000_000


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def hang_before_commit(_connection: sa.Connection) -> None:
    say("written, not committed")
    time.sleep(3600)


async def main(path: Path, cells: int, mode: str) -> None:
    store = await open_sqlite(path)
    windows = [(Cell(f"p{number}/m", "chat"), Window()) for number in range(cells)]
    generation = 0
    while True:
        generation += 1
        for cell, window in windows:
            window.observe(Observation(cell.endpoint_id, "chat", NOW_US, Outcome.SUCCESS, 200_000, 900_000))
        if mode == "hang" and generation == 2:
            sa.event.listen(sa.Engine, "commit", hang_before_commit)
        await store.save(windows)
        say(str(generation))


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
