"""`api.check()` and `python -m realmint check`: what an operator should mend, with the exit code for scripts."""

import email.utils
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from realmint import ClientKey, Introspection, ResourceServer
from realmint.__main__ import main
from realmint.protocol import jws
from realmint.protocol.names import STATUS_LIST_TYP
from realmint.protocol.status_list import written
from realmint.testing import FakeIssuer
from tests.support.client_keys import CURVED, another, pem
from tests.support.forge import Forge
from tests.support.servers import Asked, Serving, serving

AUDIENCE = "https://orders.example"


class Live:
    """An issuer on loopback, whose answers can be replaced by path."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.ahead = 0
        self.issuer = ""
        self._forge = Forge()

    def serve(self, server: Serving) -> None:
        self.issuer = f"http://127.0.0.1:{server.port}/realm"
        metadata = {
            "issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", "introspection_endpoint": f"{self.issuer}/introspect",
            "status_list_aggregation_endpoint": f"{self.issuer}/status",
        }  # fmt: skip
        self.replace("/.well-known/oauth-authorization-server/realm", metadata)
        self.replace("/realm/keys", {"keys": [dict(self._forge.material.public_jwk)]})
        self.replace("/realm/status", {"status_lists": [f"{self.issuer}/status/0"]})
        self.replace("/realm/status/0", self.list())
        self.replace("/realm/introspect", {"active": False})

    def list(self, signer: Forge | None = None, array: bytes = b"\0", **claims: Any) -> bytes:
        """Its status list, or what is wrong with one."""
        now = int(time.time())
        said = {"sub": f"{self.issuer}/status/0", "iat": now, "exp": now + 60, "status_list": written(array, 1)}
        return jws.sign({**said, **claims}, (signer or self._forge).signer, STATUS_LIST_TYP).encode()

    def replace(self, path: str, document: Any, status: int = 200) -> None:
        self.answers[path] = status, document if isinstance(document, bytes) else json.dumps(document).encode()

    def says(self, asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        status, body = self.answers.get(asked.target, (404, b"{}"))
        return status, {"Date": email.utils.formatdate(time.time() - self.ahead, usegmt=True)}, body


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    for name in ("API_CLIENT_ID", "API_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    made = Live()
    # The server's own Date header comes first, and the first counts.
    with serving(made.says, dated=False) as server:
        made.serve(server)
        yield made


def check(live: Live, *more: str) -> int:
    return main(["check", live.issuer, "--audience", AUDIENCE, *more])


def test_where_nothing_is_to_be_mended_it_says_what_it_looked_at_and_exits_0(
    live: Live, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_CLIENT_ID", "orders-api")
    monkeypatch.setenv("API_CLIENT_SECRET", "s3cret")
    assert check(live) == 0
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "ok    metadata", "ok    keys", "ok    status lists", "ok    introspection", "ok    clock"
    ]  # fmt: skip
    assert "1 for ES256" in out
    assert "s3cret" not in out


def test_for_scripts_it_prints_one_object(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(live, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["good"] is True
    assert [finding["about"] for finding in document["findings"]] == ["metadata", "keys", "status lists", "clock"]
    assert {finding["issuer"] for finding in document["findings"]} == {live.issuer}


def mended(live: Live, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line that says what to mend."""
    assert check(live, *more) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MEND")]
    return line


def test_171_metadata_of_another_issuer_is_named(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.replace("/.well-known/oauth-authorization-server/realm", {"issuer": "https://other.example/realm"})
    assert "names the issuer 'https://other.example/realm'; write it exactly so" in mended(live, capsys)


@pytest.mark.parametrize(
    ("path", "document", "status", "about", "words"),
    [
        ("/.well-known/oauth-authorization-server/realm", {}, 404, "metadata", "status 404"),
        ("/.well-known/oauth-authorization-server/realm", b"<html>", 200, "metadata", "not a JSON object"),
        ("/.well-known/oauth-authorization-server/realm", {}, 200, "metadata", "names the issuer none"),
        ("/.well-known/oauth-authorization-server/realm", {}, 302, "metadata", "redirects are not followed"),
        ("/realm/keys", {"keys": []}, 200, "keys", "no usable key"),
        ("/realm/keys", b"x" * 100_000, 200, "keys", "answer too large"),
        ("/realm/status", {"status_lists": ["https://other.example/0"]}, 200, "status lists", "not on the issuer's own host"),
        ("/realm/status/0", {}, 503, "status lists", "status 503"),
        ("/realm/status", {}, 200, "status lists", "no status_lists"),
    ],
)  # fmt: skip
def test_165_170_what_is_wrong_is_said_in_one_line(
    live: Live, capsys: pytest.CaptureFixture[str], path: str, document: Any, status: int, about: str, words: str
) -> None:
    live.replace(path, document, status)
    line = mended(live, capsys)
    assert line.startswith(f"MEND  {about}: ")
    assert words in line


def test_a_list_is_as_long_as_an_api_would_take_it(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    busy = live.list(array=os.urandom(150_000))
    assert len(busy) > 200_000
    live.replace("/realm/status/0", busy)
    assert check(live) == 0
    capsys.readouterr()
    live.replace("/realm/status/0", b"x" * (4 * 1024 * 1024 + 1))
    assert "answer too large" in mended(live, capsys)


def test_a_list_that_no_api_would_take_is_found(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = Forge()
    wrong = {
        live.list(stranger): "the key that signed its list is not published",
        live.list()[:-6] + b"AAAAAA": "its list is refused: signature",
        live.list(sub=f"{live.issuer}/status/1"): "its list is refused: audience",
        live.list(iss="https://other.example"): "its list is refused: issuer",
        live.list(exp=1): "its list is refused: expired",
        live.list(status_list={"bits": 3, "lst": "AA"}): "its list is refused: malformed",
        b"{}": "its list is refused: malformed",
    }
    for body, words in wrong.items():
        live.replace("/realm/status/0", body)
        assert words in mended(live, capsys)


def test_an_issuer_that_is_not_there_is_said_with_what_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["check", f"http://127.0.0.1:{port}/realm", "--audience", AUDIENCE]) == 1
    assert "connection refused; is it running, at that address and port?" in capsys.readouterr().out


def test_178_wrong_credentials_are_found_and_the_secret_is_read_from_standard_input_alone(
    live: Live, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live.replace("/realm/introspect", {"error": "invalid_client"}, 401)
    monkeypatch.setattr(sys, "stdin", io.StringIO("s3cret\n"))
    line = mended(live, capsys, "--client-id", "orders-api")
    assert "refuses this API's own credentials (status 401)" in line
    assert "s3cret" not in line


@pytest.mark.rfc("7523", "2.2")
@pytest.mark.parametrize("option", ["--client-key", "--client-assertion"])
def test_a_client_without_a_secret_is_tried_with_the_file_that_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str
) -> None:
    monkeypatch.setenv("API_CLIENT_SECRET", "s3cret")  # of somebody else: the option counts
    key, shown = ClientKey(pem(CURVED)), tmp_path / "shown"
    with FakeIssuer.serving() as issuer:
        demanded = issuer.demand_key("orders-api", key.public_jwk)
        by_file = key.assertion("orders-api", issuer.issuer, int(time.time())).encode()
        shown.write_bytes(pem(CURVED) if option == "--client-key" else by_file)
        asked = ["check", issuer.issuer, "--audience", AUDIENCE, "--client-id", "orders-api", option, str(shown)]
        assert main(asked) == 0
        assert "ok    introspection: " in capsys.readouterr().out
        assert demanded.refused == []
        shown.write_bytes(pem(another("ES256")) if option == "--client-key" else by_file)  # the second time
        assert main(asked) == 1
        assert f"client_id and {option[2:].replace('-', '_')} of Introspection(...)" in capsys.readouterr().out
        assert demanded.refused == ["header" if option == "--client-key" else "jti"]


@pytest.mark.rfc("7523", "3")
def test_a_key_is_tried_under_the_name_that_the_issuer_has_for_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(pem(CURVED))
    with FakeIssuer.serving() as issuer:
        demanded = issuer.demand_key("orders-api", ClientKey(pem(CURVED), kid="orders-1").public_jwk)
        asked = ["check", issuer.issuer, "--audience", AUDIENCE, "--client-id", "orders-api"]
        asked += ["--client-key", str(tmp_path / "key")]
        assert (main(asked), main([*asked, "--kid", "orders-1"])) == (1, 0)
        assert demanded.refused == ["header"]
        assert main([*asked[:-2], "--kid", "orders-1"]) == 2
    assert "--kid is of the key in --client-key FILE" in capsys.readouterr().err


def test_a_file_without_an_assertion_is_to_be_mended(
    live: Live, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = mended(live, capsys, "--client-id", "orders-api", "--client-assertion", str(tmp_path / "missing"))
    assert line.startswith(f"MEND  introspection: there is no client_assertion to show {live.issuer}/introspect: ")
    assert "missing': No such file or directory" in line


def test_a_file_without_a_key_is_an_option_that_cannot_be(
    live: Live, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    assert check(live, "--client-id", "orders-api", "--client-key", missing) == 2
    assert capsys.readouterr().err == f"realmint check: {missing}: No such file or directory\n"
    for option in ("--client-key", "--client-assertion"):
        assert check(live, option, missing) == 2
        assert capsys.readouterr().err == f"realmint check: {option} needs a client: --client-id, or API_CLIENT_ID\n"
    with pytest.raises(SystemExit) as ended:
        check(live, "--client-id", "orders-api", "--client-key", missing, "--client-assertion", missing)
    assert ended.value.code == 2


def test_a_clock_apart_is_found(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.ahead = 120
    line = mended(live, capsys)
    assert line.startswith("MEND  clock: this machine's clock is 1")
    assert " s ahead of that of " in line


def test_an_issuer_without_metadata_is_checked_by_its_keys(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.answers.pop("/.well-known/oauth-authorization-server/realm")
    more = ["check", "https://issuer.example/realm", "--audience", AUDIENCE, "--jwks-url", f"{live.issuer}/keys"]
    assert main(more) == 0
    assert capsys.readouterr().out.startswith("ok    keys: ")


def test_an_issuer_behind_another_address_is_checked_there(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    name = "https://issuer.example/realm"
    live.replace("/.well-known/oauth-authorization-server/realm", {"issuer": name, "jwks_uri": f"{name}/keys"})
    at = live.issuer.removesuffix("/realm")
    assert main(["check", name, "--audience", AUDIENCE, "--reach-at", at]) == 0
    assert "ok    keys: https://issuer.example/realm/keys" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://issuer.example", "--audience", AUDIENCE],
        ["https://issuer.example/", "--audience", AUDIENCE],
        ["https://issuer.example", "--audience", ""],
        ["https://issuer.example", "--audience", AUDIENCE, "--introspection-endpoint", "https://issuer.example/i"],
        ["https://issuer.example", "--audience", AUDIENCE, "--reach-at", "issuer"],
    ],
)
def test_options_that_cannot_be_exit_2_and_say_which(
    live: Live, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["check", *arguments]) == 2
    assert capsys.readouterr().err.startswith("realmint check: ")


def test_an_api_checks_itself_with_its_own_options_and_does_nothing_else_by_it(live: Live) -> None:
    api = ResourceServer(
        live.issuer, AUDIENCE, introspection=Introspection("orders-api", "s3cret"), algorithms=["RS256"]
    )
    found = api.check()
    assert [finding.about for finding in found.findings if not finding.good] == ["keys"]
    assert "this API accepts none of these but RS256" in str(found)
    assert api.health()["keys"]["state"] == "cold"
    api.close()


def test_it_runs_as_a_command(live: Live) -> None:
    command = [sys.executable, "-m", "realmint", "check", live.issuer, "--audience", AUDIENCE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok    metadata: ")
    wrong = subprocess.run(command[:4], capture_output=True, text=True, timeout=60, check=False)
    assert wrong.returncode == 2
