"""Two production servers on one PostgreSQL behave as one issuer."""

from pathlib import Path

import urllib3

from tests.support import postgres
from tests.support.issuer import header
from tests.support.process import Deployment, post, until

KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_two_servers_on_one_database_behave_as_one(tmp_path: Path, postgres_server: postgres.Server) -> None:
    url = postgres_server.url(postgres_server.create_database())
    base = "https://issuer.example"
    one = Deployment(tmp_path / "one", DATABASE_URL=url, KEK=KEK, BASE_URL=base)
    two = Deployment(tmp_path / "two", DATABASE_URL=url, KEK=KEK, BASE_URL=base)
    one.run("db upgrade")
    one.run("realms create /")
    made = one.run("clients create svc --scope read --default-scope read")
    credentials = ("svc", made["client_secret"])
    nodes = [f"http://127.0.0.1:{node.port}/oauth2/realms/root" for node in (one, two)]

    def token(node: str) -> str:
        answer = post(f"{node}/access_token", {"grant_type": "client_credentials"}, credentials)
        return str(answer.json().get("access_token", ""))

    def active(node: str, text: str) -> bool:
        return bool(post(f"{node}/introspect", {"token": text}, credentials).json().get("active"))

    with one.gunicorn("--workers 2"), two.gunicorn("--workers 2 --preload"):
        documents = {urllib3.request("GET", f"{node}/connect/jwk_uri").data for node in nodes}
        etags = {urllib3.request("GET", f"{node}/connect/jwk_uri").headers["ETag"] for node in nodes}
        assert len(documents) == len(etags) == 1
        tokens = [token(node) for node in nodes]
        assert all(active(node, text) for node in nodes for text in tokens)
        # A rotation by a third process, on neither node.
        rotated = two.run("keys rotate")["rotated"][0]["active"]
        until(lambda: {header(token(node))["kid"] for node in nodes for _ in range(6)} == {rotated}, 6)
        assert all(active(node, text) for node in nodes for text in tokens)
        one.run("clients disable svc")
        until(lambda: not any(token(node) for node in nodes for _ in range(6)), 6)
        one.run("clients enable svc")
        until(lambda: all(token(node) for node in nodes), 6)
        assert not any(active(node, text) for node in nodes for text in tokens)
