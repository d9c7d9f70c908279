"""What arrived, frozen and typed: an Arrival that nobody looked into, a Request that was read strictly, and a
ClientRequest whose client proved who it is. Which door it came through is not to be seen.

They are tuples, and the repr of the first two shows nothing that was sent: every token makes one of each, and to make a
frozen dataclass takes three to five times as long.
"""

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import NamedTuple

from issuer.certificate import Presented
from issuer.clients import Client
from issuer.form import check_content_type, parse_form
from issuer.realms import Addresses, Realm
from issuer.refusals import QUERY_PARAMETERS, TOO_LARGE, RequestTooLargeError, because, invalid_request
from keys.jwks import Snapshot

TLS_CLIENT_AUTH, SELF_SIGNED = "tls_client_auth", "self_signed_tls_client_auth"
CERTIFICATE_METHODS = frozenset({TLS_CLIENT_AUTH, SELF_SIGNED})
"""Methods by which the certificate of the connection is the credential (RFC 8705 section 2)."""
MAX_BODY = 64 * 1024
"""Longest body in bytes that is read."""


class Arrival(NamedTuple):
    """What came in at an endpoint of a realm, as a door hands it in: nothing of it is believed, or even read, yet.

    `variables`: the parts of the address that the endpoint's suffix names. `address`: who asks, for the log.
    `header` returns the value of a header, whatever the case of its name, None without one, and several joined by
    commas (RFC 9110 section 5.3). `read_body` takes a number of bytes and returns the body, of a longer one more bytes
    than that; it raises invalid_request where the body is not framed as HTTP frames one. `certificate` returns the one
    that the client showed, None without one; it raises invalid_client where a proxy that was named says what is none,
    or more than one: to whoever asks, that client proved nothing.
    """

    method: str
    realm_path: str
    variables: Mapping[str, str]
    address: str | None
    query: str
    header: Callable[[str], str | None]
    read_body: Callable[[int], bytes]
    certificate: Callable[[], Presented | None]

    def __repr__(self) -> str:
        return f"<arrival of {self.method} at {self.realm_path}>"


class Request(NamedTuple):
    """What arrived, read strictly, and the realm it arrived at. `now` is one instant for all of it.

    `set_indexes`: those of the realm's status slots that are known to be set.
    `header` as it arrived; that of client authentication (RFC 9110 section 11.6.2) is a member of its own.
    """

    method: str
    realm: Realm
    addresses: Addresses
    keys: Snapshot
    set_indexes: Container[int]
    now: int
    address: str | None
    header: Callable[[str], str | None]
    certificate: Callable[[], Presented | None]
    authorization_header: str | None
    parameters: Mapping[str, Sequence[str]]

    def __repr__(self) -> str:
        return f"<request of {self.method} at {self.realm.path}>"

    @property
    def authorization_scheme(self) -> str | None:
        """What its Authorization header begins with, in lower case (RFC 9110 section 11.1); None without one."""
        header = self.authorization_header
        return None if header is None else header.partition(" ")[0].lower()

    def one(self, name: str) -> str | None:
        """The value of a parameter, the first of several; None where there is none."""
        values = self.parameters.get(name)
        return values[0] if values else None

    def every(self, name: str) -> Sequence[str]:
        """All values of a parameter."""
        return self.parameters.get(name, ())


class AuthenticatedClient(NamedTuple):
    """A client that proved who it is, by which method and with which of its credentials.

    credential_id: what its tokens are drawn for; one that `client.ranges` does not hold is refused.
    """

    client: Client
    method: str
    credential_id: str


class ClientRequest(NamedTuple):
    """A request whose client proved who it is."""

    request: Request
    authenticated: AuthenticatedClient

    @property
    def client(self) -> Client:
        """The client that asks."""
        return self.authenticated.client


def read(
    arrival: Arrival, realm: Realm, addresses: Addresses, keys: Snapshot, set_indexes: Container[int], now: int,
    repeatable: Collection[str],
) -> Request:  # fmt: skip
    """The request at this realm: parameters from a form body alone (RFC 6749 section 3.2).

    repeatable: names of parameters that may come more than once. Raises invalid_request, at the first of: a query,
    another content type, a body longer than MAX_BODY, and what parse_form() refuses.
    """
    if arrival.query:
        # Credentials do not belong in URLs (RFC 9700 section 4.3.2).
        raise invalid_request("query_parameters", QUERY_PARAMETERS)
    check_content_type(arrival.header("Content-Type"))
    body = arrival.read_body(MAX_BODY)
    if len(body) > MAX_BODY:
        raise because(RequestTooLargeError(TOO_LARGE), "body_too_large")
    return Request(
        method=arrival.method,
        realm=realm,
        addresses=addresses,
        keys=keys,
        set_indexes=set_indexes,
        now=now,
        address=arrival.address,
        header=arrival.header,
        certificate=arrival.certificate,
        authorization_header=arrival.header("Authorization"),
        parameters=parse_form(body, repeatable),
    )
