"""flask keys: the commands over signing keys; each is one call into issuer/admin and an answer.

Files: lifecycle (generate to prune), emergency (revoke), transfer (import, export, rewrap), reading (list, show and
audit), doctor, answers (what they all say), means (what they all work with).
"""

import click

from issuer.cli.commands import Commands
from issuer.cli.keys import doctor, emergency, lifecycle, reading, transfer
from issuer.runtime import Runtime


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands("keys", help="Signing keys and their rotation.", first=runtime.refuse_other_schema)
    for part in (reading, doctor, lifecycle, emergency, transfer):
        part.add(commands, runtime)
    return commands
