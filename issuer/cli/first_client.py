"""The client that the first `flask run` makes, to try things with."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from issuer import log
from issuer.admin import clients
from issuer.admin.first_start import any_client, first_start, one_at_a_time
from issuer.admin.refused import NotFound
from issuer.admin.secrets import NewSecret
from issuer.cli.console import is_terminal, tell
from issuer.realms import Addresses
from issuer.runtime import Runtime
from issuer.storage.engine import NameTaken
from keys.files import write_private

FIRST_CLIENT = "myClient"
FIRST_SCOPE = "write"


def first_client(runtime: Runtime) -> None:
    """On an embedded database that never had a client: one, and a command for a token that works as pasted.

    Where the output is no terminal, and so may be kept, the secret goes to a file of the owner's instead.
    """
    folder = runtime.settings.instance_path
    path = None if is_terminal(sys.stdout) else folder / "first-client.json"
    may: dict[str, Any] = {"scopes": [FIRST_SCOPE]}
    with one_at_a_time(folder):
        if any_client(runtime.administration):
            return
        try:
            made = clients.create(
                runtime.administration, "/", FIRST_CLIENT, may, first_start(),
                hand_over=lambda made: _write_secret(path, made) if path else None,
            )  # fmt: skip
        except NameTaken:  # a command was first, which takes no lock of this folder
            return
    assert made.secret is not None  # generated, not imported
    secret = made.secret
    if path is not None:
        log.event("first_client", client_id=FIRST_CLIENT, secret_in=str(path))
        tell(f"The secret of the first client is in {path}")
        reader = "import json, sys; print(json.load(open(sys.argv[1]))['client_secret'])"
        secret = f'$(python3 -c "{reader}" {shlex.quote(str(path))})'
    tell(_try_it(Addresses(runtime.settings.base_url, "/").endpoint("/access_token"), secret))


def first_client_unused(runtime: Runtime) -> bool:
    """Whether an earlier start made the first client, and nobody has used it since: its secret may be lost."""
    try:
        _, client = clients.find(runtime.administration, "/", FIRST_CLIENT)
    except NotFound:
        return False
    return client.last_used_at is None


def _write_secret(path: Path, made: NewSecret) -> None:
    path.unlink(missing_ok=True)
    content = {"client_id": made.client.client_id, "client_secret": made.secret}
    write_private(path, json.dumps(content).encode() + b"\n")


def _try_it(token_endpoint: str, secret: str) -> str:
    return "\n".join((
        "",
        "Realmint is ready. A first token:",
        "",
        "  curl --request POST \\",
        '    --data "grant_type=client_credentials" \\',
        f'    --data "client_id={FIRST_CLIENT}" \\',
        f'    --data "client_secret={secret}" \\',
        f'    --data "scope={FIRST_SCOPE}" \\',
        f"    {token_endpoint}",
        "",
    ))  # fmt: skip
