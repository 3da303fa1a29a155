"""A whole subnet, its processes killed at random instants: FOLDER KILLS SEED. Prints JSON.

Three miners and two validators (each with its replay worker) run as ``providerrank miner run`` and ``validator run``
do, and a process that does nothing but move the chain on; all on one ledger, all asking simulated endpoints, which are
the world outside and are left alone. Whatever is killed is started again at once and has nothing but its journal. At
the end what ledger and journals hold has to fit together (``check``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from providerrank.apps import config
from providerrank.apps.config import Loaded
from providerrank.apps.market.run import run_miner, run_validator
from providerrank.engines import chain_acts
from providerrank.engines.chain_ledger import Ledger, create_ledger, open_ledger
from providerrank.engines.chain_reads import read_books
from providerrank.engines.chain_settings import derive_settings
from providerrank.market.miner import BUNDLE, SALT
from providerrank.market.ports import RAO, Head
from providerrank.rules import yuma  # noqa: F401 - imported before the fork, as whoever ends an epoch needs it
from providerrank.rules.schedule import Phases, compute_phases
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec, Ttft
from providerrank.wire.bundle import compute_commitment, read_bundle
from tests.chains import get_address, make_seed
from tests.integration.chain_crashes import start

MINERS = tuple(f"miner{number}" for number in range(3))
VALIDATORS = ("validator0", "validator1")
CLOCK = "clock"
ENDPOINTS = ("alpha", "beta")
SETTINGS = replace(derive_settings(60, 200_000), weights_rate_limit_blocks=1)
"""Epochs of twelve seconds: six to measure in, 1.2 to reveal in. The chain limits weights to one a block: it is not to
stand in for a validator that forgets that it has set them."""
EPOCH_S = SETTINGS.tempo_blocks * SETTINGS.block_time_us / 1_000_000
MEAN_PAUSE_S = 0.5
"""Between kills."""
GRACE_S = 0.7
"""Of the phase for reveals: who lives as long in one piece has had the time to start and to reveal."""
STAKE = 1_000 * RAO

AUDIT = """
CREATE TABLE audit (what TEXT, who TEXT, block INTEGER);
CREATE TRIGGER weights_set AFTER UPDATE OF weights_at ON neurons WHEN NEW.weights_at IS NOT OLD.weights_at
BEGIN INSERT INTO audit VALUES ('weights', NEW.hotkey, NEW.weights_at); END;
CREATE TRIGGER committed AFTER INSERT ON commitments
BEGIN INSERT INTO audit VALUES ('commit', NEW.hotkey, NEW.block); END;
CREATE TRIGGER recommitted AFTER UPDATE OF digest ON commitments WHEN NEW.digest IS NOT OLD.digest
BEGIN INSERT INTO audit VALUES ('recommit', NEW.hotkey, NEW.block); END;
"""
"""The ledger file itself notes what is done to it: a receipt that its owner did not live to see counts too."""


async def provide(ports: int) -> None:
    """Be the endpoints, and tell where."""
    ttft = Ttft(median=0.03, sigma=0.2)
    async with SimProviders([EndpointSpec(name=name, ttft=ttft, reply_tokens=8) for name in ENDPOINTS]) as sims:
        os.write(ports, (json.dumps({sim.name: sim.url for sim in sims}) + "\n").encode())
        await asyncio.Event().wait()


def move_on(path: Path) -> None:
    """Look at the chain, and so bring about what is due, all the time."""
    ledger = open_ledger(path)
    while True:
        ledger.write(lambda _connection, _state: None)
        time.sleep(0.05)


def live(life: Callable[[], Coroutine[object, object, None]]) -> None:
    logging.disable(logging.CRITICAL)
    asyncio.run(life())


def write_config(folder: Path, name: str, urls: dict[str, str], port: int) -> Loaded:
    """One neuron's configuration, in the subnet's folder."""
    endpoints = "".join(
        f'[[endpoints]]\nid = "{at}/m"\nmodel = "m"\nbase_url = "{url}"\nprice = {{ input = 1.0, output = 1.0 }}\n'
        for at, url in urls.items()
    )
    table = "miner" if name in MINERS else "validator"
    own = [f'journal = "{name}.journal"', f'metrics = "127.0.0.1:{port + 1}"', 'key = "env:SEED"']
    if table == "miner":
        own.append(f'listen = "127.0.0.1:{port}"')
    path = folder / f"{name}.toml"
    path.write_text(f'{endpoints}[market]\ntasks = ["chat"]\n[{table}]\n' + "\n".join(own) + "\n")
    return config.load(path, {"SEED": make_seed(name).hex()})


def run(folder: Path, kills: int, seed: int) -> dict[str, object]:
    chance = random.Random(seed)
    path = folder / "chain.db"
    ledger = create_ledger(path, SETTINGS, validators=[(get_address(name), STAKE) for name in VALIDATORS])
    for name in MINERS:
        ledger.write(partial(chain_acts.fund, address=get_address(name), rao=10 * RAO))
    ledger.close()
    with sqlite3.connect(path) as database:
        database.executescript(AUDIT)
    database.close()
    reading, writing = os.pipe()
    providers = start(partial(live, partial(provide, writing)))
    urls: dict[str, str] = json.loads(os.read(reading, 4_096))
    first_port = chance.randrange(20_000, 30_000)
    lives: dict[str, Callable[[], None]] = {CLOCK: partial(move_on, path)}
    for at, name in enumerate((*MINERS, *VALIDATORS)):
        loaded = write_config(folder, name, urls, first_port + 2 * at)
        main = run_miner if name in MINERS else run_validator
        lives[name] = partial(live, partial(main, loaded, dry_run=False, epochs=None))
    began_s: dict[str, float] = {}
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    alive: dict[str, int] = {}

    def bring_up() -> None:
        for name, life in lives.items():
            if name not in alive:
                began_s[name] = time.time()
                alive[name] = start(life)

    def kill(name: str) -> None:
        os.kill(alive[name], signal.SIGKILL)
        _, status = os.waitpid(alive.pop(name), 0)
        spans[name].append((began_s[name], time.time()))
        assert os.WTERMSIG(status) == signal.SIGKILL, f"{name} ended by itself: {status}"

    try:
        for _ in range(kills):
            bring_up()
            time.sleep(chance.uniform(0.0, 2 * MEAN_PAUSE_S))
            doomed = list(lives) if chance.random() < 0.05 else [chance.choice(list(lives))]
            for name in doomed:
                kill(name)
        bring_up()
        # Two epochs without a kill: whoever is stuck shows it.
        time.sleep(2 * EPOCH_S + 1)
    finally:
        for name in list(alive):
            kill(name)
        os.kill(providers, signal.SIGKILL)
        os.waitpid(providers, 0)
    return check(folder, dict(spans))


def get_head(ledger: Ledger) -> Head:
    return ledger.read(lambda _, state: state.head)


def check(folder: Path, spans: dict[str, list[tuple[float, float]]]) -> dict[str, object]:
    """Hold ledger and journals against each other."""
    wrong: list[str] = []
    path = folder / "chain.db"
    ledger = open_ledger(path)
    head = get_head(ledger)
    books = ledger.read(read_books)
    ledger.close()
    if books.difference_rao:
        wrong.append(f"the books are off by {books.difference_rao}")
    database = sqlite3.connect(path)
    if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        wrong.append("the ledger is damaged")
    phases = [compute_phases(*row) for row in database.execute("SELECT epoch, begins, ends FROM epochs ORDER BY epoch")]
    audit = list(database.execute("SELECT what, who, block FROM audit"))
    kept = list(database.execute("SELECT epoch, hotkey, digest, opening, revealed_at FROM commitments"))
    database.close()
    names = {get_address(name): name for name in (*MINERS, *VALIDATORS)}
    counts = Counter(what for what, _, _ in audit)
    if counts["recommit"]:
        wrong.append(f"{counts['recommit']} commitments were changed")
    for (what, who, epoch), times in Counter((w, h, _find_epoch(phases, b)) for w, h, b in audit).items():
        if times > 1:
            wrong.append(f"{names[who]}: {what} {times} times in epoch {epoch}")

    digests = {(epoch, name): digest for name in MINERS for epoch, digest in _read_journal(folder, name)}
    unlucky = revealed = 0
    for epoch, hotkey, digest, opening, _ in kept:
        name = names[hotkey]
        decided = digests.get((epoch, name), digest)
        if decided != digest:
            wrong.append(f"{name} committed to {digest} in epoch {epoch}, and its journal says {decided}")
        revealed += opening is not None
        if opening is None and epoch < len(phases):
            longest_s = _get_longest_s(spans[name], phases[epoch], head)
            if longest_s >= GRACE_S:
                wrong.append(f"{name} lived for {longest_s:.2f} s of the reveals of epoch {epoch}, and did not reveal")
            else:
                unlucky += 1
    for name in (*MINERS, *VALIDATORS):
        wrong += _check_money(folder, name)
    last = len(phases) - 1
    for name in MINERS:
        if not any((e, names[h]) == (last, name) and o is not None for e, h, _, o, _ in kept):
            wrong.append(f"{name} did not reveal in epoch {last}, in which nobody was killed")
    for name in VALIDATORS:
        if not any((w, names[h], _find_epoch(phases, b)) == ("weights", name, last) for w, h, b in audit):
            wrong.append(f"{name} set no weights in epoch {last}, in which nobody was killed")
    return {
        "wrong": wrong,
        "epochs": len(phases),
        "kills": {name: len(lived) - 1 for name, lived in spans.items()},
        "commitments": counts["commit"],
        "reveals": revealed,
        "never alive long enough to reveal": unlucky,
        "weights set": counts["weights"],
    }


def _find_epoch(phases: list[Phases], block: int) -> int:
    return next((one.epoch for one in phases if one.begins <= block < one.ends), len(phases))


def _get_longest_s(lived: list[tuple[float, float]], phases: Phases, head: Head) -> float:
    """The longest part of the phase for reveals that one life covers."""

    def at(block: int) -> float:
        return (head.time_us + (block - head.block) * SETTINGS.block_time_us) / 1_000_000

    begins_s, ends_s = at(phases.commit_until), at(phases.reveal_until)
    return max((min(ends_s, end) - max(begins_s, begin) for begin, end in lived), default=0.0)


def _read_journal(folder: Path, name: str) -> Iterator[tuple[int, str]]:
    """The digest that each epoch's bundle and salt make, of the epochs a journal keeps."""
    database = sqlite3.connect(folder / f"{name}.journal")
    found: defaultdict[int, dict[str, bytes]] = defaultdict(dict)
    for epoch, what, value in database.execute("SELECT epoch, name, value FROM decisions"):
        found[epoch][what] = value
    database.close()
    for epoch, decided in found.items():
        if {BUNDLE, SALT} <= decided.keys():
            yield epoch, compute_commitment(read_bundle([decided[BUNDLE]]).header, decided[SALT])


def _check_money(folder: Path, name: str) -> Iterator[str]:
    """What a day cost is what its calls cost: charged once each, however often their maker died."""
    database = sqlite3.connect(folder / f"{name}.journal")
    if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        yield f"the journal of {name} is damaged"
    [(spent,)] = database.execute("SELECT coalesce(sum(nusd), 0) FROM spent")
    [(charged,)] = database.execute("SELECT coalesce(sum(nusd), 0) FROM calls")
    [(oldest,)] = database.execute("SELECT coalesce(min(epoch), 0) FROM calls")
    database.close()
    if spent < charged or (oldest == 0 and spent != charged):
        yield f"{name} has spent {spent} nano-USD, and its calls come to {charged}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))) + "\n")
