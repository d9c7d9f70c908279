"""Rules of trust: patterns, where their keys are, tokens that are taken once, and rules that end."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.issuer.conftest import READER
from tests.support.assertions import FORMS, GRANT, TYPE, Signer, written
from tests.support.client_keys import MADE
from tests.support.issuer import Caller, Issuer, claims
from tests.support.publisher import Publisher, publishing
from tests.support.status_reader import is_cut_off
from tests.support.wire import assert_inactive, assert_refused
from tests.support.workloads import AUDIENCE, DOMAIN, PLATFORMS

GITHUB, SPIFFE = PLATFORMS["github"], PLATFORMS["spiffe"]
SIGNER = Signer("ci", "RS256", native=MADE["RS256"])


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as publisher:
        publisher.publish(SIGNER)
        yield publisher


def shown(issuer: Issuer, token: str, suffix: str = "/access_token", client_id: str = GITHUB.client_id) -> Any:
    sent = {"client_assertion_type": TYPE, "client_assertion": token, "client_id": client_id}
    return issuer.post(suffix, FORMS[suffix] | sent)


def verdict(issuer: Issuer, token: str, client_id: str = GITHUB.client_id) -> bool:
    """The endpoint's, which is the explanation's too."""
    status = shown(issuer, token, client_id=client_id).status_code
    result = issuer.command(f"clients trust explain {client_id} --json", token)
    assert status in (200, 401)
    assert (result.exit_code, json.loads(result.stdout)["accepted"]) == (0 if status == 200 else 1, status == 200)
    return status == 200


@pytest.mark.parametrize(
    ("pattern", "fits", "not_these"),
    [
        ("repo:acme/*", ["repo:acme/x", "repo:acme/", "repo:acme/x/y:z"], ["repo:acme", "repo:acmex/y", "Repo:acme/x"]),
        ("repo:acme/shop:ref:refs/tags/v?", ["repo:acme/shop:ref:refs/tags/v1"], ["repo:acme/shop:ref:refs/tags/v12"]),
        ("repo:acme/[shop]", ["repo:acme/[shop]"], ["repo:acme/s", "repo:acme/shop"]),
        ("[!x]*", ["[!x]y"], ["repo:acme/shop", "y"]),
        ("*[a-z]*", ["x[a-z]y"], ["repo:acme/shop"]),
        ("repo:a.me/*", ["repo:a.me/x"], ["repo:acme/x"]),
        ("*:main", ["repo:x:main", "x\n:main"], ["repo:x:main2", "repo:x:main\n"]),
    ],
)  # fmt: skip
def test_a_pattern_has_stars_and_question_marks_and_everything_else_is_itself(
    issuer: Issuer, pattern: str, fits: list[str], not_these: list[str]
) -> None:
    issuer.run(f"clients create {GITHUB.client_id} {READER}")
    rule = GITHUB.rule(sub=None) + f" --match-glob 'sub={pattern}'"
    GITHUB.trust(issuer, SIGNER, rule=rule)
    for subject in fits:
        assert verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now, sub=subject)), subject
    for subject in not_these:
        assert not verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now, sub=subject)), subject


def test_what_looks_like_a_pattern_is_a_text_unless_it_is_said_to_be_one(issuer: Issuer) -> None:
    issuer.run(f"clients create {GITHUB.client_id} {READER}")
    GITHUB.trust(issuer, SIGNER, rule=GITHUB.rule(sub="repo:acme/*"))
    assert not verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now))
    assert verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now, sub="repo:acme/*"))


def test_the_first_rule_that_fits_lets_in_and_tokens_are_its_own(issuer: Issuer) -> None:
    issuer.run(f"clients create {GITHUB.client_id} {READER}")
    rules = [GITHUB.trust(issuer, SIGNER, rule=GITHUB.rule(sub=f"repo:acme/{name}")) for name in ("a", "b")]
    for name in "ab":
        assert verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now, sub=f"repo:acme/{name}"))
    token = shown(issuer, GITHUB.token(SIGNER, issuer.clock.now, sub="repo:acme/a")).json["access_token"]
    other = shown(issuer, GITHUB.token(SIGNER, issuer.clock.now, sub="repo:acme/b")).json["access_token"]
    issuer.run(f"clients trust revoke {GITHUB.client_id} {rules[0]['credential_id']} --yes")
    issuer.clock.advance(2)
    assert not verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now, sub="repo:acme/a"))
    asker = GITHUB.token(SIGNER, issuer.clock.now, sub="repo:acme/b")
    for each, active in ((token, False), (other, True)):
        sent = {"token": each, "client_assertion_type": TYPE, "client_assertion": asker, "client_id": GITHUB.client_id}
        assert issuer.post("/introspect", sent).json["active"] is active
        cut_off = is_cut_off(
            each, lambda uri: issuer.http.get(urlsplit(uri).path).data, f"{AUDIENCE}/connect/jwk_uri"
        )  # fmt: skip
        assert cut_off is not active


@pytest.mark.parametrize("how", ["discovery", "jwks_uri"])
@pytest.mark.parametrize("kid", ["k1", None])
def test_keys_are_found_where_the_issuer_says_or_where_the_rule_does(
    make_issuer: Callable[..., Issuer], publisher: Publisher, how: str, kid: str | None
) -> None:
    issuer = make_issuer(INTERNAL_HOSTS=publisher.internal)
    issuer.runtime.boot()
    issuer.run(f"clients create {GITHUB.client_id} {READER}")
    named = publisher.issuer if how == "discovery" else GITHUB.issuer
    more = "" if how == "discovery" else f"--jwks-uri {publisher.jwks_uri}"
    issuer.run(f"clients trust add {GITHUB.client_id} {GITHUB.rule(issuer=named)} {more}")
    assert publisher.asked == [], "nobody needed a key yet"

    def token(signer: Signer = SIGNER) -> str:
        signer = Signer("ci", "RS256", kid and signer.kid, signer.native)
        return GITHUB.token(signer, issuer.clock.now, iss=named)

    for _ in range(3):
        assert shown(issuer, token()).status_code == 200
    expected = ["/.well-known/openid-configuration", "/keys"] if how == "discovery" else ["/keys"]
    assert publisher.paths == expected
    assert verdict(issuer, token())
    assert not verdict(issuer, token(Signer("ci", "RS256")))
    # Another key takes its place; the old one counts no more.
    new = Signer("ci", "RS256", "k2")
    publisher.publish(new)
    issuer.clock.advance(901)
    assert shown(issuer, token(new)).status_code == 200
    assert shown(issuer, token()).status_code == 401


def test_the_bundle_of_a_trust_domain_is_fetched_as_that_specification_writes_it(
    make_issuer: Callable[..., Issuer], publisher: Publisher
) -> None:
    issuer = make_issuer(INTERNAL_HOSTS=publisher.internal)
    issuer.runtime.boot()
    issuer.run(f"clients create {SPIFFE.client_id} {READER}")
    issuer.run(f"clients trust add {SPIFFE.client_id} {SPIFFE.rule()} --jwks-uri {publisher.jwks_uri}")
    signer, of_certificates = Signer("spire"), Signer("spire", kid="x")
    publisher.keys = [
        {**signer.public_jwk(), "use": "jwt-svid"},
        {**of_certificates.public_jwk(), "use": "x509-svid", "x5c": ["MIIB"]},
    ]
    for each, status in ((signer, 200), (of_certificates, 401)):
        token = SPIFFE.token(each, issuer.clock.now)
        assert shown(issuer, token, client_id=SPIFFE.client_id).status_code == status


def test_an_issuer_whose_metadata_names_another_is_believed_by_nobody(
    make_issuer: Callable[..., Issuer], publisher: Publisher
) -> None:
    issuer = make_issuer(INTERNAL_HOSTS=publisher.internal)
    issuer.runtime.boot()
    issuer.run(f"clients create {GITHUB.client_id} {READER}")
    issuer.run(f"clients trust add {GITHUB.client_id} {GITHUB.rule(issuer=publisher.issuer)}")
    publisher.metadata = {"issuer": publisher.issuer + "/"}
    token = GITHUB.token(SIGNER, issuer.clock.now, iss=publisher.issuer)
    response = shown(issuer, token)
    assert (response.status_code, response.json["error"]) == (503, "temporarily_unavailable")
    assert response.headers["Retry-After"].isdigit()
    result = issuer.command(f"clients trust explain {GITHUB.client_id}", token)
    assert (result.exit_code, "cannot be had" in result.stdout) == (1, True)
    assert "/keys" not in publisher.paths


def test_70_a_rule_may_take_each_token_once(stored_issuer: Issuer, second_node: Issuer) -> None:
    nodes = (stored_issuer, second_node)
    stored_issuer.run(f"clients create {GITHUB.client_id} {READER}")
    GITHUB.trust(stored_issuer, SIGNER, "--once")
    token = GITHUB.token(SIGNER, stored_issuer.clock.now)
    with ThreadPoolExecutor(20) as pool:
        got = [each.result().status_code for each in [pool.submit(shown, nodes[n % 2], token) for n in range(20)]]
    assert (got.count(200), len(got)) == (1, 20)
    for changes in ({"jti": None}, {"jti": ""}, {"jti": 7}):
        assert not verdict(stored_issuer, GITHUB.token(SIGNER, stored_issuer.clock.now, **changes))
    assert verdict(stored_issuer, GITHUB.token(SIGNER, stored_issuer.clock.now, jti="x" * 5000))
    # It is explained all the same: nothing is used by asking.
    fresh = GITHUB.token(SIGNER, stored_issuer.clock.now, jti="fresh")
    for _ in range(2):
        assert stored_issuer.command(f"clients trust explain {GITHUB.client_id}", fresh).exit_code == 0
    assert shown(stored_issuer, fresh).status_code == 200
    assert shown(stored_issuer, fresh).status_code in (401, 429)


def test_70_two_rules_that_take_a_token_once_take_it_once_between_them(issuer: Issuer) -> None:
    issuer.run(f"clients create {GITHUB.client_id} {READER}")
    first = GITHUB.trust(issuer, SIGNER, "--once")
    issuer.clock.advance(1)
    GITHUB.trust(issuer, SIGNER, "--once", rule=GITHUB.rule(repository_owner_id=None))
    issuer.clock.advance(2)
    token = GITHUB.token(SIGNER, issuer.clock.now)
    assert [shown(issuer, token).status_code for _ in range(3)] == [200, 401, 401]
    issuer.run(f"clients trust revoke {GITHUB.client_id} {first['credential_id']} --yes")
    issuer.clock.advance(2)
    assert shown(issuer, token).status_code == 401
    assert shown(issuer, GITHUB.token(SIGNER, issuer.clock.now, jti="another")).status_code == 200
    # Of another client it is another's to use.
    issuer.run(f"clients create other {READER}")
    file = written(issuer, SIGNER.public_jwk())
    issuer.run(f"clients trust add other {GITHUB.rule()} --jwks {file} --once")
    assert [shown(issuer, token, client_id="other").status_code for _ in range(2)] == [200, 401]


def test_70_a_rule_about_a_trust_domain_and_one_about_its_issuer_take_a_token_once_between_them(issuer: Issuer) -> None:
    signer, subject = Signer("https://spire.example"), "spiffe://example.org/job"
    issuer.run(f"clients create svc {READER}")
    file = written(issuer, signer.public_jwk())
    for named in ("spiffe://example.org", signer.name):
        issuer.run(f"clients trust add svc --issuer {named} --match sub={subject} --jwks {file} --once")
    issuer.clock.advance(2)
    for changes, statuses in (({}, [200, 401, 401]), ({"iss": None}, [200, 401]), ({"iss": ["x"]}, [200, 401])):
        token = signer.assertion(issuer.clock.wall(), sub=subject, **changes)
        assert [shown(issuer, token, client_id="svc").status_code for _ in statuses] == statuses, changes


@pytest.mark.parametrize("options", ["", "--auth-method workload_identity"])
def test_a_rule_works_beside_a_secret_and_alone(issuer: Issuer, options: str) -> None:
    made = issuer.run(f"clients create {GITHUB.client_id} {options} {READER}")
    assert ("client_secret" in made) is (not options)
    GITHUB.trust(issuer, SIGNER)
    assert verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now))
    secret = Caller(GITHUB.client_id, made.get("client_secret", "a secret that is none"))
    assert issuer.token_response(secret).status_code == (401 if options else 200)


def test_79_a_rule_ends_at_its_end_and_is_dead_everywhere_once_revoked(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    stored_issuer.run(f"clients create {SPIFFE.client_id} {READER}")
    api = stored_issuer.client("api", "--scope am-introspect-all-tokens")
    signer = Signer("spire", "ES256")
    first = SPIFFE.trust(stored_issuer, signer, "--expires-in 1h")
    begun = stored_issuer.clock.now
    assert first["expires_at"] == begun + 3600
    stored_issuer.clock.advance(3599)
    nodes = (stored_issuer, second_node)

    def ask(node: Issuer) -> Any:
        return shown(node, SPIFFE.token(signer, node.clock.now), client_id=SPIFFE.client_id)

    tokens = [ask(node).json["access_token"] for node in nodes]
    stored_issuer.clock.advance(1)
    for node in nodes:
        assert_refused(ask(node), "invalid_client")
        assert node.introspect(api, tokens[0]).json["active"] is True, "it was got in time"
    assert not verdict(stored_issuer, SPIFFE.token(signer, stored_issuer.clock.now), SPIFFE.client_id)
    second = SPIFFE.trust(stored_issuer, signer)
    stored_issuer.clock.advance(2)
    tokens += [ask(node).json["access_token"] for node in nodes]
    for rule in (first, second):
        stored_issuer.run(f"clients trust revoke {SPIFFE.client_id} {rule['credential_id']} --yes")
    second_node.clock.advance(2)
    for node in nodes:
        assert_refused(ask(node), "invalid_client")
        for token in tokens:
            assert_inactive(node.introspect(api, token))


def test_one_that_lives_longer_than_the_rule_allows_is_refused(issuer: Issuer) -> None:
    issuer.run(f"clients create {GITHUB.client_id} {READER}")
    GITHUB.trust(issuer, SIGNER, "--max-lifetime 5m")
    for life, fits in ((300, True), (360, True), (361, False), (3600, False)):
        assert verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now, exp=issuer.clock.now + life)) is fits, life


def test_a_rule_may_name_another_audience_which_is_then_the_only_one(issuer: Issuer) -> None:
    issuer.run(f"clients create {GITHUB.client_id} {READER}")
    GITHUB.trust(issuer, SIGNER, "--audience sigstore")
    for audience, fits in (("sigstore", True), (["sigstore"], True), (AUDIENCE, False), (["sigstore", AUDIENCE], False),
                           ("sigstore ", False), ("Sigstore", False)):  # fmt: skip
        assert verdict(issuer, GITHUB.token(SIGNER, issuer.clock.now, aud=audience)) is fits, audience


def test_a_disabled_client_or_realm_is_let_in_by_no_rule(issuer: Issuer) -> None:
    issuer.run("realms create /customers --scope read")
    issuer.run(f"clients create {SPIFFE.client_id} --realm /customers {READER}")
    signer = Signer("spire")
    file = written(issuer, signer.public_jwk())
    issuer.run(f"clients trust add {SPIFFE.client_id} --realm /customers {SPIFFE.rule()} --jwks {file}")
    sent = {"grant_type": GRANT, "client_id": SPIFFE.client_id}
    for command, status in (("clients disable", 401), ("clients enable", 200), ("realms disable", 401)):
        options = f"{SPIFFE.client_id} --realm /customers" if command.startswith("clients") else "/customers"
        issuer.run(f"{command} {options}")
        issuer.clock.advance(2)
        token = SPIFFE.token(signer, issuer.clock.now, aud=f"{AUDIENCE}/realms/customers")
        body = {"client_assertion_type": TYPE, "client_assertion": token} | sent | FORMS["/access_token"]
        assert issuer.post("/access_token", body, realm="/customers").status_code == status, command
        result = issuer.command(f"clients trust explain {SPIFFE.client_id} --realm /customers --json", token)
        assert (result.exit_code, json.loads(result.stdout)["accepted"]) == (int(status != 200), status == 200)
    assert DOMAIN in result.stdout
    assert claims(token)["aud"]
