"""flask keys revoke: a key that leaked is gone within a stated bound."""

import sys

import click

from issuer.admin import keys as admin
from issuer.admin.change import find_realm
from issuer.cli.commands import Commands
from issuer.cli.console import print_json, say, span
from issuer.cli.keys.answers import print_steps, shape
from issuer.cli.options import NAME, REASON, operator, options
from issuer.runtime import Runtime
from keys.change import Outcome
from keys.key import State
from keys.names import Names
from keys.plan import utc
from keys.policy import RotationPolicy


def add(commands: Commands, runtime: Runtime) -> None:
    """Adds the command."""

    @commands.command("revoke")
    @click.argument("kid", required=False, type=NAME)
    @options("realm", "json", "dry_run", "yes")
    @click.option("--reason", required=True, type=REASON, help="Why, for the audit.")
    @click.option("--all", "every", is_flag=True, help="Every key of the realm, when the store itself leaked.")
    @click.option("--standby", is_flag=True, help="Let the standby sign, even if not every verifier holds it yet.")
    def revoke(
        kid: str | None,
        realm_path: str,
        as_json: bool,
        dry_run: bool,
        yes: bool,
        reason: str,
        every: bool,
        standby: bool,
    ) -> None:
        """KID, or every key, leaves the JWKS at once; its private half is erased and its name stays blocked.

        The standby signs in its place if every verifier holds it by now, else the newest retiring key, which
        everybody holds. KID may be the start of its name.
        """
        if (kid is None) is not every:
            raise click.UsageError("say which KID, or --all")

        prepared = runtime.prepare_change(dry_run)
        actor = operator(reason)
        if kid is None:
            _confirm_all(runtime, realm_path, yes=yes or dry_run)
            done = admin.revoke_all(prepared, realm_path, actor, rehearse=dry_run)
        else:
            name = _confirm(runtime, realm_path, kid, yes=yes or dry_run)
            done = admin.revoke(prepared, realm_path, actor, f"={name}", standby=standby, rehearse=dry_run)
        _show(done, runtime, as_json)


def _confirm(runtime: Runtime, realm_path: str, kid: str, *, yes: bool) -> str:
    """The start of the name is typed once more: revoking the wrong key cannot be undone. The whole name."""
    with runtime.database.read() as connection:
        realm = find_realm(connection, realm_path)
        name = Names(connection, realm.id, realm.path).find(kid).kid
    if not yes:
        _ask(f"the first 6 characters of {name}", name[:6])
    return name


def _confirm_all(runtime: Runtime, realm_path: str, *, yes: bool) -> None:
    with runtime.database.read() as connection:
        find_realm(connection, realm_path)
    if not yes:
        _ask(f"the path of the realm {realm_path}", realm_path)


def _ask(what: str, expected: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Revoke for good? Say --yes where nobody can be asked.")
    if click.prompt(f"This cannot be undone. Type {what}") != expected:
        raise click.Abort


def _show(done: Outcome, runtime: Runtime, as_json: bool) -> None:
    policy = runtime.settings.policy
    with runtime.database.read() as connection:
        until = runtime.database.now(connection) + policy.exposure
    revoked = [step.kid for step in done.plan.steps if step.after is State.REVOKED]
    active = [step.kid for step in done.plan.steps if step.after is State.ACTIVE]
    if as_json:
        bound = {"exposure": policy.exposure, "exposed_until": until} if done.changed else {}
        print_json({**shape(done), "revoked": revoked, "active": active, **bound})
        return
    print_steps(shape(done), "it is revoked already")
    if done.changed and not done.rehearsed:
        say(_runbook(policy, until))


def _runbook(policy: RotationPolicy, until: int) -> str:
    quick, cut_off = span(policy.snapshot_refresh), span(policy.snapshot_max_age)
    return f"""
Every process drops it within {quick}; one that is cut off from the database stops signing within {cut_off}.
A verifier with a cached JWKS may accept forged tokens until {utc(until)} ({span(policy.exposure)}).
To shorten that: purge the JWKS from your CDN, restart verifiers that cache it for long, introspect where it matters.
The log lines token_issued with this kid name the clients that got tokens from it."""
