"""An issuer as Authlib's documentation shows it: SQLAlchemy mixins on an SQLite file, a JWT generator (RFC 9068).

Started as a program it prepares its database and its key and becomes granian.
"""

import json
import os
import sys
import time
from pathlib import Path

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.integrations.sqla_oauth2 import (
    OAuth2ClientMixin,
    OAuth2TokenMixin,
    create_query_client_func,
    create_save_token_func,
)
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from joserfc.jwk import ECKey, RSAKey

FOLDER, ALG = Path(os.environ["FOLDER"]), os.environ["ALG"]
ISSUER = f"http://127.0.0.1:{os.environ['PORT']}"
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "true"

application = Flask(__name__)
application.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{FOLDER}/store.db"
db = SQLAlchemy(application)


class Client(db.Model, OAuth2ClientMixin):
    id = db.Column(db.Integer, primary_key=True)


class Token(db.Model, OAuth2TokenMixin):
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.Integer)
    # The mixin has room for 255 characters, which SQLite does not hold it to.


class ClientCredentialsGrant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class MyJWTBearerTokenGenerator(JWTBearerTokenGenerator):
    def get_jwks(self):
        return json.loads((FOLDER / "jwks.json").read_text())


server = AuthorizationServer(
    application,
    query_client=create_query_client_func(db.session, Client),
    save_token=create_save_token_func(db.session, Token),
)
server.register_grant(ClientCredentialsGrant)
server.register_token_generator("default", MyJWTBearerTokenGenerator(issuer=ISSUER, alg=ALG))


@application.route("/oauth/token", methods=["POST"])
def issue_token():
    return server.create_token_response()


@application.route("/healthz")
def healthz():
    return "ok"


def prepare() -> None:
    key = RSAKey.generate_key(2048) if ALG == "RS256" else ECKey.generate_key("P-256")
    (FOLDER / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=True)]}))
    with application.app_context():
        db.create_all()
        made = Client(client_id="svc", client_secret=os.environ["SECRET"], client_id_issued_at=int(time.time()))
        made.set_client_metadata(
            {
                "grant_types": ["client_credentials"],
                "scope": "read",
                "token_endpoint_auth_method": "client_secret_post",
            }
        )
        db.session.add(made)
        db.session.commit()


if __name__ == "__main__":
    prepare()
    granian = Path(sys.executable).parent / "granian"
    where = ["--host", "127.0.0.1", "--port", os.environ["PORT"], "--workers", os.environ["WORKERS"]]
    os.execv(granian, [str(granian), "--interface", "wsgi", *where, "issuer:application"])
