"""Whether the settings that somebody gives are well-formed, each for itself, and fit together.

What a setting may be in its realm is looked at within the change (realms.py, clients.py).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from issuer.admin.refused import ChangeRefused
from issuer.setting import Kind, Setting, settings_of
from realmint.protocol.names import MAX_SCOPE, ScopeError, parse_scope

MAX_DEFAULTS = 5000
"""What is left of MAX_TOKEN for default scopes and audiences, encoded, beside the other claims and the longest
signature."""
MAX_AUDIENCE = 1000


def checked(owner: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `owner` that were given, as it holds them. Raises ChangeRefused."""
    values = {}
    for setting in settings_of(owner):
        if setting.name in given:
            _CHECKS.get(setting.kind, _anything)(setting, given[setting.name])
            values[setting.name] = setting.value(given[setting.name])
    return values


def differing(values: Mapping[str, Any], current: object) -> dict[str, Any]:
    """Those of the settings that are not so already."""
    return {name: value for name, value in values.items() if value != getattr(current, name)}


def check_defaults_fit(merged: Mapping[str, Any]) -> None:
    """Raises ChangeRefused for defaults that no token could hold: those stand in it all together."""
    length = len(" ".join(merged["default_scopes"])) + len(json.dumps(list(merged["default_audience"])))
    if length > MAX_DEFAULTS:
        raise ChangeRefused(
            f"default scopes and audiences have {length} characters; a token holds {MAX_DEFAULTS} of them at most",
            "default_scopes",
        )


def _anything(_setting: Setting, _value: object) -> None:
    """A choice, a number, a flag, a line of text: whoever reads it in has looked already."""


def _scopes(setting: Setting, values: Iterable[str]) -> None:
    text = " ".join(values)
    if len(text) > MAX_SCOPE:
        raise ChangeRefused(
            f"all scope values have {len(text)} characters; no request can name more than {MAX_SCOPE}", setting.name
        )
    try:
        if text:
            parse_scope(text)
    except ScopeError:
        raise ChangeRefused(
            "a scope value has only visible ASCII without quotes and backslashes", setting.name
        ) from None


def _audiences(setting: Setting, values: Iterable[str]) -> None:
    for text in values:
        if not text.isascii() or not text.isprintable() or len(text) > MAX_AUDIENCE:
            raise ChangeRefused(f"an audience is visible ASCII of at most {MAX_AUDIENCE} characters", setting.name)


_CHECKS = {Kind.SCOPES: _scopes, Kind.AUDIENCES: _audiences}
