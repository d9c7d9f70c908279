"""What the Flask guard finds at the first request: routes that are open, and not what only looks like them."""

import functools
from typing import Any, ClassVar

import flask
import pytest
from flask.views import MethodView

from realmint import ResourceServer
from tests.support.fake_issuer import FakeIssuer
from tests.support.guarded import fresh, is_guarded, is_refused, unnamed


def beside(view: Any, word: str) -> Any:
    def inner(*args: Any, **more: Any) -> Any:
        return view(*args, **more), {"X-Word": word}

    return inner


@pytest.mark.parametrize("name", ["OtherOfSuper", "OtherOfBase", "Class", "Static", "Partial"])
def test_a_method_that_does_not_call_the_guarded_one_in_whose_place_it_stands_is_open(
    api: ResourceServer, name: str
) -> None:
    app, guard = fresh(api)

    class Orders(MethodView):
        def query(self) -> str:
            raise AssertionError

        @guard.require()
        def get(self) -> Any:
            raise AssertionError

    class OtherOfSuper(Orders):
        def get(self) -> Any:
            return super().query()

    class OtherOfBase(Orders):
        def get(self) -> Any:
            return Orders.query(self)

    class Class(Orders):
        @classmethod
        def get(cls) -> Any:
            raise AssertionError

    class Static(Orders):
        @staticmethod
        def get() -> Any:
            raise AssertionError

    class Partial(Orders):
        get = functools.partialmethod(Orders.query)  # type: ignore[assignment]

    views: list[type[MethodView]] = [OtherOfSuper, OtherOfBase, Class, Static, Partial]
    (view,) = (view for view in views if view.__name__ == name)
    app.add_url_rule("/", view_func=view.as_view("orders"))
    is_refused(app, f"{name}.get")


def test_a_method_that_calls_the_guarded_one_in_whose_place_it_stands_is_not_open(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    app, guard = fresh(api)

    class Orders(MethodView):
        @guard.require()
        def get(self) -> str:
            return guard.token.client_id

        @classmethod
        @guard.require()
        def post(cls) -> str:
            raise AssertionError

    class Between(Orders):
        pass

    class ByString(Orders):
        def get(self) -> Any:
            return getattr(super(), "get")()  # noqa: B009

    class Inside(Orders):
        def get(self) -> Any:
            return next(super(Inside, self).get() for _ in range(1))

    class Named(Between):
        def get(self) -> Any:
            return Between.get(self)

    def mixed(base: Any) -> Any:
        class Mixed(base):
            def get(self) -> Any:
                return base.get(self)

        return Mixed

    class Class(Orders):
        @classmethod
        def post(cls) -> Any:
            return super().post()

    class Partial(Orders):
        get = functools.partialmethod(Orders.get)  # type: ignore[assignment]

    class Away(Orders):
        post = None  # type: ignore[assignment]

    views: list[type[MethodView]] = [ByString, Inside, Named, mixed(Orders), Class, Partial, Away]
    for view in views:
        app.add_url_rule(f"/{view.__name__}", view_func=view.as_view(view.__name__))
    is_guarded(app, fake, *(f"/{view.__name__}" for view in views))
    assert app.test_client().post("/Class").status_code == 401


@pytest.mark.parametrize("unnamed", [unnamed, lambda view: beside(view, "word")], ids=["alone", "with more"])
def test_a_route_between_a_guard_and_a_decorator_without_a_name_is_open(api: ResourceServer, unnamed: Any) -> None:
    app, guard = fresh(api)

    @app.get("/x")
    @guard.require()
    @unnamed
    @app.get("/y", endpoint="y")
    def orders() -> str:
        raise AssertionError

    is_refused(app, "<locals>.inner")


def test_a_view_that_is_bare_under_a_decorator_without_a_name_is_open(api: ResourceServer) -> None:
    app, guard = fresh(api)

    def orders() -> str:
        raise AssertionError

    app.add_url_rule("/x", "x", guard.require()(orders))
    app.add_url_rule("/y", "y", unnamed(orders))
    is_refused(app, "orders")


def test_views_that_are_made_of_one_function_with_other_words_are_not_the_same(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    app, guard = fresh(api)

    def listing(word: str) -> str:
        return word

    def about(words: Any, word: str) -> Any:
        def view(**more: Any) -> Any:
            return words(word, **more)

        return view

    app.add_url_rule("/private", "private", guard.require()(about(listing, "private")))
    app.add_url_rule("/public", "public", about(listing, "public"))
    is_guarded(app, fake, "/private")
    assert app.test_client().get("/public").text == "public"


def test_a_guarded_view_may_call_an_open_one(api: ResourceServer, fake: FakeIssuer) -> None:
    app, guard = fresh(api)

    @app.get("/health")
    def health(**_: Any) -> str:
        return "ok"

    @app.get("/orders")
    @unnamed
    @guard.require()
    def orders() -> Any:
        return health()

    @app.get("/stock")
    @guard.require()
    def stock(**more: Any) -> Any:
        return health(**more)

    is_guarded(app, fake, "/orders", "/stock")
    assert app.test_client().get("/health").status_code == 200


def test_a_guarded_method_under_another_name_is_open(api: ResourceServer) -> None:
    app, guard = fresh(api)

    class Orders(MethodView):
        def _all(self) -> str:
            raise AssertionError

        get = guard.require()(_all)
        post = _all

    app.add_url_rule("/", view_func=Orders.as_view("orders"))
    is_refused(app, "_all")


@pytest.mark.parametrize("made", [staticmethod, unnamed])
def test_a_guarded_view_that_is_the_method_of_a_class_too_is_open(api: ResourceServer, made: Any) -> None:
    app, guard = fresh(api)

    def orders(*_: Any) -> str:
        raise AssertionError

    class Orders(MethodView):
        get = made(orders)

    app.add_url_rule("/x", "x", guard.require()(orders))
    app.add_url_rule("/", view_func=Orders.as_view("orders"))
    is_refused(app, "orders")


def test_of_two_classes_one_may_guard_what_both_have_of_their_base(api: ResourceServer, fake: FakeIssuer) -> None:
    app, guard = fresh(api)

    class Things(MethodView):
        def get(self) -> str:
            return type(self).__name__

    class Private(Things):
        get = guard.require()(Things.get)

    class Public(Things):
        pass

    class Dispatched(Things):
        dispatch_request = guard.require()(MethodView.dispatch_request)

    for view in (Private, Public, Dispatched):
        app.add_url_rule(f"/{view.__name__}", view_func=view.as_view(view.__name__))
    is_guarded(app, fake, "/Private", "/Dispatched")
    assert app.test_client().get("/Public").text == "Public"


@pytest.mark.parametrize(
    ("name", "listed"),
    [("decorators", lambda one: [one]), ("method_decorators", lambda one: {"get": [one]})],
    ids=["decorators", "by method"],
)
def test_a_list_of_decorators_without_the_guard_in_the_place_of_one_with_it_is_open(
    api: ResourceServer, name: str, listed: Any
) -> None:
    app, guard = fresh(api)
    base = type("Base", (MethodView,), {name: listed(guard.require()), "get": lambda _: ""})
    orders: Any = type("Orders", (base,), {name: [unnamed]})
    app.add_url_rule("/", view_func=orders.as_view("orders"))
    is_refused(app, f"Orders.{name}")


def test_a_list_of_decorators_may_be_replaced_where_a_guard_stands_all_the_same(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    app, guard = fresh(api)
    blueprint = flask.Blueprint("guarded", "guarded")

    @blueprint.before_request
    @guard.require()
    def everywhere() -> None:
        assert guard.token.client_id

    class Base(MethodView):
        decorators: ClassVar[list[Any]] = [guard.require()]

        def get(self) -> str:
            return "orders"

    class More(Base):
        decorators: ClassVar[list[Any]] = [unnamed, *Base.decorators]

    class Other(Base):
        decorators: ClassVar[list[Any]] = [guard.require("orders:read"), unnamed]

    class Method(Base):
        decorators: ClassVar[list[Any]] = []

        @guard.require()
        def get(self) -> str:
            return "orders"

    class Before(Base):
        decorators: ClassVar[list[Any]] = []

    for view in (Base, More, Other, Method):
        app.add_url_rule(f"/{view.__name__}", view_func=view.as_view(view.__name__))
    blueprint.add_url_rule("/Before", view_func=Before.as_view("before"))
    app.register_blueprint(blueprint)
    is_guarded(app, fake, "/Base", "/More", "/Other", "/Method", "/Before")


def test_a_guarded_view_that_answers_errors_too_is_open(api: ResourceServer) -> None:
    app, guard = fresh(api)

    def orders(*_: Any) -> str:
        raise AssertionError

    app.add_url_rule("/x", "x", guard.require()(orders))
    app.register_error_handler(404, orders)
    is_refused(app, "orders")
