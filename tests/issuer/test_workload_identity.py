"""workload_identity: tokens of other platforms that stand for a client, by rule, and each near miss of them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from issuer.secrets import generate
from tests.issuer.conftest import READER, Lines
from tests.support.assertions import FORMS, GRANT, TYPE, Signer, counting_checks, issuer_of, key_client, written
from tests.support.client_keys import MADE
from tests.support.clock import FakeClock
from tests.support.issuer import Caller, Issuer, claims
from tests.support.stored import everything
from tests.support.wire import PRIVATE, assert_refused, headers
from tests.support.workloads import AUDIENCE, PLATFORMS, Platform, near_misses

each = pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
everywhere = pytest.mark.parametrize("suffix", FORMS)
GRANTS = f"--grant-type client_credentials --grant-type {GRANT}"
OTHER_SUBJECT = "The client_id in the body is not the subject of the client assertion"
TWO_METHODS = "More than one client authentication method is used"


class Desk:
    """An issuer with a client for each platform, whose rule has its keys."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        issuer.run(f"realms update / {GRANTS}")
        self.signers = {name: Signer(name, one.alg, native=MADE[one.alg]) for name, one in PLATFORMS.items()}
        for name, one in PLATFORMS.items():
            issuer.run(f"clients create {one.client_id} --auth-method workload_identity {READER} {GRANTS}")
            one.trust(issuer, self.signers[name])

    @property
    def now(self) -> int:
        return self.issuer.clock.now

    def token(self, platform: Platform, **changes: Any) -> str:
        return platform.token(self.signers[platform.name], self.now, **changes)

    def shown(self, platform: Platform, token: str, suffix: str = "/access_token", **more: str) -> Any:
        """As client_assertion."""
        sent = {"client_assertion_type": platform.assertion_type, "client_assertion": token}
        return self.issuer.post(suffix, FORMS[suffix] | sent | {"client_id": platform.client_id} | more)

    def granted(self, platform: Platform, token: str, **more: str) -> Any:
        """As the assertion of the jwt-bearer grant."""
        sent = {"grant_type": GRANT, "assertion": token, "client_id": platform.client_id, "scope": "read"}
        return self.issuer.post("/access_token", sent | more)

    def explained(self, platform: Platform, token: str) -> tuple[int, Any]:
        result = self.issuer.command(f"clients trust explain {platform.client_id} - --json", token)
        return result.exit_code, json.loads(result.stdout)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    issuer = Issuer(tmp_path_factory.mktemp("desk"), FakeClock(), AUTH_FAILURES_PER_MINUTE="0")
    issuer.runtime.boot()
    yield Desk(issuer)
    issuer.runtime.close()


@each
@everywhere
@pytest.mark.rfc("7521", "4.2")
def test_what_a_platform_gave_a_workload_stands_for_its_client(desk: Desk, platform: Platform, suffix: str) -> None:
    for kid in ("k1", None):
        token = platform.token(Signer("x", platform.alg, kid, desk.signers[platform.name].native), desk.now)
        response = desk.shown(platform, token, suffix)
        assert (response.status_code, headers(response)) == (200, PRIVATE), response.text
        if suffix == "/access_token":
            got = claims(response.json["access_token"])
            assert (got["client_id"], got["sub"], got["iss"]) == (platform.client_id, platform.client_id, issuer_of())
    assert desk.shown(platform, token, suffix, client_assertion_type=TYPE).status_code == 200


@each
@pytest.mark.rfc("7523", "2.1")
def test_it_may_come_as_the_grant_itself(desk: Desk, platform: Platform) -> None:
    response = desk.granted(platform, desk.token(platform))
    assert (response.status_code, headers(response)) == (200, PRIVATE), response.text
    assert claims(response.json["access_token"])["client_id"] == platform.client_id
    assert desk.granted(platform, desk.token(platform), scope="").json["scope"] == "read"
    for wrong, error in (({"scope": "write"}, "invalid_scope"), ({"resource": "https://x.example"}, "invalid_target")):
        assert_refused(desk.granted(platform, desk.token(platform), **wrong), error)


@each
def test_every_near_miss_is_refused_as_a_wrong_secret_is_and_explained_the_same_way(
    desk: Desk, lines: Lines, platform: Platform
) -> None:
    wrong = Caller("nobody", generate())
    expected = desk.issuer.post("/access_token", FORMS["/access_token"], wrong.basic)
    before = everything(desk.issuer.runtime.database)
    misses = near_misses(platform, desk.signers[platform.name], desk.now)
    for name, token in misses.items():
        for response in (desk.shown(platform, token), desk.granted(platform, token)):
            assert (response.status_code, response.data) == (401, expected.data), name
            assert headers(response) == headers(expected)
        code, said = desk.explained(platform, token)
        assert (code, said["accepted"]) == (1, False), name
        failed = [check for rule in said["rules"] for check in rule["checks"] if not check["passed"]]
        assert failed or said["reason"], name
        assert not any(part in "".join(lines.text + lines.json) for part in token.split(".") if len(part) > 9), name
    code, said = desk.explained(platform, desk.token(platform))
    assert (code, said["accepted"], said["reason"]) == (0, True, None)
    assert everything(desk.issuer.runtime.database) == before, "nothing of that was written down"
    assert desk.shown(platform, desk.token(platform)).status_code == 200


def test_what_its_issuer_made_of_itself_stands_for_no_workload(desk: Desk) -> None:
    """Else it would be the client's own assertion in one place, and a workload's identity in another."""
    signer, itself = Signer("itself", native=MADE["ES256"]), "https://ci.example"
    file = written(desk.issuer, signer.public_jwk())
    for client_id in ("itself", itself):
        desk.issuer.run(f"clients create {client_id} {READER} {GRANTS}")
        desk.issuer.run(f"clients trust add {client_id} --issuer {itself} --match sub={itself} --jwks {file}")
        token = signer.assertion(desk.now, iss=itself, sub=itself)
        for sent in (
            FORMS["/access_token"] | {"client_assertion_type": TYPE, "client_assertion": token},
            {"grant_type": GRANT, "assertion": token},
        ):
            assert_refused(desk.issuer.post("/access_token", sent), "invalid_client")
            response = desk.issuer.post("/access_token", sent | {"client_id": client_id})
            if client_id == itself:
                assert_refused(response, "invalid_client")
            else:
                assert_refused(response, "invalid_request", text=OTHER_SUBJECT)
        result = desk.issuer.command(f"clients trust explain {client_id} - --json", token)
        assert (result.exit_code, json.loads(result.stdout)["accepted"]) == (1, False)


@each
@everywhere
def test_the_same_near_misses_at_the_other_endpoints(desk: Desk, platform: Platform, suffix: str) -> None:
    for name, token in near_misses(platform, desk.signers[platform.name], desk.now).items():
        assert desk.shown(platform, token, suffix).status_code == 401, name


@pytest.mark.parametrize(
    ("change", "status"),
    [({"exp": 30}, 200), ({"exp": -29, "iat": -60, "nbf": -60}, 200), ({"exp": -30, "iat": -60, "nbf": -60}, 401),
     ({"iat": 30, "exp": 90}, 200), ({"iat": 31, "exp": 90}, 401), ({"nbf": 30}, 200), ({"nbf": 31}, 401),
     ({"exp": 86460}, 200), ({"exp": 86461}, 401), ({"iat": -86000, "exp": 460}, 200),
     ({"iat": -86000, "exp": 461}, 401), ({"iat": None, "exp": 86460}, 200), ({"iat": None, "exp": 86461}, 401)],
)  # fmt: skip
def test_68_life_and_skew_one_before_at_and_after_the_limit(desk: Desk, change: dict[str, Any], status: int) -> None:
    platform = PLATFORMS["gitlab"]
    token = desk.token(platform, **{name: value and desk.now + value for name, value in change.items()})
    assert desk.shown(platform, token).status_code == status
    assert desk.explained(platform, token)[1]["accepted"] is (status == 200)


def test_a_client_may_be_called_as_the_subject_is_and_then_needs_no_name_in_the_body(issuer: Issuer) -> None:
    platform, signer = PLATFORMS["kubernetes"], Signer("k", "RS256", native=MADE["RS256"])
    issuer.run(f"clients create system:serviceaccount:shop:orders --auth-method workload_identity {READER}")
    file = written(issuer, signer.public_jwk())
    issuer.run(f"clients trust add system:serviceaccount:shop:orders {platform.rule()} --jwks {file}")
    sent = {"client_assertion_type": TYPE, "client_assertion": platform.token(signer, issuer.clock.now)}
    assert issuer.post("/access_token", FORMS["/access_token"] | sent).status_code == 200
    assert_refused(issuer.post("/access_token", FORMS["/access_token"] | sent | {"client_id": "x"}), "invalid_client")


def test_31_a_token_beside_any_other_proof_is_two_methods(desk: Desk) -> None:
    platform = PLATFORMS["github"]
    secret = desk.issuer.client("beside", READER)
    own = key_client(desk.issuer, "own")
    token = desk.token(platform)
    for more in (
        {"client_secret": generate()}, {"grant_type": GRANT, "assertion": token},
        {"grant_type": GRANT, "assertion": own.assertion(desk.now)},
    ):  # fmt: skip
        assert_refused(desk.shown(platform, token, **more), "invalid_request", text=TWO_METHODS)
    sent = {"grant_type": GRANT, "assertion": token, "scope": "read"}
    assert_refused(desk.issuer.post("/access_token", sent, secret.basic), "invalid_request", text=TWO_METHODS)
    mixed = {"client_assertion_type": TYPE, "client_assertion": own.assertion(desk.now)}
    assert_refused(desk.issuer.post("/access_token", sent | mixed), "invalid_request", text=TWO_METHODS)


def test_14_49_the_grant_has_to_be_allowed_to_the_client_and_in_its_realm(issuer: Issuer) -> None:
    platform, signer = PLATFORMS["github"], Signer("x", "RS256", native=MADE["RS256"])
    desk_of = {"client_id": platform.client_id, "grant_type": GRANT}
    made = issuer.run(f"clients create {platform.client_id} {READER}")
    platform.trust(issuer, signer)
    issuer.clock.advance(2)

    def asked(**more: str) -> Any:
        return issuer.post("/access_token", desk_of | {"assertion": platform.token(signer, issuer.clock.now)} | more)

    assert_refused(asked(), "unauthorized_client")
    for command in (f"clients update {platform.client_id} {GRANTS}", f"realms update / {GRANTS}"):
        assert_refused(asked(), "unauthorized_client")
        issuer.run(command)
        issuer.clock.advance(2)
    assert asked().status_code == 200
    # By its secret it gets no token so: there is no assertion to go by.
    secret = Caller(platform.client_id, made["client_secret"])
    response = issuer.post("/access_token", {"grant_type": GRANT}, secret.basic)
    assert_refused(response, "invalid_request", text="Missing parameter: assertion")
    assert issuer.token_response(secret).status_code == 200, "beside its secret, and either alone"
    assert asked(assertion="").status_code == 401


def test_28_29_as_many_signatures_are_checked_whoever_is_asked_for(desk: Desk) -> None:
    platform = PLATFORMS["github"]
    misses = near_misses(platform, desk.signers["github"], desk.now)
    done = {}
    for name in ("wrong_key", "unknown_kid", "iss_other", "aud_two", "sub_longer", "exp_past"):
        with counting_checks() as counted:
            assert desk.shown(platform, misses[name]).status_code == 401
        done[name] = counted.checks
    for client_id in ("nobody", PLATFORMS["gitlab"].client_id):
        token = desk.token(platform)
        with counting_checks() as counted:
            assert desk.shown(platform, token, client_id=client_id).status_code == 401
        done[client_id] = counted.checks
    assert set(done.values()) == {1}, done


def test_65_the_rule_of_one_client_lets_nobody_in_as_another(desk: Desk) -> None:
    for platform in PLATFORMS.values():
        for other in PLATFORMS.values():
            if other is not platform:
                response = desk.shown(platform, desk.token(platform), client_id=other.client_id)
                assert_refused(response, "invalid_client")
    assert issuer_of() == AUDIENCE
