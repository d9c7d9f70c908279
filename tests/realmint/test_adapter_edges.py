"""What is one adapter's own: Django's classes and CSRF, Flask's and FastAPI's mounts, a question to the issuer per route."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Annotated, Any

import flask
import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import PlainTextResponse
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

import realmint.asgi
import realmint.django
import realmint.fastapi
import realmint.flask
from realmint import AccessToken, Introspection, ResourceServer
from realmint.open_paths import OpenPaths
from tests.realmint.test_adapters import bearer, missing
from tests.support import doors
from tests.support.doors import SITES, Door, asgi_door, project, site, wsgi_door
from tests.support.fake_issuer import INTROSPECT, FakeIssuer


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_class_of_django_views_takes_the_guard(api: ResourceServer, fake: FakeIssuer, *, asynchronous: bool) -> None:
    guard = realmint.django.Guard(api)

    @method_decorator(guard.require("orders:read"), name="dispatch")
    class Orders(View):
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(guard.token(request).client_id)

    class Stock(View):
        @method_decorator(guard.require("orders:read"))
        async def get(self, request: HttpRequest) -> HttpResponse:
            await asyncio.sleep(0)
            return HttpResponse(guard.token(request).client_id)

    urls = [path("orders", Orders.as_view()), path("stock", Stock.as_view())]
    with project(urls, asynchronous=asynchronous) as door:
        for at in ("/orders", "/stock"):
            assert door.send("GET", at, bearer(fake.forge.token())).body == b"svc"
            assert door.send("GET", at) == missing("orders:read")


def test_a_marked_django_view_needs_no_csrf_token_and_another_one_does(api: ResourceServer, fake: FakeIssuer) -> None:
    guard = realmint.django.Guard(api)

    async def stock(request: HttpRequest) -> HttpResponse:
        return HttpResponse("stock")

    marked = guard.require()(lambda _: HttpResponse("orders"))
    urls = [path("orders", marked), path("stock", guard.require()(stock)), path("form", lambda _: HttpResponse("form"))]
    with project(urls, "django.middleware.csrf.CsrfViewMiddleware") as door:
        for at in ("orders", "stock"):
            assert door.send("POST", f"/{at}", bearer(fake.forge.token())).body == at.encode()
            assert door.send("POST", f"/{at}") == missing()
        assert door.send("POST", "/form", bearer(fake.forge.token())).status == 403


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_refusal_that_a_django_view_raises_itself_is_answered(
    api: ResourceServer, fake: FakeIssuer, *, asynchronous: bool
) -> None:
    guard = realmint.django.Guard(api)
    doors.MIDDLEWARE.append(guard.protect())

    def broken(_: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    urls = [path("orders", lambda _: api.validate("a.b.c")), path("broken", broken)]
    try:
        with project(urls, f"{doors.__name__}.middleware", asynchronous=asynchronous) as door:
            answer = door.send("GET", "/orders", bearer(fake.forge.token()))
            assert (answer.status, answer.header("cache-control")) == (401, "no-store")
            assert door.send("GET", "/broken", bearer(fake.forge.token())).status == 500
    finally:
        doors.MIDDLEWARE.pop()


def test_fastapi_applications_and_routers_may_be_nested(api: ResourceServer, fake: FakeIssuer) -> None:
    guard = realmint.fastapi.Guard(api)
    inner, outer = FastAPI(), FastAPI()
    router = APIRouter(prefix="/v1", dependencies=[Depends(guard.require("orders:read"))])
    router.add_api_route("/orders", lambda: PlainTextResponse("orders"))
    inner.include_router(router)
    inner.add_api_route("/healthz", lambda: PlainTextResponse("up"))
    guard.protect(inner, open_paths=["/healthz"])
    outer.mount("/inner", inner)
    door = asgi_door(outer)
    assert door.send("GET", "/inner/healthz").body == b"up"
    assert door.send("GET", "/inner/healthz", mount="/api").body == b"up"
    for target in ("/inner/v1/orders", "/inner/nothing", "/inner/inner/healthz", "/inner/"):
        assert door.send("GET", target) == missing(), target
    assert door.send("GET", "/inner/v1/orders", bearer(fake.forge.token())).body == b"orders"


def test_of_one_request_each_of_two_guards_keeps_its_own_token(
    api: ResourceServer, make_api: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    app = FastAPI()
    one, other = realmint.fastapi.Guard(api), realmint.fastapi.Guard(make_api(audience="https://stock.example"))

    @app.get("/both")
    def both(
        first: Annotated[AccessToken, Depends(one.require())], second: Annotated[AccessToken, Depends(other.require())]
    ) -> Any:
        return first.client_id, second is first

    token = fake.forge.token(aud=["https://orders.example", "https://stock.example"])
    assert asgi_door(app).send("GET", "/both", bearer(token)).body == b'["svc",false]'
    assert asgi_door(app).send("GET", "/both", bearer(fake.forge.token())).status == 401


@pytest.mark.parametrize("name", ["flask", "fastapi", "asgi", "wsgi", "django", "django-async"])
def test_a_route_may_ask_the_issuer_about_each_token_though_all_is_protected(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer, name: str
) -> None:
    api = make_api(introspection=Introspection(client_id="api", client_secret="s", mode="rescue"))
    token = fake.forge.token()
    with ExitStack() as stack:
        doors.LIVE.add("/any")
        try:
            door = site(stack, name, api, doors.OPEN)
        finally:
            doors.LIVE.clear()
        assert door.send("GET", "/orders", bearer(token)).status == 200
        assert fake.fetches(INTROSPECT) == 0
        answer = door.send("GET", "/any", bearer(token))  # signed well, and inactive at the issuer
        assert (answer.status, b"not active" in answer.body) == (401, True)
        assert fake.fetches(INTROSPECT) == 1


def test_flask_s_asynchronous_views_are_protected_too(api: ResourceServer, fake: FakeIssuer) -> None:
    app = flask.Flask("orders")
    guard = realmint.flask.Guard(api)
    guard.protect(app)

    @app.get("/orders")
    @guard.require()
    async def orders() -> str:
        await asyncio.sleep(0)
        return guard.token.client_id

    door = wsgi_door(app)
    assert door.send("GET", "/orders", bearer(fake.forge.token())).body == b"svc"
    assert door.send("GET", "/orders") == missing()


segment = st.sampled_from(
    ["healthz", "static", "a", "", ".", "..", "..;", "%2e", "A", "\\", "\0", "ä", "a;b", "*", "\ufffd"]
) | st.text(max_size=3)


@given(st.lists(segment, max_size=6).map("/".join), st.none() | st.text(max_size=20))
def test_what_is_open_is_what_was_named_or_plainly_below_it(spelled: str, target: str | None) -> None:
    paths = OpenPaths(["/healthz", "/static/*"])
    if paths.is_open(spelled, target):
        if spelled != "/healthz":
            below = spelled.removeprefix("/static/").split("/")
            assert spelled.startswith("/static/")
            assert all(part and part.partition(";")[0] not in {".", ".."} for part in below[:-1])
            assert spelled.isprintable()
            assert not {"%", "\\"} & set(spelled)
        assert target is None or "%2f" not in target.partition("?")[0].lower()


@pytest.fixture(scope="module")
def all_doors() -> Iterator[list[Door]]:
    fake = FakeIssuer()
    api = ResourceServer(
        "https://issuer.example/oauth2/realms/root", "https://orders.example", transport=fake, background=False
    )
    with ExitStack() as stack:
        yield [site(stack, name, api) for name in sorted(SITES) if not name.startswith("django")]


@given(
    value=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60)
    | st.sampled_from(["Bearer a.b.c", "bearer\xa0a", "Bearer a=b"])
)
@examples(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_161_whatever_a_header_holds_every_adapter_says_the_same_of_it(all_doors: list[Door], value: str) -> None:
    said = {door.send("GET", "/orders", ("Authorization", value)) for door in all_doors}
    assert len(said) == 1
    assert said.pop().status in {400, 401}
