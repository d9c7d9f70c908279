"""workload_identity: the token that a platform gave a workload is its client's credential (RFC 7521 section 4.2).

As `client_assertion` (RFC 7523 section 2.2; for a SPIFFE JWT-SVID also under that draft's type), or as the assertion of
the jwt-bearer grant (section 2.1), for platforms that send it so.
"""

import math
from typing import NamedTuple

from issuer.client_auth import assertion, proving
from issuer.client_auth.assertion import Assertion
from issuer.client_auth.method import Directory, Method
from issuer.clients import Client
from issuer.credentials import Credential, TrustRule
from issuer.credentials.public_key import fitting
from issuer.credentials.trust_rule import LEEWAY, checks, comes_from, shown
from issuer.outside.key_sources import keys_at
from issuer.refusals import SEVERAL_METHODS, invalid_request
from issuer.request import AuthenticatedClient, Request
from realmint.protocol.claims import numeric_date
from realmint.protocol.jws import Unverified

USE = "workload_identity"


class WorkloadIdentity(Method):
    """A token of an outside issuer, which a rule of the client's says stands for it. Of use beside any other method.

    The client is the one that `client_id` names, or else the one that is called as the token's subject.
    """

    NAME = "workload_identity"
    PROOFS = (TrustRule,)
    BESIDE = True

    def presented(self, request: Request) -> bool:
        if assertion.PARAMETERS.isdisjoint(request.parameters) and assertion.GRANT_PARAMETER not in request.parameters:
            return False
        found = assertion.found_in(request)
        return (found is not None and not found.is_own) or assertion.granted_in(request) is not None

    def authenticate(self, request: Request, directory: Directory, now: int) -> AuthenticatedClient:
        """Raises invalid_request where two assertions came, or one of no type that we know."""
        found = _only_one(request)
        client_id = found.claimed_client(request)
        if found.token is None or client_id is None:
            proving.refuse(directory, client_id, found.reason or "assertion_claims", now)
        client = directory.find_client(client_id)
        judged = _judge(found.token, client, request.addresses.issuer, directory, now)
        if client is None or judged.credential is None:
            reason = "unknown_client" if client is None else judged.reason
            proving.refuse(directory, client_id, reason, now)
        return AuthenticatedClient(client, self.NAME, judged.credential.credential_id)


class _Judged(NamedTuple):
    """Whose rule lets a token in; or why none does."""

    credential: Credential | None
    reason: str


def _only_one(request: Request) -> Assertion:
    """Raises invalid_request."""
    found, granted = assertion.found_in(request), assertion.granted_in(request)
    if found is not None and granted is not None:
        raise invalid_request("several_auth_methods", SEVERAL_METHODS)
    if granted is not None:
        return granted
    assert found is not None
    assertion.check_type(request, found)
    return found


def _judge(token: Unverified, client: Client | None, issuer: str, directory: Directory, now: int) -> _Judged:
    """By the first rule that lets it in; else for the reason of the last that is about its issuer."""
    reason = "trust_no_rule"
    worked = False
    for credential, rule in client.proofs(TrustRule, now) if client is not None else ():
        if not comes_from(rule, token.claims):
            continue
        failed = next((check for check in checks(rule, token, issuer, now) if not check.passed), None)
        if failed is not None:
            reason = failed.reason
            continue
        worked = True
        if not proving.signed_by_any(token, _keys(rule, token, directory)):
            reason = "trust_signature"
        elif client is not None and rule.once and not _first(client, rule, token, directory):
            reason = "assertion_replayed"
        else:
            return _Judged(credential, "")
    if not worked:
        proving.work_for_nothing(token)
    return _Judged(None, reason)


def _keys(rule: TrustRule, token: Unverified, directory: Directory) -> proving.Keys:
    """Raises temporarily_unavailable when nobody can tell."""
    at = keys_at(rule)
    if at is None:
        return fitting([one.key for one in rule.keys], token)
    return proving.find_keys(directory, at, token)


def _first(client: Client, rule: TrustRule, token: Unverified, directory: Directory) -> bool:
    """Over all rules of the client that let it in, under its own `iss`: beside a rule about that one may be about its
    trust domain. Of a token without, the trust domain is in its `sub`."""
    if not client.enabled:
        return True  # refused for that in a moment, and nobody who is not let in writes to the store
    until = math.ceil(numeric_date(token.claims, "exp")) + LEEWAY
    issuer = shown(token.claims.get("iss")) or rule.issuer
    return directory.use_first(USE, client.id, f"{issuer}\0{token.claims['jti']}", until)
