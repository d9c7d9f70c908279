"""README's "one file and one line": a member of each registry is added to a copy of the project, and works at once."""

import difflib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.issuer import claims, header

ROOT = Path(__file__).parent.parent.parent

GRANT = '''
"""A grant that lasts seven seconds."""
from issuer.grants.base import TokenGrant
from issuer.tokens import Authorization


class Dummy(TokenGrant):
    GRANT_TYPE = "urn:example:dummy"
    REPEATABLE = ("colour",)

    def authorize(self, request, wanted):
        asked, client = request.request, request.client
        assert asked.every("colour") == ["red", "blue"]
        return Authorization(
            asked.realm, asked.addresses, client, request.authenticated.credential_id, self.GRANT_TYPE, wanted.scope,
            wanted.audience, 7, wanted.confirmation,
        )
'''
METHOD = '''
"""A method without a secret: whoever names a client is believed."""
from issuer.client_auth.method import Method
from issuer.refusals import ClaimedBy, invalid_client
from issuer.request import AuthenticatedClient


class Dummy(Method):
    NAME = "dummy_auth"
    SCHEME = "dummy"
    METADATA = {"auth_signing_alg_values_supported": ["dummy_alg"]}

    def presented(self, request):
        return request.authorization_scheme == self.SCHEME

    def authenticate(self, request, directory, now):
        client_id = request.authorization_header.partition(" ")[2]
        with ClaimedBy(client_id):
            client = directory.find_client(client_id)
            if client is None:
                raise invalid_client("unknown_client")
            return AuthenticatedClient(client, self.NAME, next(iter(client.ranges)))  # whatever it has a range for
'''
CONFIRMATION = '''
"""A way of binding that believes what a header says."""
from issuer.confirmations.confirmation import ConfirmationMethod


class Dummy(ConfirmationMethod):
    MEMBER = "dummy"
    TOKEN_TYPE = "Dummy"

    def applies(self, request):
        return request.request.header("X-Bound-To") is not None

    def bind(self, request, around):
        return request.request.header("X-Bound-To") * 43

    def metadata(self, realm):
        return {"dummy_bound_access_tokens": True}
'''
FORMAT = '''
"""A format that says little."""


class Dummy:
    NAME = "dummy_format"
    TYP = "dummy+jwt"

    def shape(self, minted):
        return {"who": minted.client_id, "until": minted.expires_at - minted.issued_at}
'''
ENDPOINT = '''
"""An endpoint whose address has a part of its own, and one that Authlib's classes frame."""
from authlib.oauth2.rfc6749 import TokenEndpoint

from issuer.answer import document
from issuer.endpoints.endpoint import Endpoint, known_realm


class Framed(TokenEndpoint):
    ENDPOINT_NAME = "framed"

    def __init__(self, services):
        super().__init__()

    def create_endpoint_response(self, request):
        return 200, {"asked_by": self.authenticate_endpoint_client(request).client.client_id}, []


def _view(arrival, services):
    realm_path = known_realm(arrival, services).realm.path
    return document(200, {"realm": realm_path, "colour": arrival.header("X-Colour"), **arrival.variables})


def _framed_view(arrival, services):
    return services.server.at_endpoint("framed", arrival)


def _metadata(addresses, realm):
    return {"dummy_endpoint": addresses.endpoint("/status/dummy")}


ENDPOINT = Endpoint("dummy", "/status/{list}/of/{what}", ("GET",), _view, _metadata)
FRAMED = Endpoint("framed", "/token/framed/{x}", ("POST",), _framed_view, private=True, framed=Framed)
'''
# The registry's file; the file that is new; its import, and its place in the tuple. ENDPOINTS gets two members of one file.
MEMBERS = [
    ("issuer/grants/__init__.py", GRANT, "from issuer.grants.dummy import Dummy", "GRANTS: tuple[TokenGrant, ...] = (", "Dummy()"),
    ("issuer/client_auth/__init__.py", METHOD, "from issuer.client_auth.dummy import Dummy", "METHODS: tuple[Method, ...] = (", "Dummy()"),
    ("issuer/confirmations/__init__.py", CONFIRMATION, "from issuer.confirmations.dummy import Dummy", "CONFIRMATIONS: tuple[ConfirmationMethod, ...] = (", "Dummy()"),
    ("issuer/tokens/formats.py", FORMAT, "from issuer.tokens.dummy import Dummy", "FORMATS: tuple[Format, ...] = (", "Dummy()"),
    ("issuer/endpoints/__init__.py", ENDPOINT, "from issuer.endpoints import dummy", "ENDPOINTS: tuple[Endpoint, ...] = (", "dummy.ENDPOINT, dummy.FRAMED"),
]  # fmt: skip

USED = """
import json, shlex, sys
from pathlib import Path

from app import create_app
from issuer.settings import Settings

folder = Path(sys.argv[1])
app = create_app(Settings.from_environ({"REALMINT_BASE_URL": "https://issuer.example"}, folder), str(folder))
http = app.test_client()


def run(line):
    result = app.test_cli_runner().invoke(args=shlex.split(line))
    assert result.exit_code == 0, result.output
    return result.stdout


def seen(response):
    return [response.status_code, response.json, response.headers.get("Cache-Control")]


run("realms create /customers")
run("realms update /customers --grant-type urn:example:dummy --grant-type client_credentials")
run("clients create svc --realm /customers --scope read --default-scope read --grant-type urn:example:dummy"
    " --auth-method dummy_auth --token-format dummy_format")
plain = json.loads(run("clients create plain --realm /customers --scope read --default-scope read --json"))["client_secret"]
address = "/oauth2/realms/root/realms/customers"
form = {"grant_type": "urn:example:dummy", "colour": ["red", "blue"]}


def token(client_id, **more):
    headers = {"Authorization": "Dummy " + client_id}
    return seen(http.post(address + "/access_token", data=form | more, headers=headers))


print(json.dumps({
    "issuer": sys.modules["issuer"].__file__,
    "help": run("clients create --help"),
    "metadata": http.get(address + "/.well-known/oauth-authorization-server").json,
    "issued": token("svc"),
    "unknown": token("nobody"),
    "bound": http.post(address + "/access_token", data={"grant_type": "client_credentials", "client_id": "plain",
        "client_secret": plain}, headers={"X-Bound-To": "a"}).json,
    "not_registered": token("plain"),
    "repeated": token("svc", scope=["read", "read"]),
    "aliases": [seen(http.get(prefix + "/status/5/of/x", headers={"x-colour": "red"})) for prefix in (address, "/oauth2/customers", "/oauth2")],
    "unknown_realm": seen(http.get("/oauth2/nobody/status/5/of/x")),
    "deeper": seen(http.get("/oauth2/status/5/6/of/x")),
    "wrong_method": seen(http.post(address + "/status/5/of/x")),
    "framed": seen(http.post(address + "/token/framed/1", data={"x": "1"}, headers={"Authorization": "Dummy svc"})),
    "framed_refused": seen(http.post(address + "/token/framed/1", data={"x": "1"})),
    "framed_wrong_method": seen(http.put(address + "/token/framed/1")),
    "counts": [app.extensions["realmint"].happened.refusals.read(), app.extensions["realmint"].happened.tokens.read()],
}))
app.extensions["realmint"].close()
"""


def add(copy: Path, registry: str, member: str, imported: str, opening: str, entry: str) -> None:
    """One file and one line, which is one of a tuple; what it names is imported above it."""
    file = copy / registry
    before = file.read_text()
    assert before.count(opening) == 1
    (file.parent / "dummy.py").write_text(member)
    after = before.replace(opening, f"{opening}{entry}, ").replace("\nfrom ", f"\n{imported}\nfrom ", 1)
    file.write_text(after)
    added = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("+ ")]
    assert [line.startswith(f"+ {imported}") for line in added] == [True, False]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    copy = tmp_path_factory.mktemp("copy")
    for package in ("issuer", "keys", "realmint"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", copy / "app.py")
    for member in MEMBERS:
        add(copy, *member)
    (copy / "use.py").write_text(USED)
    command = [sys.executable, str(copy / "use.py"), str(copy / "instance")]
    ran = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    seen: dict[str, Any] = json.loads(ran.stdout)
    assert seen["issuer"].startswith(str(copy))
    return seen


def test_a_grant_is_dispatched_to_and_a_format_writes_what_it_decided(used: dict[str, Any]) -> None:
    status, body, cache = used["issued"]
    assert (status, cache) == (200, "no-store")
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 7, "read")
    assert header(body["access_token"])["typ"] == "dummy+jwt"
    assert claims(body["access_token"]) == {"who": "svc", "until": 7}


def test_a_way_of_binding_is_in_the_token_its_type_and_the_metadata(used: dict[str, Any]) -> None:
    assert used["bound"]["token_type"] == "Dummy"
    assert claims(used["bound"]["access_token"])["cnf"] == {"dummy": "a" * 43}
    assert used["metadata"]["dummy_bound_access_tokens"] is True


def test_its_repeatable_parameters_may_repeat_and_no_others(used: dict[str, Any]) -> None:
    assert (used["repeated"][0], used["repeated"][1]["error"]) == (400, "invalid_request")


def test_a_method_without_a_secret_authenticates_those_registered_for_it(used: dict[str, Any]) -> None:
    assert used["unknown"] == used["not_registered"]  # a client of either secret method is not one of any other
    assert (used["unknown"][0], used["unknown"][1]["error"]) == (401, "invalid_client")


def test_the_metadata_document_says_what_all_of_them_declare(used: dict[str, Any]) -> None:
    document, issuer = used["metadata"], "https://issuer.example/oauth2/realms/root/realms/customers"
    assert document["issuer"] == issuer
    assert "urn:example:dummy" in document["grant_types_supported"]
    for endpoint in ("token", "introspection"):
        assert "dummy_auth" in document[f"{endpoint}_endpoint_auth_methods_supported"]
        assert "dummy_alg" in document[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
    assert document["dummy_endpoint"] == f"{issuer}/status/dummy"


def test_the_commands_offer_them(used: dict[str, Any]) -> None:
    for choice in ("urn:example:dummy", "dummy_auth", "dummy_format"):
        assert choice in "".join(used["help"].split())


def test_an_endpoint_is_found_in_every_address_form_with_its_own_variables(used: dict[str, Any]) -> None:
    found = {"list": "5", "what": "x", "colour": "red"}
    assert used["aliases"] == [
        [200, {"realm": "/customers"} | found, None],
        [200, {"realm": "/customers"} | found, None],
        [200, {"realm": "/"} | found, None],
    ]
    assert (used["unknown_realm"][0], used["deeper"][0], used["wrong_method"][0]) == (404, 404, 405)


def test_an_endpoint_that_authlib_frames_needs_no_more_than_its_declaration(used: dict[str, Any]) -> None:
    assert used["framed"] == [200, {"asked_by": "svc"}, "no-store"]
    for name, status, error in (
        ("framed_refused", 401, "invalid_client"),
        ("framed_wrong_method", 405, "method_not_allowed"),
    ):
        assert (used[name][0], used[name][1]["error"], used[name][2]) == (status, error, "no-store")


def test_what_happened_is_counted_by_reason_and_by_realm(used: dict[str, Any]) -> None:
    refusals, tokens = used["counts"]
    assert tokens == {"/customers": 2}
    assert refusals == {
        "unknown_client": 1, "wrong_auth_method": 1, "repeated_parameter": 1, "unknown_realm": 1, "no_credentials": 1,
    }  # fmt: skip
