"""Alembic's entry: runs migrations on the connection and in the transaction of ``engines.schema``."""

from __future__ import annotations

from alembic import context

from providerrank.engines.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # SQLite can alter little in place; Alembic then copies the table.
    render_as_batch=True,
)
context.run_migrations()
