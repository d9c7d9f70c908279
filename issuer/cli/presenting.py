"""How a command that asks the running issuer authenticates: as a client, by one of the methods that clients have."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote_plus

from issuer.cli.exits import Exit, Refused
from realmint.protocol import system_clock

Proofs = Callable[[str, str | None, int], str]
"""A proof for a request to an address, with a nonce, at an instant."""
_NONE: Mapping[str, str] = MappingProxyType({})


class Presented(NamedTuple):
    """What goes along with a request: headers, members of its form, files of the certificate that is shown."""

    headers: Mapping[str, str] = _NONE
    form: Mapping[str, str] = _NONE
    certificate: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return "<what a client presents>"


def by_secret(client_id: str, secret: str) -> Presented:
    """HTTP Basic, each part form-encoded first (RFC 6749 section 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret, errors='surrogateescape')}"
    return Presented({"Authorization": "Basic " + base64.b64encode(pair.encode("utf-8", "surrogateescape")).decode()})


def by_assertion(
    client_id: str, audience: str, key: Path | None, kid: str | None, file: Path | None,
    certificate: tuple[str, str] | None = None,
) -> Presented:  # fmt: skip
    """An assertion that is signed with the private key in one file, or that stands in another (RFC 7523 section 2.2).

    certificate: shown beside it, for a token that is bound to it. Raises Refused, which quotes nothing of either.
    """
    # Of use to no other command, and half of the library with it.
    from realmint.client_assertion import AssertionFile, AssertionUnavailable, ClientKey, assertion_form

    try:
        if key is not None:
            assertion = ClientKey.from_file(key, kid=kid).assertion(client_id, audience, system_clock())
        else:
            assertion = AssertionFile(str(file))()
    except (ValueError, AssertionUnavailable) as error:
        raise Refused("usage", str(error), Exit.USAGE) from None
    return Presented(form={"client_id": client_id, **assertion_form(assertion)}, certificate=certificate)


def by_certificate(client_id: str, certificate: tuple[str, str]) -> Presented:
    """The certificate in a file, with its private key there too or in another (RFC 8705 section 2)."""
    return Presented(form={"client_id": client_id}, certificate=certificate)


def proofs(file: Path) -> Proofs:
    """Proofs of the private key in a file, for requests to an address, with a nonce or without (RFC 9449 section 4).

    Raises Refused.
    """
    from realmint.client_assertion import ClientKey

    try:
        key = ClientKey.from_file(file)
    except ValueError as error:
        raise Refused("usage", str(error), Exit.USAGE) from None
    return lambda url, nonce, now: key.dpop_proof("POST", url, now, nonce=nonce)
