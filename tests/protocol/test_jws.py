"""The strict compact JWS: what is refused before a JOSE library sees a byte, and after."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import OctKey

from keys.key import generate
from realmint.protocol import jws
from realmint.protocol.jws import JWSError, peek, verification_key, verify
from tests.support.forge import Forge, b64, encode

FORGE = Forge()
KEY = verification_key(dict(FORGE.material.public_jwk))
GOOD = FORGE.token()
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


REASONS = {"malformed", "too_large", "alg", "header", "signature"}


def outcome(token: str) -> str:
    """`good`, or the reason of the refusal; any other exception is a failure."""
    try:
        verify(peek(token), KEY)
    except JWSError as refusal:
        return refusal.reason
    return "good"


def refused(token: str) -> str:
    reason = outcome(token)
    assert reason != "good"
    return reason


def test_a_good_token_gives_verified_header_and_claims() -> None:
    verified = verify(peek(GOOD), KEY)
    assert (verified.header, verified.claims, verified.kid) == (FORGE.header, FORGE.claims, FORGE.material.kid)


def test_what_was_only_peeked_at_has_another_type_and_shows_no_token() -> None:
    unverified = peek(GOOD)
    assert type(unverified) is not type(verify(unverified, KEY))
    assert GOOD.rpartition(".")[2] not in repr(unverified)


@pytest.mark.rfc("8725", "3.1")
@pytest.mark.parametrize(
    "alg",
    [
        "none",
        "None",
        "nOnE",
        "",
        None,
        ["ES256"],
        1,
        "HS256",
        "HS512",
        "RS256 ",
        "rs256",
        "ES256K",
        "ES512",
        "RS1",
        "dir",
    ],
)
def test_137_an_algorithm_that_is_not_ours_is_refused(alg: Any) -> None:
    assert refused(FORGE.token(header={**FORGE.header, "alg": alg})) == "alg"


def test_137_a_token_without_an_algorithm_is_refused() -> None:
    assert refused(FORGE.token(header={"kid": KEY.kid, "typ": "at+jwt"})) == "alg"


def public_forms() -> dict[str, bytes]:
    public = jws.import_public(FORGE.material.public_jwk).public_key
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(dict(FORGE.material.public_jwk)).encode()
    return {"pem": pem, "der": der, "jwk": jwk, "space pem": b" " + pem, "empty": b""}


@pytest.mark.parametrize("form", list(public_forms()))
def test_138_our_public_key_is_no_hmac_secret(form: str) -> None:
    assert refused(FORGE.hmac(public_forms()[form])) == "alg"


def test_139_a_key_verifies_its_own_algorithm_only() -> None:
    rs, ps = Forge("RS256"), Forge("PS256")
    key = verification_key(dict(ps.material.public_jwk))
    with pytest.raises(JWSError, match="alg"):
        verify(peek(rs.token()), key)


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"use": "x509-svid"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "ES384"},
        {"alg": 1},
        {"alg": "HS256"},
    ],
)
def test_139_a_key_meant_for_something_else_is_not_used(changes: dict[str, Any]) -> None:
    with pytest.raises(JWSError, match="key"):
        verification_key({**FORGE.material.public_jwk, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["alg"]},
        {"crit": "b64"},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
    ],
)
@pytest.mark.rfc("7515", "4.1.11")
def test_141_crit_and_b64_are_refused(changes: dict[str, Any]) -> None:
    assert refused(FORGE.with_header(**changes)) == "header"


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c", "zip", "enc"])
def test_142_a_key_or_its_address_in_the_token_is_refused(member: str) -> None:
    value = dict(FORGE.material.public_jwk) if member == "jwk" else "https://evil.example"
    assert refused(FORGE.with_header(**{member: value})) == "header"


@pytest.mark.parametrize("kid", [1, ["a"], {}, "", True, "k" * 129])
def test_143_a_kid_that_is_no_short_string_is_refused(kid: Any) -> None:
    assert refused(FORGE.with_header(kid=kid)) == "header"


@pytest.mark.parametrize(
    "payload", [b"[]", b'"text"', b"1", b"null", b"true", b"", b"{", b"{}{}", b"{'a':1}", b'{"a":1,}']
)
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    assert refused(FORGE.token(claims=payload)) == "malformed"


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 21, "1" * 5000, "0." + "1" * 40]
)
def test_148_numbers_that_are_not_finite_or_short_are_refused(number: str) -> None:
    assert refused(FORGE.token(claims=f'{{"exp":{number}}}'.encode())) == "malformed"


@pytest.mark.parametrize("text", [r'{"sub":"\ud800"}', r'{"\udc00":1}', r'{"a":["\ud800x"]}'])
def test_150_lone_surrogates_are_refused(text: str) -> None:
    assert refused(FORGE.token(claims=text.encode())) == "malformed"


def test_150_surrogate_pairs_are_text() -> None:
    assert peek(FORGE.token(claims=rb'{"sub":"\ud83d\ude00"}')).claims == {"sub": "😀"}


@pytest.mark.rfc("7519", "4")
@pytest.mark.parametrize("text", [b'{"iss":"a","iss":"b"}', b'{"a":{"b":1,"b":1}}', b'{"a":1,"\\u0061":2}'])
def test_151_duplicate_members_are_refused(text: bytes) -> None:
    assert refused(FORGE.token(claims=text)) == "malformed"
    assert refused(FORGE.token(header=b'{"alg":"ES256","alg":"none","kid":"k","typ":"at+jwt"}')) == "malformed"


@pytest.mark.rfc("8725", "3.7")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"])
def test_152_only_utf8_without_a_mark_is_read(encoding: str) -> None:
    raw = json.dumps({**FORGE.claims, "x": "é+"}, ensure_ascii=False).encode(encoding)
    # UTF-7 is ASCII to us and so another text; none of these is ever read as what was meant.
    token = FORGE.token(claims=raw)
    assert outcome(token) == "malformed" or peek(token).claims["x"] != "é+"


def test_152_invalid_utf8_is_refused() -> None:
    for raw in (b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}'):
        assert refused(FORGE.token(claims=raw)) == "malformed"


def mangled() -> dict[str, str]:
    header, payload, signature = GOOD.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    odd = signature[:-1] + last[last.index(signature[-1]) | 1]  # the same bytes, another text
    return {
        "padding": GOOD + "=", "double padding": GOOD + "==", "space before": " " + GOOD, "newline after": GOOD + "\n",
        "tab inside": header + "\t." + payload + "." + signature, "standard alphabet": GOOD.replace("-", "+") + "/",
        "trailing bits": f"{header}.{payload}.{odd}", "nul": GOOD + "\0", "empty": "", "dots": "..", "one dot": "a.b",
        "no signature": f"{header}.{payload}.", "no payload": f"{header}..{signature}", "no header": f".{payload}.{signature}",
        "four parts": GOOD + ".x", "five parts": "a.b.c.d.e", "json": json.dumps({"payload": payload, "signatures": []}),
        "not ascii": GOOD + "é", "surrogate": GOOD + "\ud800", "leading dot": "." + GOOD, "one char segment": f"{header}.A.{signature}",
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(mangled()))
def test_153_there_is_one_text_per_token_and_no_other(kind: str) -> None:
    assert refused(mangled()[kind]) in {"malformed", "too_large"}


def test_154_sizes_are_bounded_before_anything_is_decoded() -> None:
    assert refused("A" * (jws.MAX_TOKEN + 1)) == "too_large"
    assert refused("." * jws.MAX_TOKEN) == "malformed"
    assert refused(FORGE.with_header(x="y" * jws.MAX_HEADER)) == "too_large"
    room = jws.MAX_TOKEN - len(FORGE.token(pad=""))
    assert verify(peek(FORGE.token(pad="x" * (room * 3 // 4 - 3))), KEY)


@pytest.mark.parametrize("depth", [33, 1000, 3000])
@pytest.mark.parametrize("bracket", ["[]", "{}"])
def test_154_deep_nesting_is_refused_and_no_recursion_error_escapes(depth: int, bracket: str) -> None:
    opening = "[" if bracket == "[]" else '{"a":'
    raw = '{"a":' + opening * (depth - 1) + "1" + bracket[1] * (depth - 1) + "}"
    if len(raw) * 4 / 3 > jws.MAX_TOKEN - 300:
        raw = raw[: 5 * 1024]
    assert refused(FORGE.token(claims=raw.encode())) == "malformed"


def test_154_the_deepest_allowed_nesting_and_many_brackets_side_by_side_pass() -> None:
    nested = '{"a":' + "[" * 31 + "]" * 31 + "}"
    assert peek(FORGE.token(claims=nested.encode()))
    assert peek(FORGE.token(claims=json.dumps({"a": [[]] * 200, "b": "[[[[[[" * 20, "c": '\\"[' * 50}).encode()))


def rs_pair() -> tuple[int, int]:
    raw = base64.urlsafe_b64decode(GOOD.rpartition(".")[2] + "==")
    return int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")


def raw_pair(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def bad_signatures() -> dict[str, bytes]:
    r, s = rs_pair()
    return {
        "zeros": bytes(64), "order": raw_pair(P256_ORDER, P256_ORDER), "63 bytes": raw_pair(r, s)[:63],
        "65 bytes": raw_pair(r, s) + b"\0", "der": encode_dss_signature(r, s), "swapped": raw_pair(s, r),
        "one bit": raw_pair(r, s ^ 1), "one byte": b"\0",
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(bad_signatures()))
def test_155_a_signature_that_is_not_right_is_refused(kind: str) -> None:
    assert refused(FORGE.with_signature(bad_signatures()[kind])) == "signature"


def test_155_a_shortened_rsa_signature_is_refused() -> None:
    forge = Forge("RS256")
    key = verification_key(dict(forge.material.public_jwk))
    signature = base64.urlsafe_b64decode(forge.token().rpartition(".")[2] + "==")
    for bad in (signature[:-1], signature[1:], b"\0" + signature, bytes(256)):
        with pytest.raises(JWSError, match="signature"):
            verify(peek(forge.with_signature(bad)), key)


def test_156_the_twin_of_an_ecdsa_signature_verifies_so_nothing_may_be_keyed_by_token_text() -> None:
    r, s = rs_pair()
    assert verify(peek(FORGE.with_signature(raw_pair(r, P256_ORDER - s))), KEY).claims == FORGE.claims


def test_158_encrypted_tokens_are_refused_unparsed() -> None:
    header = encode({"alg": "RSA-OAEP", "enc": "A256GCM"})
    assert refused(f"{header}.{b64(b'k')}.{b64(b'iv')}.{b64(b'ct')}.{b64(b'tag')}") == "malformed"
    assert refused(FORGE.with_header(zip="DEF")) == "header"
    assert refused(FORGE.with_header(alg="PBES2-HS256+A128KW", p2c=2**31)) == "alg"


def bad_keys() -> dict[str, Any]:
    good = dict(FORGE.material.public_jwk)
    small = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    size = (small.n.bit_length() + 7) // 8
    rsa_jwk = dict(generate("RS256").public_jwk)
    p521 = ec.generate_private_key(ec.SECP521R1()).public_key().public_numbers()
    return {
        "none": None, "text": "key", "list": [], "empty": {}, "oct": OctKey.generate_key(256).as_dict(private=True) | {"kid": "k"},
        "no kid": {name: value for name, value in good.items() if name != "kid"}, "kid number": {**good, "kid": 1},
        "kid long": {**good, "kid": "k" * 129}, "private": {**good, "d": "AAAA"}, "no x": {**good, "x": None},
        "off the curve": {**good, "x": good["y"]}, "unknown curve": {**good, "crv": "P-999"}, "kty": {**good, "kty": "XYZ"},
        "kty list": {**good, "kty": ["EC"]}, "x list": {**good, "x": ["a"]},
        "rsa 1024": {"kty": "RSA", "kid": "k", "n": b64(small.n.to_bytes(size, "big")), "e": "AQAB"},
        "rsa e=1": {**rsa_jwk, "e": "AQ"}, "rsa e=3": {**rsa_jwk, "e": "Aw"}, "rsa no n": {**rsa_jwk, "n": ""},
        "p-521": {"kty": "EC", "kid": "k", "crv": "P-521", "x": b64(p521.x.to_bytes(66, "big")), "y": b64(p521.y.to_bytes(66, "big"))},
        "x25519": {"kty": "OKP", "kid": "k", "crv": "X25519", "x": b64(bytes(32))},
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(bad_keys()))
def test_164_a_key_that_cannot_be_used_is_one_refusal_and_nothing_else(kind: str) -> None:
    with pytest.raises(JWSError) as refused:
        verification_key(bad_keys()[kind])
    assert refused.value.reason == "key"


def test_a_key_of_a_spiffe_bundle_verifies_tokens_where_it_is_for_them() -> None:
    assert verification_key({**FORGE.material.public_jwk, "use": "jwt-svid"}).algorithms == {"ES256"}


def test_an_rsa_key_without_alg_verifies_both_rsa_algorithms_and_ed25519_by_both_its_names() -> None:
    jwk = dict(generate("RS256").public_jwk)
    del jwk["alg"]
    assert verification_key(jwk).algorithms == {"RS256", "PS256"}
    assert verification_key({**generate("EdDSA").public_jwk, "alg": "Ed25519"}).algorithms == {"EdDSA"}


@pytest.mark.rfc("9864", "2.2")
def test_a_token_that_names_ed25519_is_one_of_eddsa_and_of_no_other_algorithm() -> None:
    forge = Forge("EdDSA")
    token = peek(forge.with_header(alg="Ed25519"))
    assert (token.alg, token.header["alg"]) == ("EdDSA", "Ed25519")
    assert verify(token, verification_key(dict(forge.material.public_jwk))).claims == forge.claims
    assert refused(FORGE.with_header(alg="Ed25519")) == "alg"  # our key is P-256


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1")), st.tuples(*[st.binary()] * 3).map(
    lambda parts: ".".join(b64(part) for part in parts)
)))  # fmt: skip
def test_161_any_text_is_a_token_or_one_family_of_refusals(text: str) -> None:
    assert outcome(text) in REASONS


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), JSON), claims=JSON)
def test_161_any_json_in_header_and_payload_is_refused_in_the_same_family(header: Any, claims: Any) -> None:
    payload = json.dumps(claims).encode("utf-8", "surrogatepass")
    token = FORGE.token(header={"alg": "ES256", **header}, claims=payload)
    assert outcome(token) in REASONS | {"good"}


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_161_any_json_as_a_key_is_a_key_or_one_refusal(value: Any) -> None:
    with pytest.raises(JWSError):
        verification_key(value)
