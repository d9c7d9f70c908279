"""flask clients: registering and changing clients."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import click

from issuer.admin import clients
from issuer.admin import health as client_health
from issuer.cli import client_certs, client_keys, client_secrets, client_trust, hearing
from issuer.cli.commands import Commands
from issuer.cli.console import AS_IT_WAS, REHEARSED, check_shown, outcome, print_fields, print_json, print_table, say
from issuer.cli.exits import Exit
from issuer.cli.options import NAME, Duration, confirm, operator, options
from issuer.cli.setting_options import given_settings, setting_options
from issuer.client_auth import of_use, takes_secrets
from issuer.clients import CLIENT_DEFAULTS, Client, ClientSettings
from issuer.realms import Realm
from issuer.runtime import Runtime
from issuer.setting import shape_of
from issuer.storage.engine import NameTaken

_COLUMNS = ("client_id", "enabled", "created_at", "last_used_at", "scopes")


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands("clients", help="Machines that authenticate.", first=runtime.refuse_other_schema)
    for add in (_add_create, _add_reading, _add_update, _add_switches, _add_delete, _add_health):
        add(commands, runtime)
    for credentials in (client_secrets, client_keys, client_certs, client_trust):
        commands.add_command(credentials.group(runtime))
    return commands


def _add_create(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("create")
    @click.argument("client_id", required=False, type=NAME)
    @setting_options(ClientSettings)
    @click.option("--secret-stdin", is_flag=True, help="Import the secret from standard input.")
    @click.option("--expires-in", type=Duration(), help="The secret ends after this time.")
    @options("realm", "json", "dry_run", "if_missing", "reason")
    def create(
        client_id: str | None, realm_path: str, as_json: bool, dry_run: bool, if_missing: bool, reason: str | None,
        secret_stdin: bool, expires_in: int | None, **said: Any,
    ) -> None:  # fmt: skip
        """A new client; prints its client_id and its client_secret, once.

        One whose --auth-method has no use for a secret has none, and gets its credentials with flask clients keys,
        certs or trust.
        """
        given = given_settings(ClientSettings, said)
        secret = takes_secrets(given.get("auth_method", CLIENT_DEFAULTS["auth_method"]))
        if not secret and (secret_stdin or expires_in is not None):
            raise click.UsageError(f"a client of {given['auth_method']} has no secret")
        imported = client_secrets.read_secret() if secret_stdin else None
        check_shown()
        runtime.prepare_change(dry_run, creates=True)
        try:
            made = clients.create(
                runtime.administration, realm_path, client_id, given, operator(reason),
                secret=secret, imported=imported, expires_in=expires_in, rehearse=dry_run,
            )  # fmt: skip
        except NameTaken:
            if not if_missing or client_id is None:
                raise
            _print_change(*clients.find(runtime.administration, realm_path, client_id), as_json, changed=False)
            return
        _warn_without_audience(made.realm, made.client)
        with client_secrets.shown_once(made, realm_path):
            once = client_secrets.once(made, dry_run=dry_run)
            _print_change(made.realm, made.client, as_json, dry_run=dry_run, more=once)


def _warn_without_audience(realm: Realm, client: Client) -> None:
    if clients.names_no_audience(realm, client):
        whom = "the client" if (client.token_format or realm.token_format) == "am" else "the issuer"
        click.echo(
            f"Warning: neither client nor realm names an audience; tokens are for {whom} itself",
            err=True,
        )


def _add_reading(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("list")
    @click.option("--unused-for", type=Duration(), help="Only clients not used for this long.")
    @options("realm", "json")
    def list_clients(realm_path: str, as_json: bool, unused_for: int | None) -> None:
        """The clients of a realm."""
        realm, found = clients.every(runtime.administration, realm_path, unused_for=unused_for)
        shown = [shape(realm, client) for client in found]
        if as_json:
            print_json(shown)
        else:
            print_table(shown, _COLUMNS, f"{realm.path} has no {'clients' if unused_for is None else 'such clients'}")

    @commands.command("show")
    @click.argument("client_id", type=NAME)
    @options("realm", "json")
    def show(client_id: str, realm_path: str, as_json: bool) -> None:
        """One client, without its secrets."""
        shown = shape(*clients.find(runtime.administration, realm_path, client_id))
        (print_json if as_json else print_fields)(shown)


def _add_update(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("update")
    @click.argument("client_id", type=NAME)
    @setting_options(ClientSettings)
    @options("realm", "json", "dry_run", "reason")
    def update(client_id: str, realm_path: str, as_json: bool, dry_run: bool, reason: str | None, **said: Any) -> None:
        """Changes what is named; a list is replaced, and "" empties it."""
        given = given_settings(ClientSettings, said)
        runtime.prepare_change(dry_run)
        realm, client, changed = clients.update(
            runtime.administration, realm_path, client_id, given, operator(reason), rehearse=dry_run
        )
        _print_change(realm, client, as_json, changed=changed, dry_run=dry_run)


def _add_switches(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("disable")
    @click.argument("client_id", type=NAME)
    @options("realm", "json", "dry_run", "reason")
    def disable(client_id: str, realm_path: str, as_json: bool, dry_run: bool, reason: str | None) -> None:
        """Refuses the client; its tokens are inactive at introspection from now on, and for good."""
        runtime.prepare_change(dry_run)
        realm, client, changed = clients.disable(
            runtime.administration, realm_path, client_id, operator(reason), rehearse=dry_run
        )
        with hearing.told(runtime, as_json, happened=changed and not dry_run) as more:
            _print_change(realm, client, as_json, changed=changed, dry_run=dry_run, more=more)

    @commands.command("enable")
    @click.argument("client_id", type=NAME)
    @options("realm", "json", "dry_run", "reason")
    def enable(client_id: str, realm_path: str, as_json: bool, dry_run: bool, reason: str | None) -> None:
        """Accepts the client again; never revives a token that was cut off."""
        runtime.prepare_change(dry_run)
        realm, client, changed = clients.enable(
            runtime.administration, realm_path, client_id, operator(reason), rehearse=dry_run
        )
        _print_change(realm, client, as_json, changed=changed, dry_run=dry_run)


def _add_delete(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("delete")
    @click.argument("client_id", type=NAME)
    @options("realm", "json", "dry_run", "yes", "reason")
    def delete(client_id: str, realm_path: str, as_json: bool, dry_run: bool, yes: bool, reason: str | None) -> None:
        """Ends a client for good; another of the same name never gets its tokens back."""
        runtime.prepare_change(dry_run)
        _, seen = clients.find(runtime.administration, realm_path, client_id)
        if not dry_run:
            confirm(f"Delete client {client_id} of {realm_path}?", yes)
        clients.delete(runtime.administration, realm_path, client_id, operator(reason), seen=seen, rehearse=dry_run)
        named = {"realm": realm_path, "client_id": client_id}
        hearing.print_cut_off(runtime, named, f"{client_id} of {realm_path} is deleted", as_json, dry_run=dry_run)


def _add_health(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("health")
    @options("realm", "json")
    @click.pass_context
    def health(context: click.Context, realm_path: str, as_json: bool) -> None:
        """Credentials that want attention: dead or expiring, never or long not used, over a year old; and clients with
        scopes that they never asked for, or without an audience. Exits 1 when there are any."""
        found = [asdict(finding) for finding in client_health.of_realm(runtime.administration, realm_path, of_use)]
        if as_json:
            print_json(found)
        else:
            print_table(found, ("client_id", "finding"), "nothing wants attention")
        context.exit(Exit.FINDINGS if found else Exit.DONE)


def shape(realm: Realm, client: Client) -> dict[str, Any]:
    """A client as --json shows it; more members may be added, none renamed."""
    settings = shape_of(client)
    return {
        "realm": realm.path,
        "client_id": client.client_id,
        "name": settings.pop("name"),  # beside the client_id, which it explains
        "enabled": client.enabled,
        **settings,
        "created_at": client.created_at,
        "last_used_at": client.last_used_at,
    }


def _print_change(
    realm: Realm, client: Client, as_json: bool, *, changed: bool = True, dry_run: bool = False,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:  # fmt: skip
    shown = {**shape(realm, client), **more}
    if as_json:
        print_json({**outcome(changed, dry_run), **shown})
        return
    print_fields(shown)
    if not changed:
        say(AS_IT_WAS)
    elif dry_run:
        say(REHEARSED)
