"""A Flask application with a guard, and what is asked of its routes."""

from typing import Any

import flask
import pytest

from realmint import ResourceServer
from realmint.flask import Guard
from tests.support.fake_issuer import FakeIssuer


def fresh(api: ResourceServer) -> tuple[flask.Flask, Guard]:
    app = flask.Flask("orders")
    app.testing = True
    guard = Guard(api)
    guard.init_app(app)
    return app, guard


def is_refused(app: flask.Flask, name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"open: [^ ]*{name}\. .*below the decorator that makes the route"):
        app.test_client().get("/")


def is_guarded(app: flask.Flask, fake: FakeIssuer, *paths: str) -> None:
    bearer = {"Authorization": f"Bearer {fake.forge.token()}"}
    for path in paths:
        assert app.test_client().get(path).status_code == 401, path
        assert app.test_client().get(path, headers=bearer).status_code == 200, path


def unnamed(view: Any) -> Any:
    def inner(*args: Any, **more: Any) -> Any:
        return view(*args, **more)

    return inner
