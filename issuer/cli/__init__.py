"""The commands: flask realms, clients, keys and db. Each turns what is said into one call and prints the answer."""

import flask
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from issuer import bootstrap, log, provisioning, stores
from issuer.cli import clients, db, realms, run
from issuer.cli.refusals import schema_missing, translate
from issuer.db import SchemaMissing, record_change
from issuer.realms import Realm
from issuer.runtime import Runtime
from keys import cli as keys_cli
from keys.console import Exit, Refused
from keys.sealing import SealingError


def register(app: flask.Flask, runtime: Runtime) -> None:
    """Adds the command groups to the application."""
    app.cli.add_command(realms.group(runtime))
    app.cli.add_command(clients.group(runtime))
    app.cli.add_command(keys_cli.group(_keys_wiring(runtime), translate))
    app.cli.add_command(db.group(runtime))


def start(runtime: Runtime) -> None:
    """What `flask run` does before it serves. Ends the command when the database or its keys cannot be used."""
    try:
        with run.port_held():
            if runtime.settings.embedded:
                run.remember_base_url(runtime.settings)
            runtime.boot()
            unused = bootstrap.first_client_unused(runtime)
            if runtime.settings.embedded:
                bootstrap.first_client(runtime)
        run.say(runtime.settings, unused_client=unused)
    except SchemaMissing as error:
        raise schema_missing(runtime, error) from None
    except SealingError as error:
        raise Refused("wrong_kek", str(error), Exit.WRONG_KEK) from None
    except DBAPIError as error:
        raise Refused("store_unavailable", f"the database cannot be used: {error.orig}", Exit.STORE) from None
    except OSError as error:
        raise Refused("store_unavailable", f"a file cannot be used: {error}", Exit.STORE) from None


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
    )
