"""flask keys generate, publish, rotate, activate, retire, hold, unhold and prune."""

import secrets
from collections.abc import Callable
from typing import Any

import click
from sqlalchemy import Connection

from keys import rotation
from keys.cli.answers import over_realms, show
from keys.cli.wiring import Ask, Fresh, KeyRealm, Outcome, Seen, Wiring, carry_out, check_force, one_realm
from keys.console import NAME, Commands, Duration, options, when
from keys.key import ALGORITHMS, State
from keys.plan import NOTHING, GateNotMet, Plan

_ALGS = click.Choice(list(ALGORITHMS))


def add(commands: Commands, wiring: Wiring) -> None:
    """Adds these commands."""
    for part in (_add_generate, _add_publish, _add_rotate, _add_activate, _add_retire, _add_holds, _add_prune):
        part(commands, wiring)


def _add_generate(commands: Commands, wiring: Wiring) -> None:
    @commands.command("generate")
    @options("realm", "json", "dry_run", "reason")
    @click.option("--alg", type=_ALGS, help="Only a key of this algorithm.")
    @click.option("--pending", is_flag=True, help="One more key that nobody is shown yet; see publish.")
    def generate(
        realm_path: str, as_json: bool, dry_run: bool, reason: str | None, alg: str | None, pending: bool
    ) -> None:
        """Makes the standby where there is none; in a realm without keys an active key and its standby."""

        def decide(seen: Seen, fresh: Fresh) -> Plan:
            plan = NOTHING
            for name in algs_of(seen.realm, alg):
                plan += rotation.generate(seen, name, fresh, pending=pending)
            return plan

        wiring.prepare(dry_run)
        ask = Ask(reason, dry_run=dry_run)
        show(carry_out(wiring, one_realm(wiring, realm_path), decide, ask), as_json, "a standby stands ready already")


def _add_publish(commands: Commands, wiring: Wiring) -> None:
    @commands.command("publish")
    @click.argument("kid", type=NAME)
    @click.option("--replace", is_flag=True, help="In the place of the present standby, which has never signed.")
    @options("realm", "json", "dry_run", "reason")
    def publish(kid: str, realm_path: str, as_json: bool, dry_run: bool, reason: str | None, replace: bool) -> None:
        """A pending key becomes the standby. KID may be the start of its name."""

        def decide(seen: Seen, fresh: Fresh) -> Plan:
            del fresh
            return rotation.publish(seen, seen.find(kid), event="published", replace=replace)

        wiring.prepare(dry_run)
        show(carry_out(wiring, one_realm(wiring, realm_path), decide, Ask(reason, dry_run=dry_run)), as_json)


def _add_rotate(commands: Commands, wiring: Wiring) -> None:
    @commands.command("rotate")
    @options("realm", "json", "dry_run", "force", "reason", "quiet")
    @click.option("--all", "every", is_flag=True, help="Every realm.")
    @click.option("--alg", type=_ALGS, help="Only the keys of this algorithm.")
    @click.option("--if-due", is_flag=True, help="Only keys that have signed for KEY_ROTATION_INTERVAL.")
    @click.option("--expect-generation", type=int, help="Exit 5 unless the keys stand at this generation.")
    def rotate(
        realm_path: str, as_json: bool, dry_run: bool, force: bool, reason: str | None, every: bool, alg: str | None,
        if_due: bool, expect_generation: int | None, quiet: bool,
    ) -> None:  # fmt: skip
        """Promotes the standby, demotes the active key and publishes the next standby, in one transaction.

        Exits 3 before the standby may sign, and 5 when another process rotated first (0 with --if-due).
        """
        check_force(force, reason)
        if every and expect_generation is not None:
            raise click.UsageError("--expect-generation goes with one --realm")
        wiring.prepare(dry_run)
        ask = Ask(
            reason, force, automatic=if_due, routine=if_due, expect_generation=expect_generation, dry_run=dry_run,
            operation=secrets.token_hex(8),
        )  # fmt: skip

        def run(find: Callable[[Connection], KeyRealm]) -> dict[str, Any]:
            return _rotated(_rotate(wiring, find, alg, if_due=if_due, ask=ask))

        over_realms(wiring, run, realm_path, as_json, every=every, observe=if_due and not dry_run, quiet=quiet)


def _rotate(
    wiring: Wiring, find: Callable[[Connection], KeyRealm], alg: str | None, *, if_due: bool, ask: Ask
) -> Outcome:
    def decide(seen: Seen, fresh: Fresh) -> Plan:
        plan, early = NOTHING, list[GateNotMet]()
        for name in algs_of(seen.realm, alg):
            if if_due and not rotation.due(seen, name):
                continue
            try:
                plan += rotation.rotate(seen, name, fresh, force=ask.force)
            except GateNotMet as error:
                early.append(error)
        if early and not plan.steps:
            raise early[0]
        for young in early:  # a standby of one algorithm that may not sign yet holds no other up
            plan += Plan(note=f"{young}; from {when(young.retry_at or 0)} on")
        return plan

    return carry_out(wiring, find, decide, ask)


def _rotated(outcome: Outcome) -> dict[str, Any]:
    """What rotate shows: beside the steps, per algorithm which key is what now."""
    by_alg: dict[str, dict[str, Any]] = {}
    names = {State.ACTIVE: "active", State.RETIRING: "retiring", State.PUBLISHED: "standby"}
    for step in outcome.plan.steps:
        row = by_alg.setdefault(
            step.alg,
            {"alg": step.alg, "active": None, "retiring": None, "standby": None, "forced": outcome.plan.forced},
        )
        row[names[step.after]] = step.kid
    return {**outcome.shape(), "rotated": list(by_alg.values())}


def _add_activate(commands: Commands, wiring: Wiring) -> None:
    @commands.command("activate")
    @click.argument("kid", type=NAME)
    @options("realm", "json", "dry_run", "force", "reason")
    def activate(kid: str, realm_path: str, as_json: bool, dry_run: bool, force: bool, reason: str | None) -> None:
        """KID, the standby or a retiring key, signs from now on: a way back after a bad change.

        Exits 3 before every verifier can hold it. KID may be the start of its name.
        """

        def decide(seen: Seen, fresh: Fresh) -> Plan:
            return rotation.activate(seen, seen.find(kid), fresh, force=force)

        check_force(force, reason)
        wiring.prepare(dry_run)
        show(
            carry_out(wiring, one_realm(wiring, realm_path), decide, Ask(reason, force, dry_run=dry_run)),
            as_json,
            "it signs already",
        )


def _add_retire(commands: Commands, wiring: Wiring) -> None:
    @commands.command("retire")
    @click.argument("kid", type=NAME)
    @options("realm", "json", "dry_run", "force", "reason")
    def retire(kid: str, realm_path: str, as_json: bool, dry_run: bool, force: bool, reason: str | None) -> None:
        """One step towards the end of KID: an active key of an algorithm that the realm no longer signs with only
        verifies, a retiring key leaves the JWKS, a key that never signed goes.

        Exits 3 while tokens of it may be alive. KID may be the start of its name.
        """

        def decide(seen: Seen, fresh: Fresh) -> Plan:
            del fresh
            return rotation.retire(seen, seen.find(kid), force=force)

        check_force(force, reason)
        wiring.prepare(dry_run)
        ask = Ask(reason, force, automatic=True, dry_run=dry_run)
        show(carry_out(wiring, one_realm(wiring, realm_path), decide, ask), as_json)


def _add_holds(commands: Commands, wiring: Wiring) -> None:
    def add_one(name: str, held: bool, help_: str) -> None:
        @commands.command(name, help=help_)
        @click.argument("kid", type=NAME)
        @options("realm", "json", "dry_run", "reason")
        def hold(kid: str, realm_path: str, as_json: bool, dry_run: bool, reason: str | None) -> None:
            def decide(seen: Seen, fresh: Fresh) -> Plan:
                del fresh
                return rotation.hold(seen.find(kid), held=held)

            wiring.prepare(dry_run)
            ask = Ask(reason, clock_matters=False, dry_run=dry_run)
            show(carry_out(wiring, one_realm(wiring, realm_path), decide, ask), as_json, "it is so already")

    add_one("hold", True, "Pins KID: neither prune nor retire takes it out of the JWKS.")
    add_one("unhold", False, "Lets go of KID.")


def _add_prune(commands: Commands, wiring: Wiring) -> None:
    @commands.command("prune")
    @options("realm", "json", "dry_run", "reason", "quiet")
    @click.option("--force", is_flag=True, help="The clock is right, though it leapt or fell back; goes with --reason.")
    @click.option("--all", "every", is_flag=True, help="Every realm.")
    @click.option("--older-than", type=Duration(), default=0, help="Only keys that could have gone this long ago.")
    def prune(
        realm_path: str, as_json: bool, dry_run: bool, force: bool, reason: str | None, every: bool, older_than: int,
        quiet: bool,
    ) -> None:  # fmt: skip
        """Retiring keys whose last token has died leave the JWKS; their private halves are erased, their names stay
        blocked. A held key stays, and so does one whose tokens may be alive: no option passes that gate.
        """
        check_force(force, reason)
        wiring.prepare(dry_run)
        ask = Ask(
            reason, force, automatic=True, routine=True, believe=force, dry_run=dry_run, operation=secrets.token_hex(8)
        )  # fmt: skip

        def decide(seen: Seen, fresh: Fresh) -> Plan:
            del fresh
            return rotation.prune(seen, older_than)

        def run(find: Callable[[Connection], KeyRealm]) -> dict[str, Any]:
            return carry_out(wiring, find, decide, ask).shape()

        over_realms(wiring, run, realm_path, as_json, every=every, observe=not dry_run, quiet=quiet)


def algs_of(realm: KeyRealm, alg: str | None) -> tuple[str, ...]:
    """The algorithms a command is about."""
    if alg is not None and alg not in realm.algs:
        raise click.UsageError(f"{realm.path} does not sign with {alg}; see flask realms update --alg")
    return (alg,) if alg else realm.algs
