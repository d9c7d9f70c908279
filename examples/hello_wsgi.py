import json

from realmint import ResourceServer
from realmint.wsgi import Guard

ISSUER = "http://127.0.0.1:5000/oauth2/realms/root"
guard = Guard(ResourceServer(issuer=ISSUER, audience=ISSUER))


@guard.require("write")
def hello(environ, start_response):
    return answer(start_response, "200 OK", {"hello": guard.token(environ).client_id})


def healthz(environ, start_response):
    return answer(start_response, "200 OK", {"up": True})


def missing(environ, start_response):
    return answer(start_response, "404 Not Found", {"error": "not_found"})


def routes(environ, start_response):
    found = {"/hello": hello, "/healthz": healthz}.get(environ["PATH_INFO"], missing)
    return found(environ, start_response)


def answer(start_response, status, document):
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(document).encode()]


application = guard.protect(routes, open_paths=["/healthz"])
