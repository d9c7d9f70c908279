"""The options of a client, and what they may say."""

from typing import Any

import click

from issuer.cli.realms import check_audiences, check_fits, scope_list
from issuer.client_auth import AUTH_METHODS
from issuer.clients import MARKERS
from issuer.grants import GRANTS_BY_NAME
from issuer.realms import Realm
from issuer.tokens import FORMATS_BY_NAME
from keys.console import NAME, Duration, words
from keys.key import ALGORITHMS


def client_options(command: Any) -> Any:
    """The options that create and update share."""
    several: dict[str, Any] = {"multiple": True, "default": None}
    made = [
        click.option("--scope", "scopes", help="What it may ask for; repeats, or a space-separated list.", **several),
        click.option("--default-scope", "default_scopes", help="Granted when a request names none.", **several),
        click.option(
            "--audience", "audiences", help="What `resource` or `audience` may name: a URI or a plain name.", **several
        ),
        click.option("--default-audience", help="The aud when a request names none.", **several),
        click.option(
            "--resource-identifier", "resource_identifiers", help="It is this API, and may introspect.", **several
        ),
        click.option("--grant-type", "grant_types", type=click.Choice(list(GRANTS_BY_NAME)), **several),
        click.option("--auth-method", type=click.Choice(AUTH_METHODS)),
        click.option("--access-token-lifetime", type=Duration()),
        click.option("--signing-alg", type=click.Choice(list(ALGORITHMS))),
        click.option("--token-format", type=click.Choice(list(FORMATS_BY_NAME))),
        click.option("--name", type=NAME, help="For people."),
    ]
    for option in reversed(made):
        command = option(command)
    return command


def client_values(given: dict[str, Any], current: dict[str, Any], realm: Realm) -> dict[str, Any]:
    """The members that were given, checked against each other and the realm. Raises a usage error."""
    values = {name: value for name, value in given.items() if value is not None and value != ()}
    for name in ("scopes", "default_scopes"):
        if name in values:
            values[name] = scope_list(values[name])
    for name in ("audiences", "default_audience", "resource_identifiers"):
        if name in values:
            values[name] = words(values[name])
    check_audiences(
        name for member in ("audiences", "default_audience", "resource_identifiers") for name in values.get(member, ())
    )
    _check_against_realm({**current, **values}, realm)
    return values


def _check_against_realm(merged: dict[str, Any], realm: Realm) -> None:
    check_fits(merged["default_scopes"], merged["default_audience"])
    if not set(merged["default_scopes"]) <= set(merged["scopes"]) - MARKERS:
        raise click.UsageError("--default-scope must be among --scope, and no marker")
    if merged["signing_alg"] and merged["signing_alg"] not in realm.signing_algs:
        raise click.UsageError(
            f"{realm.path} does not sign with {merged['signing_alg']}; see flask realms update --alg"
        )
    if (merged["access_token_lifetime"] or 0) > realm.max_access_token_lifetime:
        raise click.UsageError(f"{realm.path} allows at most {realm.max_access_token_lifetime} seconds")
