"""For the tests of an API that is protected with realmint: an issuer of its own, and hostile tokens.

from realmint.testing import FakeIssuer, as_caller, assert_guarded

issuer = FakeIssuer()
api = issuer.resource_server("https://orders.example")      # in memory, on a clock that moves when told
token = issuer.issue(audience="https://orders.example", scope="orders:read")
issuer.revoke(token); issuer.rotate(); issuer.down(); issuer.clock.advance(600)

prover = issuer.prover()                                    # a client that proves its key: DPoP
bound = issuer.issue(audience="https://orders.example", bound_to=prover)
prover.headers("GET", "https://orders.example/orders", bound)

`fake_issuer` (FakeIssuer) with `signing` (its keys, certificates), `served` (on loopback) and `assertions` (a client
with a key), `prover` (DPoP), `clock`, `caller` (as_caller), `guarded` (assert_guarded) with `hostile` (what it fires)
and `hostile_proofs` (with tokens that are bound); `pytest_plugin`: the fixture `fake_issuer`.
"""

from realmint.testing.caller import as_caller
from realmint.testing.clock import TestClock
from realmint.testing.fake_issuer import FakeIssuer
from realmint.testing.guarded import assert_guarded
from realmint.testing.hostile import Hostile, hostile_tokens
from realmint.testing.prover import Prover
from realmint.testing.signing import client_certificate

__all__ = [
    "FakeIssuer",
    "Hostile",
    "Prover",
    "TestClock",
    "as_caller",
    "assert_guarded",
    "client_certificate",
    "hostile_tokens",
]
