"""What anybody may fetch under `make serve`, two workers: JWKS, status list, and where nothing changed (304)."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator

from bench import load
from bench.load import Target
from bench.servers import Servers
from bench.wrk import Request

PART = "documents"
ALG = "ES256"


def targets(servers: Servers) -> Iterator[Target]:
    ours = servers.ours(2)
    body = load.token(ours.token_request(ALG), ALG).split(".")[1]
    status = json.loads(urlsafe_b64decode(body + "=="))["status"]["status_list"]["uri"]
    jwks = ours.address(ALG, "connect/jwk_uri")
    # A list is signed anew every few seconds and has another tag then.
    for name, url, tag in (("JWKS", jwks, load.ask(Request(jwks)).headers["ETag"]), ("status list", status, "*")):
        whole, unchanged = Request(url), Request(url, headers={"If-None-Match": tag}, status=304)
        load.ask(whole)
        load.ask(unchanged)
        yield Target(PART, name, "200", whole)
        yield Target(PART, name, "304", unchanged)
