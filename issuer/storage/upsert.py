"""Insert, or update what is there already: the one statement that SQLAlchemy leaves to each engine, which both have."""

from importlib import import_module
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    Insert = postgresql.Insert | sqlite.Insert


def insert_into(connection: Connection, table: Table) -> "Insert":
    """An insert that has on_conflict_do_update()."""
    # Of the engine that is used, and was loaded with it: the other one takes a while to load.
    made: Insert = import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)
    return made
