"""create_app(): reads Settings, wires everything, nothing else; `flask run` finds it."""

import os
import sys
from pathlib import Path

import click
import flask

from issuer import cli, endpoints, log
from issuer.cli import run
from issuer.doors.flask import open_door
from issuer.doors.front import stand_in_front
from issuer.runtime import Runtime
from issuer.settings import Settings, SettingsError
from realmint.protocol import Clock, Monotonic, system_clock
from realmint.protocol import monotonic as system_monotonic


def create_app(
    settings: Settings | None = None,
    instance_path: str | None = None,
    clock: Clock = system_clock,
    monotonic: Monotonic = system_monotonic,
) -> flask.Flask:
    """The issuer as a WSGI application. Writes nothing and opens nothing until the first request or command.

    Settings come from the environment unless given. Exits with status 2 when they cannot be used. Under
    `flask run`, and only there, the embedded database gets what it misses, a first client included.
    """
    app = flask.Flask("app", instance_path=instance_path, static_folder=None)
    if settings is None:
        try:
            settings = Settings.from_environ(os.environ, Path(app.instance_path), run.served_at())
        except SettingsError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
    log.configure(settings.log_level, settings.log_format)
    runtime = Runtime(settings, clock, monotonic)
    app.extensions["realmint"] = runtime
    served = endpoints.services(
        runtime.registry,
        runtime.database,
        settings.policy,
        clock,
        runtime.happened.tokens,
        runtime.revocations,
        lambda: runtime.sealer().derived_secret,
    )
    open_door(app, runtime, served)
    stand_in_front(app, runtime, served)
    cli.register(app, runtime)
    if run.is_flask_run():
        cli.start(runtime)
    return app
