"""docs/library.md: each block of Python that it shows guards what it says it does."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
import pytest
from django.urls import path

from realmint import InvalidToken, ResourceServer
from realmint.testing import FakeIssuer as Issuer
from realmint.testing import client_certificate
from tests.realmint.test_adapters import bearer
from tests.support import doors
from tests.support.client_keys import CURVED, pem
from tests.support.fake_issuer import FakeIssuer
from tests.support.tls import Authority

PAGE = (Path(__file__).parent.parent.parent / "docs" / "library.md").read_text()
BLOCKS = {
    part.partition("\n")[0]: part.partition("```python\n")[2].partition("```")[0]
    for part in PAGE.partition("\n## protect()")[0].split("\n### ")[1:]
    if "```python" in part
}
TEXT = [(b"content-type", b"application/json")]


async def asgi_answer(send: Any, document: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


def asgi_routes(orders: Any) -> Any:
    async def routes(scope: Any, receive: Any, send: Any) -> None:
        await (orders(scope, receive, send) if scope["path"] == "/orders" else asgi_answer(send, {}))

    return routes


def wsgi_answer(start_response: Any, document: Any) -> Any:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(document).encode()]


def wsgi_routes(orders: Any) -> Any:
    return lambda environ, start: (
        orders(environ, start) if environ["PATH_INFO"] == "/orders" else wsgi_answer(start, {})
    )


@contextmanager
def shown(name: str, api: ResourceServer) -> Iterator[doors.Door]:
    kind = "asgi" if name in {"FastAPI", "ASGI"} else "wsgi"
    helpers = (asgi_answer, asgi_routes) if kind == "asgi" else (wsgi_answer, wsgi_routes)
    found: dict[str, Any] = {"api": api, "answer": helpers[0], "routes": helpers[1], "__name__": "shown"}
    exec(BLOCKS[name], found)
    if name != "Django":
        yield doors.asgi_door(found["app"]) if kind == "asgi" else doors.wsgi_door(found["app"])
        return
    doors.MIDDLEWARE.append(found["middleware"])
    try:
        with doors.project([path("orders", found["orders"])], f"{doors.__name__}.middleware") as door:
            yield door
    finally:
        doors.MIDDLEWARE.pop()


def test_the_page_shows_every_framework() -> None:
    assert sorted(BLOCKS) == ["ASGI", "Django", "FastAPI", "Flask", "WSGI"]


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_what_the_page_shows_guards_what_it_says(name: str, api: ResourceServer, fake: FakeIssuer) -> None:
    with shown(name, api) as door:
        good = door.send("GET", "/orders", bearer(fake.forge.token()))
        assert (good.status, json.loads(good.body)) == (200, {"for": "svc"})
        assert [door.send("GET", target).status for target in ("/orders", "/nothing")] == [401, 401]
        assert door.send("GET", "/orders", bearer(fake.forge.token(scope="other"))).status == 403
        assert door.send("GET", "/healthz").status != 401


AUDIENCE = "https://orders.example"


def blocks(heading: str) -> list[str]:
    """The blocks of Python below a heading, up to the next one of any depth."""
    (body,) = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```python\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)


def ran(block: str, issuer: Issuer | None = None, **there: Any) -> dict[str, Any]:
    """What the block makes, with an issuer in memory in place of the one that it names."""
    if issuer is not None:
        block, replaced = re.subn(r"issuer=(ISSUER|\"[^\"]*\")", "issuer=issuer.issuer, **around", block)
        assert replaced == 1, block
        there["issuer"] = issuer
        there["around"] = {
            "transport": issuer, "clock": issuer.clock.wall, "monotonic": issuer.clock.monotonic, "background": False,
        }  # fmt: skip
    exec(block, there)
    return there


def test_an_api_that_asks_where_it_cannot_tell_is_what_the_page_shows() -> None:
    issuer = Issuer()
    (block,) = blocks("Locally, or by asking the issuer: which one do I want?")
    api = ran(block, issuer, SECRET="a test's")["api"]
    token = issuer.issue(audience=AUDIENCE, client_id="billing")
    assert api.validate(token).source == "local"
    assert api.validate(token, live=True).source == "introspection"
    issuer.jwks.fail()
    issuer.clock.advance(4 * 3600 + 1)
    assert api.validate(issuer.issue(audience=AUDIENCE)).source == "introspection"


def test_a_client_without_a_secret_is_as_the_page_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orders-api.pem").write_bytes(pem(CURVED))
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("Asking the issuer")
    made = ran(block)
    assert (made["by_key"].credential, made["by_workload"].credential) == ("client_key", "client_assertion")


def test_every_option_that_the_page_names_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(Authority(tmp_path).file, tmp_path / "internal-ca.pem")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("Options")
    ran(block)["api"].close()
    named = re.findall(r"^\| `(\w+)` \|", PAGE.partition("\n## Options")[2].partition("\n### ")[0], re.MULTILINE)
    taken = {name for name in ResourceServer.__init__.__annotations__ if name != "return"}
    assert set(named) == taken - {"clock", "monotonic"}, "the clocks are for tests"


def test_bound_tokens_are_taken_as_the_page_shows_it(tmp_path: Path) -> None:
    issuer = Issuer()
    (block,) = blocks("Bound tokens")
    made = ran(block.replace("/var/lib/orders", str(tmp_path)), issuer)
    api, prover, certificate = made["api"], issuer.prover(), client_certificate()
    token = issuer.issue(audience=AUDIENCE, scope="orders:read", client_id="svc", bound_to=(prover, certificate))
    shown = "Client-Cert", f":{base64.b64encode(certificate).decode()}:"
    door = doors.wsgi_site(api, doors.OPEN)
    for peer, status in (("10.1.0.7", 200), ("10.2.0.7", 401)):
        headers = prover.headers("GET", f"{AUDIENCE}/orders", token)
        assert [door.send("GET", "/orders", *headers, shown, peer=peer).status for _ in range(2)] == [status, 401]
    section = PAGE.partition("\n## Bound tokens\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`\w+`(?:, `\w+`)?) \|", section, re.MULTILINE))))
    assert named == set(made["DPoPPolicy"].__dataclass_fields__)


def test_several_issuers_are_as_the_page_shows_them() -> None:
    (block,) = blocks("Several issuers")
    api = ran(block)["api"]
    assert api.issuers == ("https://issuer.example/oauth2/realms/root", "https://other.example")


def test_am_s_token_is_accepted_as_the_page_shows_it() -> None:
    issuer = Issuer(alg="RS256")
    (block,) = blocks("ForgeRock AM's tokens, and others that are no RFC 9068")
    api = ran(block, issuer)["api"]
    said = issuer.claims(audience="billing", scope=None) | {
        "sub": "billing",
        "scope": ["write"],
        "tokenName": "access_token",
    }
    del said["client_id"], said["status"]
    token = issuer.keys[0].token({**issuer.header(), "typ": "JWT"}, said)
    assert api.validate(token, scope="write").client_id == "billing"
    with pytest.raises(InvalidToken):
        issuer.resource_server("billing").validate(token)


def test_events_and_the_readiness_probe_are_as_the_page_shows_them() -> None:
    issuer = Issuer()
    listening, probe = blocks("Log, events, health")
    made = ran(listening, issuer, ISSUER="")
    app = flask.Flask("orders")
    ran(probe, app=app, api=made["api"])
    assert app.test_client().get("/readyz").status_code == 503
    made["api"].refresh_keys()
    assert app.test_client().get("/readyz").status_code == 200
    with pytest.raises(InvalidToken):
        made["api"].validate(issuer.issue(audience=AUDIENCE, lifetime=-60))
    assert made["counts"]["token.denied", "expired"] == 1
    shown = re.search(r">>> api.health\(\)\n(\{.*\})", PAGE)
    assert shown is not None
    document = eval(shown[1])
    health = made["api"].health()
    assert {name: set(of) for name, of in document.items() if name != "ready"} == {
        name: set(of) for name, of in health.items() if name != "ready"
    }


def test_the_tests_of_an_api_pass_as_the_page_shows_them(tmp_path: Path) -> None:
    for block in blocks("Tests of your API"):
        name = block.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "."],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_the_page_can_stand_alone_on_an_index() -> None:
    assert [link for link in re.findall(r"\]\(([^)]*)\)", PAGE) if not link.startswith("https://")] == []
