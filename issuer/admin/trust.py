"""Why a token from outside stands for a client, or does not: every rule, claim by claim. Nothing is issued or used."""

from collections.abc import Sequence
from dataclasses import dataclass

from issuer.admin.change import Administration, find_client, find_realm
from issuer.credentials import Credential, TrustRule
from issuer.credentials.public_key import fitting
from issuer.credentials.trust_rule import Check, checks
from issuer.outside.key_sources import Keys, KeysOutOfReach, keys_at
from issuer.realms import Addresses
from realmint.protocol.jws import JWSError, Unverified, peek, signed_by


@dataclass(frozen=True)
class Explained:
    """What one rule makes of a token. `live`: whether the rule has not expired."""

    credential: Credential
    rule: TrustRule
    checks: Sequence[Check]
    live: bool

    @property
    def fits(self) -> bool:
        """Whether the token stands for the client by this rule."""
        return self.live and all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Explanation:
    """What there is to say of a token. reason: why it is none at all, None for one that can be read."""

    reason: str | None
    enabled: bool
    rules: Sequence[Explained]

    @property
    def accepted(self) -> bool:
        """Whether the client would get a token for it now, unless it came before."""
        return self.enabled and any(rule.fits for rule in self.rules)


def explain(
    administration: Administration, base_url: str, realm_path: str, client_id: str, text: str, find_keys: Keys
) -> Explanation:
    """Holds a token against every rule of a client. Raises RealmNotFound, ClientNotFound.

    find_keys: fetches keys where a rule does not have them. Not checked: whether the token came before, of a rule that
    takes each once.
    """
    with administration.database.read() as connection:
        realm = find_realm(connection, realm_path)
        client = find_client(connection, realm, client_id)
        now = administration.database.now(connection)
    rules = [(each, each.proof) for each in client.credentials if isinstance(each.proof, TrustRule)]
    enabled = client.enabled and realm.enabled
    try:
        token = peek(text)
    except JWSError as error:
        return Explanation(error.reason, enabled, ())
    issuer = Addresses(base_url, realm_path).issuer
    return Explanation(None, enabled, [
        Explained(each, rule, (*checks(rule, token, issuer, now), _signature(rule, token, find_keys)), each.live(now))
        for each, rule in rules
    ])  # fmt: skip


def _signature(rule: TrustRule, token: Unverified, find_keys: Keys) -> Check:
    at = keys_at(rule)
    where = "the rule's own keys" if at is None else f"the keys at {rule.jwks_uri or rule.issuer}"
    found = f"{token.alg}, {f'kid {token.kid}' if token.kid is not None else 'no kid'}"
    try:
        keys = fitting([one.key for one in rule.keys], token) if at is None else find_keys(at, token)
    except KeysOutOfReach as error:
        return Check("trust_signature", "signature", where, f"{found}; they cannot be had: {error.reason}", False)
    if not keys:
        found += "; there is no such key"
    return Check("trust_signature", "signature", where, found, any(signed_by(token, key) for key in keys))
