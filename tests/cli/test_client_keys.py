"""flask clients keys: what is registered, and what is refused, on both engines where the store is meant."""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.support.assertions import READER, Signer, add_key, ask, key_client, written
from tests.support.client_keys import ALGORITHMS, MADE, OPENSSH, PEM, SPKI, another, pem, private_jwk
from tests.support.clock import FakeClock
from tests.support.forge import b64
from tests.support.issuer import Issuer
from tests.support.stored import everything
from tests.support.tls import certificate

SHAPE = {"credential_id", "kid", "alg", "jwks_uri", "created_at", "expires_at", "last_used_at"}
EC = MADE["ES256"]


@pytest.fixture
def made(issuer: Issuer) -> Issuer:
    """With one client of private_key_jwt, which has no key yet."""
    issuer.run(f"clients create svc --auth-method private_key_jwt {READER}")
    return issuer


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    """With one client, to which nothing is ever added, and others of the tests' own."""
    issuer = Issuer(tmp_path_factory.mktemp("desk"), FakeClock())
    issuer.runtime.boot()
    issuer.run(f"clients create svc --auth-method private_key_jwt {READER}")
    yield issuer
    issuer.runtime.close()


def add(issuer: Issuer, document: Any, options: str = "", name: str = "svc") -> Any:
    return issuer.command(f"clients keys add {name} {written(issuer, document)} {options} --json")


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("how", ["jwk", "pem", "set", "jwk_with_more"])
def test_a_public_key_is_taken_in_every_form_that_one_has(desk: Issuer, alg: str, how: str) -> None:
    name = f"{alg}-{how}"
    desk.run(f"clients create {name} --auth-method private_key_jwt {READER}")
    signer = Signer(name, alg, native=MADE[alg])
    public = signer.public_jwk()
    document = {
        "jwk": public,
        "set": {"keys": [public]},
        "jwk_with_more": public | {"use": "sig", "key_ops": ["verify"], "x5t": "abc", "note": 1},
        "pem": MADE[alg].public_key().public_bytes(PEM, SPKI),
    }[how]
    result = add(desk, document, "--kid k1" if how == "pem" else "", name)
    assert (result.exit_code, result.stderr) == (0, "")
    printed = json.loads(result.stdout)
    assert set(printed) >= {"changed", "realm", "client_id", "keys"}
    (key,) = printed["keys"]
    assert set(key) == SHAPE
    assert (key["kid"], alg in key["alg"].split(), key["expires_at"]) == ("k1", True, None)
    assert desk.run(f"clients keys list {name}") == [key]
    assert ask(desk, signer.assertion(desk.clock.now)).status_code == 200


def test_a_certificate_is_taken_for_its_key(made: Issuer, tmp_path: Path) -> None:
    cert, private = certificate(tmp_path, "svc.example")
    result = made.run(f"clients keys add svc {cert} --kid of-the-certificate")
    signer = Signer("svc", "ES256", "of-the-certificate", load_pem_private_key(private.read_bytes(), None))
    assert result["keys"][0]["kid"] == "of-the-certificate"
    assert ask(made, signer.assertion(made.clock.now)).status_code == 200
    assert add(made, private.read_bytes()).exit_code == 2


def test_without_a_name_a_key_has_its_thumbprint(made: Issuer) -> None:
    signer = Signer("svc", kid=None)
    (key,) = json.loads(add(made, signer.public_jwk()).stdout)["keys"]
    assert len(key["kid"]) == 43
    for kid in (key["kid"], None):
        assert ask(made, signer.assertion(made.clock.now, header={"kid": kid})).status_code == 200


def test_a_set_is_registered_whole_or_not_at_all(made: Issuer) -> None:
    keys = [Signer("svc", "ES256", f"k{number}").public_jwk() for number in range(20)]
    assert add(made, {"keys": [*keys[:3], weak_jwk()]}).exit_code == 2
    assert made.run("clients keys list svc") == []
    assert len(json.loads(add(made, {"keys": keys}).stdout)["keys"]) == 20
    assert add(made, {"keys": [{**key, "kid": key["kid"] + "x"} for key in keys] * 1}).exit_code == 0
    assert len(made.run("clients keys list svc")) == 40


def ec_jwk(**more: Any) -> dict[str, Any]:
    return Signer("svc", kid="k9", native=EC).public_jwk(**more)


@cache
def refused() -> dict[str, Any]:
    """What may not be registered, each for a reason of its own."""
    rsa_jwk = Signer("svc", "RS256", native=MADE["RS256"]).public_jwk()
    return {
        "case_84_private_jwk": private_jwk(EC, kid="a"),
        "case_84_private_rsa_jwk": private_jwk(MADE["RS256"], kid="a"),
        "case_84_private_in_a_set": {"keys": [ec_jwk(), private_jwk(EC, kid="a")]},
        "case_84_private_pem": pem(EC),
        "case_84_private_pem_behind_a_public": EC.public_key().public_bytes(PEM, SPKI) + pem(EC),
        "case_84_private_openssh": pem(EC, OPENSSH),
        "case_84_symmetric": {"kty": "oct", "k": "AAAA", "kid": "a"},
        "case_84_rsa_1024": weak_jwk(),
        "case_84_rsa_e_1": rsa_jwk | {"e": "AQ"},
        "case_84_rsa_e_3": rsa_jwk | {"e": "Aw"},
        "case_84_rsa_e_even": rsa_jwk | {"e": "AQAA"},
        "case_84_rsa_n_even": rsa_jwk | {"n": rsa_jwk["n"][:-1] + "A"},
        "case_84_rsa_huge": rsa_jwk | {"n": rsa_jwk["n"] * 8},
        "case_84_off_curve": ec_jwk(y=ec_jwk()["x"]),
        "case_84_point_at_infinity": ec_jwk(x="A" * 43, y="A" * 43),
        "case_84_short_coordinate": ec_jwk(x=ec_jwk()["x"][:-2]),
        "case_84_p_521": other_curve(ec.SECP521R1(), "P-521"),
        "case_84_secp256k1": ec_jwk(crv="secp256k1"),
        "case_84_ed448_pem": ed448.Ed448PrivateKey.generate().public_key().public_bytes(PEM, SPKI),
        "case_84_x25519": {"kty": "OKP", "crv": "X25519", "x": "A" * 43, "kid": "a"},
        "case_84_use_enc": ec_jwk(use="enc"),
        "case_84_key_ops_sign": ec_jwk(key_ops=["sign"]),
        "case_84_key_ops_encrypt": ec_jwk(key_ops=["encrypt"]),
        "case_84_alg_of_another_type": ec_jwk(alg="RS256"),
        "case_84_alg_none": ec_jwk(alg="none"),
        "case_84_alg_hs256": rsa_jwk | {"alg": "HS256"},
        "case_84_duplicate_kid": {"keys": [ec_jwk(), Signer("svc", kid="k9").public_jwk()]},
        "case_84_same_key_twice": {"keys": [ec_jwk(), ec_jwk()]},
        "case_84_10000_keys": {"keys": [{"kty": "EC"}] * 10_000},
        "case_84_21_keys": {"keys": [ec_jwk(kid=f"k{number}") for number in range(21)]},
        "case_84_no_keys": {"keys": []},
        "case_84_keys_is_no_list": {"keys": ec_jwk()},
        "case_84_a_key_that_is_none": {"keys": ["a", None]},
        "case_84_kid_number": ec_jwk(kid=7),
        "case_84_kid_empty": ec_jwk(kid=""),
        "case_84_kid_long": ec_jwk(kid="x" * 129),
        "case_84_kid_control": ec_jwk(kid="a\x1b[31m"),
        "case_84_kid_nul": ec_jwk(kid="a\0"),
        "case_84_empty_object": {},
        "case_84_list": [ec_jwk()],
        "empty": b"",
        "garbage": b"\xff\xfe\x00",
        "duplicate_members": json.dumps(ec_jwk())[:-1].encode() + b',"kty":"EC"}',
        "nested": b'{"keys":' * 20_000,
        "too_long": b" " * 70_000,
        "pem_without_end": b"-----BEGIN PUBLIC KEY-----\nMFkw",
    }


def weak_jwk() -> Any:
    """No library of ours would write it down."""
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    return {"kty": "RSA", "n": b64(numbers.n.to_bytes(128, "big")), "e": "AQAB", "kid": "weak"}


def other_curve(curve: Any, name: str) -> Any:
    numbers = ec.generate_private_key(curve).public_key().public_numbers()
    size = (curve.key_size + 7) // 8
    x, y = (b64(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": name, "x": x, "y": y, "kid": "a"}


@pytest.mark.parametrize("name", refused())
def test_84_what_nobody_should_be_trusted_by_is_refused_and_not_quoted(desk: Issuer, name: str) -> None:
    document = refused()[name]
    before = everything(desk.runtime.database)
    result = add(desk, document)
    assert result.exit_code == 2, result.output
    said = json.loads(result.stdout or result.stderr)
    assert {"error", "message"} <= set(said)
    assert "Traceback" not in result.output
    for member in ("d", "p", "q", "x", "n", "k"):
        value = document.get(member) if isinstance(document, dict) else None
        assert not (isinstance(value, str) and len(value) > 9 and value in result.output)
    assert everything(desk.runtime.database) == before


def test_84_a_file_that_never_ends_or_is_none_is_refused_at_once(made: Issuer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "fifo", tmp_path / "link", tmp_path, tmp_path / "missing", "/dev/zero"):
        for command in (
            "clients keys add svc",
            "clients trust add svc --issuer https://a.example --match sub=a --jwks",
        ):
            assert made.command(f"{command} {path}").exit_code == 2


def test_a_name_in_use_is_refused_until_its_key_has_ended(stored_issuer: Issuer) -> None:
    key_client(stored_issuer)
    again = Signer("svc")
    assert add(stored_issuer, again.public_jwk()).exit_code == 2
    add_key(stored_issuer, Signer("svc", kid="brief"), "--expires-in 1h")
    stored_issuer.clock.advance(3600)
    add_key(stored_issuer, Signer("svc", kid="brief"))
    stored_issuer.run("clients keys revoke svc k1 --yes")
    add_key(stored_issuer, again)
    stored_issuer.clock.advance(2)
    assert ask(stored_issuer, again.assertion(stored_issuer.clock.now)).status_code == 200


def test_the_same_key_under_another_name_is_warned_about(made: Issuer) -> None:
    assert "Warning" not in add(made, Signer("svc", kid="a", native=EC).public_jwk()).stderr
    again = add(made, Signer("svc", kid="b", native=EC).public_jwk())
    assert (again.exit_code, "b is the same as a; to revoke one of them leaves the other" in again.stderr) == (0, True)
    assert "Warning" not in add(made, Signer("svc", kid="c").public_jwk()).stderr
    made.run("clients keys revoke svc a --yes")
    made.run("clients keys revoke svc b --yes")
    assert "Warning" not in add(made, Signer("svc", kid="d", native=EC).public_jwk()).stderr


def test_an_empty_name_is_said_to_be_one(made: Issuer) -> None:
    result = add(made, EC.public_key().public_bytes(PEM, SPKI), "--kid ''")
    assert (result.exit_code, "--kid is empty" in result.stderr + result.stdout) == (2, True)


def test_a_key_is_of_use_to_a_client_of_self_signed_certificates_too(issuer: Issuer) -> None:
    issuer.run(f"clients create svc --auth-method self_signed_tls_client_auth {READER}")
    assert "Warning" not in add(issuer, Signer("svc").public_jwk()).stderr


def test_a_client_has_so_many_credentials_at_most(made: Issuer) -> None:
    for number in range(5):
        keys = [Signer("svc", kid=f"{number}-{each}", native=EC).public_jwk() for each in range(20)]
        assert add(made, {"keys": keys}).exit_code == 0
    assert add(made, Signer("svc", kid="more").public_jwk()).exit_code == 2
    made.run("clients keys revoke svc 0-0 --yes")
    assert add(made, Signer("svc", kid="more").public_jwk()).exit_code == 0


@pytest.mark.parametrize("how", ["file", "address"])
def test_an_overlap_ends_every_other_key_wherever_it_is(stored_issuer: Issuer, how: str) -> None:
    key_client(stored_issuer)
    stored_issuer.run("clients keys add svc --jwks-uri https://svc.example/jwks")
    now = stored_issuer.clock.now
    file = written(stored_issuer, Signer("svc", kid="new").public_jwk())
    new = file if how == "file" else "--jwks-uri https://svc.example/new"
    (added,) = stored_issuer.run(f"clients keys add svc {new} --overlap 1h")["keys"]
    ends = {each["credential_id"]: each["expires_at"] for each in stored_issuer.run("clients keys list svc")}
    assert (ends.pop(added["credential_id"]), list(ends.values())) == (None, [now + 3600] * 2)


@pytest.mark.parametrize("line", ["add svc {file}", "add svc --jwks-uri https://svc.example/jwks", "revoke svc k1"])
def test_a_rehearsal_writes_nothing(stored_issuer: Issuer, line: str) -> None:
    signer = key_client(stored_issuer)
    file = written(stored_issuer, Signer("svc", kid="k2").public_jwk())
    before = everything(stored_issuer.runtime.database)
    said = stored_issuer.run(f"clients keys {line.format(file=file)} --dry-run")
    assert (said["dry_run"], said["changed"]) == (True, False)
    assert everything(stored_issuer.runtime.database) == before
    assert ask(stored_issuer, signer.assertion(stored_issuer.clock.now)).status_code == 200


def test_an_address_of_keys_is_listed_and_revoked_by_its_id(stored_issuer: Issuer) -> None:
    key_client(stored_issuer)
    stored_issuer.clock.advance(1)
    made = stored_issuer.run("clients keys add svc --jwks-uri https://svc.example/jwks")
    (key,) = made["keys"]
    assert set(key) == SHAPE
    assert (key["kid"], key["alg"], key["jwks_uri"]) == (None, None, "https://svc.example/jwks")
    assert [each["jwks_uri"] for each in stored_issuer.run("clients keys list svc")] == [None, key["jwks_uri"]]
    assert "https://svc.example/jwks" in stored_issuer.command("clients keys list svc").stdout
    done = stored_issuer.run(f"clients keys revoke svc {key['credential_id']} --yes")
    assert done["credential_id"] == key["credential_id"]
    assert done["accepted_until"]["introspection"] == stored_issuer.clock.now
    assert len(stored_issuer.run("clients keys list svc")) == 1


@pytest.mark.parametrize(
    "line",
    ["add svc", "add svc {file} --jwks-uri https://svc.example/jwks", "add svc --jwks-uri https://a.example/x --kid a",
     "add svc {set} --kid a", "add nobody {file}", "add svc {file} --realm /nowhere", "add svc {file} --expires-in 0",
     "revoke svc k9 --yes", "revoke nobody k1 --yes", "revoke svc k1", "list nobody"],
)  # fmt: skip
def test_what_cannot_be_done_changes_nothing(issuer: Issuer, line: str) -> None:
    key_client(issuer)
    file = written(issuer, Signer("svc", kid="k2").public_jwk(), "one")
    several = written(issuer, {"keys": [Signer("svc", kid="k2").public_jwk()]}, "set")
    before = everything(issuer.runtime.database)
    result = issuer.command(f"clients keys {line.format(file=file, set=several)} --json")
    assert result.exit_code == (4 if "no" in line.split(" ", 1)[1] or "k9" in line else 2), result.output
    assert everything(issuer.runtime.database) == before


def test_a_client_of_another_method_is_warned_about_and_one_of_this_has_no_secret(issuer: Issuer) -> None:
    made = issuer.client()
    warned = issuer.command(f"clients keys add svc {written(issuer, Signer('svc').public_jwk())}")
    assert (warned.exit_code, "--auth-method private_key_jwt" in warned.stderr) == (0, True)
    issuer.run("clients update svc --auth-method private_key_jwt")
    warned = issuer.command("clients secrets add svc")
    assert (warned.exit_code, "no use for a secret" in warned.stderr) == (0, True)
    issuer.clock.advance(2)
    assert issuer.token_response(made).status_code == 401
    assert "client_secret" not in issuer.run("clients create other --auth-method private_key_jwt")
    for option in ("--secret-stdin", "--expires-in 1h"):
        assert issuer.command(f"clients create third --auth-method private_key_jwt {option}", "a secret").exit_code == 2


def test_the_audit_tells_of_every_change(issuer: Issuer) -> None:
    key_client(issuer)
    issuer.run("clients keys revoke svc k1 --yes --reason 'was seen in a log'")
    rows = [row for row in issuer.run("db audit") if row["event"].startswith("credential_")]
    told = [(row["event"], row["target"], row["reason"]) for row in rows]
    assert told == [("credential_added", "svc", None), ("credential_revoked", "svc", "was seen in a log")]


def test_health_knows_that_keys_are_credentials(issuer: Issuer) -> None:
    issuer.run("clients create none --auth-method private_key_jwt --scope read --default-audience https://a.example")
    key_client(issuer, "good", options="--scope read --default-audience https://a.example")
    key_client(issuer, "dying", options="--scope read --default-audience https://a.example")
    issuer.run("clients keys revoke dying k1 --yes")
    add_key(issuer, Signer("dying", kid="k2", native=another("ES256")), "--expires-in 1h")
    found = json.loads(issuer.command("clients health --json").stdout)
    assert {(each["client_id"], each["kind"]) for each in found} == {("none", "no_live_secret"), ("dying", "expiring")}
