"""flask clients secrets: several live secrets for a client, each with an end."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from issuer.admin import secrets
from issuer.admin.secrets import NewSecret
from issuer.cli import hearing
from issuer.cli.commands import Commands
from issuer.cli.console import REHEARSED, NotShown, check_shown, outcome, print_fields, print_json, print_table, say
from issuer.cli.exits import NOT_SHOWN, Exit, Refused
from issuer.cli.options import NAME, Duration, confirm, operator, options
from issuer.client_auth import takes_secrets
from issuer.runtime import Runtime
from issuer.secrets import Secret

_COLUMNS = ("secret_id", "kind", "created_at", "expires_at", "last_used_at")


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands("secrets", help="Several live secrets for a client.", first=runtime.refuse_other_schema)
    _add_add(commands, runtime)
    _add_list(commands, runtime)
    _add_revoke(commands, runtime)
    return commands


def _add_add(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("add")
    @click.argument("client_id", type=NAME)
    @click.option("--secret-stdin", is_flag=True, help="Import the secret from standard input.")
    @click.option("--expires-in", type=Duration(), help="The new secret ends after this time.")
    @click.option("--overlap", type=Duration(), help="The other secrets end after this time.")
    @options("realm", "json", "dry_run", "reason")
    def add(
        client_id: str, realm_path: str, as_json: bool, dry_run: bool, reason: str | None, secret_stdin: bool,
        expires_in: int | None, overlap: int | None,
    ) -> None:  # fmt: skip
        """One more secret; prints it, once."""
        imported = read_secret() if secret_stdin else None
        check_shown()
        runtime.prepare_change(dry_run)
        made = secrets.add(
            runtime.administration, realm_path, client_id, operator(reason),
            imported=imported, expires_in=expires_in, overlap=overlap, rehearse=dry_run,
        )  # fmt: skip
        assert made.stored is not None
        if not takes_secrets(made.client.auth_method):
            click.echo(
                f"Warning: {client_id} authenticates with {made.client.auth_method}, which has no use for a secret;"
                " see flask clients update --auth-method",
                err=True,
            )
        shown = {**shape(made.stored), **once(made, dry_run=dry_run)}
        with shown_once(made, realm_path):
            if as_json:
                print_json({**outcome(True, dry_run), **shown})
            else:
                print_fields(shown)
                if dry_run:
                    say(REHEARSED)


def _add_list(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("list")
    @click.argument("client_id", type=NAME)
    @options("realm", "json")
    def list_secrets(client_id: str, realm_path: str, as_json: bool) -> None:
        """The secrets of a client: id, kind and dates, never the secrets."""
        shown = [shape(secret) for secret in secrets.of_client(runtime.administration, realm_path, client_id)]
        if as_json:
            print_json(shown)
        else:
            print_table(shown, _COLUMNS, f"{client_id} has no secrets")


def _add_revoke(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("revoke")
    @click.argument("client_id", type=NAME)
    @click.argument("secret_id", type=NAME)
    @click.option("--keep-tokens", is_flag=True, help="The tokens it got go on to their expiry.")
    @options("realm", "json", "dry_run", "yes", "reason")
    def revoke(
        client_id: str, secret_id: str, keep_tokens: bool, realm_path: str, as_json: bool, dry_run: bool, yes: bool,
        reason: str | None,
    ) -> None:  # fmt: skip
        """Ends one secret at once, on every process within SNAPSHOT_REFRESH, and the tokens it got."""
        runtime.prepare_change(dry_run)
        if not dry_run:
            confirm(f"Revoke secret {secret_id} of {client_id}?", yes)
        secrets.revoke(
            runtime.administration, realm_path, client_id, secret_id, operator(reason),
            keep_tokens=keep_tokens, rehearse=dry_run,
        )  # fmt: skip
        said = f"secret {secret_id} of {client_id} is revoked" + ("; the tokens it got go on" if keep_tokens else "")
        hearing.print_cut_off(
            runtime, {"realm": realm_path, "client_id": client_id, "secret_id": secret_id},
            said, as_json, dry_run=dry_run, tokens=not keep_tokens,
        )  # fmt: skip


def read_secret(most: int = 4096) -> str:
    """A secret from standard input: one line of at most so many bytes, its line end taken off."""
    text = sys.stdin.buffer.read(most).decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")


def once(made: NewSecret, *, dry_run: bool) -> dict[str, Any]:
    """What is shown of a new secret this one time; an imported one is known to who imported it."""
    if dry_run or made.stored is None:
        return {}
    secret = {"client_secret": made.secret} if made.secret is not None else {}
    return {"secret_id": made.secret_id, **secret}


@contextmanager
def shown_once(made: NewSecret, realm_path: str) -> Iterator[None]:
    """Around the output that holds a new secret: one that could not be shown is lost, and that is said."""
    try:
        yield
    except NotShown as error:
        if made.secret is None:
            raise
        name, realm = made.client.client_id, "" if realm_path == "/" else f" --realm {realm_path}"
        raise Refused(
            NOT_SHOWN,
            f"a secret was made for {name} and could not be shown: {error}. Make another with"
            f" flask clients secrets add {name}{realm}, and end the lost one with"
            f" flask clients secrets revoke {name} {made.secret_id}{realm}",
            Exit.FINDINGS,
            client_id=name,
            secret_id=made.secret_id,
        ) from None


def shape(secret: Secret) -> dict[str, Any]:
    """A secret as --json shows it."""
    return {
        "secret_id": secret.secret_id,
        "kind": str(secret.kind),
        "created_at": secret.created_at,
        "expires_at": secret.expires_at,
        "last_used_at": secret.last_used_at,
    }
