"""Miners, validators and onlookers on one ledger, killed at random instants: FOLDER KILLS SEED. Prints JSON.

Each neuron is a process of its own that notes every receipt in a file once it has it, and forgets everything else when
it is killed; another one then goes on in its name. At the end, what the neurons were told has to be what the ledger
says. Forked from one process, since importing takes longer than most of these lives.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from providerrank.engines import chain_acts
from providerrank.engines.chain_ledger import Ledger, create_ledger, open_ledger
from providerrank.engines.chain_reads import read_beacon, read_books, read_epoch
from providerrank.engines.chain_schema import epochs
from providerrank.engines.chain_settings import ChainSettings
from providerrank.engines.chain_state import State
from providerrank.market.errors import Refused
from providerrank.market.ports import RAO
from providerrank.rules import yuma  # noqa: F401 - imported before the fork, as whoever ends an epoch needs it
from tests.chains import get_address

MINERS = tuple(f"miner{number}" for number in range(3))
VALIDATORS = ("validator0", "validator1")
ONLOOKERS = ("onlooker",)
SETTINGS = ChainSettings(
    tempo_blocks=40,
    block_time_us=10_000,
    max_uids=16,
    weights_rate_limit_blocks=12,
    halt_after_blocks=80,
)
LONGEST_PAUSE_S = 0.15
"""Between kills."""
REST_S = 0.002
"""After a refusal, so that others get at the ledger."""
STAKE = 1_000 * RAO

Note = Callable[..., None]
P = ParamSpec("P")
T = TypeVar("T")


def write(
    ledger: Ledger, act: Callable[Concatenate[sa.Connection, State, P], T], *args: P.args, **named: P.kwargs
) -> T:
    return ledger.write(lambda connection, state: act(connection, state, *args, **named))


def act_as_miner(ledger: Ledger, name: str, note: Note) -> None:
    hotkey = get_address(name)
    write(ledger, chain_acts.register, hotkey, 0)
    while True:
        head = ledger.read(lambda _, state: state.head)
        digest, opening = secrets.token_hex(32), secrets.token_bytes(32)
        try:
            if head.phases.may_commit(head.block):
                made = write(ledger, chain_acts.commit, hotkey, head.epoch, digest)
                note("commit", hotkey, head.epoch, digest, made.block)
            else:
                made = write(ledger, chain_acts.reveal, hotkey, head.epoch, opening)
                note("reveal", hotkey, head.epoch, opening.hex(), made.block)
        except Refused:
            time.sleep(REST_S)


def act_as_validator(ledger: Ledger, name: str, note: Note) -> None:
    hotkey = get_address(name)
    while True:
        said = {uid: random.randrange(1, 65_536) for uid in range(3)}
        try:
            made = write(ledger, chain_acts.set_weights, hotkey, said, 0)
            note("weights", hotkey, 0, "", made.block)
        except Refused:
            time.sleep(REST_S)


def look_on(ledger: Ledger, _: str, note: Note) -> None:
    while True:
        block, beacon = ledger.read(lambda c, s: (s.block, read_beacon(c, s, s.block)))
        note("beacon", "", 0, beacon.hex(), block)


def live(path: Path, name: str, act: Callable[[Ledger, str, Note], None], notes: int) -> None:
    """One neuron's life; ends when it is killed."""
    random.seed(secrets.randbits(64))

    def note(*what: object) -> None:
        os.write(notes, (json.dumps(what) + "\n").encode())

    act(open_ledger(path), name, note)


def run(folder: Path, kills: int, seed: int) -> dict[str, object]:
    chance = random.Random(seed)
    path = folder / "chain.db"
    create_ledger(path, SETTINGS, validators=[(get_address(name), STAKE) for name in VALIDATORS]).close()
    notes = os.open(folder / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    roles: dict[str, Callable[[Ledger, str, Note], None]] = (
        dict.fromkeys(MINERS, act_as_miner)
        | dict.fromkeys(VALIDATORS, act_as_validator)
        | dict.fromkeys(ONLOOKERS, look_on)
    )
    alive: dict[str, int] = {}
    for number in range(kills + 1):
        for name, act in roles.items():
            if name not in alive:
                alive[name] = start(partial(live, path, name, act, notes))
        time.sleep(chance.uniform(0.0, LONGEST_PAUSE_S) if number < kills else LONGEST_PAUSE_S)
        # Often one, sometimes all: then nobody is left in the middle of whatever it was.
        doomed = list(alive) if number == kills or chance.random() < 0.1 else [chance.choice(list(alive))]
        for name in doomed:
            os.kill(alive[name], signal.SIGKILL)
        for name in doomed:
            _, status = os.waitpid(alive.pop(name), 0)
            assert os.WIFSIGNALED(status), f"{name} ended by itself: {status}"
    os.close(notes)
    return check(path, [json.loads(line) for line in (folder / "notes").read_text().splitlines()])


def start(life: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        life()
    except BaseException as error:  # noqa: BLE001 - a child must never go on as its parent
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(1)


def check(path: Path, notes: list[list[object]]) -> dict[str, object]:
    """Hold what neurons were told against the ledger."""
    wrong: list[str] = []
    database = sqlite3.connect(path)
    if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        wrong.append("the file is damaged")
    kept = {
        (epoch, hotkey): (digest, block, opening and opening.hex(), revealed_at)
        for epoch, hotkey, digest, block, opening, revealed_at in database.execute(
            "SELECT epoch, hotkey, digest, block, opening, revealed_at FROM commitments"
        )
    }
    rows = database.execute("SELECT count(*), count(opening) FROM commitments").fetchone()
    database.close()

    ledger = open_ledger(path)
    epoch, books, issued, ends = ledger.read(
        lambda c, s: (s.epoch, read_books(c, s), s.issued_rao, list(c.execute(sa.select(epochs.c.epoch)).scalars()))
    )
    if books.difference_rao:
        wrong.append(f"the books are off by {books.difference_rao}")
    if sorted(ends) != list(range(epoch)):
        wrong.append(f"epochs ended: {ends}, and this is epoch {epoch}")
    expected = len(VALIDATORS) * STAKE + epoch * SETTINGS.emission_rao * SETTINGS.tempo_blocks
    if issued != expected:
        wrong.append(f"{issued} rao were issued in {epoch} epochs instead of {expected}")
    last = ledger.read(lambda c, _: read_epoch(c, epoch - 1))
    set_at: defaultdict[object, list[int]] = defaultdict(list)
    for what, hotkey, in_epoch, value, block in notes:
        found = kept.get((in_epoch, hotkey))
        if what == "commit" and (found is None or found[:2] != (value, block)):
            wrong.append(f"{hotkey} was told of {value} in block {block} of epoch {in_epoch}, kept is {found}")
        if what == "reveal" and (found is None or found[2:] != (value, block)):
            wrong.append(f"{hotkey} was told of opening {value} in block {block} of epoch {in_epoch}, kept is {found}")
        if what == "weights":
            set_at[hotkey].append(int(str(block)))
        if what == "beacon":
            hash_now = ledger.read(partial(read_beacon, block=int(str(block)))).hex()
            if hash_now != value:
                wrong.append(f"block {block} had another hash")
    for hotkey, blocks in set_at.items():
        if any(later - earlier < SETTINGS.weights_rate_limit_blocks for earlier, later in pairwise(blocks)):
            wrong.append(f"{hotkey} set weights too often: {blocks}")
    ledger.close()
    counted = {kind: sum(note[0] == kind for note in notes) for kind in ("commit", "reveal", "weights", "beacon")}
    return {
        "wrong": wrong,
        "epochs": epoch,
        "receipts": counted,
        "commitments": rows[0],
        "reveals": rows[1],
        "neurons": 0 if last is None else len(last.neurons),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))) + "\n")
