"""What nginx's `auth_request` asks: 204 for a good token with the scope, else 401 or 403; 503 when it cannot tell.

One path per scope, with the library's guard; docs/operating.md has the nginx side and how to start it.
"""

import os

from flask import Flask, Response

from realmint import ResourceServer
from realmint.flask import Guard

api = ResourceServer(issuer=os.environ["ISSUER"], audience=os.environ.get("AUDIENCE", "https://orders.example"))
guard = Guard(api)
app = Flask(__name__)
guard.init_app(app)


@app.get("/check/orders")
@guard.require("orders:read")
def orders():
    return "", 204


@app.after_request
def that_nginx_knows(response: Response) -> Response:
    """nginx takes 2xx, 401 and 403 for an answer and anything else for a fault: a malformed header is no fault."""
    if response.status_code == 400:
        response.status_code = 401
    return response
