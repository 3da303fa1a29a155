"""The tables, their version, and how a database is brought to it.

Versions are Alembic revisions, numbered "0001" and up, kept in a table of our own name so that
a PostgreSQL database may be shared. Most starts find a new database or a current one, and neither needs
Alembic: a new one is created whole from ``metadata`` and stamped. Only an older one imports
Alembic and walks the migrations. That the two ways end in the same tables is a test.

Everything happens in one transaction, so a start killed half way leaves what was there before.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from providerrank.engines.errors import NewerSchemaError

SCHEMA_VERSION = "0002"
"""The newest revision under ``migrations/versions``."""

VERSION_TABLE = "providerrank_version"
MIGRATIONS = Path(__file__).parent / "migrations"

metadata = sa.MetaData()

windows = sa.Table(
    "windows",
    metadata,
    sa.Column("endpoint_id", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
)
"""One row per cell. ``record`` is JSON of integers and strings, as ``Window.to_record`` gives it:
text, so that an operator can read it with the database's own shell."""

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("endpoint_id", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, primary_key=True),
    sa.Column("validator", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)
"""What each validator has found of each cell, the newest. ``record`` is JSON, as ``wire.finding`` writes it."""

_version = sa.Table(
    VERSION_TABLE,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), primary_key=True),
)
"""The table Alembic would make; kept out of ``metadata`` as Alembic keeps it out of comparisons."""


def process_schema(connection: sa.Connection, place: str) -> None:
    """Create or upgrade the tables inside the caller's transaction.

    Raises ``NewerSchemaError`` when the database's version is not one this build knows.
    """
    found = get_version(connection)
    if found == SCHEMA_VERSION:
        return
    if found is None:
        metadata.create_all(connection)
        _version.create(connection, checkfirst=True)
        connection.execute(_version.insert().values(version_num=SCHEMA_VERSION))
        return
    if not found.isdigit() or int(found) > int(SCHEMA_VERSION):
        raise NewerSchemaError(place, found, SCHEMA_VERSION)
    process_migrations(connection)


def get_version(connection: sa.Connection) -> str | None:
    """Read the revision a database is at; None for one that is not ours yet."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(sa.select(_version.c.version_num)).scalar()
    return version


def process_migrations(connection: sa.Connection) -> None:
    """Walk Alembic's migrations to the newest revision, inside the caller's transaction."""
    # Imported here: 9 MB that a gateway with a current database never needs.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
