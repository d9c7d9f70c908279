"""flask realms: creating and changing realms."""

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import click

from issuer.admin import realms
from issuer.admin.refused import RealmNotFound
from issuer.cli import hearing
from issuer.cli.commands import Commands
from issuer.cli.console import AS_IT_WAS, REHEARSED, outcome, print_fields, print_json, print_table, say
from issuer.cli.options import PATH, confirm, operator, options
from issuer.cli.setting_options import given_settings, setting_options
from issuer.realms import Addresses, Realm, RealmSettings
from issuer.runtime import Runtime
from issuer.setting import shape_of
from issuer.storage.engine import NameTaken

_COLUMNS = ("realm", "enabled", "access_token_lifetime", "token_format", "created_at", "signing_algs")


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands(
        "realms",
        help="Isolated issuers, each with its own clients and keys.",
        first=runtime.refuse_other_schema,
    )
    for add in (_add_create, _add_reading, _add_update, _add_switches, _add_delete):
        add(commands, runtime)
    return commands


def _add_create(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("create")
    @click.argument("path", type=PATH)
    @setting_options(RealmSettings)
    @options("json", "dry_run", "if_missing", "reason")
    def create(path: str, as_json: bool, dry_run: bool, if_missing: bool, reason: str | None, **said: Any) -> None:
        """A new realm with an active key and a standby for each algorithm. `/` is the root realm."""
        given = given_settings(RealmSettings, said)
        realms.check_given(given, runtime.settings.policy)
        runtime.prepare_change(dry_run, creates=True, root_realm=path != "/")
        try:
            realm = realms.create(runtime.administration, path, given, operator(reason), rehearse=dry_run)
        except NameTaken:
            if not if_missing:
                raise
            # One that differs by case is another: there is none at this path.
            with suppress(RealmNotFound):
                _print_change(runtime, realms.find(runtime.administration, path), as_json, changed=False)
                return
            raise
        _print_change(runtime, realm, as_json, dry_run=dry_run)


def _add_reading(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("list")
    @options("json")
    def list_realms(as_json: bool) -> None:
        """Every realm."""
        found, spoilt = realms.every(runtime.administration)
        for why in spoilt.values():
            click.echo(f"{why}", err=True)
        shown = [shape(runtime, realm) for realm in found]
        if as_json:
            print_json(shown)
        else:
            print_table(shown, _COLUMNS, "there are no realms")

    @commands.command("show")
    @click.argument("path", type=PATH, default="/")
    @options("json")
    def show(path: str, as_json: bool) -> None:
        """One realm."""
        shown = shape(runtime, realms.find(runtime.administration, path))
        (print_json if as_json else print_fields)(shown)


def _add_update(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("update")
    @click.argument("path", type=PATH, default="/")
    @setting_options(RealmSettings)
    @options("json", "dry_run", "reason")
    def update(path: str, as_json: bool, dry_run: bool, reason: str | None, **said: Any) -> None:
        """Changes what is named; a list is replaced, and "" empties it.

        A new algorithm's key is published at once and signs after the next `flask keys rotate --alg`.
        """
        given = given_settings(RealmSettings, said)
        runtime.prepare_change(dry_run)
        realm, changed = realms.update(runtime.administration, path, given, operator(reason), rehearse=dry_run)
        _print_change(runtime, realm, as_json, changed=changed, dry_run=dry_run)


def _add_switches(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("disable")
    @click.argument("path", type=PATH)
    @options("json", "dry_run", "reason")
    def disable(path: str, as_json: bool, dry_run: bool, reason: str | None) -> None:
        """Refuses tokens, and ends every one it issued for good; keys and metadata are served on."""
        runtime.prepare_change(dry_run)
        realm, changed = realms.disable(runtime.administration, path, operator(reason), rehearse=dry_run)
        with hearing.told(runtime, as_json, happened=changed and not dry_run) as more:
            _print_change(runtime, realm, as_json, changed=changed, dry_run=dry_run, more=more)

    @commands.command("enable")
    @click.argument("path", type=PATH)
    @options("json", "dry_run", "reason")
    def enable(path: str, as_json: bool, dry_run: bool, reason: str | None) -> None:
        """Issues tokens again; never revives one that was cut off."""
        runtime.prepare_change(dry_run)
        realm, changed = realms.enable(runtime.administration, path, operator(reason), rehearse=dry_run)
        _print_change(runtime, realm, as_json, changed=changed, dry_run=dry_run)


def _add_delete(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("delete")
    @click.argument("path", type=PATH)
    @options("json", "dry_run", "yes", "reason")
    def delete(path: str, as_json: bool, dry_run: bool, yes: bool, reason: str | None) -> None:
        """Ends a realm with its clients and keys for good. One with realms below it is refused."""
        runtime.prepare_change(dry_run)
        seen = realms.find_empty(runtime.administration, path)
        if not dry_run:
            confirm(f"Delete realm {path} with its clients and keys?", yes)
        realms.delete(runtime.administration, path, operator(reason), seen=seen, rehearse=dry_run)
        hearing.print_cut_off(runtime, {"realm": path}, f"{path} is deleted", as_json, dry_run=dry_run)


def shape(runtime: Runtime, realm: Realm) -> dict[str, Any]:
    """A realm as --json shows it; more members may be added, none renamed."""
    issuer = Addresses(runtime.settings.base_url, realm.path).issuer
    settings = shape_of(realm)
    settings["default_audience"] = settings["default_audience"] or [issuer]
    return {
        "realm": realm.path, "issuer": issuer, "enabled": realm.enabled, **settings, "created_at": realm.created_at,
    }  # fmt: skip


def _print_change(
    runtime: Runtime, realm: Realm, as_json: bool, *, changed: bool = True, dry_run: bool = False,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:  # fmt: skip
    if as_json:
        print_json({**outcome(changed, dry_run), **shape(runtime, realm), **more})
        return
    print_fields(shape(runtime, realm))
    if not changed:
        say(AS_IT_WAS)
    elif dry_run:
        say(REHEARSED)
