"""`python serve.py`: the production server, granian with every limit in issuer/serving/limits.py.

Serves the issuer on --bind from --workers processes. SIGTERM finishes what is in flight and ends; SIGHUP replaces the
workers one by one. Exits with 2 when the settings or the address cannot be used, 6 for a missing or newer schema, 7 for
a wrong key-encryption key, 1 when workers end as soon as they are started.
"""

import importlib
from dataclasses import replace

import click
import flask

from issuer.cli import check_before_serving
from issuer.serving.limits import Limits, TooFewDescriptors, within_descriptors
from issuer.serving.process import Server, bound


@click.command(help=__doc__)
@click.option("--bind", default="127.0.0.1:5000", show_default=True, help="ADDRESS:PORT")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, envvar="WEB_CONCURRENCY", show_default=True,
    help="processes; or WEB_CONCURRENCY",
)  # fmt: skip
@click.option("--app", "factory", default="app:create_app", show_default=True, help="MODULE:FACTORY")
def main(bind: str, workers: int, factory: str) -> None:
    host, _, port = bind.rpartition(":")
    if not host or not (port.isdecimal() and 0 < int(port[:6]) < 65536):  # an empty host would be every address
        raise click.UsageError(f"--bind takes ADDRESS:PORT, not {bind}")
    module, _, name = factory.partition(":")

    def load() -> flask.Flask:
        made: flask.Flask = getattr(importlib.import_module(module), name)()
        return made

    # Made anew and let go of again: what a worker serves is made in the worker.
    check_before_serving(load().extensions["realmint"])
    try:
        limits = Limits()
        limits = replace(limits, connections=within_descriptors(limits.connections))
        listener = bound(host.strip("[]"), int(port), limits)
    except TooFewDescriptors as few:
        raise click.UsageError(str(few)) from None
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.UsageError(
            f"cannot serve on {bind}: {reason}; say another with --bind, make serve PORT=N"
        ) from None
    Server(listener, load, workers, limits).run()


if __name__ == "__main__":
    main()
