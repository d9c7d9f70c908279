"""The snapshot: order, what it holds, and what it never holds."""

import json
from dataclasses import replace
from typing import Any

import pytest

from keys.jwks import snapshot_of
from keys.key import Key, State, canonical, generate
from keys.sealing import KeyEncryptionKey, Sealer

SEALER = Sealer([KeyEncryptionKey.from_bytes(b"k" * 32)])


def stored(state: State, alg: str = "ES256", **more: int) -> Key:
    material = generate(alg)
    sealed = SEALER.seal(material.pkcs8, 1, material.kid, alg)
    jwk = json.loads(canonical(material.public_jwk))
    proof = SEALER.vouch(canonical(jwk), 1, material.kid, alg)
    return Key(
        material.kid,
        material.thumbprint,
        1,
        alg,
        state,
        jwk,
        "local",
        SEALER.kek_id,
        0,
        sealed=sealed,
        proof=proof,
        **more,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [State.ACTIVE, State.PUBLISHED, State.RETIRING])
@pytest.mark.parametrize("changes", [{"proof": None}, {"proof": b""}, {"proof": b"x" * 28}, {"kid": "other"}, {"realm_id": 2}, {"kek_id": "0" * 16},
                                     {"alg": "ES384"}, {"public_jwk": dict(generate("ES256").public_jwk)}])  # fmt: skip
def test_187_a_key_that_is_not_authenticated_just_as_it_stands_is_not_shown(
    state: State, changes: dict[str, Any]
) -> None:
    good = stored(State.PUBLISHED if state is State.ACTIVE else State.ACTIVE)
    planted = replace(stored(state), **changes)
    snapshot = snapshot_of([good, planted], 1, SEALER)
    assert [jwk["kid"] for jwk in json.loads(snapshot.document)["keys"]] == [good.kid]
    assert set(snapshot.published) == {good.kid}
    assert snapshot.foreign == (planted.kid,)
    assert planted.kid not in {signer.kid for signer in snapshot.signers.values()}


def test_187_what_was_verified_stays_when_its_key_encryption_key_is_lost_and_nothing_else_comes() -> None:
    active, standby = stored(State.ACTIVE), stored(State.PUBLISHED)
    before = snapshot_of([active, standby], 1, SEALER)
    wrong = Sealer([KeyEncryptionKey.from_bytes(b"w" * 32)])
    newcomer = stored(State.RETIRING)
    changed = replace(standby, public_jwk=dict(newcomer.public_jwk) | {"kid": standby.kid})
    after = snapshot_of([active, standby, newcomer], 2, wrong, previous=before)
    assert (set(after.published), after.foreign) == ({active.kid, standby.kid}, (newcomer.kid,))
    assert snapshot_of([active, changed], 2, wrong, previous=before).foreign == (standby.kid,)


def test_active_comes_first_then_the_standby_then_retiring_keys_newest_first() -> None:
    active, standby = stored(State.ACTIVE), stored(State.PUBLISHED)
    older, newer = stored(State.RETIRING, retiring_at=10), stored(State.RETIRING, retiring_at=20)
    hidden = [stored(State.PENDING), stored(State.RETIRED), stored(State.REVOKED)]
    snapshot = snapshot_of([older, *hidden, newer, standby, active], 3, SEALER)
    kids = [jwk["kid"] for jwk in json.loads(snapshot.document)["keys"]]
    assert kids == [active.kid, standby.kid, newer.kid, older.kid]
    assert set(snapshot.published) == set(kids)
    signer = snapshot.signing_key("ES256")
    assert signer is not None
    assert signer.kid == active.kid


def test_131_no_private_member_and_nothing_of_the_seal_is_rendered() -> None:
    keys = [stored(state, alg) for state in State for alg in ("ES256", "EdDSA")]
    for jwk in json.loads(snapshot_of(keys, 1, SEALER).document)["keys"]:
        assert set(jwk) <= {"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e"}


def test_the_etag_follows_the_document_and_is_the_same_on_every_node() -> None:
    active, standby = stored(State.ACTIVE), stored(State.PUBLISHED)
    one, other = snapshot_of([active, standby], 1, SEALER), snapshot_of([standby, active], 1, SEALER)
    assert (one.document, one.etag) == (other.document, other.etag)
    assert snapshot_of([active], 2, SEALER).etag != one.etag


def test_a_signer_that_cannot_be_opened_any_more_keeps_signing_and_is_reported() -> None:
    active = stored(State.ACTIVE)
    before = snapshot_of([active], 1, SEALER)
    wrong = Sealer([KeyEncryptionKey.from_bytes(b"w" * 32)])
    after = snapshot_of([active], 2, wrong, previous=before)
    assert after.signers == before.signers
    assert (before.unsealed, after.unsealed) == (True, False)
