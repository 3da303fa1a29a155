"""Windows kept in a SQL database: a SQLite file by default, PostgreSQL beyond one machine.

SQLite runs in write-ahead mode: a save is one transaction, so a process killed at any instruction
leaves either all of it or none, and readers never wait for a writer. ``synchronous=NORMAL`` is
enough for that; only a power failure may cost the last saves, never the file's soundness.

A SQLite file that is damaged is set aside under another name, with a warning, and a new one takes
its place: what was learned is a convenience, answering requests is not. Nothing is deleted. A row
that can no longer be read is left where it is and skipped, with a warning.

A save must not hold up the data plane that shares its event loop: windows are encoded and sent
in batches, with a turn of the loop between them, inside the one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from providerrank.engines.errors import StoreUnavailableError
from providerrank.engines.schema import findings, process_schema, windows
from providerrank.rules.cells import Cell
from providerrank.rules.verified import Finding
from providerrank.rules.window import Window
from providerrank.wire.finding import MalformedFinding, decode_finding, encode_finding

logger = logging.getLogger("providerrank.store")

SAVE_BATCH = 32
"""Windows encoded and bound in one turn of the event loop: a few milliseconds of it, at 20 us a window and what
the driver's thread takes of the interpreter meanwhile."""

BUSY_S = 5.0
"""How long SQLite waits for another process's write; a save takes milliseconds, so more means it hangs."""

DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""SQLite's primary result codes for a file whose content is wrong, against a busy or missing one."""

_EVERYTHING = sa.select(windows.c.endpoint_id, windows.c.task, windows.c.record)

_RECORD = msgspec.json.Decoder(dict[str, object])

T = TypeVar("T")


class _DriverConnection(Protocol):
    """The part of a DB-API connection that setting it up needs."""

    isolation_level: str | None

    def cursor(self) -> _DriverCursor: ...

    def close(self) -> object: ...


class _DriverCursor(Protocol):
    def execute(self, sql: str) -> object: ...

    def close(self) -> object: ...


class SqlStore:
    """A ``WindowStore`` over SQLAlchemy Core; made by ``open_store`` or ``open_sqlite``."""

    def __init__(self, engine: AsyncEngine, place: str, path: Path | None) -> None:
        self._engine = engine
        self._place = place
        self._path = path

    async def load(self) -> list[tuple[Cell, Window]]:
        """Everything kept, in any order; rows that cannot be read are skipped and named in a warning."""
        return await self._guarded(self._load)

    async def save(self, kept: Sequence[tuple[Cell, Window]]) -> None:
        """Replace the kept window of each given cell, all or nothing."""
        if kept:
            await self._guarded(lambda: self._save(kept))

    async def load_findings(self) -> list[Finding]:
        """What validators have found; rows that cannot be read are skipped and counted in a warning."""
        return await self._guarded(self._load_findings)

    async def save_findings(self, kept: Sequence[Finding]) -> None:
        """Keep findings that are not older than what is kept, all or nothing."""
        if kept:
            await self._guarded(lambda: self._save_findings(kept))

    async def close(self) -> None:
        """Close every connection; SQLite folds its write-ahead log into the file."""
        await self._engine.dispose()

    async def open(self) -> None:
        """Reach the database and bring its tables to the current version."""
        await self._guarded(self._open)

    async def _open(self) -> None:
        async with self._engine.begin() as connection:
            if self._path is not None:
                verdict = (await connection.exec_driver_sql("PRAGMA quick_check(1)")).scalar()
                if verdict != "ok":
                    raise _DamagedError(str(verdict))
            await connection.run_sync(process_schema, self._place)

    async def _load(self) -> list[tuple[Cell, Window]]:
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_EVERYTHING)).all()
        found: list[tuple[Cell, Window]] = []
        unreadable: list[Cell] = []
        for endpoint_id, task, record in rows:
            cell = Cell(endpoint_id, task)
            try:
                found.append((cell, Window.from_record(_RECORD.decode(record))))
            except (ValueError, msgspec.DecodeError):
                unreadable.append(cell)
        if unreadable:
            logger.warning(
                "%s: %d of %d windows cannot be read and start afresh, the first is %s %s",
                self._place,
                len(unreadable),
                len(rows),
                unreadable[0].endpoint_id,
                unreadable[0].task,
            )
        return found

    async def _save(self, kept: Sequence[tuple[Cell, Window]]) -> None:
        upsert = _get_upsert(self._engine.dialect.name)
        async with self._engine.begin() as connection:
            for start in range(0, len(kept), SAVE_BATCH):
                rows = [
                    {
                        "endpoint_id": cell.endpoint_id,
                        "task": cell.task,
                        "record": msgspec.json.encode(window.to_record(), order="sorted").decode(),
                    }
                    for cell, window in kept[start : start + SAVE_BATCH]
                ]
                await connection.execute(upsert, rows)
                await asyncio.sleep(0)

    async def _load_findings(self) -> list[Finding]:
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sa.select(findings.c.record))).all()
        found: list[Finding] = []
        for (record,) in rows:
            try:
                found.append(decode_finding(record))
            except MalformedFinding as error:
                logger.warning("%s: a finding is skipped: %s", self._place, error)
        return found

    async def _save_findings(self, kept: Sequence[Finding]) -> None:
        rows = [
            {
                "endpoint_id": finding.cell.endpoint_id,
                "task": finding.cell.task,
                "validator": finding.validator,
                "epoch": finding.epoch,
                "record": encode_finding(finding).decode(),
            }
            for finding in kept
        ]
        async with self._engine.begin() as connection:
            await connection.execute(_get_findings_upsert(self._engine.dialect.name), rows)

    async def _guarded(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Run an operation; over a damaged SQLite file set that aside and run it once more."""
        try:
            return await self._translated(operation)
        except _DamagedError as damage:
            if self._path is None:
                raise StoreUnavailableError(self._place, str(damage)) from damage
            await self._engine.dispose()
            aside = process_set_aside(self._path)
            logger.warning("%s is damaged (%s): kept as %s, starting with an empty one", self._path, damage, aside)
        await self._translated(self._open)
        return await self._translated(operation)

    async def _translated(self, operation: Callable[[], Awaitable[T]]) -> T:
        try:
            return await operation()
        except (sa.exc.DBAPIError, sa.exc.TimeoutError, OSError) as error:
            original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            if isinstance(original, sqlite3.Error) and _get_primary_code(original) in DAMAGED:
                raise _DamagedError(str(original)) from error
            raise StoreUnavailableError(self._place, str(original)) from error


class _DamagedError(Exception):
    """The SQLite file's content is wrong."""


async def open_sqlite(path: Path) -> SqlStore:
    """Open or create a SQLite file as a store; its folder must exist.

    Raises ``NewerSchemaError`` or ``StoreUnavailableError``; a damaged file is set aside instead.
    """
    try:
        # Tried here first: the driver's thread for a connection that cannot be had outlives the attempt.
        sqlite3.connect(path).close()
    except sqlite3.Error as error:
        raise StoreUnavailableError(str(path), str(error)) from error
    url = sa.URL.create("sqlite+aiosqlite", database=str(path))
    # One connection, one thread: whoever saves while another does so waits here instead of for SQLite's lock.
    engine = create_async_engine(url, connect_args={"timeout": BUSY_S}, pool_size=1, max_overflow=0)
    sa.event.listen(engine.sync_engine, "connect", _process_connect)
    sa.event.listen(engine.sync_engine, "begin", _process_begin)
    return await _open(SqlStore(engine, str(path), path))


async def open_store(url: str) -> SqlStore:
    """Open the store a configuration names: ``sqlite:///file`` or ``postgresql://user@host/database``.

    Raises ``StoreUnavailableError`` for any other scheme, and what ``open_sqlite`` raises.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise StoreUnavailableError("[engines] store", "it is not a URL like postgresql://user@host/name") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database:
        return await open_sqlite(Path(parsed.database))
    if backend != "postgresql":
        raise StoreUnavailableError(
            parsed.render_as_string(), f"stores are sqlite:/// or postgresql:// URLs, not {backend}"
        )
    engine = create_async_engine(parsed.set(drivername="postgresql+asyncpg"), pool_pre_ping=True)
    # Rendered with the password hidden: this ends in messages.
    return await _open(SqlStore(engine, parsed.render_as_string(), None))


async def _open(store: SqlStore) -> SqlStore:
    try:
        await store.open()
    except BaseException:
        await store.close()
        raise
    return store


def process_set_aside(path: Path) -> Path:
    """Rename a SQLite file with its log to the first free ``.damaged-N`` name, so that tools can still open it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _get_upsert(dialect: str) -> sa.Insert:
    """Both dialects have the same clause, under two classes."""
    if dialect == "postgresql":
        # Imported here: megabytes that a gateway on SQLite never needs.
        from sqlalchemy.dialects import postgresql

        insert = postgresql.insert(windows)
        return insert.on_conflict_do_update(
            index_elements=["endpoint_id", "task"], set_={"record": insert.excluded.record}
        )
    lite = sqlite.insert(windows)
    return lite.on_conflict_do_update(index_elements=["endpoint_id", "task"], set_={"record": lite.excluded.record})


def _get_findings_upsert(dialect: str) -> sa.Insert:
    key = ["endpoint_id", "task", "validator"]
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        insert = postgresql.insert(findings)
        new = insert.excluded
        return insert.on_conflict_do_update(
            index_elements=key, set_={"epoch": new.epoch, "record": new.record}, where=findings.c.epoch <= new.epoch
        )
    lite = sqlite.insert(findings)
    newer = lite.excluded
    return lite.on_conflict_do_update(
        index_elements=key, set_={"epoch": newer.epoch, "record": newer.record}, where=findings.c.epoch <= newer.epoch
    )


def _get_primary_code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code: the low byte of the extended one."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _process_connect(connection: _DriverConnection, _record: object) -> None:
    # The driver's own transaction handling leaves table changes outside of transactions;
    # switched off here, and BEGIN sent by _process_begin instead.
    try:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()
    except BaseException:
        # A damaged file is noticed here first; the pool forgets such a connection without closing it.
        connection.close()
        raise


def _process_begin(connection: sa.Connection) -> None:
    # Immediate: two gateways on one file queue for the write lock here, instead of failing
    # half way when both have read and both want to write.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
