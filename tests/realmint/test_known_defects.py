"""What other libraries were found to do wrong (D9 to D11, D13, D14), and cases 163, 168, 169: none of it here."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from realmint import Introspection, InvalidToken, IssuerRule, ResourceServer, TokenError, Unavailable
from realmint.transport import Request, Response, TransportError
from tests.support.clock import FakeClock
from tests.support.fake_issuer import INTROSPECT, ISSUER, JWKS_URI, METADATA, STATUS_LIST, FakeIssuer, ok
from tests.support.forge import Forge, b64

Make = Callable[..., ResourceServer]
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the base point of P-256."""


def twin(token: str) -> str:
    """The same token with the other signature that fits it: (r, n - s) for (r, s)."""
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    return f"{signed}.{b64(raw[:32] + (ORDER - int.from_bytes(raw[32:])).to_bytes(32))}"


def refusal(api: ResourceServer, token: str, scope: str | None = None) -> tuple[int, str]:
    with pytest.raises(TokenError) as refused:
        api.validate(token, scope)
    return refused.value.status, refused.value.reason


@pytest.mark.parametrize("seen", [True, False], ids=["both were accepted before", "neither was"])
def test_156_d9_the_twin_of_a_revoked_token_is_refused_too(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, seen: bool
) -> None:
    token = fake.status_token(5)
    both = (token, twin(token))
    assert both[0] != both[1]
    if seen:
        assert len({api.validate(each).jti for each in both}) == 1
    fake.revoke(5)
    clock.advance(10)
    assert [refusal(api, each) for each in both] == [(401, "revoked")] * 2


def test_156_d9_the_twin_of_a_token_that_its_issuer_revoked_is_asked_about_by_itself(
    make_api: Make, fake: FakeIssuer
) -> None:
    api = make_api(introspection=Introspection("orders-api", "secret", mode="live"))
    token = fake.forge.token()
    fake.active[token] = fake.forge.claims
    assert api.validate(token)
    assert refusal(api, twin(token)) == (401, "inactive")


def failing(_: Request) -> Response:
    raise TransportError("ConnectTimeoutError")


def crashing(_: Request) -> Response:
    raise RuntimeError("somebody's own transport")


OUTAGES: dict[str, Callable[[Request], Response]] = {
    "no connection": failing, "a fault of the transport's": crashing, "500": lambda _: Response(500, {}, b""),
    "502 in HTML": lambda _: Response(502, {}, b"<html>"), "429": lambda _: Response(429, {"retry-after": "9"}, b""),
    "401": lambda _: Response(401, {}, b"{}"), "403": lambda _: Response(403, {}, b"{}"), "404": lambda _: Response(404, {}, b"{}"),
    "302": lambda _: Response(302, {"location": "https://evil.example/"}, b""), "a captive portal": lambda _: ok(b"<html>Sign in</html>"),
}  # fmt: skip


@pytest.mark.parametrize("outage", list(OUTAGES))
@pytest.mark.parametrize("at", [METADATA, JWKS_URI, STATUS_LIST, INTROSPECT])
def test_166_174_d10_what_could_not_be_asked_is_503_and_never_401_wherever_the_network_fails(
    make_api: Make, fake: FakeIssuer, at: str, outage: str
) -> None:
    fake.answers[at] = OUTAGES[outage]
    asked = Introspection("orders-api", "secret", mode="live") if at == INTROSPECT else None
    api = make_api(introspection=asked)
    with pytest.raises(Unavailable) as refused:
        api.validate(fake.status_token(5))
    assert (refused.value.status, refused.value.challenge) == (503, None)
    assert refused.value.retry_after >= 1


def test_d11_what_a_stranger_sends_is_401_whatever_he_makes_up(api: ResourceServer, fake: FakeIssuer) -> None:
    api.validate(fake.forge.token())
    stranger = Forge()
    names = [*(f"made-up-{number}" for number in range(50)), "\ud800", "\0", "../../dev/null", "x" * 128]
    for kid in (*names, fake.forge.material.kid):
        token = stranger.token({**stranger.header, "kid": kid}, status={"status_list": {"idx": 5, "uri": STATUS_LIST}})
        assert refusal(api, token)[0] == 401, kid


def test_d11_a_forged_token_is_401_in_an_outage_too_where_its_key_is_at_hand(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    api.validate(fake.forge.token())
    fake.down = True
    forged = Forge().token(fake.forge.header, status={"status_list": {"idx": 5, "uri": STATUS_LIST}})
    assert refusal(api, forged) == (401, "signature")
    assert refusal(api, fake.forge.token(exp=1)) == (401, "expired")
    assert fake.fetches(STATUS_LIST) == 0


def test_d13_a_scope_is_looked_at_in_an_accepted_token_only(api: ResourceServer, fake: FakeIssuer) -> None:
    fake.revoke(5)
    bad = {
        "signature": Forge().token(fake.forge.header), "expired": fake.forge.token(exp=1),
        "audience": fake.forge.token(aud="https://other.example"), "revoked": fake.status_token(5),
    }  # fmt: skip
    for reason, token in bad.items():
        assert refusal(api, token, "admin") == (401, reason)
    assert refusal(api, fake.forge.token(), "admin") == (403, "scope")


@pytest.mark.parametrize("audience", [None, "", [], (), [""], 7, True])
def test_160_d14_there_is_no_resource_server_without_an_audience(audience: Any) -> None:
    with pytest.raises(ValueError, match="audience"):
        ResourceServer(ISSUER, audience)
    with pytest.raises(ValueError, match="audience"):
        ResourceServer(issuers=[IssuerRule(ISSUER, audience)])


@pytest.mark.parametrize("name", ["issuer", "algorithms"])
@pytest.mark.parametrize("value", [None, "", 7, [], {}])
def test_159_160_nor_without_an_issuer_or_algorithms_and_it_says_which(name: str, value: Any) -> None:
    options = {"issuer": ISSUER, "audience": "https://orders.example", name: value}
    with pytest.raises(ValueError, match=name):
        ResourceServer(**options)
    with pytest.raises(ValueError, match=name):
        IssuerRule(**options)


def test_147_175_d14_nobody_is_let_in_whose_token_names_no_audience(make_api: Make, fake: FakeIssuer) -> None:
    api = make_api(introspection=Introspection("orders-api", "secret", mode="opaque"))
    assert refusal(api, fake.forge.token(aud=None)) == (401, "claim_missing")
    fake.active["opaque-1"] = {name: value for name, value in fake.forge.claims.items() if name != "aud"}
    assert refusal(api, "opaque-1") == (401, "claim_missing")


def deaf(_name: str, _fields: Any) -> None:
    raise RuntimeError("a listener of the user's")


@pytest.mark.parametrize("outage", [None, "no connection", "a fault of the transport's", "500"])
def test_163_whatever_breaks_around_the_budget_it_stays_spent(
    fake: FakeIssuer, clock: FakeClock, outage: str | None
) -> None:
    api = ResourceServer(
        ISSUER, "https://orders.example", transport=fake, clock=clock.wall, monotonic=clock.monotonic, on_event=deaf,
        background=False,
    )  # fmt: skip
    api.validate(fake.forge.token())
    fake.requests.clear()
    if outage is not None:
        fake.answers[JWKS_URI] = OUTAGES[outage]
    stranger = Forge()
    for number in range(100):
        assert refusal(api, stranger.token({**stranger.header, "kid": f"made-up-{number}"}))[0] in (401, 503)
        clock.advance(0.09)
    assert fake.fetches(JWKS_URI) <= 2


def test_145_168_one_name_of_a_key_at_two_issuers_is_two_keys(clock: FakeClock) -> None:
    one, two = Forge(issuer="https://one.example"), Forge(issuer="https://two.example")
    served = {f"{forge.issuer}/jwks": {**dict(forge.material.public_jwk), "kid": "same"} for forge in (one, two)}
    api = ResourceServer(
        issuers=[IssuerRule(each.issuer, "https://orders.example", jwks_url=f"{each.issuer}/jwks") for each in (one, two)],
        transport=lambda request: ok({"keys": [served[request.url]]}),
        clock=clock.wall, monotonic=clock.monotonic, background=False,
    )  # fmt: skip
    for _ in range(2):  # nothing held yet, then everything
        for forge, other in ((one, two), (two, one)):
            header = {**forge.header, "kid": "same"}
            assert refusal(api, other.token(header, forge.claims)) == (401, "signature")
            assert api.validate(forge.token(header)).issuer == forge.issuer


@pytest.mark.parametrize(
    "issuer",
    [f"{ISSUER}/", ISSUER.upper(), ISSUER[:-1], f"{ISSUER}/realms/other", ISSUER.replace("https", "http"), f"{ISSUER}#x",
     "https://evil.example", "http://127.0.0.1:9/", "", 7, [ISSUER], {ISSUER: ISSUER}, True],
)  # fmt: skip
def test_146_169_an_issuer_that_was_not_configured_is_refused_before_anything_is_fetched(
    api: ResourceServer, fake: FakeIssuer, issuer: Any
) -> None:
    for forge in (fake.forge, Forge()):
        with pytest.raises(InvalidToken):
            api.validate(forge.token(claims={**fake.forge.claims, "iss": issuer}))
    assert fake.requests == []
