"""flask keys revoke: a key that leaked is gone within a stated bound."""

import sys

import click

from keys import rotation, store
from keys.cli.answers import print_steps
from keys.cli.wiring import Ask, Fresh, Outcome, Seen, Wiring, carry_out, one_realm, pick
from keys.console import NAME, REASON, Commands, options, print_json, say, span, when
from keys.key import State
from keys.plan import Plan
from keys.policy import RotationPolicy


def add(commands: Commands, wiring: Wiring) -> None:
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

        def decide(seen: Seen, fresh: Fresh) -> Plan:
            if every:
                return rotation.revoke_all(seen, fresh, reason)
            return rotation.revoke(seen, seen.find(meant), fresh, reason, standby=standby)

        wiring.prepare(dry_run)
        meant = _confirm(wiring, realm_path, kid, yes=yes or dry_run)
        ask = Ask(reason, clock_matters=False, dry_run=dry_run)
        _show(carry_out(wiring, one_realm(wiring, realm_path), decide, ask), wiring, as_json)


def _confirm(wiring: Wiring, realm_path: str, kid: str | None, *, yes: bool) -> str:
    """The start of the name is typed once more: revoking the wrong key cannot be undone. The whole name, as `=NAME`."""
    with wiring.database.read() as connection:
        realm = wiring.find_realm(connection, realm_path)
        names = [pick(store.history(connection, realm.id), kid, realm_path).kid] if kid else [realm.path]
    if yes:
        return f"={names[0]}"
    if not sys.stdin.isatty():
        raise click.UsageError("Revoke for good? Say --yes where nobody can be asked.")
    asked = f"Type the first 6 characters of {names[0]}" if kid else f"Type the path of the realm {names[0]}"
    typed = click.prompt(f"This cannot be undone. {asked}")
    if typed != (names[0][:6] if kid else names[0]):
        raise click.Abort
    return f"={names[0]}"


def _show(outcome: Outcome, wiring: Wiring, as_json: bool) -> None:
    policy = wiring.policy
    with wiring.database.read() as connection:
        until = wiring.database.now(connection) + policy.exposure
    revoked = [step.kid for step in outcome.plan.steps if step.after is State.REVOKED]
    active = [step.kid for step in outcome.plan.steps if step.after is State.ACTIVE]
    if as_json:
        bound = {"exposure": policy.exposure, "exposed_until": until} if outcome.changed else {}
        print_json({**outcome.shape(), "revoked": revoked, "active": active, **bound})
        return
    print_steps(outcome.shape(), "it is revoked already")
    if outcome.changed and not outcome.dry_run:
        say(_runbook(policy, until))


def _runbook(policy: RotationPolicy, until: int) -> str:
    quick, cut_off = span(policy.snapshot_refresh), span(policy.snapshot_max_age)
    return f"""
Every process drops it within {quick}; one that is cut off from the database stops signing within {cut_off}.
A verifier with a cached JWKS may accept forged tokens until {when(until)} ({span(policy.exposure)}).
To shorten that: purge the JWKS from your CDN, restart verifiers that cache it for long, introspect where it matters.
The log lines token_issued with this kid name the clients that got tokens from it."""
