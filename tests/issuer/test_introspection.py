"""Who may see which token, and the one answer for everything else: facts/security.md section G."""

import base64
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1

from issuer.registry.bounded import Held
from realmint.protocol import jws
from tests.issuer.conftest import ORDERS, READER, STOCK, House
from tests.support.forge import Forge, b64, encode
from tests.support.issuer import Issuer, basic, claims, header
from tests.support.wire import NO_TOKEN, PRIVATE, QUERY, assert_inactive, assert_refused, headers

ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def ask(house: House, token: str, caller: str = "svc", **form: Any) -> Any:
    return house.issuer.introspect(house[caller], token, **form)


def signer(issuer: Issuer, realm: str = "/") -> Any:
    """The realm's own key, for tokens that only it could sign and never would."""
    view = issuer.runtime.registry.realm(realm)
    assert view is not None
    return view.keys.signing_key("ES256")


def resigned(issuer: Issuer, token: str, typ: str = "at+jwt", **changes: Any) -> str:
    changed = {name: value for name, value in {**claims(token), **changes}.items() if value is not None}
    return jws.sign(changed, signer(issuer), typ)


@pytest.mark.rfc("7662", "2.2")
def test_an_active_token_is_answered_with_these_members(house: House) -> None:
    token = house.issuer.token(house["svc"], scope="read write")
    house.issuer.clock.advance(100)
    response = ask(house, token)
    found = claims(token)
    assert (response.status_code, headers(response)) == (200, PRIVATE)
    assert response.json == {
        "active": True, "scope": "read write", "client_id": "svc", "token_type": "Bearer",
        "expires_in": 500, **{name: found[name] for name in ("exp", "iat", "nbf", "sub", "aud", "iss", "jti", "realm")},
    }  # fmt: skip


@pytest.mark.rfc("7662", "2.2")
def test_116_a_token_that_is_bound_is_told_of_with_what_it_is_bound_to(house: House) -> None:
    token = house.issuer.token(house["svc"])
    for cnf, token_type in (({"jkt": "x" * 43}, "DPoP"), ({"x5t#S256": "x" * 43}, "Bearer")):
        told = house.issuer.introspect(house["auditor"], resigned(house.issuer, token, cnf=cnf)).json
        assert (told["active"], told["cnf"], told["token_type"]) == (True, cnf, token_type)


def test_116_a_token_that_another_version_bound_is_never_told_of_without_that(house: House) -> None:
    """Its client can end it all the same."""
    token = house.issuer.token(house["svc"])
    for cnf in ({"jwk": "x" * 43}, {"jkt": "x" * 43, "kid": "x"}, {"jkt": "x"}, {"jkt": 5}, {}, "x", []):
        bound = resigned(house.issuer, token, cnf=cnf)
        for caller in ("svc", "auditor"):
            assert_inactive(house.issuer.introspect(house[caller], bound))
    assert house.issuer.introspect(house["svc"], token).json["active"] is True
    assert house.issuer.revoke(house["svc"], bound).status_code == 200
    assert_inactive(house.issuer.introspect(house["svc"], token))


def test_what_is_left_counts_from_the_instant_of_the_request(make_issuer: Callable[..., Issuer]) -> None:
    issuer = make_issuer()
    issuer.runtime.boot()
    caller = issuer.client(options="--scope read --default-scope read")
    token = issuer.token(caller)
    issuer.clock.advance(599)
    # Another look at the clock, once the request was read, finds a later second.
    issuer.runtime.clock = lambda: issuer.clock.now + 3
    answer = issuer.introspect(caller, token).json
    assert (answer["active"], answer["expires_in"]) == (True, 1)


@pytest.mark.rfc("7662", "2.1")
def test_109_the_caller_authenticates_and_sends_a_form(house: House) -> None:
    token = house.issuer.token(house["svc"])
    address = house.issuer.address("/introspect")
    assert_refused(house.issuer.post("/introspect", {"token": token}), "invalid_client")
    assert_refused(house.issuer.post("/introspect", {"token": token}, basic("svc", "wrong")), "invalid_client")
    bearer = {"Authorization": f"Bearer {token}"}
    assert_refused(house.issuer.post("/introspect", {"token": token}, bearer), "invalid_client")
    got = house.issuer.http.get(f"{address}?token={token}", headers=house["svc"].basic)
    assert_refused(got, "method_not_allowed", also={"Allow": "POST"})
    asked = house.issuer.http.post(f"{address}?token={token}", headers=house["svc"].basic, data={})
    assert_refused(asked, "invalid_request", text=QUERY)


@pytest.mark.rfc("7662", "2.1")
def test_110_a_token_is_required(house: House) -> None:
    for form in ({"token": ""}, {"token_type_hint": "access_token"}, {"Token": "x"}):
        response = house.issuer.post("/introspect", form, house["svc"].basic)
        assert_refused(response, "invalid_request", text=NO_TOKEN)


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense", "", "x" * 9000, "' OR 1=1--"])
@pytest.mark.rfc("7662", "2.1")
def test_111_a_hint_changes_nothing(house: House, hint: str) -> None:
    token = house.issuer.token(house["svc"])
    assert ask(house, token, token_type_hint=hint).data == ask(house, token).data
    assert_inactive(ask(house, "x", token_type_hint=hint))


@pytest.mark.parametrize(
    "text",
    ["x", ".", "..", "...", "a.b.c", "a" * 60_000, "." * 60_000, "eyJhbGciOiJub25lIn0.e30.", "ü.ü.ü", "\u2028",
     '{"payload":"","signatures":[]}', "null", "' OR 1=1--", "rmt_" + "x" * 43, "%"],
)  # fmt: skip
@pytest.mark.rfc("7662", "2.2")
def test_112_garbage_is_not_active(house: House, text: str) -> None:
    assert_inactive(ask(house, text))


def hostile(house: House) -> dict[str, str]:
    token = house.issuer.token(house["svc"])
    foreign = Forge("ES256", claims(token)["iss"])
    known_kid = header(token) | {"kid": header(token)["kid"]}
    head, body, signature = token.split(".")
    now = house.issuer.clock.now
    return {
        "bad_signature": f"{head}.{body}.{b64(secrets.token_bytes(64))}",
        "zero_signature": f"{head}.{body}.{b64(bytes(64))}",
        "signed_by_a_stranger": foreign.token(),
        "stranger_with_our_kid": foreign.token(header=known_kid, claims=claims(token)),
        "unsigned": f"{encode({'alg': 'none', 'typ': 'at+jwt'})}.{body}.",
        "hs256_of_our_public_key": foreign.hmac(b"x"),
        "changed_claim": f"{head}.{encode(claims(token) | {'scope': 'admin'})}.{signature}",
        "truncated": token[:-1],
        "padded": token + "=",
        "space_before": " " + token,
        "json_around": f'"{token}"',
        "other_issuer": resigned(house.issuer, token, iss="https://issuer.example/oauth2/realms/root/realms/x"),
        "issuer_as_a_list": resigned(house.issuer, token, iss=[claims(token)["iss"]]),
        "dpop_proof": resigned(house.issuer, token, typ="dpop+jwt"),
        "assertion": resigned(house.issuer, token, typ="client-authentication+jwt"),
        "introspection_answer": resigned(house.issuer, token, typ="token-introspection+jwt"),
        "status_list": resigned(house.issuer, token, typ="statuslist+jwt"),
        "not_yet_valid": resigned(house.issuer, token, nbf=now + 3000),
        "issued_in_the_future": resigned(house.issuer, token, iat=now + 3000, exp=now + 3600),
        "expired": resigned(house.issuer, token, iat=now - 700, nbf=now - 700, exp=now - 100),
        "expires_now": resigned(house.issuer, token, iat=now - 600, nbf=now - 600, exp=now),
        "without_exp": resigned(house.issuer, token, exp=None),
        "without_jti": resigned(house.issuer, token, jti=None),
        "without_client_id": resigned(house.issuer, token, client_id=None),
        "exp_true": resigned(house.issuer, token, exp=True),
        "aud_number": resigned(house.issuer, token, aud=5),
        "without_aud": resigned(house.issuer, token, aud=None),
        "without_nbf": resigned(house.issuer, token, nbf=None),
        "without_sub": resigned(house.issuer, token, sub=None),
        "scope_number": resigned(house.issuer, token, scope=5),
        "without_scope": resigned(house.issuer, token, scope=None),
        "unknown_client": resigned(house.issuer, token, client_id="nobody", sub="nobody"),
    }


@pytest.mark.rfc("7662", "2.2")
@pytest.mark.rfc("7662", "4")
def test_112_119_every_token_that_is_not_our_live_access_token_gets_the_same_constant(house: House) -> None:
    for name, token in hostile(house).items():
        for caller in ("svc", "auditor"):
            response = ask(house, token, caller)
            assert response.data == b'{"active":false}\n', name
            assert_inactive(response)


def test_112_a_token_is_active_up_to_the_second_it_expires(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    for seconds, active in ((599, True), (1, False), (1, False)):
        issuer.clock.advance(seconds)
        assert issuer.introspect(caller, token).json["active"] is active


@pytest.mark.rfc("7662", "4")
def test_113_115_a_token_is_shown_to_its_client_its_api_and_marked_profiles_only(house: House) -> None:
    for_orders = house.issuer.token(house["svc"], resource=ORDERS)
    for_both = house.issuer.token(house["svc"], resource=[STOCK, ORDERS])
    for_stock = house.issuer.token(house["svc"], resource=STOCK)
    for_issuer = house.issuer.token(house["svc"])
    for caller, seen in (
        ("svc", {for_orders, for_both, for_stock, for_issuer}),
        ("api", {for_orders, for_both}),
        ("auditor", {for_orders, for_both, for_stock, for_issuer}),
        ("other", set()),
    ):
        for token in (for_orders, for_both, for_stock, for_issuer):
            response = ask(house, token, caller)
            if token in seen:
                assert response.json["active"] is True
            else:
                assert_inactive(response)


def test_113_a_token_of_another_realm_is_not_active_whoever_asks(house: House) -> None:
    theirs = house.issuer.token(house["elsewhere"])
    ours = house.issuer.token(house["svc"])
    assert ask(house, theirs, "elsewhere").json["active"] is True
    assert_inactive(ask(house, theirs, "auditor"))
    assert_inactive(ask(house, ours, "elsewhere"))


def test_114_no_other_spelling_of_a_cut_off_token_is_active(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    auditor = issuer.client("auditor", "--scope am-introspect-all-tokens")
    token = issuer.token(caller)
    head, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    r, s = raw[:32], int.from_bytes(raw[32:], "big")
    assert SECP256R1.key_size == 256
    twin = f"{head}.{b64(r + (ORDER_OF_P256 - s).to_bytes(32, 'big'))}"
    spellings = [token[:-1], token + "=", token + "==", token + ".", token + "A", token.replace(".", ".\u200b", 1)]
    assert issuer.introspect(auditor, token).json["active"] is True
    assert issuer.introspect(auditor, twin).json["active"] is True  # ECDSA is malleable: the same jti, not another
    for spelling in spellings:
        assert_inactive(issuer.introspect(auditor, spelling))
    issuer.run("clients disable svc")
    for spelling in (token, twin, *spellings):
        assert_inactive(issuer.introspect(auditor, spelling))


def test_117_disabling_a_client_a_realm_or_deleting_either_is_heard_at_once(issuer: Issuer) -> None:
    issuer.run("realms create /x")
    for name, realm, command in (
        ("off", "/", "clients disable off"),
        ("gone", "/", "clients delete gone --yes"),
        ("svc", "/x", "realms disable /x"),
    ):
        caller = issuer.client(name, READER, realm)
        auditor = issuer.client(f"auditor-{name}", "--scope am-introspect-all-tokens", realm)
        token = issuer.token(caller)
        assert issuer.introspect(auditor, token).json["active"] is True
        issuer.run(command)
        assert_inactive(issuer.introspect(auditor, token))  # before any snapshot is refreshed
        issuer.clock.advance(3)
        assert_inactive(issuer.introspect(auditor, token))
        assert_refused(issuer.token_response(caller), "invalid_client", realm=realm)
    issuer.run("realms delete /x --yes")
    issuer.clock.advance(3)
    assert issuer.introspect(auditor, token).status_code == 404


def test_118_a_flood_of_random_tokens_leaves_nothing_behind(house: House) -> None:
    def held() -> tuple[Held, Held, int]:
        now = house.issuer.runtime.registry.measures()
        return now.realms, now.clients, now.absent

    def made_up() -> str:
        return Forge.token(FORGE, jti=secrets.token_hex(8), client_id=secrets.token_hex(8))

    assert_inactive(ask(house, made_up()))  # the asker itself is held from here on
    before = held()
    for _ in range(300):
        assert_inactive(ask(house, made_up()))
    assert held() == before


FORGE = Forge()
