"""The clients of one realm, as the authentication of one of them asks for them, and the limits it is held to."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from issuer.clients import Client
from issuer.outside.key_sources import KeysAt, OutsideKeys
from issuer.realms import Realm
from issuer.registry.single_use import First
from issuer.secret_checks.failures import FailureLimit
from issuer.secret_checks.origin import origin_of
from issuer.secret_checks.verifier import SecretVerifier
from issuer.secrets import PREFIX, Secret, is_generated
from realmint.protocol.jws import Unverified, VerificationKey


class Directory(NamedTuple):
    """Made for one request, which came from `address`; `client` finds one by the id of a realm and its name.

    outside, first: where keys outside are found, and who uses what may be used once.
    """

    client: Callable[[int, str], Client | None]
    realm: Realm
    verifier: SecretVerifier
    failures: FailureLimit
    address: str | None
    outside: OutsideKeys
    first: First

    def find_client(self, client_id: str) -> Client | None:
        """The client of this name, or None. Raises one of STORE_ERRORS."""
        return self.client(self.realm.id, client_id)

    def verify_secret(self, client_id: str, client: Client | None, readings: Sequence[str], now: int) -> Secret | None:
        """The live secret of `client` that was presented. Without a client the same work is done for nothing.

        readings: what was sent, in each way it may be read, the likeliest first. They are one attempt: what is
        remembered of either comes before slow work for any, and a failure counts once.
        Over the limit of failures of this client id, a wrong one raises TooManyAttempts. A right one still passes, so
        that nobody is locked out: a generated one, or one that was verified before, at no cost; the first check of an
        imported one as long as the address has not failed as often itself.
        """
        stored = client.secrets if client is not None else ()
        salt = client.secret_salt if client is not None else b""
        origin = origin_of(self.address)
        wait = self.failures.wait(self.realm.id, client_id, now)
        spent = bool(wait) and self.failures.wait(self.realm.id, client_id, now, origin) > 0
        slow_allowed = self.realm.has_imported_secrets and not spent
        texts = _worth_looking_at(readings)
        secret = None
        for slow in (False, True) if slow_allowed and len(texts) > 1 else (slow_allowed,):
            for text in texts:
                secret = secret or self.verifier.verify(text, stored, salt, slow_allowed=slow, now=now, origin=origin)
        if secret is None:
            if not spent:
                self.failures.note(self.realm.id, client_id, now, origin if wait else None)
            if wait:
                raise self.failures.refusal(wait)
        return secret

    def note_failure(self, client_id: str, now: int) -> None:
        """That something else than a secret was presented in this name, and was wrong.

        Raises TooManyAttempts over the limit of failures of this client id; what is right passes still.
        """
        wait = self.failures.wait(self.realm.id, client_id, now)
        if wait:
            raise self.failures.refusal(wait)
        self.failures.note(self.realm.id, client_id, now)

    def find_keys(self, at: KeysAt, token: Unverified) -> Sequence[VerificationKey]:
        """The keys outside that may have signed. Raises KeysOutOfReach when that cannot be told."""
        return self.outside.find(at, token)

    def find_keys_alike(self, at: KeysAt, thumbprint: str, alg: str) -> Sequence[VerificationKey]:
        """The keys outside that one of this thumbprint may be among. Raises KeysOutOfReach."""
        return self.outside.alike(at, thumbprint, alg)

    def use_first(self, what: str, whose: int, name: str, until: int) -> bool:
        """Whether nobody used this before, over all processes and nodes. Raises temporarily_unavailable, or one of
        STORE_ERRORS."""
        return self.first(what, whose, name, until)


def _worth_looking_at(readings: Sequence[str]) -> Sequence[str]:
    """The first reading, and those others that an imported secret can be: none is shaped as ours are."""
    if len(readings) == 1:
        return readings
    first, *others = readings
    return first, *(text for text in others if not (is_generated(first) or text.startswith(PREFIX)))
