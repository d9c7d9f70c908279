"""Alembic's entry: runs the migrations on the connection that schema.py hands in."""

from alembic import context

from issuer.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
