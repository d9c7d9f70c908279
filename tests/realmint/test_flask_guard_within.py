"""What the Flask guard leaves alone when it looks at the routes: strangers, requests that run, other threads."""

import functools
import threading
import xmlrpc.client
from collections.abc import Callable
from typing import Any, ClassVar
from unittest.mock import MagicMock

import flask
import pytest
from flask.views import MethodView
from werkzeug.local import Local, LocalProxy

from realmint import ResourceServer
from realmint.flask import Guard
from tests.support.fake_issuer import FakeIssuer
from tests.support.guarded import fresh, is_guarded, unnamed


class Nosy:
    """Does something whenever it is asked for an attribute that it does not have."""

    asked: ClassVar[list[str]] = []

    def __call__(self) -> None:
        raise AssertionError

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        raise RuntimeError(name)

    @property
    def func(self) -> Any:
        return self.__getattr__("func")

    @property
    def __class__(self) -> Any:
        return self.__getattr__("__class__")


STRANGERS = [
    Nosy,
    lambda: LocalProxy(Local(), "user"),
    lambda: xmlrpc.client.ServerProxy("http://127.0.0.1:9/"),
    MagicMock,
]


@pytest.mark.parametrize("make", STRANGERS, ids=["nosy", "proxy", "rpc", "mock"])
def test_what_a_view_closes_over_or_its_class_holds_is_not_asked_for_anything(
    api: ResourceServer, fake: FakeIssuer, make: Callable[[], Any]
) -> None:
    app, guard = fresh(api)
    stranger = make()

    class Orders(MethodView):
        user = stranger
        decorators = (guard.require(),)

        def get(self) -> str:
            return "orders"

    @app.get("/closed")
    @guard.require()
    def closed() -> str:
        return "" if stranger is None else "orders"

    @app.get("/wrapped")
    @unnamed
    @guard.require()
    def wrapped() -> str:
        return "" if stranger is None else "orders"

    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    is_guarded(app, fake, "/closed", "/wrapped", "/orders")
    assert Nosy.asked == []
    if make is MagicMock:
        assert stranger.mock_calls == []
        assert "func" not in vars(stranger)["_mock_children"]


def test_a_guard_is_found_under_a_wrapper_that_answers_for_what_it_wraps(api: ResourceServer, fake: FakeIssuer) -> None:
    class Proxy:
        __slots__ = ("__wrapped__",)

        def __init__(self, view: Any) -> None:
            self.__wrapped__ = view

        def __call__(self, *args: Any, **more: Any) -> Any:
            return self.__wrapped__(*args, **more)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.__wrapped__, name)

    class Held:
        def __init__(self, view: Any) -> None:
            self.func = view

        def __call__(self) -> Any:
            return self.func()

    app, guard = fresh(api)
    view = guard.require()(lambda: "orders")
    app.add_url_rule("/proxy", "proxy", Proxy(Proxy(view)))  # type: ignore[arg-type]
    app.add_url_rule("/held", "held", Held(view))
    app.add_url_rule("/cached", "cached", functools.lru_cache(guard.require()(functools.partial(str, "orders"))))
    is_guarded(app, fake, "/proxy", "/held")
    assert app.test_client().get("/cached").status_code == 401


def test_a_guard_is_found_however_many_others_wrap_it_and_however_much_its_view_holds(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    app, guard = fresh(api)
    many = type("Many", (), {f"m{number}": functools.partial(str, number) for number in range(5000)})

    def through(view: Any) -> Any:
        @functools.wraps(view)
        def inner() -> Any:
            return view()

        return inner

    for number in range(50):
        view: Any = guard.require()(lambda: str(many))
        for _ in range(number):
            view = through(view)
        app.add_url_rule(f"/{number}", str(number), view)
    is_guarded(app, fake, "/0", "/49")


def test_what_is_guarded_within_a_request_is_asked_for_no_route(api: ResourceServer, fake: FakeIssuer) -> None:
    app, guard = fresh(api)
    guards: list[Any] = [guard.require("orders:read")]

    class Resource(MethodView):  # as Flask-RESTful's method_decorators
        def dispatch_request(self, **values: Any) -> Any:
            method: Any = super().dispatch_request
            for decorator in guards:
                method = decorator(method)
            return method(**values)

        def get(self) -> str:
            return guard.token.client_id

    @app.get("/inline")
    def inline() -> Any:
        return guard.require(f"orders:read {flask.request.args['more']}")(lambda: "orders")()

    app.add_url_rule("/resource", view_func=Resource.as_view("resource"))
    for _ in range(2):
        is_guarded(app, fake, "/resource")
        assert app.test_client().get("/inline?more=orders:one").status_code == 401
    metadata = app.test_client().get("/.well-known/oauth-protected-resource").json
    assert metadata["scopes_supported"] == ["orders:read"]


def test_a_blueprint_that_is_not_registered_is_refused_with_what_to_do(api: ResourceServer) -> None:
    app, guard = fresh(api)
    admin = flask.Blueprint("admin", "admin")

    @admin.get("/admin")
    @guard.require()
    def users() -> str:
        raise AssertionError

    with pytest.raises(RuntimeError, match=r"users.*does not register gets a Guard of its own"):
        app.test_client().get("/")


def test_routes_are_checked_while_another_thread_guards_some(api: ResourceServer) -> None:
    apps = []
    for _ in range(10):
        app, guard = fresh(api)
        for number in range(100):
            app.add_url_rule(f"/{number}", str(number), guard.require()(lambda: ""))
        apps.append(app)
    other = Guard(api)
    ended = threading.Event()

    def busy() -> None:
        while not ended.is_set():
            other.require()(lambda: "")

    worker = threading.Thread(target=busy)
    worker.start()
    try:
        assert [app.test_client().get("/1").status_code for app in apps] == [401] * len(apps)
    finally:
        ended.set()
        worker.join()
