"""How an API shows an introspection endpoint (RFC 7662) which client it is: by a secret, or by an assertion."""

from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote_plus

from realmint.client_assertion import AssertionUnavailable, assertion_form, compact
from realmint.introspection_policy import Introspection


class Shown(NamedTuple):
    """What one request shows: headers, and members of its form. No repr has anything of them."""

    headers: Mapping[str, str]
    form: Mapping[str, str]

    def __repr__(self) -> str:
        return "Shown()"


def shown(settings: Introspection, issuer: str, now: int) -> Shown:
    """What the next request shows, and no other: an issuer takes each assertion once. now: seconds since the epoch.

    issuer: its identifier, for which an assertion is made, wherever it is reached. Raises AssertionUnavailable, whose
    message may be logged.
    """
    if settings.client_secret is not None:  # form-encoded first, then Basic (RFC 6749 section 2.3.1)
        pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
        return Shown({"Authorization": "Basic " + b64encode(pair.encode()).decode()}, {})
    try:
        assertion = compact(_assertion(settings, issuer, now))
    except AssertionUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - what makes one may be anybody's, and what it raises may quote it
        raise AssertionUnavailable(type(error).__name__) from None
    return Shown({}, {"client_id": settings.client_id, **assertion_form(assertion)})


def _assertion(settings: Introspection, issuer: str, now: int) -> str:
    if settings.client_key is not None:
        return settings.client_key.assertion(settings.client_id, issuer, now)
    assert settings.client_assertion is not None
    return settings.client_assertion()
