"""What `flask run` does besides serving: whose port it is, what the base URL follows from, and what a start says."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import click
from flask.cli import FlaskGroup

from issuer.base_url import is_loopback
from issuer.cli.console import tell
from issuer.cli.exits import Exit, Refused
from issuer.cli.first_client import FIRST_CLIENT
from issuer.settings import DEFAULT_BASE_URL, Settings
from issuer.sources import FILE_NAME
from keys.files import write_private

_DEFAULT_PORTS = {"http": 80, "https": 443}


def flask_command() -> click.Context | None:
    """The command of Flask's that this process is. A server may be a program of click's too, and is none."""
    context = click.get_current_context(silent=True)
    return context if context is not None and isinstance(context.find_root().command, FlaskGroup) else None


def running() -> click.Context | None:
    """The command, where this process is `flask run`."""
    context = flask_command()
    return context if context is not None and context.command.name == "run" and context.parent is not None else None


def is_flask_run() -> bool:
    """Whether this process is `flask run`, which alone makes a first client."""
    return running() is not None


def served_at() -> str:
    """The base URL that follows from the options of `flask run`, where nobody says another."""
    context = running()
    if context is None:
        return DEFAULT_BASE_URL
    scheme = "https" if context.params.get("cert") else "http"
    port = context.params["port"]
    shown = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://127.0.0.1{shown}"


@contextmanager
def port_held() -> Iterator[None]:
    """Nothing is created or promised before the port is ours: it is held until just before the server takes it.

    Raises Refused with exit code 2 when somebody else has it.
    """
    context = running()
    # Under --debug the parent holds it already, and hands it to the child that serves.
    if context is None or _is_child() or context.params["host"].startswith("unix://"):
        yield
        return
    host, port = context.params["host"], context.params["port"]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        # As the server will, so that connections of an earlier one that linger are in nobody's way.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((host, port))
            held.listen()  # two sockets may be bound so; only one may listen
        except OSError as error:
            raise Refused("port_in_use", _port_message(host, port, error), Exit.USAGE) from None
        yield


def _port_message(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; nothing was created. Say another with --port N (make run PORT=N)"
    return f"cannot serve on {host} port {port}: {error.strerror}; nothing was created"


def remember_base_url(settings: Settings) -> None:
    """The first `flask run` on the embedded database writes its base URL down, so that later commands agree with it.

    Raises Refused with exit code 5 when another process does so at the same time for another address.
    """
    path = settings.instance_path / FILE_NAME
    if path.exists():
        return
    settings.instance_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"base_url = {json.dumps(settings.base_url)}\n"
    try:
        write_private(path, b"# The settings of this issuer; README.md lists them.\n" + line.encode())
    except FileExistsError:
        if not settings.base_url_given and line not in path.read_text():
            message = f"another process set {settings.instance_path} up at the same moment; start once more"
            raise Refused("lost_race", message, Exit.LOST_RACE) from None


def say(settings: Settings, *, unused_client: bool) -> None:
    """What a person should know of this start and would otherwise find out late.

    unused_client: the first client was made by an earlier start, and nobody has used its secret.
    """
    context = running()
    if context is None or _is_child():
        return
    base = urlsplit(settings.base_url)
    port = base.port or _DEFAULT_PORTS[base.scheme]
    if is_loopback(base.hostname or "") and port != context.params["port"]:
        click.echo(
            f"Warning: this serves port {context.params['port']}, while tokens and metadata say {settings.base_url}"
            f" (REALMINT_BASE_URL, or base_url in {settings.instance_path / FILE_NAME})",
            err=True,
        )
    if unused_client:
        tell(
            f"Nobody has used {FIRST_CLIENT} yet. Its secret was shown only once; if it is lost, another:\n"
            f"  flask clients secrets add {FIRST_CLIENT}"
        )


def _is_child() -> bool:
    """Whether this is the process that --debug starts anew after each edit; its parent has said everything."""
    return os.environ.get("WERKZEUG_RUN_MAIN") == "true"
