"""`list` and `revoke` of credentials that are no secrets, which keys, certificates and rules of trust have alike."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import click

from issuer.admin import credentials
from issuer.admin.credentials import Kinds
from issuer.cli import hearing
from issuer.cli.console import print_json, print_table
from issuer.cli.options import NAME, confirm, operator, options
from issuer.credentials import Credential
from issuer.runtime import Runtime

Row = dict[str, Any]


class Shown(NamedTuple):
    """How credentials of some kinds are shown. what: what people call one; none: said of a client without.

    row: one as --json shows it. for_people: the same for a table. columns: of that table.
    """

    kinds: Kinds
    what: str
    none: str
    columns: tuple[str, ...]
    row: Callable[[Credential], Row]
    for_people: Callable[[Row], Mapping[str, Any]] = dict


def add_list(commands: click.Group, runtime: Runtime, shown: Shown, said: str) -> None:
    """The command, whose help is `said`."""

    @commands.command("list", help=said)
    @click.argument("client_id", type=NAME)
    @options("realm", "json")
    def list_credentials(client_id: str, realm_path: str, as_json: bool) -> None:
        _, found = credentials.of_client(runtime.administration, realm_path, client_id, shown.kinds)
        rows = [shown.row(each) for each in found]
        if as_json:
            print_json(rows)
        else:
            print_table([shown.for_people(row) for row in rows], shown.columns, f"{client_id} {shown.none}")


def add_revoke(commands: click.Group, runtime: Runtime, shown: Shown, said: str, metavar: str = "ID") -> None:
    """The command, whose help is `said`; metavar: what one is named by."""

    @commands.command("revoke", help=said)
    @click.argument("client_id", type=NAME)
    @click.argument("name", metavar=metavar, type=NAME)
    @click.option("--keep-tokens", is_flag=True, help="The tokens it got go on to their expiry.")
    @options("realm", "json", "dry_run", "yes", "reason")
    def revoke(
        client_id: str, name: str, keep_tokens: bool, realm_path: str, as_json: bool, dry_run: bool, yes: bool,
        reason: str | None,
    ) -> None:  # fmt: skip
        runtime.prepare_change(dry_run)
        if not dry_run:
            confirm(f"Revoke {shown.what} {name} of {client_id}?", yes)
        ended = credentials.revoke(
            runtime.administration, realm_path, client_id, name, shown.kinds, operator(reason),
            keep_tokens=keep_tokens, rehearse=dry_run,
        )  # fmt: skip
        told = f"{shown.what} {name} of {client_id} is revoked" + ("; the tokens it got go on" if keep_tokens else "")
        named = {"realm": realm_path, "client_id": client_id, "credential_id": ended.credential_id}
        hearing.print_cut_off(runtime, named, told, as_json, dry_run=dry_run, tokens=not keep_tokens)


def dates(credential: Credential) -> Row:
    """When it was made, ends and was last used."""
    names = ("created_at", "expires_at", "last_used_at")
    return {name: getattr(credential, name) for name in names}
