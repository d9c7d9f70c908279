"""The commands, a file for each group. Each turns what is said into one call and prints the answer."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import flask
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from issuer import bootstrap, log, provisioning, stores
from issuer.cli import clients, db, realms, run, tokens
from issuer.cli.refusals import translate
from issuer.db import record_change
from issuer.postgresql import COMMAND_SECONDS
from issuer.realms import Realm
from issuer.runtime import Runtime
from keys import cli as keys_cli
from keys.console import Refused, refusal


def register(app: flask.Flask, runtime: Runtime) -> None:
    """Adds the command groups to the application."""
    if click.get_current_context(silent=True) is not None and not run.is_flask_run():
        runtime.database.read_seconds = COMMAND_SECONDS  # nobody's request waits
    app.cli.add_command(realms.group(runtime))
    app.cli.add_command(clients.group(runtime))
    app.cli.add_command(keys_cli.group(_keys_wiring(runtime), translate))
    app.cli.add_command(tokens.group(runtime))
    app.cli.add_command(db.group(runtime))


def start(runtime: Runtime) -> None:
    """What `flask run` does before it serves. Ends the command when the database or its keys cannot be used."""
    with refusing():
        with run.port_held():
            if runtime.settings.embedded:
                run.remember_base_url(runtime.settings)
            runtime.boot()
            unused = bootstrap.first_client_unused(runtime)
            if runtime.settings.embedded:
                bootstrap.first_client(runtime)
        run.say(runtime.settings, unused_client=unused)


def check_before_serving(runtime: Runtime) -> None:
    """What a production server does before it makes a worker. Raises Refused when no worker could ever serve.

    A database that is merely out of reach is no reason: the server starts, and is ready when it comes back. What is
    missing on the embedded database is made by the first request.
    """
    with refusing():
        try:
            runtime.check()
        except (DBAPIError, PoolTimeout) as error:
            log.event("store_unreachable", level="WARNING", reason=type(error).__name__)
        finally:
            runtime.close()


@contextmanager
def refusing() -> Iterator[None]:
    """What ends a start, with the sentence and the exit code of the commands."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        refused = translate(error) or refusal(error)
        if refused is None:
            raise
        raise refused from None


def _keys_wiring(runtime: Runtime) -> keys_cli.Wiring:
    def shape(realm: Realm) -> keys_cli.KeyRealm:
        return keys_cli.KeyRealm(
            realm.id, realm.path, realm.signing_algs, realm.rsa_bits, realm.max_access_token_lifetime
        )

    def find(connection: Connection, path: str) -> keys_cli.KeyRealm:
        return shape(provisioning.find_realm(connection, path))

    return keys_cli.Wiring(
        database=runtime.database,
        sealer=runtime.sealer,
        policy=runtime.settings.rotation,
        clock=runtime.clock,
        find_realm=find,
        list_realms=lambda connection: [shape(realm) for realm in stores.list_realms(connection)],
        record_change=record_change,
        report=lambda name, fields: log.event(name, **fields),
        prepare=runtime.prepare_change,
        private_files=runtime.private_files,
        first=runtime.refuse_other_schema,
        looked_at=lambda: f"database  {runtime.database.shown()}\nbase URL  {runtime.settings.base_url}",
    )
