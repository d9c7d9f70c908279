"""flask keys generate, publish, rotate, activate, retire, hold, unhold and prune."""

from typing import Any

import click

from issuer.admin import keys as admin
from issuer.cli.commands import Commands
from issuer.cli.keys.answers import over_realms, shape, show
from issuer.cli.options import NAME, Duration, check_force, operator, options
from issuer.runtime import Runtime
from keys.change import Outcome
from keys.key import ALGORITHMS, State

_ALGS = click.Choice(list(ALGORITHMS))


def add(commands: Commands, runtime: Runtime) -> None:
    """Adds these commands."""
    for part in (_add_generate, _add_publish, _add_rotate, _add_activate, _add_retire, _add_holds, _add_prune):
        part(commands, runtime)


def _add_generate(commands: Commands, runtime: Runtime) -> None:
    @commands.command("generate")
    @options("realm", "json", "dry_run", "reason")
    @click.option("--alg", type=_ALGS, help="Only a key of this algorithm.")
    @click.option("--pending", is_flag=True, help="One more key that nobody is shown yet; see publish.")
    def generate(
        realm_path: str, as_json: bool, dry_run: bool, reason: str | None, alg: str | None, pending: bool
    ) -> None:
        """Makes the standby where there is none; in a realm without keys an active key and its standby."""

        done = admin.generate(
            runtime.prepare_change(dry_run), realm_path, operator(reason), alg=alg, pending=pending, rehearse=dry_run
        )
        show(done, as_json, "a standby stands ready already")


def _add_publish(commands: Commands, runtime: Runtime) -> None:
    @commands.command("publish")
    @click.argument("kid", type=NAME)
    @click.option("--replace", is_flag=True, help="In the place of the present standby, which has never signed.")
    @options("realm", "json", "dry_run", "reason")
    def publish(kid: str, realm_path: str, as_json: bool, dry_run: bool, reason: str | None, replace: bool) -> None:
        """A pending key becomes the standby. KID may be the start of its name."""

        actor = operator(reason)
        prepared = runtime.prepare_change(dry_run)
        show(admin.publish(prepared, realm_path, actor, kid, replace=replace, rehearse=dry_run), as_json)


def _add_rotate(commands: Commands, runtime: Runtime) -> None:
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
        prepared = runtime.prepare_change(dry_run)
        actor = operator(reason)

        def run(path: str) -> dict[str, Any]:
            done = admin.rotate(
                prepared, path, actor, alg=alg, if_due=if_due, force=force, expect_generation=expect_generation,
                rehearse=dry_run,
            )  # fmt: skip
            return _rotated(done)

        over_realms(runtime, run, realm_path, as_json, every=every, observe=if_due and not dry_run, quiet=quiet)


def _rotated(done: Outcome) -> dict[str, Any]:
    """What rotate shows: beside the steps, per algorithm which key is what now."""
    by_alg: dict[str, dict[str, Any]] = {}
    names = {State.ACTIVE: "active", State.RETIRING: "retiring", State.PUBLISHED: "standby"}
    for step in done.plan.steps:
        row = by_alg.setdefault(
            step.alg,
            {"alg": step.alg, "active": None, "retiring": None, "standby": None, "forced": done.plan.forced},
        )
        row[names[step.after]] = step.kid
    return {**shape(done), "rotated": list(by_alg.values())}


def _add_activate(commands: Commands, runtime: Runtime) -> None:
    @commands.command("activate")
    @click.argument("kid", type=NAME)
    @options("realm", "json", "dry_run", "force", "reason")
    def activate(kid: str, realm_path: str, as_json: bool, dry_run: bool, force: bool, reason: str | None) -> None:
        """KID, the standby or a retiring key, signs from now on: a way back after a bad change.

        Exits 3 before every verifier can hold it. KID may be the start of its name.
        """

        check_force(force, reason)
        done = admin.activate(
            runtime.prepare_change(dry_run), realm_path, operator(reason), kid, force=force, rehearse=dry_run
        )
        show(done, as_json, "it signs already")


def _add_retire(commands: Commands, runtime: Runtime) -> None:
    @commands.command("retire")
    @click.argument("kid", type=NAME)
    @options("realm", "json", "dry_run", "force", "reason")
    def retire(kid: str, realm_path: str, as_json: bool, dry_run: bool, force: bool, reason: str | None) -> None:
        """One step towards the end of KID: an active key of an algorithm that the realm no longer signs with only
        verifies, a retiring key leaves the JWKS, a key that never signed goes.

        Exits 3 while tokens of it may be alive. KID may be the start of its name.
        """

        check_force(force, reason)
        show(
            admin.retire(
                runtime.prepare_change(dry_run), realm_path, operator(reason), kid, force=force, rehearse=dry_run
            ),
            as_json,
        )


def _add_holds(commands: Commands, runtime: Runtime) -> None:
    def add_one(name: str, held: bool, help_: str) -> None:
        @commands.command(name, help=help_)
        @click.argument("kid", type=NAME)
        @options("realm", "json", "dry_run", "reason")
        def hold(kid: str, realm_path: str, as_json: bool, dry_run: bool, reason: str | None) -> None:
            done = admin.hold(
                runtime.prepare_change(dry_run), realm_path, operator(reason), kid, held=held, rehearse=dry_run
            )
            show(done, as_json, "it is so already")

    add_one("hold", True, "Pins KID: neither prune nor retire takes it out of the JWKS.")
    add_one("unhold", False, "Lets go of KID.")


def _add_prune(commands: Commands, runtime: Runtime) -> None:
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
        prepared = runtime.prepare_change(dry_run)
        actor = operator(reason)

        def run(path: str) -> dict[str, Any]:
            return shape(admin.prune(prepared, path, actor, older_than=older_than, believe=force, rehearse=dry_run))

        over_realms(runtime, run, realm_path, as_json, every=every, observe=not dry_run, quiet=quiet)
