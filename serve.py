"""`python serve.py`: the production server, gunicorn with gunicorn.conf.py and every limit in issuer/serving/limits.py.

Serves the issuer on --bind from --workers processes, over TLS where it is given --certfile. SIGTERM finishes what is in
flight and ends; SIGHUP replaces the workers one by one. Exits with 2 when the settings, the address or a certificate
cannot be used, 6 for a missing or newer schema, 7 for a wrong key-encryption key, 3 when workers end as soon as they
are started.
"""

import importlib
import socket
from pathlib import Path
from typing import Any

import click
from gunicorn.app.base import Application

from issuer.serving.limits import Limits, TooFewDescriptors, within_descriptors
from issuer.serving.tls import TLS, TLSUnusable


class Server(Application):
    """gunicorn over a socket that is bound already. No setting follows from the environment or the command line."""

    def __init__(self, listener: socket.socket, workers: int, factory: str, tls: TLS) -> None:
        self._bind = f"fd://{listener.detach()}"  # gunicorn's to close, and the same after a reload
        self._workers = workers
        self._factory = factory
        self._tls = tls
        super().__init__()

    def load_config(self) -> None:
        self.load_config_from_file(str(Path(__file__).with_name("gunicorn.conf.py")))
        self.cfg.set("bind", self._bind)
        self.cfg.set("workers", self._workers)
        for name, value in vars(self._tls).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        module, _, name = self._factory.partition(":")
        return getattr(importlib.import_module(module), name)()


@click.command(help=__doc__)
@click.option("--bind", default="127.0.0.1:5000", show_default=True, help="ADDRESS:PORT")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, envvar="WEB_CONCURRENCY", show_default=True,
    help="processes; or WEB_CONCURRENCY",
)  # fmt: skip
@click.option("--certfile", help="PEM: the server's certificate, and those that lead to its authority")
@click.option("--keyfile", help="PEM: its private key, where it is not in --certfile")
@click.option("--ca-certs", help="PEM: authorities of clients' certificates")
@click.option(
    "--cert-reqs", type=click.IntRange(0, 2), default=0, show_default=True,
    help="whether clients show a certificate: 0 never, 1 if they like, 2 always",
)  # fmt: skip
@click.option("--app", "factory", default="app:create_app", show_default=True, help="MODULE:FACTORY")
def main(bind: str, workers: int, factory: str, **tls: Any) -> None:
    host, _, port = bind.rpartition(":")
    if not host or not (port.isdecimal() and 0 < int(port[:6]) < 65536):  # an empty host would be every address
        raise click.UsageError(f"--bind takes ADDRESS:PORT, not {bind}")
    try:
        given = TLS(**tls)
        given.check()
        limits = Limits()
        within_descriptors(limits.connections)
        listener = _bound(host.strip("[]"), int(port), limits.backlog)
    except (TLSUnusable, TooFewDescriptors) as unusable:
        raise click.UsageError(str(unusable)) from None
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.UsageError(
            f"cannot serve on {bind}: {reason}; say another with --bind, make serve PORT=N"
        ) from None
    Server(listener, workers, factory, given).run()


def _bound(host: str, port: int, backlog: int) -> socket.socket:
    """The socket that all workers share. Raises OSError when the address is somebody's."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(backlog)  # two may be bound so, and only one listen
    except OSError:
        listener.close()
        raise
    return listener


if __name__ == "__main__":
    main()
