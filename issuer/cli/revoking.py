"""flask tokens revoke: one token, or all of a secret, a client or a realm, and who hears of it when."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import click

from issuer.admin import tokens
from issuer.admin.change import Administration
from issuer.admin.tokens import FoundToken, Revocation
from issuer.cli import hearing
from issuer.cli.console import REHEARSED, outcome, print_json, say
from issuer.cli.inspecting import read_token
from issuer.cli.options import NAME, PATH, REASON, confirm, operator, options
from issuer.runtime import Runtime
from issuer.slots import OutOfIndexes
from keys.audit import Actor


def add_revoke(commands: click.Group, runtime: Runtime) -> None:
    """The command, over `runtime`."""

    @commands.command("revoke")
    @click.option("--token", "token", metavar="-", help="One token, whose text is read from standard input.")
    @click.option("--jti", type=NAME, help="One token, by its jti alone.")
    @click.option("--client", "client_id", type=NAME, help="Every token of this client.")
    @click.option(
        "--secret",
        "--credential",
        "secret_id",
        type=NAME,
        help="Every token that this secret, or credential of another kind, got.",
    )
    @click.option("--all", "every", is_flag=True, help="Every token of the realm.")
    @click.option("--realm", "realm_path", type=PATH, help="Path of the realm; without it that of the token, else /.")
    @click.option("--reason", type=REASON, required=True, help="Why, for the audit.")
    @options("json", "dry_run", "yes")
    def revoke(
        token: str | None, jti: str | None, client_id: str | None, secret_id: str | None, every: bool,
        realm_path: str | None, reason: str, as_json: bool, dry_run: bool, yes: bool,
    ) -> None:  # fmt: skip
        """Ends one token, or all of a client, a credential or the realm; what goes on living may have new ones.

        Exactly one of --token, --jti, --client, --secret and --all.
        """
        if sum([token is not None, jti is not None, client_id is not None, secret_id is not None, every]) != 1:
            raise click.UsageError("say exactly one of --token -, --jti, --client, --secret and --all")
        if token not in (None, "-"):
            raise click.UsageError(
                "a token is no argument, others could read it: --token - takes it from standard input"
            )
        administration = runtime.prepare_change(dry_run)
        actor, realm = operator(reason), realm_path or "/"
        if client_id is not None:
            act = partial(tokens.revoke_of_client, administration, realm, client_id, actor)
            target = _Target(f"every token of client {client_id}", {"client_id": client_id}, act)
        elif secret_id is not None:
            act = partial(tokens.revoke_of_secret, administration, realm, secret_id, actor)
            target = _Target(f"every token of secret {secret_id}", {"secret_id": secret_id}, act)
        elif every:
            target = _Target("every token", {}, partial(tokens.revoke_all, administration, realm, actor))
        elif jti is not None:
            target = _one(administration, FoundToken(realm, jti, None), actor)
        else:
            found = tokens.find(administration, runtime.settings.base_url, read_token(), realm_path)
            target = _one(administration, found, actor)
        _revoke(target, realm, as_json=as_json, dry_run=dry_run, yes=yes)


class _Act(Protocol):
    """Revokes."""

    def __call__(self, *, rehearse: bool) -> Revocation: ...


@dataclass(frozen=True)
class _Target:
    """What is to be revoked, in words, and the members that name it. a_class: whether more than one token may die."""

    what: str
    named: Mapping[str, str]
    act: _Act
    a_class: bool = True


def _one(administration: Administration, token: FoundToken, actor: Actor) -> _Target:
    act = partial(tokens.revoke, administration, token.realm_path, token.jti, actor, exp=token.exp)
    return _Target(f"token {token.jti}", {"jti": token.jti}, act, a_class=False)


def _revoke(target: _Target, realm_path: str, *, as_json: bool, dry_run: bool, yes: bool) -> None:
    if target.a_class and not dry_run and not yes:
        target.act(rehearse=True)  # what is not there is said before anybody is asked
        confirm(f"Revoke {target.what} of {realm_path}?", yes)
    done = target.act(rehearse=dry_run)
    if as_json:
        known = hearing.shape(done.hearing, done.at, lives_on=target.a_class) if done.changed else {}
        known |= {"used_up": True} if done.used_up else {}
        print_json({
            **outcome(done.changed, dry_run), "realm": done.realm.path, **target.named, "revoked_at": done.at, **known,
        })  # fmt: skip
    elif dry_run:
        say(REHEARSED)
    elif not done.changed:
        say(f"{target.what} of {done.realm.path} is dead already; nothing was changed")
    else:
        say(f"{target.what} of {done.realm.path} is revoked")
        for sentence in hearing.sentences(done.hearing, done.at, lives_on=target.a_class):
            say(sentence)
        if done.used_up:
            say(f"What goes on may have no new tokens: {OutOfIndexes()}.")
