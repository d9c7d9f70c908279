"""An issuer in this process: its HTTP door, its commands, and builders that are valid by default."""

import base64
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from app import create_app
from issuer.runtime import Runtime
from issuer.settings import Settings
from tests.support.clock import FakeClock

BASE_URL = "https://issuer.example"
KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


@dataclass
class Caller:
    """A client as its owner knows it."""

    client_id: str
    secret: str
    realm: str = "/"

    @property
    def basic(self) -> dict[str, str]:
        return basic(self.client_id, self.secret)

    @property
    def post(self) -> dict[str, str]:
        return {"client_id": self.client_id, "client_secret": self.secret}


def basic(client_id: str, secret: str) -> dict[str, str]:
    raw = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
    return {"Authorization": "Basic " + base64.b64encode(raw).decode()}


def environ(database_url: str | None = None, **more: str) -> dict[str, str]:
    values = {"BASE_URL": BASE_URL}
    if database_url is not None:
        values |= {"DATABASE_URL": database_url, "KEK": KEK}
    return {f"REALMINT_{name}": value for name, value in {**values, **more}.items()}


class Issuer:
    """One process's issuer. Two of these on one database are two nodes."""

    def __init__(self, folder: Path, clock: FakeClock, database_url: str | None = None, **settings: str) -> None:
        self.clock = clock
        values = Settings.from_environ(environ(database_url, **settings), folder)
        self.app = create_app(values, str(folder), clock=clock.wall, monotonic=clock.monotonic)
        self.runtime: Runtime = self.app.extensions["realmint"]
        self.http = self.app.test_client()
        self.base_path = values.base_path

    def command(self, line: str, stdin: bytes | str | None = None) -> Any:
        """Runs `flask LINE`; the result has exit_code, stdout and stderr."""
        return self.app.test_cli_runner().invoke(args=shlex.split(line), input=stdin)

    def run(self, line: str, stdin: bytes | str | None = None) -> Any:
        """Runs `flask LINE --json`, which must succeed; the value it prints."""
        result = self.command(line + " --json", stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def setup(self) -> "Issuer":
        """The two commands that a database outside needs."""
        self.run("db upgrade")
        self.run("realms create /")
        return self

    def client(self, client_id: str = "svc", options: str = "--scope read --scope write", realm: str = "/") -> Caller:
        made = self.run(f"clients create {client_id} --realm {realm} {options}")
        return Caller(client_id, made["client_secret"], realm)

    def address(self, suffix: str, realm: str = "/") -> str:
        nested = "" if realm == "/" else realm.replace("/", "/realms/")
        return f"{self.base_path}/oauth2/realms/root{nested}{suffix}"

    def post(self, suffix: str, form: Any, headers: Any = None, realm: str = "/") -> Any:
        return self.http.post(self.address(suffix, realm), data=form, headers=headers)

    def token_response(self, caller: Caller, **form: Any) -> Any:
        data = {"grant_type": "client_credentials"} | form
        return self.post("/access_token", data, caller.basic, caller.realm)

    def token(self, caller: Caller, **form: Any) -> str:
        response = self.token_response(caller, **form)
        assert response.status_code == 200, response.text
        return str(response.json["access_token"])

    def introspect(self, caller: Caller, token: str, **form: Any) -> Any:
        return self.post("/introspect", {"token": token} | form, caller.basic, caller.realm)

    def revoke(self, caller: Caller, token: str, **form: Any) -> Any:
        return self.post("/token/revoke", {"token": token} | form, caller.basic, caller.realm)


def claims(token: str) -> dict[str, Any]:
    return decode_segment(token.split(".", 2)[1])


def header(token: str) -> dict[str, Any]:
    return decode_segment(token.partition(".")[0])


def decode_segment(segment: str) -> dict[str, Any]:
    value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    assert isinstance(value, dict)
    return value
