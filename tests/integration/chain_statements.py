"""Every act on a local chain, killed before each of its statements and before its commit: FOLDER. Prints JSON.

The clock stands still and the drawn bytes are fixed, so the ledger after an act is one thing exactly. Killed anywhere,
it has to be what it was before, to the last row; and once the act is done again, what it is without a kill.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from providerrank.engines import chain_acts
from providerrank.engines.chain_ledger import Ledger, _open_engine, create_ledger
from providerrank.engines.chain_schema import metadata
from providerrank.market.ports import RAO
from providerrank.rules import yuma  # noqa: F401 - imported before the fork
from tests.chains import DIGEST, SETTINGS, STAKE, Time, get_address

ALICE, BOB, MINER, LATE = (get_address(name) for name in ("alice", "bob", "miner", "late"))
Act = Callable[[Ledger], object]
Dump = dict[str, list[tuple[object, ...]]]


def do(act: Callable[..., object], *arguments: object) -> Act:
    return lambda ledger: ledger.write(lambda connection, state: act(connection, state, *arguments))


def look(ledger: Ledger) -> None:
    ledger.read(lambda _, state: state.head)


HISTORY: tuple[tuple[str, int, int, Act], ...] = (
    ("fund", 0, 1, do(chain_acts.fund, MINER, RAO)),
    ("register", 0, 1, do(chain_acts.register, MINER, RAO // 10)),
    ("announce", 0, 1, do(chain_acts.announce, MINER, "127.0.0.1:9")),
    ("commit", 1, 1, do(chain_acts.commit, MINER, 0, DIGEST)),
    ("set weights", 0, 1, do(chain_acts.set_weights, ALICE, {0: 1, 3: 7}, 0)),
    ("set weights, again", 6, 1, do(chain_acts.set_weights, ALICE, {0: 2, 3: 9}, 0)),
    ("reveal", 4, 1, do(chain_acts.reveal, MINER, 0, b"salt")),
    ("a new block", 1, 1, look),
    ("the end of an epoch", 10, 2, look),
    ("the end of an epoch that unseals weights", 20, 2, look),
    ("stake", 0, 1, lambda ledger: ledger.write(lambda c, _: chain_acts.move_stake(c, MINER, RAO // 2))),
    ("the end of two epochs", 40, 3, look),
    ("fund another", 0, 1, do(chain_acts.fund, LATE, RAO)),
    ("replace a neuron", 0, 1, do(chain_acts.register, LATE, RAO // 10)),
)
"""What is done, after how many blocks, in how many transactions: one for each epoch that ends on the way, and one."""


def open_fixed(path: Path, time: Time) -> Ledger:
    return Ledger(_open_engine(path), str(path), time.now_us, lambda count: b"\7" * count)


def count_down(statement: int) -> None:
    """Kill this process before its so-manieth statement."""
    left = statement

    def tick(*_: object) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sa.event.listen(sa.Engine, "before_cursor_execute", tick)
    sa.event.listen(sa.Engine, "commit", tick)


def dump(path: Path) -> Dump:
    database = sqlite3.connect(path)
    tables = {
        name: database.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in sorted(metadata.tables)
    }
    database.close()
    return tables


def run_to(path: Path, time: Time, act: Act, statement: int | None) -> bool:
    """Do an act in a process of its own; returns whether it was killed on the way."""
    pid = os.fork()
    if pid == 0:
        try:
            if statement is not None:
                count_down(statement)
            act(open_fixed(path, time))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a child must never go on as its parent
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def copy(source: Path, to: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        part = to.with_name(to.name + suffix)
        part.unlink(missing_ok=True)
        if source.with_name(source.name + suffix).exists():
            shutil.copy(source.with_name(source.name + suffix), part)


def run(folder: Path) -> dict[str, object]:
    time = Time()
    path, before, tried = folder / "chain.db", folder / "before.db", folder / "tried.db"
    settings = replace(SETTINGS, weights_are_sealed=True, max_uids=4, immunity_blocks=10)
    create_ledger(path, settings, validators=[(ALICE, STAKE), (BOB, STAKE)], clock=time.now_us).close()
    wrong: list[str] = []
    kills: dict[str, int] = {}
    for name, blocks, steps, act in HISTORY:
        time.go(blocks)
        copy(path, before)
        seen = [dump(path)]
        run_to(path, time, act, None)
        after = dump(path)
        statement = 0
        while True:
            copy(before, tried)
            if not run_to(tried, time, act, statement):
                break
            left = dump(tried)
            if left not in (after, *seen):
                seen.append(left)
            run_to(tried, time, act, None)
            if dump(tried) != after:
                wrong.append(f"{name}: killed before statement {statement} and done again, it ends otherwise")
            statement += 1
        kills[name] = statement
        if len(seen) != steps:
            wrong.append(f"{name}: kills left {len(seen)} different unfinished ledgers instead of {steps}")
    return {"wrong": wrong, "kills": kills}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]))) + "\n")
