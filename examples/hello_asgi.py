import json

from realmint import ResourceServer
from realmint.asgi import Guard

ISSUER = "http://127.0.0.1:5000/oauth2/realms/root"
guard = Guard(ResourceServer(issuer=ISSUER, audience=ISSUER))


@guard.require("write")
async def hello(scope, receive, send):
    await answer(send, 200, {"hello": guard.token(scope).client_id})


async def healthz(scope, receive, send):
    await answer(send, 200, {"up": True})


async def missing(scope, receive, send):
    await answer(send, 404, {"error": "not_found"})


async def routes(scope, receive, send):
    found = {"/hello": hello, "/healthz": healthz}.get(scope["path"], missing)
    await found(scope, receive, send)


async def answer(send, status, document):
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


app = guard.protect(routes, open_paths=["/healthz"])
