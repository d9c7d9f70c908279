"""flask tokens inspect: all there is to see of a token, but its text."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from issuer.admin.inspection import Inspection, inspect
from issuer.cli.client_secrets import read_secret
from issuer.cli.console import is_terminal, print_json, say, span
from issuer.cli.exits import Exit, Refused
from issuer.cli.options import PATH, options
from issuer.runtime import Runtime
from keys.plan import utc

_TIMES = {"iat": "issued", "nbf": "valid from", "exp": "expires"}
_LAST_SECOND = 253402300799
"""Of the year 9999, with which calendars end."""
_FAILS = {
    "malformed": "it is neither a compact JWS nor an opaque token",
    "unknown_opaque_token": "the realm holds no such opaque token, or it has expired",
    "too_large": "it is longer than any token that is issued here",
    "alg": "its algorithm is none that its key, or anybody here, verifies with",
    "header": "its header holds what no token that is issued here has",
    "signature": "its signature is wrong",
    "not_looked_up": "it was held against no database, for none can be used here",
    "other_issuer": "its issuer is no realm here",
    "issuer": "its issuer is not that of the realm",
    "unknown_key_or_type": "no key of this name is published by the realm, or its type is not that of an access token",
    "expired": "it has expired",
    "not_yet_valid": "it is not valid yet",
    "lifetime": "it expires before it was issued",
    "claim_missing": "a claim is missing",
    "claim_type": "a claim is of the wrong type",
    "no_index": "its jti carries no index",
    "realm_ended": "its realm is disabled or deleted",
    "key_ended": "its key is published no more",
    "no_range": "its index is below the realm's floor, so that all tokens of its time were revoked, or nobody's",
    "range_ended": "all tokens of its credential, its client or its realm at that time were revoked",
    "revoked": "it was revoked",
    "client_ended": "its client is disabled or deleted",
    "other_client": "its index is of another client than it says",
}


def add_inspect(commands: click.Group, runtime: Runtime) -> None:
    """The command, over `runtime`."""

    @commands.command("inspect")
    @click.argument("token", metavar="[TOKEN|-]", required=False)
    @click.option("--realm", "realm_path", type=PATH, help="Hold it against this realm, not against the one it names.")
    @options("json")
    @click.pass_context
    def show(context: click.Context, token: str | None, realm_path: str | None, as_json: bool) -> None:
        """What a token says, who signed it, its status, and the first rule it fails; never its text.

        Without TOKEN, or for -, it is read from standard input. Exits 1 for one that is not active.
        """
        runtime.refuse_other_schema()
        text = token if token not in (None, "-") else read_token()
        found = inspect(runtime.administration, runtime.settings.base_url, str(text).strip(), realm_path)
        if as_json:
            print_json(shape(found))
        else:
            tell(found)
        context.exit(Exit.DONE if found.fails is None else Exit.FINDINGS)


def read_token() -> str:
    """A token from standard input, or from who sits at a terminal. Raises Refused where there is none."""
    if is_terminal(sys.stdin):
        return str(click.prompt("Token", hide_input=True, err=True)).strip()
    if not (token := read_secret(65536).strip()):
        raise Refused("usage", "there is no token on standard input", Exit.USAGE)
    return token


def shape(found: Inspection) -> dict[str, Any]:
    """As --json shows it; more members may be added, none renamed."""
    return {
        "active": found.fails is None,
        "fails": found.fails,
        "message": why(found),
        "realm": found.realm_path,
        "header": _plain(found.header),
        "claims": _plain(found.claims),
        "key": asdict(found.key) if found.key else None,
        "status": asdict(found.slot) if found.slot else None,
        "inspected_at": found.now,
    }


def tell(found: Inspection) -> None:
    """For people."""
    for name, members in (("header", found.header), ("claims", found.claims)):
        if members is not None:
            say(f"{name} {json.dumps(_plain(members), indent=2)}")
    for name, text in _lines(found):
        say(f"{name.ljust(10)}  {text}")


def why(found: Inspection) -> str | None:
    """The first rule that it fails, in words."""
    if found.fails is None:
        return None
    rule, _, claim = found.fails.partition(":")
    if rule == "unknown_key_or_type" and found.key is None:
        return "no key of this name was ever the realm's"
    if rule == "unknown_key_or_type" and found.key is not None and found.header is not None:
        return f"its key is {found.key.state}, and its type is {json.dumps(found.header.get('typ'))}"
    said = _FAILS.get(rule, rule)
    return f"{said}: {claim}" if claim and rule.startswith("claim_") else said


def _lines(found: Inspection) -> list[tuple[str, str]]:
    lines = [
        (name, _instant(found.claims[claim], found.now))
        for claim, name in _TIMES.items()
        if found.claims is not None and claim in found.claims
    ]
    if found.header is not None or found.realm_path is not None:
        lines.append(("realm", found.realm_path or "none here"))
    if found.header is not None:
        signed = "not signed by any key that the realm ever had" if found.realm_path else "not known here"
        if found.key is not None:
            made = "made the signature" if found.key.verified else "did not make the signature"
            signed = f"{found.key.kid} {made}; it is {found.key.state}"
        lines.append(("key", signed))
    if found.slot is not None:
        bit, slot = "set" if found.slot.is_set else "not set", found.slot
        mine = ", by this very token" if slot.revoked else ""
        lines.append(("status", f"{bit}{mine}; index {slot.position} of list {slot.list_number}, range {slot.place}"))
    lines.append(("active", "yes" if found.fails is None else f"no: {why(found)}"))
    return lines


def _instant(value: object, now: int) -> str:
    """An instant of a claim, as people say it; whatever stands there."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        return f"{json.dumps(value)}, which is no instant"
    instant = int(value)
    away = f"in {span(instant - now)}" if instant > now else f"{span(now - instant)} ago"
    return f"{utc(instant)} ({away})"


def _plain(members: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if members is None else dict(members)
