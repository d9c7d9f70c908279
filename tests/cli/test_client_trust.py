"""flask clients trust: rules that are registered, refused, ended and explained."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.assertions import READER, Signer, written
from tests.support.client_keys import CURVED, PEM, SPKI
from tests.support.clock import FakeClock
from tests.support.issuer import Issuer
from tests.support.stored import everything
from tests.support.workloads import AUDIENCE, PLATFORMS

SHAPE = {
    "credential_id", "issuer", "matches", "audience", "jwks_uri", "kids", "max_lifetime", "once", "created_at",
    "expires_at", "last_used_at",
}  # fmt: skip
CI, HERE = "--issuer https://ci.example", "--match sub=repo:acme/shop"
GITHUB = PLATFORMS["github"]
SIGNER = Signer("ci", native=CURVED)


@pytest.fixture
def made(issuer: Issuer) -> Issuer:
    """With one client, which trusts nobody."""
    issuer.run(f"clients create svc --auth-method workload_identity {READER}")
    return issuer


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    """With one client, to which nothing is ever added."""
    issuer = Issuer(tmp_path_factory.mktemp("desk"), FakeClock())
    issuer.runtime.boot()
    issuer.run(f"clients create svc --auth-method workload_identity {READER}")
    yield issuer
    issuer.runtime.close()


def test_a_rule_is_printed_listed_and_revoked(stored_issuer: Issuer) -> None:
    stored_issuer.run(f"clients create svc {READER}")
    file = written(stored_issuer, {"keys": [SIGNER.public_jwk()]})
    added = stored_issuer.run(
        f"clients trust add svc {CI} {HERE} --match /a~1b/c=d --match-glob 'ref=refs/tags/*' --audience sigstore"
        f" --jwks {file} --max-lifetime 10m --once --expires-in 1h"
    )
    assert set(added) == SHAPE | {"changed", "realm", "client_id"}
    assert added["matches"] == [
        {"claim": "sub", "value": "repo:acme/shop", "glob": False},
        {"claim": "/a~1b/c", "value": "d", "glob": False},
        {"claim": "ref", "value": "refs/tags/*", "glob": True},
    ]
    expected = ("https://ci.example", "sigstore", None, ["k1"], 600, True, stored_issuer.clock.now + 3600)
    names = ("issuer", "audience", "jwks_uri", "kids", "max_lifetime", "once", "expires_at")
    assert tuple(added[name] for name in names) == expected
    (listed,) = stored_issuer.run("clients trust list svc")
    assert listed == {name: added[name] for name in SHAPE}
    table = stored_issuer.command("clients trust list svc").stdout
    assert "ref~refs/tags/*" in table
    assert "sub=repo:acme/shop" in table
    done = stored_issuer.run(f"clients trust revoke svc {added['credential_id']} --yes --reason over")
    assert (done["changed"], done["credential_id"]) == (True, added["credential_id"])
    assert stored_issuer.run("clients trust list svc") == []
    assert stored_issuer.command(f"clients trust revoke svc {added['credential_id']} --yes").exit_code == 4
    events = [(row["event"], row["reason"]) for row in stored_issuer.run("db audit") if "credential" in row["event"]]
    assert events == [("credential_added", None), ("credential_revoked", "over")]


@pytest.mark.parametrize(
    "options",
    [CI, HERE, f"--issuer http://ci.example {HERE}", f"--issuer ci {HERE}", f"--issuer https://a@ci.example {HERE}",
     f"--issuer https://ci.example#x {HERE}", f"--issuer file:///etc/passwd {HERE}", f"--issuer data:, {HERE}",
     f"--issuer https://127.0.0.1 {HERE}", f"--issuer http://127.0.0.1:9 {HERE}", f"--issuer https://10.0.0.1 {HERE}",
     f"--issuer https://[::1] {HERE}", f"--issuer https://ci.example:22 {HERE}", f"--issuer https://localhost {HERE}",
     f"{CI} --match sub", f"{CI} --match sub=", f"{CI} --match =x", f"{CI} {HERE} {HERE}",
     f"{CI} --match-glob sub=*", f"{CI} --match-glob sub=**", f"{CI} --match-glob 'sub=?*'",
     f"{CI} {HERE} --match-glob 'sub=repo:*'", f"{CI} {HERE} --max-lifetime 0", f"{CI} {HERE} --expires-in 0",
     f"{CI} {HERE} --audience ''", f"{CI} {HERE} --jwks-uri http://ci.example/keys",
     f"{CI} {HERE} --jwks-uri https://169.254.169.254/keys", f"{CI} {HERE} --jwks missing",
     f"{CI} {HERE} --jwks {{file}} --jwks-uri https://ci.example/keys", f"{CI} {HERE} --jwks {{private}}",
     f"{CI} {HERE} --jwks {{twice}}", f"{CI} {HERE} --jwks {{empty}}", f"--issuer spiffe://example.org {HERE}",
     f"--issuer spiffe://example.org/path {HERE} --jwks {{file}}", f"--issuer spiffe:// {HERE} --jwks {{file}}",
     f"--issuer SPIFFE://example.org {HERE}", f"--issuer spiffe://Example.org {HERE} --jwks {{file}}",
     f"--issuer '' {HERE} --jwks {{file}}", f"{CI} " + " ".join(f"--match c{n}=x" for n in range(21)),
     f"--issuer https://{'x' * 1100}.example {HERE}", f"{CI} --match sub={'x' * 1001}"],
)  # fmt: skip
def test_a_rule_that_could_not_work_or_lets_too_many_in_is_refused(desk: Issuer, options: str) -> None:
    jwk = SIGNER.public_jwk()
    documents = {
        "file": jwk, "private": SIGNER.public_jwk(d="AAAA"), "twice": {"keys": [jwk, jwk]}, "empty": {"keys": []},
    }  # fmt: skip
    files = {name: written(desk, document, name) for name, document in documents.items()}
    before = everything(desk.runtime.database)
    result = desk.command(f"clients trust add svc {options.format(**files)} --json")
    assert result.exit_code == 2, result.output
    assert everything(desk.runtime.database) == before


@pytest.mark.parametrize(
    ("options", "word"),
    [("--match-glob sub=repo:acme/*", "like"), ("--match sub=system:serviceaccount:shop:default", "default"),
     ("--match sub=repo:acme/*", "--match-glob"), ("--match aud=x --match sub=a", "--audience"),
     ("--match sub=x --issuer spiffe://example.org --jwks {file}", "begins with spiffe://example.org/"),
     (HERE, "")],
)  # fmt: skip
def test_what_is_allowed_and_seldom_meant_is_warned_about(made: Issuer, options: str, word: str) -> None:
    file = written(made, SIGNER.public_jwk())
    result = made.command(f"clients trust add svc {CI} {options.format(file=file)}")
    assert result.exit_code == 0, result.output
    assert (("Warning" in result.stderr) and word in result.stderr) is bool(word)


def test_a_rehearsal_writes_nothing(stored_issuer: Issuer) -> None:
    stored_issuer.run(f"clients create svc {READER}")
    rule = stored_issuer.run(f"clients trust add svc {CI} {HERE}")["credential_id"]
    before = everything(stored_issuer.runtime.database)
    for line in (f"add svc {CI} --match sub=other", f"revoke svc {rule}"):
        said = stored_issuer.run(f"clients trust {line} --dry-run")
        assert (said["dry_run"], said["changed"]) == (True, False)
    assert everything(stored_issuer.runtime.database) == before


@pytest.mark.parametrize("form", ["jwk", "set", "bundle", "pem"])
def test_keys_of_a_rule_come_in_every_form_that_they_have(made: Issuer, form: str) -> None:
    jwk = SIGNER.public_jwk()
    of_certificates = Signer("ci", kid=None).public_jwk(use="x509-svid", x5c=["MIIB"])
    bundle = {"spiffe_sequence": 1, "keys": [of_certificates, {**jwk, "use": "jwt-svid"}]}
    document: Any = {
        "jwk": jwk, "set": {"keys": [jwk]}, "bundle": bundle, "pem": CURVED.public_key().public_bytes(PEM, SPKI),
    }[form]  # fmt: skip
    made.run(f"clients trust add svc {CI} {HERE} --jwks {written(made, document)}")
    signer = Signer("ci", kid=None if form == "pem" else "k1", native=CURVED)
    if form == "bundle":
        assert made.run("clients trust list svc")[0]["kids"] == ["k1"]
    token = signer.assertion(made.clock.now, iss="https://ci.example", sub="repo:acme/shop")
    assert made.command("clients trust explain svc -", token).exit_code == 0


def explained(issuer: Issuer, token: str) -> tuple[int, Any, str]:
    """The code, the JSON and the text of both."""
    as_json, text = (issuer.command(f"clients trust explain svc - {more}", token) for more in ("--json", ""))
    assert as_json.exit_code == text.exit_code
    return as_json.exit_code, json.loads(as_json.stdout), text.stdout


def test_an_explanation_goes_rule_by_rule_and_claim_by_claim(made: Issuer) -> None:
    token = SIGNER.assertion(made.clock.now, iss="https://ci.example", sub="repo:acme/shop", ref="main")
    code, said, text = explained(made, token)
    assert (code, said["accepted"], said["rules"]) == (1, False, [])
    assert "trusts nobody" in text
    file = written(made, SIGNER.public_jwk())
    rules = [made.run(f"clients trust add svc {CI} --match sub={sub} --match ref=main --jwks {file}") for sub in "ab"]
    made.clock.advance(1)
    made.run(f"clients trust add svc {CI} {HERE} --jwks {file} --expires-in 1s")
    made.clock.advance(1)
    code, said, text = explained(made, token)
    assert set(said) == {"accepted", "realm", "client_id", "client_enabled", "reason", "rules"}
    assert (code, said["accepted"], said["client_enabled"], said["reason"]) == (1, False, True, None)
    assert {rule["credential_id"] for rule in rules} < {rule["credential_id"] for rule in said["rules"]}
    assert [(rule["fits"], rule["expired"]) for rule in said["rules"]] == [(False, False)] * 2 + [(False, True)]
    assert {frozenset(rule) for rule in said["rules"]} == {
        frozenset({"credential_id", "issuer", "fits", "expired", "checks"})
    }
    failed = [[check["what"] for check in rule["checks"] if not check["passed"]] for rule in said["rules"]]
    assert failed == [["sub"], ["sub"], []]
    check = next(check for check in said["rules"][0]["checks"] if not check["passed"])
    assert set(check) == {"reason", "what", "expected", "found", "passed"}
    assert (check["expected"] in "ab", check["found"], check["reason"]) == (True, "repo:acme/shop", "trust_claim")
    assert "FAIL sub" in text
    assert "has expired" in text
    assert "no token would be issued" in text
    made.run(f"clients trust add svc {CI} {HERE} --jwks {file}")
    code, said, text = explained(made, token)
    assert (code, said["accepted"]) == (0, True)
    assert "a token would be issued" in text.splitlines()[-1]
    assert AUDIENCE in text


@pytest.mark.parametrize("text", ["", "a.b.c", "x" * 9000, "\ufeff", "a b c", "{}"])
def test_what_is_no_token_is_said_to_be_none(desk: Issuer, text: str) -> None:
    result = desk.command("clients trust explain svc - --json", text)
    assert result.exit_code in (1, 2), result.output
    assert "Traceback" not in result.output


def test_what_is_no_token_is_said_to_be_none_in_words(made: Issuer) -> None:
    result = made.command("clients trust explain svc -", "a.b.c")
    assert result.stdout.splitlines() == [
        "that is no token that anybody could be trusted by: it is no compact JWS with JSON objects",
        "no token would be issued: invalid_client",
    ]


def test_an_explanation_names_the_subject_once_unless_the_token_is_its_own_issuer(made: Issuer) -> None:
    made.run(f"clients trust add svc {CI} {HERE} --jwks {written(made, SIGNER.public_jwk())}")
    for sub, lines in (("repo:acme/shop", 1), ("https://ci.example", 2)):
        _, _, text = explained(made, SIGNER.assertion(made.clock.now, iss="https://ci.example", sub=sub))
        assert sum(line.split()[1] == "sub" for line in text.splitlines() if line.startswith("  ")) == lines


def test_an_explanation_shows_claims_so_that_no_terminal_is_driven_by_them(made: Issuer) -> None:
    file = written(made, SIGNER.public_jwk())
    made.run(f"clients trust add svc {CI} {HERE} --jwks {file}")
    token = SIGNER.assertion(made.clock.now, iss="https://ci.example", sub="\x1b[2J\x07\r\nok  sub is fine\u202e")
    code, _, text = explained(made, token)
    assert code == 1
    assert not any(char in text for char in "\x1b\x07\r\u202e")
    assert token.rpartition(".")[2] not in text


@pytest.mark.parametrize(
    "line", ["explain nobody -", "explain svc - --realm /nowhere", "list nobody", "revoke svc x --yes"]
)
def test_what_is_not_there_is_not_found(desk: Issuer, line: str) -> None:
    assert desk.command(f"clients trust {line}", "a.b.c").exit_code == 4
