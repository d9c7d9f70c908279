"""The classic client credentials flow, live: three processes, six steps; then the same without asking anybody."""

import json
from pathlib import Path
from typing import Any

import urllib3

from tests.support.orders import orders_api
from tests.support.process import BIN, ROOT, Deployment, post

AUDIENCE = "https://orders.example"


def call(url: str, token: str | None) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return urllib3.request("GET", url, headers=headers, retries=False, timeout=10)


def register(deployment: Deployment) -> tuple[dict[str, Any], dict[str, Any]]:
    """The API's own client, which may introspect what is addressed to it, and a client that calls it."""
    api = deployment.run(f"clients create orders-api --resource-identifier {AUDIENCE}")
    caller = deployment.run(f"clients create billing --scope orders:read --audience {AUDIENCE}")
    return api, caller


def token_for(deployment: Deployment, caller: dict[str, Any]) -> str:
    form = {"grant_type": "client_credentials", "scope": "orders:read", "resource": AUDIENCE}
    answer = post(f"{deployment.issuer()}/access_token", form, (caller["client_id"], caller["client_secret"]))
    assert answer.status == 200, answer.data
    return str(answer.json()["access_token"])


def introspections(deployment: Deployment) -> int:
    return deployment.log.read_text().count("introspected ")


def test_the_six_steps_of_client_credentials_with_introspection(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    api, caller = register(deployment)  # 1: an API's client and a calling client
    credentials = {"API_CLIENT_ID": api["client_id"], "API_CLIENT_SECRET": api["client_secret"]}
    with deployment.serving(), orders_api(deployment.issuer(), tmp_path, **credentials) as orders:
        token = token_for(deployment, caller)  # 2: the client authenticates and gets a token
        assert call(orders, None).status == 401
        before = introspections(deployment)
        answer = call(
            orders, token
        )  # 3: it calls the API, 4: which asks the issuer, 5: which answers, 6: and lets it in
        assert (answer.status, answer.json()) == (200, {"orders": [{"id": 1, "for": "billing"}]})
        assert introspections(deployment) == before + 1
        deployment.run("clients disable billing")
        refused = call(orders, token)
        assert refused.status == 401
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_the_same_api_checks_from_the_jwks_alone_and_asks_nobody(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    _, caller = register(deployment)
    with deployment.serving(), orders_api(deployment.issuer(), tmp_path) as orders:
        token = token_for(deployment, caller)
        assert [call(orders, token).status for _ in range(20)] == [200] * 20
        log = deployment.log.read_text()
        assert "introspected " not in log
        assert log.count("/connect/jwk_uri") == 1
        # Nor does it need the issuer to be there.
        forged = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
    with orders_api(deployment.issuer(), tmp_path) as orders:
        assert call(orders, token).status == 503  # a fresh process that never saw the keys cannot decide
        assert call(orders, forged).status in {401, 503}


def test_the_first_token_opens_the_first_api_that_the_readme_shows(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    shown = readme[readme.index("```python\n") + len("```python\n") :].partition("```")[0]
    assert shown == (ROOT / "examples" / "hello.py").read_text()
    deployment = Deployment(tmp_path)
    (tmp_path / "hello.py").write_text(shown.replace("http://127.0.0.1:5000", deployment.base_url))
    with deployment.serving():
        first = json.loads((tmp_path / "instance" / "first-client.json").read_text())
        got = deployment.command("tokens get myClient --scope write", first["client_secret"])
        assert got.returncode == 0, got.stderr
        api = Deployment(tmp_path / "api")
        command = [str(BIN / "flask"), "--app", str(tmp_path / "hello.py"), "run", "--port", str(api.port)]
        with api.process(command, "/.well-known/oauth-protected-resource/oauth2/realms/root"):
            answers = [
                urllib3.request("GET", f"{api.base_url}/hello", headers=headers)
                for headers in ({"Authorization": f"Bearer {got.stdout.strip()}"}, {})
            ]
    assert [(answer.status, answer.json()) for answer in answers[:1]] == [(200, {"hello": "myClient"})]
    assert (answers[1].status, 'scope="write"' in answers[1].headers["WWW-Authenticate"]) == (401, True)
