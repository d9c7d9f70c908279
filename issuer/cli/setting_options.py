"""The options of a realm's and of a client's settings, as issuer/realms.py and issuer/clients.py list them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from issuer.cli.options import NAME, Duration, words
from issuer.client_auth import AUTH_METHODS
from issuer.grants import GRANTS_BY_NAME
from issuer.setting import Kind, Setting, settings_of
from issuer.tokens import FORMATS_BY_NAME
from keys.key import ALGORITHMS, RSA_BITS

Function = TypeVar("Function", bound=Callable[..., Any])

CHOICES: Mapping[str, Iterable[object]] = {
    "client authentication methods": AUTH_METHODS,
    "grants": GRANTS_BY_NAME,
    "RSA sizes": RSA_BITS,
    "signing algorithms": ALGORITHMS,
    "token formats": FORMATS_BY_NAME,
}
"""The registries that settings choose from."""


def setting_options(owner: type) -> Callable[[Function], Function]:
    """The options that create and update share, one for each setting of `owner`."""

    def decorate(function: Function) -> Function:
        for each in reversed(settings_of(owner)):
            function = _option(each)(function)
        return function

    return decorate


def given_settings(owner: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `owner` that were named; those that were not are not there."""
    named = {each: options[each.name] for each in settings_of(owner) if options[each.name] not in (None, ())}
    return {each.name: _read(each, value) for each, value in named.items()}


def option_name(owner: type, name: str) -> str:
    """How the option of a setting is called."""
    return next(each.option for each in settings_of(owner) if each.name == name)


def _option(each: Setting) -> Callable[[Function], Function]:
    if each.kind is Kind.FLAG:
        return click.option(f"{each.option}/--no-{each.option[2:]}", each.name, default=None, help=each.help)
    kind: click.ParamType[Any] | None = None
    if each.choices:
        kind = click.Choice([str(choice) for choice in CHOICES[each.choices]])
    elif each.kind is Kind.DURATION:
        kind = Duration()
    elif each.kind is Kind.TEXT:
        kind = NAME
    return click.option(each.option, each.name, type=kind, multiple=each.several, default=None, help=each.help)


def _read(each: Setting, value: Any) -> Any:
    if each.kind is Kind.SIZE:
        return int(value)
    if each.kind not in (Kind.SCOPES, Kind.AUDIENCES):
        return value
    values = words(value)
    for text in values if each.kind is Kind.SCOPES else ():
        if "," in text:
            click.echo(f"Warning: {text!r} is one scope value; several are separated by spaces", err=True)
    return values
