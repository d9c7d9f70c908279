"""DPoP proofs (RFC 9449 section 4): what is refused, under which reason, and what is not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc.jwk import OctKey, RSAKey

from realmint.protocol import dpop
from realmint.protocol.dpop import LEEWAY, MAX_AGE, REASONS, Proof, ProofError, check_proof, replay_key
from realmint.protocol.jws import JWSError, peek
from realmint.protocol.names import SIGNING_ALGORITHMS
from tests.support.clock import START
from tests.support.forge import Forge, b64, encode
from tests.support.prover import KINDS, METHOD, URL, Prover

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "dpop.json").read_text())
PROVER = Prover()
GOOD = PROVER.proof()
TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"


def checked(headers: Any, **changes: Any) -> Proof:
    said = {"method": METHOD, "url": URL, "now": START, "algorithms": SIGNING_ALGORITHMS, **changes}
    return check_proof(headers, **said)


def reason(headers: Any, **changes: Any) -> str:
    """The reason of the refusal; any other exception, and none, is a failure."""
    with pytest.raises(ProofError) as refused:
        checked(headers, **changes)
    assert refused.value.__cause__ is None
    assert refused.value.reason in REASONS
    return refused.value.reason


def test_a_good_proof_says_whose_it_is_and_for_what() -> None:
    proof = checked(GOOD)
    assert proof == Proof(PROVER.jkt, "-BwC3ESc6acc2lTc", URL, START, None, START + MAX_AGE + LEEWAY)


@pytest.mark.rfc("9449", "4.1")
@pytest.mark.parametrize("name", ["token_request", "resource_request"])
def test_the_proofs_of_the_rfc_are_good(name: str) -> None:
    vector = VECTORS[name]
    proof = check_proof(
        vector["proof"], vector["method"], vector["url"], vector["iat"],
        algorithms=["ES256"], access_token=vector.get("access_token"),
    )  # fmt: skip
    assert (proof.jkt, proof.jti, proof.iat) == (VECTORS["jkt"], vector["jti"], vector["iat"])


@pytest.mark.rfc("9449", "4.2")
def test_the_hash_of_the_rfcs_access_token_is_the_rfcs() -> None:
    vector = VECTORS["resource_request"]
    assert dpop.ath(vector["access_token"]) == vector["ath"]
    with pytest.raises(ValueError):
        dpop.ath("tök")


@pytest.mark.parametrize("maker", ["proof", "by_pyjwt", "by_joserfc"])
@pytest.mark.parametrize("kind", KINDS)
def test_108_proofs_of_every_key_of_ours_are_good_whoever_made_them(kind: str, maker: str) -> None:
    prover = Prover(kind)
    assert checked(getattr(prover, maker)()).jkt == prover.jkt


@pytest.mark.parametrize("headers", [None, [], ()])
def test_no_header_is_a_missing_proof(headers: Any) -> None:
    assert reason(headers) == "missing"


@pytest.mark.rfc("9449", "4.3")
@pytest.mark.parametrize(
    "headers", [f"{GOOD},{GOOD}", f"{GOOD}, {GOOD}", [GOOD, GOOD], [GOOD, ""], f"{GOOD},", ",", f"{GOOD},junk"]
)
def test_94_more_than_one_value_is_refused(headers: Any) -> None:
    assert reason(headers) == "several"


@pytest.mark.parametrize(
    "header",
    ["", " ", "junk", f"{GOOD} {GOOD}", f" {GOOD}", f"{GOOD}\n", f"{GOOD}.{GOOD}", GOOD + "=", "a.b.c", "..", "é", "\0",
     GOOD.rpartition(".")[0] + ".", json.dumps({"payload": "", "signatures": []}).replace(",", ""), f"DPoP {GOOD}"],
)  # fmt: skip
def test_94_what_is_no_compact_jws_is_malformed(header: str) -> None:
    assert reason(header) == "malformed"


def test_94_one_value_of_a_list_is_as_good_as_a_text() -> None:
    assert checked([GOOD]) == checked(GOOD)


def test_a_proof_that_is_too_long_is_not_read() -> None:
    assert reason("a" * 8193) == "too_large"
    assert reason(PROVER.with_header(x="y" * 3072)) == "too_large"
    assert checked(PROVER.with_header(x="y" * 2800))


@pytest.mark.rfc("9449", "4.2")
@pytest.mark.parametrize("member", ["jti", "htm", "htu", "iat"])
@pytest.mark.parametrize("value", [None, 1.5, True, [], {}, "", ["POST"], "1795400000", -1, 1e30, False])
def test_95_a_claim_that_is_missing_or_of_another_type_is_refused(member: str, value: Any) -> None:
    wrong = merged_claims(member, value)
    if member != "jti" or not (isinstance(value, str) and value):
        assert reason(PROVER.proof(claims=wrong)) == member


def merged_claims(member: str, value: Any) -> dict[str, Any]:
    claims = {**PROVER.claims, member: value}
    if value is None:
        del claims[member]
    return claims


@pytest.mark.parametrize("member", ["jti", "htm", "htu", "iat"])
def test_95_a_claim_that_is_null_is_refused(member: str) -> None:
    assert reason(PROVER.proof(claims={**PROVER.claims, member: None})) == member


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"typ": None}, "typ"), ({"typ": ""}, "typ"), ({"typ": 1}, "header"),
        ({"alg": None}, "alg"), ({"alg": 1}, "alg"), ({"alg": ["ES256"]}, "alg"),
        ({"jwk": None}, "jwk"), ({"jwk": "key"}, "jwk"), ({"jwk": [PROVER.jwk]}, "jwk"), ({"jwk": {}}, "jwk"),
    ],
)  # fmt: skip
def test_95_a_header_that_is_missing_or_of_another_type_is_refused(changes: dict[str, Any], why: str) -> None:
    assert reason(PROVER.with_header(**changes)) == why


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "dpop", "dpop+jwt ", "application/json", "xdpop+jwt"])
def test_96_another_typ_is_refused(typ: str) -> None:
    assert reason(PROVER.with_header(typ=typ)) == "typ"


@pytest.mark.parametrize("typ", ["dpop+jwt", "DPoP+JWT", "application/dpop+jwt", "Application/DPOP+jwt"])
def test_a_media_type_is_compared_as_one(typ: str) -> None:
    assert checked(PROVER.with_header(typ=typ))


@pytest.mark.parametrize("alg", ["none", "None", "", "HS256", "HS512", "ES256K", "RS1", "dir", "es256"])
def test_96_an_algorithm_without_a_private_key_or_that_is_not_ours_is_refused(alg: str) -> None:
    assert reason(PROVER.with_header(alg=alg)) == "alg"


def test_96_only_the_algorithms_that_are_allowed_are_accepted() -> None:
    fapi = ("PS256", "ES256", "EdDSA")
    assert reason(Prover("RS256").proof(), algorithms=fapi) == "alg"
    assert checked(Prover("PS256").proof(), algorithms=fapi)
    with pytest.raises(ValueError, match="no algorithms"):
        checked(GOOD, algorithms=())


@pytest.mark.parametrize(
    ("kind", "alg"), [("ES384", "ES256"), ("ES256", "ES384"), ("RS256", "ES256"), ("EdDSA", "PS256")]
)
def test_96_an_algorithm_that_the_key_is_not_for_is_refused(kind: str, alg: str) -> None:
    assert reason(Prover(kind).with_header(alg=alg)) == "alg"


@pytest.mark.rfc("9449", "4.3")
@pytest.mark.parametrize("kind", KINDS[:5])
def test_97_a_private_key_in_the_header_is_refused(kind: str) -> None:
    prover = Prover(kind)
    whole = prover.key.as_dict(private=True)
    assert reason(prover.with_header(jwk=whole)) == "jwk"
    for member in whole.keys() - prover.jwk.keys():
        assert reason(prover.with_header(jwk={**prover.jwk, member: whole[member]})) == "jwk"


@pytest.mark.parametrize("changes", [{"d": ""}, {"k": "AAAA"}, {"p": None}, {"oth": []}])
def test_97_even_the_name_of_a_private_member_is_refused(changes: dict[str, Any]) -> None:
    assert reason(PROVER.with_header(jwk={**PROVER.jwk, **changes})) == "jwk"


def test_97_a_shared_secret_is_no_key() -> None:
    secret = OctKey.import_key(b"s" * 32).as_dict(private=True)
    assert reason(PROVER.with_header(jwk=secret)) == "jwk"
    assert reason(PROVER.with_header(jwk={"kty": "oct"})) == "jwk"
    hmac = Forge().hmac(b"s" * 32)
    assert reason(hmac) == "alg"


def rsa_jwk(bits: int) -> dict[str, Any]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RSAKey.generate_key(bits).as_dict(private=False)


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


RSA = Prover("RS256")
MODULUS = RSA.private.public_key().public_numbers().n


@pytest.mark.parametrize(
    "jwk",
    [
        {"n": number(1 << 2046 | 1)},
        {"n": number(((1 << 1024) + 643) * ((1 << 1024) + 645 | 1))},
        {"n": number(MODULUS & ~1)},
        {"n": number(1 << 8191 | 1)},
        {"n": number((1 << 4096) | 1)},
        {"e": number(3)},
        {"e": number(65538)},
        {"e": number((1 << 32) + 1)},
        {"e": number(MODULUS - 2)},
        {"e": b64(b"\0\1\0\1")},
        {"e": "AQAB="},
        {"e": ""},
        {"e": 65537},
        {"n": b64(b"\0" + MODULUS.to_bytes(256))},
    ],
    ids=["short", "close primes", "even", "huge", "a bit too long", "e 3", "e even", "e of 33 bits", "e as long as n", "e with a zero", "e padded",
         "e empty", "e a number", "n with a zero"],
)  # fmt: skip
def test_an_rsa_key_that_is_weak_or_costs_too_much_or_is_spelled_otherwise_is_refused(jwk: dict[str, Any]) -> None:
    assert reason(RSA.with_header(jwk={**RSA.jwk, **jwk})) == "jwk"


def test_an_rsa_key_of_1024_bits_is_refused() -> None:
    assert reason(RSA.with_header(jwk=rsa_jwk(1024))) == "jwk"


@pytest.mark.parametrize(
    "changes",
    [
        {"crv": "P-521"}, {"crv": "secp256k1"}, {"crv": ["P-256"]}, {"crv": None}, {"kty": "OKP"}, {"kty": "RSA"}, {"kty": None},
        {"x": b64(b"\1" * 32)}, {"x": ""}, {"x": 1}, {"x": "é"}, {"y": b64(b"\1" * 31)}, {"x": PROVER.jwk["x"] + "="}, {"use": "enc"},
        {"x": b64(b"\0" * 33)}, {"key_ops": ["sign"]}, {"alg": "ES384"},
    ],
)  # fmt: skip
def test_97_a_curve_key_that_is_malformed_or_for_something_else_is_refused(changes: dict[str, Any]) -> None:
    assert reason(PROVER.with_header(jwk={**PROVER.jwk, **changes})) == "jwk"


@pytest.mark.rfc("7518", "6.2.1.2")
@pytest.mark.parametrize("kind", ["ES256", "ES384"])
def test_a_coordinate_with_a_zero_before_it_would_be_a_second_thumbprint_and_is_refused(kind: str) -> None:
    prover = Prover(kind)
    x = prover.private.public_key().public_numbers().x
    size = len(prover.jwk["x"]) * 3 // 4
    assert checked(prover.with_header(jwk={**prover.jwk, "x": b64(x.to_bytes(size))}))
    assert reason(prover.with_header(jwk={**prover.jwk, "x": b64(x.to_bytes(size + 1))})) == "jwk"


def test_a_key_has_one_thumbprint_whatever_is_beside_it() -> None:
    jwk = {"use": "sig", "alg": "ES256", "kid": 7, "key_ops": ["verify"], "x5t": "…", **PROVER.jwk}
    assert checked(PROVER.with_header(jwk=jwk, kid="mine")).jkt == PROVER.jkt


@pytest.mark.parametrize(
    "changes", [{"crit": ["exp"]}, {"b64": False}, {"jku": URL}, {"x5c": []}, {"x5u": URL}, {"kid": 1}, {"zip": "DEF"}]
)
def test_141_what_changes_how_a_jws_is_read_is_refused_in_a_proof_too(changes: dict[str, Any]) -> None:
    assert reason(PROVER.with_header(**changes)) == "header"


@pytest.mark.parametrize("kind", KINDS[:5])
def test_98_a_signature_of_another_key_is_refused(kind: str) -> None:
    prover = Prover(kind)
    signed = prover.proof().rpartition(".")[0]
    other = Prover("ES256" if kind != "ES256" else "ES384")
    assert reason(f"{signed}.{b64(other.sign(signed.encode()))}") == "signature"
    assert reason(f"{signed}.{b64(bytes(64))}") == "signature"


def test_98_a_signature_over_something_else_is_refused_though_the_key_is_known() -> None:
    assert checked(GOOD)
    head, _, signature = GOOD.split(".")
    assert reason(f"{head}.{encode({**PROVER.claims, 'jti': 'other'})}.{signature}") == "signature"


@pytest.mark.parametrize("method", ["post", "GET", "POST ", "", "PUT"])
def test_99_another_method_is_refused(method: str) -> None:
    assert reason(PROVER.proof(htm=method)) == "htm"
    assert reason(GOOD, method=method) == "htm"


@pytest.mark.rfc("9449", "4.3")
@pytest.mark.parametrize(
    "htu",
    [
        URL + "?a=b",
        URL + "#f",
        URL.replace("issuer.example", "Issuer.EXAMPLE:443"),
        URL.replace("https", "HTTPS"),
        URL.replace("oauth2", "o%61uth2"),
    ],
)
def test_99_another_spelling_of_the_address_is_accepted(htu: str) -> None:
    assert checked(PROVER.proof(htu=htu)).htu == URL
    assert checked(GOOD, url=htu).htu == URL


@pytest.mark.parametrize(
    "htu",
    [URL.replace("https", "http"), URL.replace("issuer", "other"), URL + "/", URL.replace("example", "example:8443"), URL.upper(), "/oauth2/access_token",
     URL.replace("https://", "https://user@"), "https://issuer.example", "junk", URL.replace("oauth2", "oauth2%2Frealms")],
)  # fmt: skip
def test_99_another_address_is_refused(htu: str) -> None:
    assert reason(PROVER.proof(htu=htu)) == "htu"
    assert reason(GOOD, url=htu) == "htu"


@pytest.mark.rfc("9449", "4.3")
@pytest.mark.parametrize(
    "iat", [START - 10, START + 10, START - 10.5, START - MAX_AGE, START - MAX_AGE - LEEWAY, START + LEEWAY]
)
def test_100_a_proof_of_about_now_is_accepted(iat: float) -> None:
    assert checked(PROVER.proof(iat=iat)).iat == iat


@pytest.mark.parametrize(
    "iat", [START - 3600, START + 3600, START - MAX_AGE - LEEWAY - 1, START + LEEWAY + 1, START + LEEWAY + 0.5, 0]
)
def test_100_a_proof_of_another_time_is_refused(iat: float) -> None:
    assert reason(PROVER.proof(iat=iat)) == "iat"


@pytest.mark.parametrize("text", ["1e400", "NaN", "-Infinity", "1" * 400])
def test_100_a_time_that_is_no_number_is_malformed(text: str) -> None:
    assert reason(PROVER.with_text(PROVER.text().replace(str(START), text))) == "malformed"


def test_100_the_window_is_that_which_is_told() -> None:
    assert checked(PROVER.proof(iat=START - 300), max_age=300, leeway=0).until == START
    assert reason(PROVER.proof(iat=START - 301), max_age=300, leeway=0) == "iat"
    assert reason(PROVER.proof(iat=START + 1), max_age=300, leeway=0) == "iat"


@pytest.mark.parametrize("iat", [START, START + 0.5, START - 89.5])
def test_a_proof_may_be_accepted_until_the_second_it_says_and_no_longer(iat: float) -> None:
    text = PROVER.proof(iat=iat)
    until = checked(text).until
    assert checked(text, now=until)
    assert reason(text, now=until + 1) == "iat"


@pytest.mark.parametrize(
    "changes",
    [{"exp": START - 10}, {"exp": START + 10}, {"nbf": START + 10}, {"nbf": "soon"}, {"exp": True}, {"other": [1]}],
)
def test_100_claims_that_the_rfc_gives_no_meaning_are_tolerated(changes: dict[str, Any]) -> None:
    assert checked(PROVER.proof(**changes))


def test_a_jti_has_1_to_256_characters_and_none_that_controls() -> None:
    assert checked(PROVER.proof(jti="j" * 256)).jti == "j" * 256
    assert checked(PROVER.proof(jti="é"))
    for jti in ("", "j" * 257, "a\nb", "a\0"):
        assert reason(PROVER.proof(jti=jti)) == "jti"


@pytest.mark.rfc("9449", "4.3")
@pytest.mark.parametrize(
    "ath", [None, "", "junk", "é", 1, dpop.ath(TOKEN + "a"), dpop.ath(TOKEN) + "=", dpop.ath(TOKEN).lower()]
)
def test_101_a_proof_for_another_token_or_for_none_is_refused(ath: Any) -> None:
    assert reason(PROVER.proof(ath=ath), access_token=TOKEN) == "ath"


def test_101_a_proof_for_the_token_is_accepted_and_needs_none_where_there_is_none() -> None:
    assert checked(PROVER.proof(ath=dpop.ath(TOKEN)), access_token=TOKEN)
    assert checked(PROVER.proof(ath="whatever"))
    assert reason(PROVER.proof(ath=dpop.ath(TOKEN)), access_token=TOKEN + "é") == "ath"


@pytest.mark.parametrize(
    "value", [b'{"jti":"a","jti":"b"}', b"[]", b"\xef\xbb\xbf{}", b"{", b'{"jti":"\\ud800"}', b"[" * 5000]
)
def test_claims_are_read_as_strictly_as_those_of_a_token(value: bytes) -> None:
    assert reason(PROVER.proof(claims=value)) == "malformed"


def test_142_nothing_but_a_proof_may_carry_its_key() -> None:
    with pytest.raises(JWSError, match="header"):
        peek(GOOD)
    assert peek(GOOD, proof=True).protected.members["jwk"] == PROVER.jwk
    with pytest.raises(JWSError, match="header"):  # nor because one was looked at as a proof
        peek(GOOD)


@pytest.mark.parametrize("package", ["realmint", "issuer", "keys"])
def test_142_nobody_but_the_check_of_proofs_reads_a_token_as_one(package: str) -> None:
    files = (Path(dpop.__file__).parents[2] / package).rglob("*.py")
    readers = {file.name for file in files if "proof=True" in file.read_text()}
    assert readers == ({"dpop.py"} if package == "realmint" else set())


def test_the_use_of_a_proof_is_kept_under_its_key_its_address_and_its_jti() -> None:
    proof = checked(GOOD)
    again = checked(PROVER.proof(htu=URL + "?again", iat=START + 1))
    assert replay_key(again) == replay_key(proof)
    assert len(replay_key(proof)) == 32
    others = [
        checked(PROVER.proof(jti="other")),
        checked(PROVER.proof(htu=URL + "/x"), url=URL + "/x"),
        checked(Prover("ES384").proof()),
        proof._replace(htu=URL + "a", jti=proof.jti[1:]),
        proof._replace(htu=proof.htu + proof.jti[0], jti=proof.jti[1:]),
    ]
    assert len({replay_key(one) for one in [proof, *others]}) == 1 + len(others)


@example("a.b.c")
@example(GOOD[:-1])
@given(
    st.text()
    | st.text("abc.-_=,")
    | st.sampled_from([GOOD]).flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end]))
)
def test_any_text_gives_a_reason(text: str) -> None:
    if text != GOOD:
        assert reason(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda of: st.lists(of) | st.dictionaries(st.text(), of),
    max_leaves=5,
)


def outcome(headers: str, **changes: Any) -> str:
    """`good`, or the reason of the refusal; any other exception is a failure."""
    try:
        checked(headers, **changes)
    except ProofError as refused:
        return refused.reason
    return "good"


MEMBERS = dict.fromkeys(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"], JSON)


@given(st.fixed_dictionaries({}, optional=MEMBERS), st.sampled_from([PROVER, RSA]))
def test_161_any_members_of_a_key_give_a_reason(members: dict[str, Any], prover: Prover) -> None:
    reasons = ("good", "jwk", "alg", "signature", "too_large", "malformed")
    assert outcome(prover.with_header(jwk={**prover.jwk, **members})) in reasons


@given(st.dictionaries(st.sampled_from(["jti", "htm", "htu", "iat", "ath", "nonce"]), JSON))
def test_161_any_claims_give_a_reason(changes: dict[str, Any]) -> None:
    text = PROVER.proof(claims={**PROVER.claims, "ath": dpop.ath(TOKEN), **changes})
    reasons = (*changes, "nonce", "malformed")
    assert outcome(text, access_token=TOKEN, accepts_nonce=lambda said: said == "n") in reasons
