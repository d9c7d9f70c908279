"""The commands, a file for each group: realms, clients, keys, tokens, db; and run, for `flask run`. client_secrets,
client_keys, client_certs, client_trust: of clients (credential_commands: what these have alike). revoking,
inspecting: of tokens.

Each turns what is said into one call of issuer/admin and prints the answer. setting_options, options, since, files:
what can be said. presenting: as whom the issuer is asked. commands, exits, refusals: how one ends. console: what is
printed. upkeep: prune and after-restore, of db. hearing: when who hears of a cut-off. first_client: what the first
start makes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import flask
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from issuer import log
from issuer.cli import clients, db, first_client, keys, realms, run, tokens
from issuer.cli.exits import Refused
from issuer.cli.refusals import refusal
from issuer.runtime import Runtime
from issuer.storage.postgresql import COMMAND_SECONDS


def register(app: flask.Flask, runtime: Runtime) -> None:
    """Adds the command groups to the application."""
    if run.flask_command() is not None and not run.is_flask_run():
        runtime.database.read_seconds = COMMAND_SECONDS  # nobody's request waits
    app.cli.add_command(realms.group(runtime))
    app.cli.add_command(clients.group(runtime))
    app.cli.add_command(keys.group(runtime))
    app.cli.add_command(tokens.group(runtime))
    app.cli.add_command(db.group(runtime))


def start(runtime: Runtime) -> None:
    """What `flask run` does before it serves. Ends the command when the database or its keys cannot be used."""
    with refusing():
        with run.port_held():
            if runtime.settings.embedded:
                run.remember_base_url(runtime.settings)
            runtime.boot()
            unused = first_client.first_client_unused(runtime)
            if runtime.settings.embedded:
                first_client.first_client(runtime)
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
        refused = refusal(error)
        if refused is None:
            raise
        raise refused from None
