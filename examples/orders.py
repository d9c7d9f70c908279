"""An API that guards itself with realmint: checks tokens from the JWKS alone, or asks the issuer each time.

    ISSUER=http://127.0.0.1:5000/oauth2/realms/root flask --app examples/orders.py run --port 8000

With API_CLIENT_ID and API_CLIENT_SECRET set it introspects every token as well (mode "live"), so that one that was cut
off is refused at once.
"""

import os

from flask import Flask, jsonify

from realmint import Introspection, ResourceServer
from realmint.flask import Guard

AUDIENCE = "https://orders.example"


def create_app() -> Flask:
    introspection = None
    if client_id := os.environ.get("API_CLIENT_ID"):
        introspection = Introspection(client_id=client_id, client_secret=os.environ["API_CLIENT_SECRET"], mode="live")
    api = ResourceServer(issuer=os.environ["ISSUER"], audience=AUDIENCE, introspection=introspection)
    guard = Guard(api)
    app = Flask(__name__)
    guard.init_app(app)

    @app.get("/orders")
    @guard.require("orders:read")
    def orders():
        return jsonify(orders=[{"id": 1, "for": guard.token.client_id}])

    return app
