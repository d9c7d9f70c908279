"""The issuer with one endpoint more, `/shown` of every realm, which says aloud what certificate its client showed."""

import hashlib
from dataclasses import replace

import flask

from issuer.answer import Answer, document
from issuer.doors.flask import open_door
from issuer.doors.front import stand_in_front
from issuer.endpoints import services
from issuer.endpoints.endpoint import Endpoint, Services
from issuer.request import Arrival
from issuer.runtime import Runtime

PATH = "/oauth2/realms/root/shown"


def _view(arrival: Arrival, _services: Services) -> Answer:
    found = arrival.certificate()
    said = {} if found is None else {"sha256": digest(found.der), "verified": found.verified}
    return document(200, said)


def digest(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


_ENDPOINT = Endpoint("shown", "/shown", ("GET", "POST"), _view, private=True)


def with_it(made: flask.Flask) -> flask.Flask:
    """What create_app() made, through doors of its own, which are wired as create_app() wires them."""
    runtime: Runtime = made.extensions["realmint"]
    served = services(
        runtime.registry, runtime.database, runtime.settings.policy, runtime.clock, runtime.happened.tokens,
        runtime.revocations, lambda: runtime.sealer().derived_secret,
    )  # fmt: skip
    served = replace(served, endpoints=(*served.endpoints, _ENDPOINT))
    app = flask.Flask("app", instance_path=made.instance_path, static_folder=None)
    app.extensions["realmint"] = runtime
    open_door(app, runtime, served)
    stand_in_front(app, runtime, served)
    return app
