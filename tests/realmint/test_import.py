"""What `import realmint` and a first ResourceServer cost (T9), by what they make: no clock is asked."""

import json
import subprocess
import sys
from typing import Any

import pytest

# Each is built by running generated source, which takes as long as seven named tuples do.
PROMISED = {"AccessToken", "Introspection", "IssuerRule", "KeyPolicy", "Legacy", "StatusPolicy", "TokenCache"}
INTERNAL = {"VerificationKey"}
ASIDE = {
    "__main__", "answers", "arrivals", "asgi", "breaker", "client_certificates", "confirmation", "dpop_policy", "presented", "proofs", "replays", "sqlite_replays", "checkup", "client_assertion", "django", "fastapi", "flask", "gate", "introspection",
    "introspection_cache", "introspection_call", "introspection_credentials", "introspection_desk", "open_paths", "open_routes", "routes", "testing", "wsgi",
}  # fmt: skip
LOADED = """
import dataclasses, gc, json, ssl, sys
from realmint import ResourceServer
api = ResourceServer("https://issuer.example", "https://api.example")
ours = [module for name, module in sys.modules.items() if name.partition(".")[0] == "realmint"]
classes = {one for module in ours for one in vars(module).values() if isinstance(one, type)}
made = [one.__name__ for one in classes if one.__module__.startswith("realmint") and dataclasses.is_dataclass(one)]
trusting = sum(isinstance(one, ssl.SSLContext) for one in gc.get_objects())
held = ssl.create_default_context()
assert sum(isinstance(one, ssl.SSLContext) for one in gc.get_objects()) == trusting + 1
print(json.dumps({"made": made, "ours": [one.__name__ for one in ours], "trusting": trusting}))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_values_of_its_own_are_named_tuples(loaded: dict[str, Any]) -> None:
    assert set(loaded["made"]) >= PROMISED  # they were looked for where they are
    assert set(loaded["made"]) <= PROMISED | INTERNAL


def test_nothing_is_loaded_that_an_api_without_a_framework_has_no_use_for(loaded: dict[str, Any]) -> None:
    assert {"realmint.engine", "realmint.transport"} <= set(loaded["ours"])  # they were looked for where they are
    assert not {f"realmint.{name}" for name in ASIDE} & set(loaded["ours"])


def test_what_the_system_trusts_is_not_read_before_an_https_address_is_asked(loaded: dict[str, Any]) -> None:
    assert loaded["trusting"] == 0
