"""What every window store must do, over each of them, and what only a file can suffer."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from typing_extensions import override

from providerrank.engines import schema
from providerrank.engines.errors import NewerSchemaError, StoreUnavailableError
from providerrank.engines.schema import SCHEMA_VERSION, VERSION_TABLE, metadata, process_migrations
from providerrank.engines.store_memory import MemoryStore
from providerrank.engines.store_sql import open_sqlite, open_store
from providerrank.gateway.ports import Store, WindowStore
from providerrank.rules.cells import Cell
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.window import Record, Window
from tests.findings import make_finding

Reopen = Callable[[WindowStore], Awaitable[WindowStore]]

NOW_US = 1_700_000_000_000_000


def make_window(successes: int = 3, ttft_us: int = 250_000) -> Window:
    window = Window()
    for number in range(successes):
        window.observe(Observation("p/m", "chat", NOW_US + number, Outcome.SUCCESS, ttft_us=ttft_us, total_us=900_000))
    return window


def get_records(kept: list[tuple[Cell, Window]]) -> dict[Cell, object]:
    return {cell: window.to_record() for cell, window in kept}


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else await open_sqlite(tmp_path / "kept.db")
    yield opened
    await opened.close()


@pytest.fixture
def reopen(store: WindowStore, tmp_path: Path) -> Reopen:
    """Close the store and open what it kept, as a restart does; the memory twin is its own restart."""

    async def again(current: WindowStore) -> WindowStore:
        await current.close()
        return current if isinstance(current, MemoryStore) else await open_sqlite(tmp_path / "kept.db")

    return again


async def test_a_new_store_is_empty(store: WindowStore) -> None:
    assert await store.load() == []


async def test_what_is_saved_is_loaded_after_a_restart(store: WindowStore, reopen: Reopen) -> None:
    kept = [
        (Cell("fireworks/llama-3.3-70b", "chat"), make_window(3)),
        (Cell("fireworks/llama-3.3-70b", "tools"), make_window(5)),
        (Cell("dé/mødel@eu:fp8", "any 'task'; --"), make_window(1, ttft_us=3_600_000_000)),
        (Cell("empty/window", "chat"), Window()),
    ]
    await store.save(kept)
    again = await reopen(store)
    assert get_records(await again.load()) == get_records(kept)
    await again.close()


async def test_of_each_validator_the_newest_finding_is_kept(store: Store) -> None:
    cell, other = Cell("a/m", "chat"), Cell("b/m", "chat")
    assert await store.load_findings() == []
    await store.save_findings([])
    await store.save_findings([make_finding(cell, epoch=5), make_finding(other, epoch=5)])
    await store.save_findings([make_finding(cell, 0.9, epoch=6), make_finding(cell, validator="5Other", epoch=2)])
    await store.save_findings([make_finding(cell, 0.1, epoch=4), make_finding(other, 0.7, epoch=5)])
    kept = {(one.cell, one.validator): one for one in await store.load_findings()}
    assert kept == {
        (cell, "5Validator"): make_finding(cell, 0.9, epoch=6),
        (cell, "5Other"): make_finding(cell, validator="5Other", epoch=2),
        (other, "5Validator"): make_finding(other, 0.7, epoch=5),
    }


async def test_a_save_replaces_only_the_cells_it_names(store: WindowStore) -> None:
    first, second = Cell("a/m", "chat"), Cell("b/m", "chat")
    await store.save([(first, make_window(1)), (second, make_window(2))])
    await store.save([(second, make_window(9))])
    assert get_records(await store.load()) == {
        first: make_window(1).to_record(),
        second: make_window(9).to_record(),
    }


async def test_a_save_of_nothing_changes_nothing(store: WindowStore) -> None:
    await store.save([(Cell("a/m", "chat"), make_window())])
    await store.save([])
    assert len(await store.load()) == 1


async def test_what_is_kept_is_not_the_object_that_was_saved(store: WindowStore) -> None:
    window = make_window(1)
    await store.save([(Cell("a/m", "chat"), window)])
    before = window.to_record()
    window.observe(Observation("a/m", "chat", NOW_US + 9, Outcome.FAILURE))
    [(_, loaded)] = await store.load()
    assert loaded.to_record() == before
    loaded.observe(Observation("a/m", "chat", NOW_US + 9, Outcome.FAILURE))
    [(_, again)] = await store.load()
    assert again.to_record() == before


async def test_more_cells_than_one_batch(store: WindowStore) -> None:
    kept = [(Cell(f"p{number}/m", "chat"), make_window(number % 5)) for number in range(1000)]
    await store.save(kept)
    assert get_records(await store.load()) == get_records(kept)


class BrokenWindow(Window):
    """A window that cannot be written, to see what an interrupted save leaves."""

    @override
    def to_record(self) -> Record:
        raise ValueError("no record")


async def test_a_save_that_fails_half_way_leaves_what_was_there(store: WindowStore) -> None:
    kept = [(Cell(f"p{number}/m", "chat"), make_window(1)) for number in range(200)]
    await store.save(kept)
    worse = [(cell, make_window(2)) for cell, _ in kept]
    with pytest.raises(ValueError, match="no record"):
        await store.save([*worse, (Cell("broken/m", "chat"), BrokenWindow())])
    assert get_records(await store.load()) == get_records(kept)


async def test_saves_at_the_same_time_both_arrive(store: WindowStore) -> None:
    left = [(Cell(f"l{number}/m", "chat"), make_window(1)) for number in range(150)]
    right = [(Cell(f"r{number}/m", "chat"), make_window(2)) for number in range(150)]
    await asyncio.gather(store.save(left), store.save(right))
    assert get_records(await store.load()) == get_records(left + right)


# What only a file can suffer.


async def test_two_gateways_may_share_a_file(tmp_path: Path) -> None:
    one, other = await open_sqlite(tmp_path / "kept.db"), await open_sqlite(tmp_path / "kept.db")
    await asyncio.gather(
        *(one.save([(Cell(f"a{n}/m", "chat"), make_window(1))]) for n in range(10)),
        *(other.save([(Cell(f"b{n}/m", "chat"), make_window(1))]) for n in range(10)),
    )
    assert len(await one.load()) == 20
    await one.close()
    await other.close()


async def test_a_newer_schema_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    await (await open_sqlite(path)).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0099'")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(NewerSchemaError) as refusal:
        await open_sqlite(path)
    message = str(refusal.value)
    assert "0099" in message
    assert SCHEMA_VERSION in message
    assert "upgrade ProviderRank" in message
    assert "\n" not in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database, but long enough to have a header" * 100, b"\0" * 8192])
async def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    path = tmp_path / "kept.db"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        store = await open_sqlite(path)
    assert (tmp_path / "kept.db.damaged-1").read_bytes() == content
    assert "kept.db is damaged" in caplog.text
    assert "kept.db.damaged-1" in caplog.text
    await store.save([(Cell("a/m", "chat"), make_window())])
    assert len(await store.load()) == 1
    await store.close()


async def test_a_second_damaged_file_does_not_replace_the_first(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    for number in (1, 2):
        path.write_bytes(b"damage %d" % number * 200)
        await (await open_sqlite(path)).close()
        path.unlink()
    assert (tmp_path / "kept.db.damaged-1").read_bytes() == b"damage 1" * 200
    assert (tmp_path / "kept.db.damaged-2").read_bytes() == b"damage 2" * 200


async def test_damage_in_the_middle_is_found_at_opening(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "kept.db"
    store = await open_sqlite(path)
    await store.save([(Cell(f"p{number}/m", "chat"), make_window(3)) for number in range(500)])
    await store.close()
    content = bytearray(path.read_bytes())
    assert len(content) > 5 * 4096
    content[3 * 4096 : 4 * 4096] = random.Random(1).randbytes(4096)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        store = await open_sqlite(path)
    assert "is damaged" in caplog.text
    assert (tmp_path / "kept.db.damaged-1").read_bytes() == bytes(content)
    assert await store.load() == []
    await store.close()


UNREADABLE = ['{"no": "window"}', "null", "5", "[]", "", "not JSON", '"text"', '{"version": 99}']


async def test_rows_that_cannot_be_read_are_skipped_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "kept.db"
    store = await open_sqlite(path)
    await store.save([(Cell("good/m", "chat"), make_window())])
    with sqlite3.connect(path) as raw:
        rows = [(f"bad{number}/m", record) for number, record in enumerate(UNREADABLE)]
        raw.executemany("INSERT INTO windows VALUES (?, 'chat', ?)", rows)
    raw.close()
    with caplog.at_level(logging.WARNING):
        assert [cell.endpoint_id for cell, _ in await store.load()] == ["good/m"]
    assert f"{len(UNREADABLE)} of {len(UNREADABLE) + 1} windows cannot be read" in caplog.text
    assert "bad0/m chat" in caplog.text
    await store.close()
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM windows").fetchone() == (len(UNREADABLE) + 1,)
    raw.close()


async def test_a_place_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="unable to open database file") as refusal:
        await open_sqlite(tmp_path / "missing" / "kept.db")
    assert str(tmp_path / "missing" / "kept.db") in str(refusal.value)


async def test_a_url_names_the_store(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path / 'kept.db'}")
    await store.close()
    assert (tmp_path / "kept.db").exists()
    with pytest.raises(StoreUnavailableError, match="not mysql") as refusal:
        await open_store("mysql://user:secret@host/name")
    assert "secret" not in str(refusal.value)
    with pytest.raises(StoreUnavailableError, match="not a URL"):
        await open_store("just words")


def get_tables(connection: sa.Connection) -> dict[str, object]:
    seen = sa.inspect(connection)
    return {
        name: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in seen.get_columns(name)],
            seen.get_pk_constraint(name)["constrained_columns"],
            seen.get_indexes(name),
        )
        for name in seen.get_table_names()
    }


async def test_a_new_database_and_a_migrated_one_are_alike(tmp_path: Path) -> None:
    await (await open_sqlite(tmp_path / "new.db")).close()
    migrated = sa.create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with migrated.begin() as connection:
        process_migrations(connection)
        tables = get_tables(connection)
        assert connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() == SCHEMA_VERSION
    migrated.dispose()
    new = sa.create_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with new.begin() as connection:
        assert get_tables(connection) == tables
    new.dispose()
    assert set(tables) == {*metadata.tables, VERSION_TABLE}


async def test_an_older_database_is_migrated_when_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept.db"
    store = await open_sqlite(path)
    await store.save([(Cell("a/m", "chat"), make_window())])
    await store.close()
    # The release after this one, as far as this test is concerned.
    shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
    following = f"{int(SCHEMA_VERSION) + 1:04}"
    (tmp_path / "migrations" / "versions" / f"{following}_next.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision = '{following}'\n"
        f"down_revision = '{SCHEMA_VERSION}'\n"
        "def upgrade():\n    op.add_column('windows', sa.Column('note', sa.Text, server_default='new'))\n"
    )
    monkeypatch.setattr(schema, "SCHEMA_VERSION", following)
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    store = await open_sqlite(path)
    assert len(await store.load()) == 1
    await store.close()
    raw = sqlite3.connect(path)
    assert raw.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall() == [(following,)]
    assert raw.execute("SELECT note FROM windows").fetchall() == [("new",)]
    raw.close()


# Killed while saving: a real child process, and no chance for it to tidy up.

CHILD = Path(__file__).parent / "store_killed_child.py"
CHILD_CELLS = 400


async def read_generations(path: Path) -> set[int]:
    """The generation every kept cell carries, as its count of observations."""
    store = await open_sqlite(path)
    kept = await store.load()
    await store.close()
    if kept:
        assert len(kept) == CHILD_CELLS
    return {round(window.requests) for _, window in kept}


@pytest.mark.parametrize("attempt", range(6))
async def test_killed_at_any_moment_of_saving(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / "kept.db"
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), str(path), str(CHILD_CELLS), "loop", stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(attempt + 1):
        acknowledged = int(await child.stdout.readline())
    # Somewhere into the next save: whichever instruction that hits, the outcome must hold.
    await asyncio.sleep(random.Random(attempt).uniform(0.0, 0.03))
    os.kill(child.pid, signal.SIGKILL)
    rest = (await child.stdout.read()).split()
    await child.wait()
    acknowledged = int(rest[-1]) if rest else acknowledged
    [generation] = await read_generations(path)
    assert acknowledged <= generation <= acknowledged + 1


async def test_killed_between_the_last_row_and_the_commit(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), str(path), str(CHILD_CELLS), "hang", stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert int(await child.stdout.readline()) == 1
    assert (await child.stdout.readline()).strip() == b"written, not committed"
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    started = time.monotonic()
    assert await read_generations(path) == {1}
    # The dead child's lock must not make the restart wait for it.
    assert time.monotonic() - started < 5.0
