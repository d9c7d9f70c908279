"""private_key_jwt: facts/security.md section D, headers and bytes of assertions that no client would make."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest

from issuer.client_auth import assertion
from tests.issuer.conftest import READER, Lines
from tests.support.assertions import FORMS, Signer, ask, key_client, written
from tests.support.client_keys import DER, MADE, PEM, SPKI
from tests.support.clock import FakeClock
from tests.support.forge import b64, encode, merged
from tests.support.issuer import Caller, Issuer
from tests.support.servers import serving
from tests.support.wire import assert_refused

everywhere = pytest.mark.parametrize("suffix", FORMS)


class Desk:
    """An issuer with one client for RSA keys, one for EC keys, and one that has a secret."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.rsa = key_client(issuer, "rsa", "RS256", native=MADE["RS256"])
        self.svc = key_client(issuer, "svc")
        self.secret: Caller = issuer.client("shy", READER)

    @property
    def now(self) -> int:
        return self.issuer.clock.now


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    issuer = Issuer(tmp_path_factory.mktemp("desk"), FakeClock(), AUTH_FAILURES_PER_MINUTE="0")
    issuer.runtime.boot()
    yield Desk(issuer)
    issuer.runtime.close()


def confused(desk: Desk) -> dict[str, str]:
    """The public key of the client in the place of a shared secret, in each form that it is published in."""
    claims = encode(desk.rsa.claims(desk.now))
    public = desk.rsa.native.public_key()
    texts = {
        "pem": public.public_bytes(PEM, SPKI),
        "pem_without_end": public.public_bytes(PEM, SPKI).strip(),
        "der": public.public_bytes(DER, SPKI),
        "jwk": json.dumps(desk.rsa.public_jwk()).encode(),
        "empty": b"",
    }
    sent = {}
    for name, secret in texts.items():
        for alg, how in (("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
            signing_input = f"{encode({'alg': alg, 'kid': 'k1'})}.{claims}"
            sent[f"{name}_{alg}"] = f"{signing_input}.{b64(hmac.new(secret, signing_input.encode(), how).digest())}"
    return sent


@everywhere
def test_74_the_public_key_is_no_shared_secret(desk: Desk, suffix: str) -> None:
    for sent in confused(desk).values():
        assert_refused(ask(desk.issuer, sent, suffix), "invalid_client")
    assert_refused(ask(desk.issuer, confused(desk)["pem_HS256"], suffix, client_id="rsa"), "invalid_client")


@pytest.mark.parametrize(
    "alg",
    [pytest.param(alg, id=f"case_74_{alg}") for alg in (
        "none", "None", "NONE", "", "HS256", "ES512", "RS384", "RS512", "PS512", "ES256K", "Ed448", "es256", "dir",
        "RSA-OAEP", "PBES2-HS256+A128KW", None, ["ES256"], 7, True, {"ES256": 1}, "ES256\0", "ES256 ",
    )],
)  # fmt: skip
def test_74_an_algorithm_that_is_none_of_ours_is_refused(desk: Desk, alg: Any) -> None:
    header = merged(desk.svc.header, {"alg": alg}) if alg is not None else {"kid": "k1"}
    for signed in (desk.svc.raw(header, desk.svc.claims(desk.now)),):
        unsigned = signed.rpartition(".")[0] + "."
        for sent in (signed, unsigned):
            assert_refused(ask(desk.issuer, sent), "invalid_client")


def test_74_a_key_that_is_registered_for_one_algorithm_takes_no_other(desk: Desk) -> None:
    made = Signer("rsa-ps", "PS256", native=MADE["PS256"])
    desk.issuer.run(f"clients create rsa-ps --auth-method private_key_jwt {READER}")
    desk.issuer.run(f"clients keys add rsa-ps {written(desk.issuer, made.public_jwk(alg='PS256'))}")
    other = Signer("rsa-ps", "RS256", native=MADE["PS256"])
    assert ask(desk.issuer, made.assertion(desk.now)).status_code == 200
    assert_refused(ask(desk.issuer, other.assertion(desk.now)), "invalid_client")
    assert_refused(ask(desk.issuer, other.assertion(desk.now, header={"kid": None})), "invalid_client")


@everywhere
def test_75_a_key_in_the_assertion_itself_is_never_used_and_no_address_in_it_asked(desk: Desk, suffix: str) -> None:
    mine = Signer("svc", kid=None)
    with serving() as server:
        there = f"http://127.0.0.1:{server.port}/jwks"
        named: list[dict[str, Any]] = [
            {"jwk": mine.public_jwk()}, {"jku": there}, {"x5u": there}, {"x5c": ["MIIB"]}, {"jku": there, "kid": "k1"},
            {"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": False}, {"zip": "DEF"}, {"enc": "A256GCM"},
        ]  # fmt: skip
        for header in named:
            # By whoever the key is: the client's own does not make such a header better.
            for signer in (mine, desk.svc):
                sent = signer.raw({**signer.header, **header}, signer.claims(desk.now))
                assert_refused(ask(desk.issuer, sent, suffix), "invalid_client")
        assert server.asked == []


@everywhere
def test_76_an_assertion_may_say_that_it_is_one_or_nothing_and_not_something_else(desk: Desk, suffix: str) -> None:
    good = ["JWT", "jwt", "application/jwt", None, "client-authentication+jwt", "application/client-authentication+JWT"]
    for typ in good:
        sent = desk.svc.raw(merged(desk.svc.header, {"typ": typ}), desk.svc.claims(desk.now))
        assert ask(desk.issuer, sent, suffix).status_code == 200, typ
    for typ in (
        "at+jwt", "AT+JWT", "application/at+jwt", "dpop+jwt", "token-introspection+jwt", "secevent+jwt", "JOSE",
        "statuslist+jwt", "application/application/jwt", "jwt ", 7, ["JWT"], {}, True,
    ):  # fmt: skip
        sent = desk.svc.raw({**desk.svc.header, "typ": typ}, desk.svc.claims(desk.now))
        assert_refused(ask(desk.issuer, sent, suffix), "invalid_client")


@everywhere
@pytest.mark.parametrize("token_format", ["rfc9068", "jwt", "am"])
def test_77_a_token_of_ours_proves_nothing(desk: Desk, suffix: str, token_format: str) -> None:
    name = f"holder-{token_format}-{suffix.rpartition('/')[2].replace('_', '-')}"
    options = f"{READER} --token-format {token_format} --default-audience https://issuer.example/oauth2/realms/root"
    holder = key_client(desk.issuer, name, options=options)
    token = ask(desk.issuer, holder.assertion(desk.now)).json["access_token"]
    for more in ({}, {"client_id": name}):
        assert_refused(ask(desk.issuer, token, suffix, **more), "invalid_client")


@pytest.mark.parametrize(
    "kid",
    [pytest.param(kid, id=f"case_78_{number}") for number, kid in enumerate([
        "../../etc/passwd", "/dev/null", "k1' OR '1'='1", 'k1"', "k1\0", "\0", "k1\r\nX: y", "k1 ", " k1", "K1", "",
        "x" * 129, "x" * 1400, "%00", "\u2028", "k\u0661", 1, 1.0, True, None, ["k1"], {"k1": 1},
    ])],
)  # fmt: skip
def test_78_a_kid_is_compared_and_nothing_else(desk: Desk, lines: Lines, kid: Any) -> None:
    sent = desk.svc.raw({"alg": "ES256", "kid": kid}, desk.svc.claims(desk.now))
    assert_refused(ask(desk.issuer, sent), "invalid_client")
    assert len([line for line in lines.text if "refused" in line]) == len(lines.text) == 1


def test_78_a_kid_of_a_megabyte_is_too_large(desk: Desk) -> None:
    for size in (3000, 60_000, 1_000_000):
        sent = desk.svc.raw({"alg": "ES256", "kid": "x" * size}, desk.svc.claims(desk.now))
        response = ask(desk.issuer, sent)
        assert_refused(response, *(["invalid_client"] if size < 40_000 else ["invalid_request"]), **(
            {} if size < 40_000 else {"status": 413, "text": "The request is too large"}
        ))  # fmt: skip


def strange(desk: Desk) -> dict[str, str]:
    """Payloads and forms that parsers stumble over, each signed as it should be, and then not."""
    said = desk.svc.claims(desk.now)
    text = json.dumps(said)[:-1]
    payloads: dict[str, Any] = {
        "nested": (text + ', "x": ' + "[" * 4000 + "]" * 4000 + "}").encode(),
        "nested_objects": (text + ', "x": ' + '{"a":' * 1000 + "1" + "}" * 1000 + "}").encode(),
        "nested_33": (text + ', "x": ' + "[" * 33 + "]" * 33 + "}").encode(),
        "long_number": (text + ', "x": ' + "1" * 5000 + "}").encode(),
        "long_exp": text.replace(f'"exp": {said["exp"]}', '"exp": ' + "1" * 5000).encode() + b"}",
        "exp_nan": text.replace(f'"exp": {said["exp"]}', '"exp": NaN').encode() + b"}",
        "exp_infinity": text.replace(f'"exp": {said["exp"]}', '"exp": Infinity').encode() + b"}",
        "exp_1e400": text.replace(f'"exp": {said["exp"]}', '"exp": 1e400').encode() + b"}",
        "surrogate": (text + ', "x": "\\ud800"}').encode(),
        "surrogate_jti": text.replace(said["jti"], "\\udfff").encode() + b"}",
        "surrogate_sub": text.replace('"sub": "svc"', '"sub": "\\ud800"').encode() + b"}",
        "duplicate_sub": (text + ', "sub": "svc"}').encode(),
        "duplicate_sub_of_another": (text + ', "sub": "rsa"}').encode(),
        "duplicate_aud": (text + ', "aud": "https://other.example"}').encode(),
        "not_utf_8": (text + ', "x": "').encode() + b'\xff"}',
        "utf_16": json.dumps(said).encode("utf-16"),
        "byte_order_mark": b"\xef\xbb\xbf" + json.dumps(said).encode(),
        "list": [said],
        "text": "svc",
        "number": 7,
        "null": b"null",
        "empty": b"",
        "something_behind": json.dumps(said).encode() + b"{}",
    }
    good = desk.svc.raw(desk.svc.header, said)
    head, body, signature = good.split(".")
    twice = encode(b'{"alg":"ES256","alg":"ES256","kid":"k1"}')
    deep = encode(b'{"alg":' + b"[" * 900 + b"]" * 900 + b"}")
    forms = {
        "four_parts": good + ".", "five_parts": good + ".e30.e30", "two_parts": f"{head}.{body}", "one_part": head,
        "dots": "." * 5000, "padding": f"{head}.{body}.{signature}==", "white_space": f"{head}. {body}.{signature}",
        "json": json.dumps({"payload": body, "protected": head, "signature": signature}),
        "standard_alphabet": f"{head}.{body}.{signature[:-1]}+", "long": "e30." + "A" * 60_000 + ".AA",
        "non_ascii": good + "\u0660", "detached": f"{head}..{signature}",
        "header_twice": f"{twice}.{body}.{signature}", "deep_header": f"{deep}.{body}.{signature}",
    }  # fmt: skip
    signed = {name: desk.svc.raw(desk.svc.header, payload) for name, payload in payloads.items()}
    unsigned = {f"{name}_unsigned": text.rpartition(".")[0] + ".AA" for name, text in signed.items()}
    return {**signed, **unsigned, **forms}


@everywhere
def test_80_what_parsers_stumble_over_is_refused_like_anything_else(desk: Desk, lines: Lines, suffix: str) -> None:
    for name, sent in strange(desk).items():
        for more in ({}, {"client_id": "svc"}):
            response = ask(desk.issuer, sent, suffix, **more)
            assert response.status_code == 401, (name, response.text)
            assert_refused(response, "invalid_client")
    assert not any("ERROR" in line or "Traceback" in line for line in lines.text)
    assert ask(desk.issuer, desk.svc.assertion(desk.now), suffix).status_code == 200


@everywhere
def test_10_an_assertion_given_twice_is_a_bad_request(desk: Desk, suffix: str) -> None:
    sent = desk.svc.assertion(desk.now)
    for name in ("client_assertion", "client_assertion_type"):
        response = ask(desk.issuer, sent, suffix, **{name: [sent, sent]})
        assert_refused(response, "invalid_request", text="A parameter is repeated")
    response = desk.issuer.post(f"{suffix}?client_assertion={sent}", FORMS[suffix])
    assert_refused(response, "invalid_request", text="Parameters in the query are not accepted")
    assert ask(desk.issuer, sent, suffix).status_code == 200


def test_nothing_of_an_assertion_is_in_an_exception_or_a_repr(desk: Desk) -> None:
    sent = desk.svc.assertion(desk.now)
    for text in (sent, sent[:-4], sent + ".x"):
        shown = repr(assertion.read(text)) + repr(desk.svc)
        assert not any(part in shown for part in sent.split(".")), shown
        assert "svc" not in repr(assertion.read(text))
