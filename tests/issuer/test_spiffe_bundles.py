"""SPIFFE bundles as keys of a trust rule (SPIFFE Trust Domain and Bundle, section 4)."""

import pytest

from issuer.credentials.public_key import KeysRefused, read_jwks
from keys.key import generate

AUTHORITY = {**generate("ES256").public_jwk, "kid": "authority-1", "use": "jwt-svid"}
X509 = {**generate("ES256").public_jwk, "use": "x509-svid", "x5c": ["MIIB"]}


def test_a_bundle_is_read_as_it_is_and_its_x509_authorities_are_no_keys() -> None:
    bundle = {"keys": [X509, AUTHORITY], "spiffe_sequence": 1, "spiffe_refresh_hint": 300}
    (key,) = read_jwks(bundle)
    assert (key.kid, key.key.algorithms) == ("authority-1", {"ES256"})
    assert type(key).from_members(key.members()).kid == "authority-1"  # as it is stored


def test_a_bundle_of_x509_authorities_alone_holds_no_key() -> None:
    with pytest.raises(KeysRefused, match="no key"):
        read_jwks({"keys": [X509]})
