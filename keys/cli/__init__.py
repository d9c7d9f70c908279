"""flask keys: the commands over signing keys. How to find and list realms is handed in by app.py."""

from collections.abc import Callable
from typing import Any

import click

from keys.cli import emergency, lifecycle, reading, transfer
from keys.cli.wiring import KeyRealm, Wiring
from keys.console import Commands

__all__ = ["KeyRealm", "Wiring", "group"]


def group(wiring: Wiring, translate: Callable[[Exception], Any]) -> click.Group:
    """The command group over `wiring`."""
    commands = Commands("keys", help="Signing keys and their rotation.", translate=translate, first=wiring.first)
    for part in (reading, lifecycle, emergency, transfer):
        part.add(commands, wiring)
    return commands
