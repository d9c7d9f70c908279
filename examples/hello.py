from flask import Flask, jsonify

from realmint import ResourceServer
from realmint.flask import Guard

ISSUER = "http://127.0.0.1:5000/oauth2/realms/root"
# Where nobody names an API, a token is for the issuer itself. Yours has a URL of its own here: see the six steps.
api = ResourceServer(issuer=ISSUER, audience=ISSUER)
guard = Guard(api)
app = Flask(__name__)
guard.init_app(app)


@app.get("/hello")
@guard.require("write")
def hello():
    return jsonify(hello=guard.token.client_id)
