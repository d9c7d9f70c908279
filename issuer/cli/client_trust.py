"""flask clients trust: identities that a platform gave a workload, as the credential of a client."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from issuer.admin import credentials
from issuer.admin.trust import Explained, Explanation, explain
from issuer.cli.client_keys import address_outside, read_public_keys
from issuer.cli.commands import Commands
from issuer.cli.console import REHEARSED, outcome, print_fields, print_json, say
from issuer.cli.credential_commands import Shown, add_list, add_revoke, dates
from issuer.cli.exits import Exit, Refused
from issuer.cli.files import read_file
from issuer.cli.inspecting import read_token
from issuer.cli.options import NAME, Duration, Text, operator, options
from issuer.client_auth.workload_identity import WorkloadIdentity
from issuer.credentials import Credential, TrustRule
from issuer.credentials.trust_rule import LONGEST_LIFE, MAX_TEXT, Match, RuleRefused
from issuer.runtime import Runtime
from keys.transfer import MAX_FILE

_KINDS = WorkloadIdentity.PROOFS
_COLUMNS = ("credential_id", "issuer", "matches", "audience", "expires_at", "last_used_at")
_OPTIONS = {
    "issuer": "--issuer", "matches": "--match", "audience": "--audience", "jwks": "--jwks", "jwks_uri": "--jwks-uri",
}  # fmt: skip


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands(
        "trust", help="Identities from outside that stand for a client.", first=runtime.refuse_other_schema
    )
    _add_add(commands, runtime)
    add_list(commands, runtime, _SHOWN, "The rules by which identities from outside stand for a client.")
    add_revoke(commands, runtime, _SHOWN, "Ends one rule at once, and the tokens it got.")
    _add_explain(commands, runtime)
    return commands


def _add_add(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("add")
    @click.argument("client_id", type=NAME)
    @click.option(
        "--issuer", required=True, type=Text(MAX_TEXT), help="The iss of the token, or spiffe://TRUST-DOMAIN."
    )
    @click.option(
        "--match",
        multiple=True,
        metavar="CLAIM=VALUE",
        type=Text(2 * MAX_TEXT),
        help="A claim and its very value; repeats, and all have to fit. /a/b is b within a (RFC 6901).",
    )
    @click.option(
        "--match-glob",
        multiple=True,
        metavar="CLAIM=PATTERN",
        type=Text(2 * MAX_TEXT),
        help="A claim and a pattern with * and ?, which lets in more than one workload.",
    )
    @click.option("--audience", type=Text(MAX_TEXT), help="The only aud of the token; the realm's issuer without this.")
    @click.option(
        "--jwks",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Its keys in a file, where it cannot be reached: a JWK set, a SPIFFE bundle, PEM.",
    )
    @click.option("--jwks-uri", type=NAME, help="Where its keys are, if its metadata does not say.")
    @click.option(
        "--max-lifetime", type=Duration(), default=LONGEST_LIFE, help="No token may live longer; a day without this."
    )
    @click.option("--once", is_flag=True, help="Take each token once, by its jti.")
    @click.option("--expires-in", type=Duration(), help="The rule ends after this time.")
    @options("realm", "json", "dry_run", "reason")
    def add(
        client_id: str, issuer: str, match: tuple[str, ...], match_glob: tuple[str, ...], audience: str | None,
        jwks: Path | None, jwks_uri: str | None, max_lifetime: int, once: bool, expires_in: int | None,
        realm_path: str, as_json: bool, dry_run: bool, reason: str | None,
    ) -> None:  # fmt: skip
        """Tokens of --issuer whose claims fit every --match stand for CLIENT_ID, beside what it authenticates with."""
        matches = (*_matches("--match", match), *_matches("--match-glob", match_glob, glob=True))
        keys = read_public_keys(read_file(jwks, MAX_FILE), bundle=True) if jwks is not None else ()
        try:
            rule = TrustRule(issuer, matches, audience, jwks_uri, keys, max_lifetime, once)
        except RuleRefused as error:
            raise Refused("usage", f"{_OPTIONS[error.field]}: {error}", Exit.USAGE, field=error.field) from None
        if jwks_uri is not None or not keys:
            address_outside(runtime, jwks_uri or issuer, "--jwks-uri" if jwks_uri else "--issuer")
        _warn(rule)
        runtime.prepare_change(dry_run)
        made = credentials.add(
            runtime.administration, realm_path, client_id, [rule], operator(reason),
            expires_in=expires_in, rehearse=dry_run,
        )  # fmt: skip
        shown = shape(made.credentials[0])
        if as_json:
            print_json({**outcome(True, dry_run), "realm": realm_path, "client_id": client_id, **shown})
            return
        print_fields(_for_people(shown))
        if dry_run:
            say(REHEARSED)


def _matches(option: str, values: Iterable[str], *, glob: bool = False) -> list[Match]:
    found = []
    for text in values:
        claim, equals, value = text.partition("=")
        if not claim or not equals or not value:
            raise click.UsageError(f"{option} is written CLAIM=VALUE, such as sub=repo:acme/shop:ref:refs/heads/main")
        found.append(Match(claim, value, glob))
    return found


def _warn(rule: TrustRule) -> None:
    """Of what is allowed and seldom meant."""
    for match in rule.matches:
        if match.glob:
            click.echo(
                f"Warning: whoever may have a {match.claim} like {match.value!r} there is this client here", err=True
            )
        if (
            match.claim == "sub"
            and match.value.startswith("system:serviceaccount:")
            and match.value.endswith(":default")
        ):
            click.echo("Warning: every pod that names no service account of its own has the default one", err=True)


def _add_explain(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("explain")
    @click.argument("client_id", type=NAME)
    @click.argument("token", metavar="[TOKEN|-]", required=False)
    @options("realm", "json")
    @click.pass_context
    def show(context: click.Context, client_id: str, token: str | None, realm_path: str, as_json: bool) -> None:
        """Why a token would or would not stand for CLIENT_ID: rule by rule, claim by claim. Nothing is issued.

        Without TOKEN, or for -, it is read from standard input. Exits 1 for one that would be refused.
        """
        text = token if token not in (None, "-") else read_token()
        settings = runtime.settings
        found = explain(
            runtime.administration, settings.base_url, realm_path, client_id, str(text).strip(), runtime.outside.find
        )
        if as_json:
            print_json(_explained(found, client_id, realm_path))
        else:
            _tell(found, client_id)
        context.exit(Exit.DONE if found.accepted else Exit.FINDINGS)


def _explained(found: Explanation, client_id: str, realm_path: str) -> dict[str, Any]:
    return {
        "accepted": found.accepted,
        "realm": realm_path,
        "client_id": client_id,
        "client_enabled": found.enabled,
        "reason": found.reason,
        "rules": [
            {
                "credential_id": each.credential.credential_id,
                "issuer": each.rule.issuer,
                "fits": each.fits,
                "expired": not each.live,
                "checks": [check._asdict() for check in each.checks],
            }
            for each in found.rules
        ],
    }


def _tell(found: Explanation, client_id: str) -> None:
    if found.reason is not None:
        say(f"that is no token that anybody could be trusted by: {found.reason}")
        return
    if not found.rules:
        say(f"{client_id} trusts nobody; see flask clients trust add")
    for each in found.rules:
        _tell_rule(each)
    if not found.enabled:
        say(f"{client_id} or its realm is disabled")
    say("a token would be issued" if found.accepted else "no token would be issued: invalid_client")


def _tell_rule(each: Explained) -> None:
    verdict = "fits" if each.fits else "does not fit" + ("" if each.live else ", and has expired")
    say(f"rule {each.credential.credential_id}, issuer {each.rule.issuer}: {verdict}")
    width = max(len(check.what) for check in each.checks)
    for check in each.checks:
        found = "nothing" if check.found is None else _on_a_terminal(check.found)
        said = f"is {found}" if check.passed else f"is {found}, has to be {check.expected}"
        say(f"  {'ok  ' if check.passed else 'FAIL'} {check.what.ljust(width)}  {said}")


def _on_a_terminal(text: str) -> str:
    """What somebody outside wrote, so that it is shown and does nothing."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shape(credential: Credential) -> dict[str, Any]:
    """A rule as --json shows it."""
    rule = credential.proof
    assert isinstance(rule, TrustRule)
    return {
        "credential_id": credential.credential_id,
        "issuer": rule.issuer,
        "matches": [match._asdict() for match in rule.matches],
        "audience": rule.audience,
        "jwks_uri": rule.jwks_uri,
        "kids": [key.kid for key in rule.keys],
        "max_lifetime": rule.max_lifetime,
        "once": rule.once,
        **dates(credential),
    }


def _for_people(shown: dict[str, Any]) -> dict[str, Any]:
    return {
        **shown,
        "matches": [f"{each['claim']}{'~' if each['glob'] else '='}{each['value']}" for each in shown["matches"]],
    }


_SHOWN = Shown(_KINDS, "rule", "trusts nobody", _COLUMNS, shape, _for_people)
