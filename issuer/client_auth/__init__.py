"""Client authentication (RFC 6749 section 2.3): exactly one method presented, one answer for every failure.

METHODS lists the methods; a new one is a file and a line here. method: what one is. client_secret: Basic and post.
assertion: what is presented as one; private_key_jwt: of the client's own making; workload_identity: of an outside
issuer's. mutual_tls: the certificate of the connection. proving: what all but secrets need (nobodys: keys for where
there are none). May import keys, the issuer's values, issuer.outside and realmint.protocol; the clients are handed in
as a Directory.
"""

from issuer.client_auth.client_secret import ClientSecretBasic, ClientSecretPost
from issuer.client_auth.method import Directory, Method
from issuer.client_auth.mutual_tls import SelfSigned, TLSClientAuth
from issuer.client_auth.private_key_jwt import PrivateKeyJWT
from issuer.client_auth.workload_identity import WorkloadIdentity
from issuer.clients import Client
from issuer.credentials import Credential
from issuer.plugins import by_name
from issuer.refusals import SEVERAL_METHODS, ClaimedBy, invalid_client, invalid_request
from issuer.request import AuthenticatedClient, ClientRequest, Request
from issuer.secrets import Secret

METHODS: tuple[Method, ...] = (
    ClientSecretBasic(),
    ClientSecretPost(),
    PrivateKeyJWT(),
    TLSClientAuth(),
    SelfSigned(),
    WorkloadIdentity(),
)
METHODS_BY_NAME = by_name(METHODS)
_EXPLICIT = tuple(method for method in METHODS if not method.IMPLICIT)
_IMPLICIT = tuple(method for method in METHODS if method.IMPLICIT)
_SCHEMES = frozenset(method.SCHEME for method in METHODS if method.SCHEME is not None)

CLIENT_SECRET = "client_secret"  # noqa: S105 - the name of a choice
AUTH_METHODS = (CLIENT_SECRET, *METHODS_BY_NAME)
"""What a client can be registered with; `client_secret` is either of the two, as AM accepts them."""
_BESIDE = frozenset(method.NAME for method in METHODS if method.BESIDE)
_ALLOWED = {name: _BESIDE | {name} for name in METHODS_BY_NAME}
_ALLOWED[CLIENT_SECRET] = _BESIDE | {ClientSecretBasic.NAME, ClientSecretPost.NAME}


def authenticate(request: Request, directory: Directory) -> ClientRequest:
    """The request of the client that sent it.

    Raises invalid_request when more than one method is presented or one is malformed, and the one
    invalid_client for everything else. Work done depends on what was presented, not on who is known.
    """
    presented = [method for method in _EXPLICIT if method.presented(request)]
    scheme = request.authorization_scheme
    unknown_scheme = scheme is not None and scheme not in _SCHEMES
    if len(presented) + unknown_scheme > 1:
        raise invalid_request("several_auth_methods", SEVERAL_METHODS)
    if not presented and not unknown_scheme:
        presented = [method for method in _IMPLICIT if method.presented(request)]
    if not presented:
        raise invalid_client("unknown_auth_scheme" if unknown_scheme else "no_credentials")
    found = presented[0].authenticate(request, directory, request.now)
    reason = _unusable(found)
    if reason is not None:
        with ClaimedBy(found.client.client_id):
            raise invalid_client(reason)
    return ClientRequest(request, found)


def _unusable(found: AuthenticatedClient) -> str | None:
    """Why a client may not come in although it proved who it is."""
    if found.method not in _ALLOWED.get(found.client.auth_method, ()):
        return "wrong_auth_method"
    if not found.client.enabled:
        return "client_disabled"
    return None if found.credential_id in found.client.ranges else "credential_without_range"


def metadata(endpoint: str) -> dict[str, list[str]]:
    """What the metadata document says of client authentication at `endpoint`, such as `token` (RFC 8414 section 2)."""
    prefix = f"{endpoint}_endpoint_"
    names = [method.NAME for method in METHODS if not method.BESIDE]
    members: dict[str, list[str]] = {f"{prefix}auth_methods_supported": names}
    for method in METHODS:
        for name, values in method.METADATA.items():  # several methods may name their own algorithms of one kind
            members[prefix + name] = list(dict.fromkeys((*members.get(prefix + name, ()), *values)))
    return members


def takes_secrets(auth_method: str) -> bool:
    """Whether a client that is registered with this method has use for a secret."""
    return auth_method == CLIENT_SECRET or not METHODS_BY_NAME[auth_method].PROOFS


def of_use(client: Client) -> list[Secret | Credential]:
    """The credentials of a client that it could authenticate with, as it is registered; those that ended too."""
    allowed = _ALLOWED.get(client.auth_method, _BESIDE)
    kinds = tuple(kind for method in METHODS if method.NAME in allowed for kind in method.PROOFS)
    secrets = client.secrets if takes_secrets(client.auth_method) else ()
    return [*secrets, *(each for each in client.credentials if isinstance(each.proof, kinds))]
