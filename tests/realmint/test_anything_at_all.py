"""#161: any bytes in any document, header or token, and only the TokenError family comes out."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmint import Introspection, InvalidRequest, ResourceServer, TokenError, Unavailable
from realmint.bearer import parse_authorization
from realmint.transport import Response
from tests.support.clock import START, FakeClock
from tests.support.fake_issuer import INTROSPECT, ISSUER, JWKS_URI, METADATA, FakeIssuer

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
                      max_leaves=8)  # fmt: skip
addresses = (
    st.sampled_from([JWKS_URI, "http://[::1/x", "https://[x]/", "https://issuer\u2100.example/", "//x", "\ud800"])
    | st.text()
)
header_texts = st.text(st.characters(max_codepoint=255), max_size=40)
headers = st.dictionaries(
    st.sampled_from(["cache-control", "age", "etag", "content-type", "retry-after"]),
    header_texts | st.sampled_from(["max-age=1" + "0" * 30, "max-age=-1", "\u00b2", '"\n"', "max-age=\u0663"]),
)


def documents(**members: Any) -> st.SearchStrategy[bytes]:
    """A document with some of its members spoilt, or none at all."""
    good = st.fixed_dictionaries({}, optional={name: st.just(value) | values for name, value in members.items()})
    return st.binary(max_size=200) | (good | values).map(lambda value: json.dumps(value).encode("utf-8", "replace"))


def jwk(forge: Any) -> st.SearchStrategy[Any]:
    good = dict(forge.material.public_jwk)
    members = st.fixed_dictionaries({}, optional={name: st.just(value) | values for name, value in good.items()})
    return members | values | st.just(good)


anything = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def decide(api: ResourceServer, token: Any) -> None:
    """Accepted or refused by one of ours; anything else fails the test."""
    try:
        api.validate(token)
    except TokenError as refused:
        if refused.status not in (400, 401, 403, 503) or not str(refused).isascii():
            raise AssertionError("not one of our answers") from refused


def made(fake: Any, mode: Any) -> ResourceServer:
    clock = FakeClock(START)
    asking = Introspection("a", "b", mode=mode) if mode else None
    return ResourceServer(
        ISSUER,
        "https://orders.example",
        introspection=asking,
        transport=fake,
        clock=clock.wall,
        monotonic=clock.monotonic,
    )


@anything
@given(
    token=st.text()
    | st.binary()
    | st.integers()
    | st.lists(st.text(max_size=30), min_size=3, max_size=3).map(".".join),
    mode=st.sampled_from([None, "rescue", "opaque", "live"]),
)
def test_161_any_token_at_all(token: Any, mode: Any) -> None:
    decide(made(FakeIssuer(), mode), token)


@anything
@given(
    metadata=documents(issuer=ISSUER, jwks_uri=JWKS_URI, introspection_endpoint=INTROSPECT),
    where=addresses,
    more=headers,
)
def test_161_any_metadata_at_all(metadata: bytes, where: str, more: dict[str, str]) -> None:
    fake = FakeIssuer()
    named = json.dumps({"issuer": ISSUER, "jwks_uri": where, "introspection_endpoint": where}).encode()
    for document in (metadata, named):
        fake.answers[METADATA] = lambda _, document=document: Response(200, more, document)
        for mode in ("rescue", "live"):
            decide(made(fake, mode), fake.forge.token())
        decide(made(fake, "opaque"), "opaque")


@anything
@given(data=st.data(), more=headers)
def test_161_any_jwks_at_all(data: Any, more: dict[str, str]) -> None:
    fake = FakeIssuer()
    keys = data.draw(st.lists(jwk(fake.forge), max_size=3) | values)
    document = data.draw(st.just(json.dumps({"keys": keys}).encode("utf-8", "replace")) | documents(keys=keys))
    fake.answers[JWKS_URI] = lambda _: Response(200, more, document)
    api = made(fake, None)
    for _ in range(2):  # the second with what the first made it hold
        decide(api, fake.forge.token())
        with suppress(Unavailable):
            api.refresh_keys()


@anything
@given(data=st.data(), more=headers, status=st.sampled_from([200, 200, 200, 204, 302, 401, 500]))
def test_161_any_introspection_answer_at_all(data: Any, more: dict[str, str], status: int) -> None:
    fake = FakeIssuer()
    document = data.draw(documents(active=True, **fake.forge.claims))
    fake.answers[INTROSPECT] = lambda _: Response(status, more, document)
    decide(made(fake, "opaque"), "opaque")
    decide(made(fake, "live"), fake.forge.token())


@anything
@given(st.lists(header_texts | st.text(), max_size=2))
def test_161_any_authorization_header_at_all(lines: list[str]) -> None:
    with suppress(InvalidRequest):
        assert parse_authorization(lines) is None or len(lines) == 1


@anything
@given(
    changes=st.dictionaries(
        st.sampled_from(["iss", "aud", "exp", "iat", "nbf", "sub", "client_id", "jti", "scope", "realm", "cnf"]),
        values,
        max_size=3,
    )
)
def test_161_any_claims_at_all_under_a_right_signature(changes: dict[str, Any]) -> None:
    fake = FakeIssuer()
    try:
        token = fake.forge.token(**changes)
    except ValueError:  # what JSON cannot say
        return
    decide(made(fake, None), token)
