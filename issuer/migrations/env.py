"""Alembic's entry: runs the migrations on the connection that issuer/schema.py hands in."""

from alembic import context

import issuer.db  # noqa: F401 - its tables belong to the metadata
from keys.store import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
