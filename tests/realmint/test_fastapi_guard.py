"""The FastAPI guard: what its OpenAPI document says, and who answers a refusal."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

import realmint.fastapi
from realmint import AccessToken, ResourceServer
from tests.realmint.test_adapters import missing
from tests.support.doors import asgi_door


def test_the_openapi_document_says_which_routes_need_a_token_with_which_scope(api: ResourceServer) -> None:
    app = FastAPI()
    guard = realmint.fastapi.Guard(api)
    guard.init_app(app)

    @app.get("/orders")
    def orders(token: Annotated[AccessToken, Depends(guard.require("orders:read orders:write"))]) -> None:
        raise AssertionError

    @app.get("/any", dependencies=[Depends(guard.require())])
    def anything() -> None:
        raise AssertionError

    @app.get("/open")
    def free() -> None:
        raise AssertionError

    document = app.openapi()
    security = {path: operations["get"].get("security") for path, operations in document["paths"].items()}
    assert security == {
        "/orders": [{"AccessToken": ["orders:read", "orders:write"]}],
        "/any": [{"AccessToken": []}],
        "/open": None,
    }
    scheme = document["components"]["securitySchemes"]["AccessToken"]
    description = scheme.pop("description")
    assert scheme == {"type": "http", "scheme": "bearer", "bearerFormat": "at+jwt"}
    assert api.issuer in description
    assert "https://orders.example" in description
    assert all(f"`{scope}`" in description for scope in ("orders:read", "orders:write"))


def test_a_route_of_an_application_that_was_not_initialized_says_the_same(api: ResourceServer) -> None:
    app = FastAPI()
    guard = realmint.fastapi.Guard(api)
    app.add_api_route("/orders", lambda: None, dependencies=[Depends(guard.require("orders:read"))])
    assert asgi_door(app).send("GET", "/orders") == missing("orders:read")
    outer = FastAPI()
    outer.mount("/v1", app)
    assert asgi_door(outer).send("GET", "/v1/orders") == missing("orders:read")


@pytest.mark.parametrize("handled", [401, Exception])
def test_what_an_application_makes_of_errors_changes_no_refusal(api: ResourceServer, handled: Any) -> None:
    app = FastAPI()
    guard = realmint.fastapi.Guard(api)
    app.add_exception_handler(handled, lambda *_: None)
    app.add_api_route("/orders", lambda: None, dependencies=[Depends(guard.require("orders:read"))])
    assert asgi_door(app).send("GET", "/orders") == missing("orders:read")


def test_a_refusal_that_a_route_raises_itself_is_answered(api: ResourceServer) -> None:
    app = FastAPI()
    realmint.fastapi.Guard(api).init_app(app)
    app.add_api_route("/orders", lambda: api.validate("a.b.c"))
    answer = asgi_door(app).send("GET", "/orders")
    assert (answer.status, answer.header("cache-control")) == (401, "no-store")
    assert str(answer.header("www-authenticate")).startswith('Bearer error="invalid_token"')


def test_several_guards_of_one_fastapi_application_answer_with_their_own_metadata(
    make_api: Callable[..., ResourceServer],
) -> None:
    app = FastAPI()
    for audience in ("https://orders.example/v1", "https://orders.example"):
        guard = realmint.fastapi.Guard(make_api(audience=audience))
        guard.init_app(app)
        guard.protect(app)
    at = "/.well-known/oauth-protected-resource"
    assert asgi_door(app).send("GET", at + "/v1").body.count(b'"https://orders.example/v1"') == 1
    assert asgi_door(app).send("GET", at).body.count(b'"https://orders.example"') == 1
