"""A neuron's journal in a SQLite file, for one process at a time.

Write-ahead mode: what is committed survives a killed process. Decisions are written with ``synchronous=FULL``, so a
loss of power does not take them back either; charges with ``NORMAL``, since a hundred a second would wear the disk out.

A lock on a file beside it keeps a second process of the same neuron away; the kernel releases it however the
first dies.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from providerrank.market.journal import DAY_US, Call, Charge, JournalBusy, JournalLost, Purpose
from providerrank.rules.cells import Cell

VERSION: Final = 1
BUSY_S: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE decisions (epoch INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (epoch, name));
CREATE TABLE calls (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL, purpose TEXT NOT NULL,
    endpoint_id TEXT NOT NULL, task TEXT NOT NULL, challenge INTEGER NOT NULL, nusd INTEGER NOT NULL,
    at_us INTEGER NOT NULL, note BLOB
);
CREATE INDEX calls_of_epoch ON calls (epoch);
CREATE TABLE spent (day INTEGER PRIMARY KEY, nusd INTEGER NOT NULL);
"""


class JournalFile:
    """A ``Journal``; ``":memory:"`` as the path makes one that lasts as long as the object."""

    def __init__(self, path: Path | str) -> None:
        """Raises ``JournalBusy`` or ``JournalLost``."""
        self._place = str(path)
        self._lock = -1 if self._place == ":memory:" else _take_lock(Path(path))
        try:
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            self._unlock()
            raise JournalLost(f"{self._place} cannot be used as a journal: {error}.") from None
        except BaseException:
            self._unlock()
            raise

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        [version] = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            # One transaction: a process killed here leaves an empty file, and the next begins anew.
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
        elif version != VERSION:
            raise JournalLost(f"{self._place} is a journal of version {version}, not {VERSION}: name another file.")

    def decide(self, epoch: int, name: str, value: bytes) -> bytes:
        """Write a decision once."""
        with self._step(sure=True) as db:
            db.execute("INSERT INTO decisions VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (epoch, name, value))
            row = db.execute("SELECT value FROM decisions WHERE epoch = ? AND name = ?", (epoch, name)).fetchone()
        return bytes(row[0])

    def get(self, epoch: int, name: str) -> bytes | None:
        """A decision."""
        with self._step() as db:
            row = db.execute("SELECT value FROM decisions WHERE epoch = ? AND name = ?", (epoch, name)).fetchone()
        return None if row is None else bytes(row[0])

    def get_latest(self, name: str, before_epoch: int) -> tuple[int, bytes] | None:
        """The latest decision of a name."""
        with self._step() as db:
            row = db.execute(
                "SELECT epoch, value FROM decisions WHERE name = ? AND epoch < ? ORDER BY epoch DESC LIMIT 1",
                (name, before_epoch),
            ).fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def charge(self, call: Call, limit_nusd: int | None) -> Charge:
        """Charge a call once, within the day's limit."""
        day = call.at_us // DAY_US
        cell = call.cell
        with self._step() as db:
            if db.execute("SELECT 1 FROM calls WHERE id = ?", (call.id,)).fetchone() is not None:
                return Charge.KNOWN
            if limit_nusd is not None and self._get_spent(db, day) + call.nusd > limit_nusd:
                return Charge.BROKE
            db.execute(
                "INSERT INTO calls (id, epoch, purpose, endpoint_id, task, challenge, nusd, at_us)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (call.id, call.epoch, call.purpose, cell.endpoint_id, cell.task, call.index, call.nusd, call.at_us),
            )
            _add_spent(db, day, call.nusd)
        return Charge.TAKEN

    def settle(self, call_id: str, nusd: int, note: bytes) -> None:
        """End a call."""
        with self._step() as db:
            row = db.execute("SELECT nusd, at_us FROM calls WHERE id = ? AND note IS NULL", (call_id,)).fetchone()
            if row is not None:
                db.execute("UPDATE calls SET nusd = ?, note = ? WHERE id = ?", (nusd, note, call_id))
                _add_spent(db, row[1] // DAY_US, nusd - row[0])

    def calls(self, epochs: Iterable[int], purposes: Iterable[Purpose]) -> list[Call]:
        """Calls in the order they were charged."""
        wanted = {str(purpose) for purpose in purposes}
        found: list[Call] = []
        with self._step() as db:
            for epoch in epochs:
                rows = db.execute(
                    "SELECT id, epoch, purpose, endpoint_id, task, challenge, nusd, at_us, note FROM calls"
                    " WHERE epoch = ? ORDER BY place",
                    (epoch,),
                )
                found += [
                    Call(i, e, Purpose(p), Cell(n, t), c, m, a, b) for i, e, p, n, t, c, m, a, b in rows if p in wanted
                ]
        return found

    def get_spent_nusd(self, at_us: int) -> int:
        """What a day cost."""
        with self._step() as db:
            return self._get_spent(db, at_us // DAY_US)

    def forget(self, before_epoch: int) -> None:
        """Let go of old epochs."""
        with self._step() as db:
            db.execute("DELETE FROM decisions WHERE epoch < ?", (before_epoch,))
            db.execute("DELETE FROM calls WHERE epoch < ?", (before_epoch,))

    def close(self) -> None:
        """Close the file and let others have it."""
        self._db.close()
        self._unlock()

    def _get_spent(self, db: sqlite3.Connection, day: int) -> int:
        row = db.execute("SELECT nusd FROM spent WHERE day = ?", (day,)).fetchone()
        return 0 if row is None else int(row[0])

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @contextmanager
    def _step(self, *, sure: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute(f"PRAGMA synchronous={'FULL' if sure else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalLost(f"{self._place} cannot be used as a journal: {error}.") from None


def _add_spent(db: sqlite3.Connection, day: int, nusd: int) -> None:
    db.execute("INSERT INTO spent VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET nusd = nusd + ?", (day, nusd, nusd))


def _take_lock(path: Path) -> int:
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalLost(f"{path} cannot be used as a journal: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise JournalBusy(
            f"{path} is in use by another process: one process runs a neuron; stop it, or name another journal."
        ) from None
    return lock
