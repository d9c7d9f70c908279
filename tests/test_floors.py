"""The table of floors (design section 1): who may import what. An arrow only ever points down."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("app", "serve", "issuer", "keys", "realmint")

# What both the Authlib adapter and the endpoints stand on.
FRAMED = {
    "issuer.answer", "issuer.client_auth", "issuer.confirmations", "issuer.counts", "issuer.grants", "issuer.log", "issuer.registry", "issuer.tokens",
}  # fmt: skip
# For each module or package: what it may import of ours, and of others' beside the standard library.
# The first row that fits a module counts. `issuer.settings` reads keys.policy and keys.sealing, so that
# contradicting durations and unusable key-encryption keys are reported with all other faults in one message.
FLOORS: list[tuple[str, set[str], set[str]]] = [
    ("realmint.protocol.jws", {"realmint.protocol"}, {"joserfc"}),
    ("realmint.protocol.signatures", set(), {"cryptography"}),
    ("realmint.protocol.client_key", {"realmint.protocol"}, {"cryptography"}),
    ("realmint.protocol.mtls", {"realmint.protocol"}, {"cryptography"}),
    ("realmint.protocol", {"realmint.protocol"}, set()),
    ("realmint.messages", set(), set()),
    ("realmint.lookups", {"realmint.protocol"}, set()),
    ("realmint.proxies", {"realmint.protocol"}, set()),
    ("realmint.causes", set(), {"urllib3"}),
    ("realmint.connections", {"realmint.protocol", "realmint.lookups", "realmint.proxies"}, {"urllib3"}),
    (
        "realmint.transport",
        {"realmint.protocol", "realmint.version", "realmint.messages", "realmint.connections", "realmint.lookups", "realmint.causes", "realmint.proxies"},
        {"urllib3"},
    ),
    ("realmint.bearer", {"realmint.protocol"}, set()),
    ("realmint.schemes", {"realmint.protocol", "realmint.bearer"}, set()),
    ("realmint.presented", {"realmint.protocol"}, set()),
    ("realmint.confirmation", {"realmint.protocol", "realmint.access_token", "realmint.bearer", "realmint.presented"}, set()),
    ("realmint.replays", {"realmint.protocol"}, set()),
    ("realmint.sqlite_replays", {"realmint.protocol"}, set()),
    ("realmint.dpop_policy", {"realmint.protocol", "realmint.replays"}, set()),
    ("realmint.arrivals", set(), set()),
    ("realmint.client_certificates", {"realmint.protocol", "realmint.arrivals"}, set()),
    ("realmint.fetching", {"realmint.bearer", "realmint.messages"}, set()),
    ("realmint.reach", {"realmint.protocol", "realmint.messages"}, set()),
    ("realmint.metadata", {"realmint.protocol", "realmint.bearer", "realmint.messages", "realmint.fetching", "realmint.reach"}, set()),
    ("realmint.probing", set(), set()),
    ("realmint.key_policy", {"realmint.fetching"}, set()),
    ("realmint.issuer_clock", {"realmint.messages", "realmint.key_policy"}, set()),
    ("realmint.key_set", {"realmint.protocol", "realmint.messages", "realmint.fetching", "realmint.key_policy", "realmint.issuer_clock"}, set()),
    (
        "realmint.key_fetches",
        {"realmint.protocol", "realmint.bearer", "realmint.messages", "realmint.fetching", "realmint.metadata", "realmint.probing",
         "realmint.key_policy", "realmint.issuer_clock", "realmint.key_set"},
        set(),
    ),
    (
        "realmint.key_cache",
        {"realmint.protocol", "realmint.bearer", "realmint.fetching", "realmint.metadata", "realmint.reach", "realmint.key_policy", "realmint.key_set",
         "realmint.key_fetches"},
        set(),
    ),
    ("realmint.rules", set(), set()),
    ("realmint.breaker", set(), set()),
    ("realmint.client_assertion", {"realmint.protocol"}, set()),
    ("realmint.introspection_policy", {"realmint.protocol", "realmint.rules"}, set()),
    ("realmint.introspection_credentials", {"realmint.client_assertion", "realmint.introspection_policy"}, set()),
    ("realmint.introspection_cache", set(), set()),
    ("realmint.introspection_call", {"realmint.protocol", "realmint.messages", "realmint.reach"}, set()),
    ("realmint.notices", {"realmint.protocol", "realmint.single_flight"}, set()),
    ("realmint.access_token", set(), set()),
    ("realmint.decision", {"realmint.access_token", "realmint.protocol", "realmint.bearer", "realmint.rules"}, set()),
    (
        "realmint.status_cache",
        {"realmint.protocol", "realmint.bearer", "realmint.messages", "realmint.fetching", "realmint.reach"},
        set(),
    ),
    ("realmint.protected_resource", set(), set()),
    ("realmint.answers", {"realmint.bearer", "realmint.protected_resource", "realmint.schemes"}, set()),
    ("realmint.open_paths", set(), set()),
    (
        "realmint.gate",
        {"realmint.protocol", "realmint.access_token", "realmint.answers", "realmint.arrivals", "realmint.bearer", "realmint.presented",
         "realmint.protected_resource", "realmint.resource_server", "realmint.schemes"},
        set(),
    ),
    ("realmint.flask", {"realmint"}, {"flask"}),
    ("realmint.fastapi", {"realmint"}, {"fastapi"}),
    ("realmint.django", {"realmint"}, {"django", "asgiref"}),
    ("realmint.testing.signing", {"realmint.protocol"}, {"cryptography", "joserfc"}),
    ("realmint.testing.pytest_plugin", {"realmint.testing"}, {"pytest"}),
    ("realmint.testing", {"realmint"}, set()),
    ("realmint", {"realmint"}, set()),
    ("keys.files", set(), set()),
    ("keys.audit", set(), set()),
    ("keys.key", {"realmint.protocol"}, {"cryptography", "joserfc"}),
    ("keys.sealing", {"realmint.protocol", "keys.files"}, {"cryptography"}),
    ("keys.transfer", {"realmint.protocol", "keys.key"}, {"joserfc"}),
    ("keys.policy", {"keys.key"}, set()),
    ("keys.plan", {"keys.key", "keys.policy"}, set()),
    ("keys.rotation", {"keys.key", "keys.policy", "keys.plan"}, set()),
    ("keys.jwks", {"realmint.protocol", "keys.key", "keys.sealing"}, set()),
    ("keys.doctor", {"realmint.protocol", "keys"}, set()),
    ("keys.tables", {"keys.key"}, {"sqlalchemy"}),
    ("keys.audit_log", {"keys.audit", "keys.plan", "keys.tables"}, {"sqlalchemy"}),
    ("keys.store", {"realmint.protocol", "keys"}, {"sqlalchemy"}),
    ("keys.names", {"keys.key", "keys.store"}, {"sqlalchemy"}),
    ("keys.change", {"keys"}, {"sqlalchemy"}),
    ("keys", set(), set()),
    ("issuer.sources", set(), set()),
    ("issuer.base_url", {"realmint.protocol"}, set()),
    # What SQLAlchemy makes of a URL is asked before one is taken: a fault of it is a fault of the settings like others.
    ("issuer.database_url", set(), {"sqlalchemy"}),
    (
        "issuer.settings",
        {"realmint.protocol", "keys.policy", "keys.sealing", "issuer.realms", "issuer.sources", "issuer.base_url",
         "issuer.certificate", "issuer.database_url", "issuer.slots"},
        set(),
    ),
    ("issuer.setting", set(), set()),
    ("issuer.realms", {"realmint.protocol", "issuer.setting"}, set()),
    ("issuer.secrets", {"realmint.protocol"}, {"argon2"}),
    ("issuer.slots", {"keys.policy"}, set()),
    ("issuer.opaque", {"realmint.protocol"}, set()),
    ("issuer.credentials", {"realmint.protocol", "issuer.plugins", "issuer.credentials"}, set()),
    ("issuer.clients", {"realmint.protocol", "issuer.secrets", "issuer.credentials", "issuer.setting", "issuer.slots"}, set()),
    ("issuer.plugins", set(), set()),
    ("issuer.peer", set(), set()),
    ("issuer.certificate", {"issuer.peer"}, set()),
    ("issuer.proxies", {"realmint.protocol", "issuer.certificate", "issuer.log", "issuer.peer", "issuer.refusals"}, set()),
    ("issuer.waiting", set(), set()),
    ("issuer.log", {"realmint.protocol"}, set()),
    ("issuer.refusals", set(), {"authlib"}),
    ("issuer.form", {"realmint.protocol", "issuer.refusals"}, set()),
    ("issuer.request", {"keys.jwks", "issuer.realms", "issuer.certificate", "issuer.clients", "issuer.form", "issuer.refusals"}, set()),
    ("issuer.encoding", set(), {"orjson"}),
    ("issuer.answer", {"issuer.encoding"}, set()),
    ("issuer.counts", {"realmint.protocol"}, set()),
    ("issuer.secret_checks", {"realmint.protocol", "issuer.secrets", "issuer.log", "issuer.waiting", "issuer.secret_checks"}, set()),
    ("issuer.revocation_limit", {"issuer.secret_checks"}, set()),
    ("issuer.registry.bounded", {"realmint.protocol"}, set()),
    # The library's engine fetches the keys of others, as it does at any API.
    (
        "issuer.outside",
        {"realmint.protocol", "realmint.bearer", "realmint.key_policy", "realmint.key_source", "realmint.messages", "realmint.reach",
         "realmint.transport", "realmint.upkeep", "issuer.log", "issuer.waiting", "issuer.credentials", "issuer.registry.bounded", "issuer.outside"},
        set(),
    ),
    ("issuer.confirmations", {"realmint.protocol", "issuer.values", "issuer.waiting", "issuer.tokens", "issuer.confirmations"}, set()),
    ("issuer.client_auth", {"realmint.protocol", "keys", "issuer.values", "issuer.waiting", "issuer.outside", "issuer.client_auth"}, {"authlib"}),
    ("issuer.tokens", {"realmint.protocol", "keys", "issuer.values", "issuer.tokens"}, set()),
    (
        "issuer.grants",
        {"realmint.protocol", "keys", "issuer.values", "issuer.tokens", "issuer.confirmations", "issuer.client_auth", "issuer.grants"},
        set(),
    ),
    # The name of a database's host is looked up within a time, as that of an issuer is by its verifiers.
    ("issuer.storage.hosts", {"realmint.protocol", "realmint.lookups"}, {"sqlalchemy"}),
    ("issuer.storage.postgresql", {"realmint.protocol", "realmint.lookups", "issuer.storage"}, {"sqlalchemy"}),
    ("issuer.storage", {"realmint.protocol", "keys", "issuer.values", "issuer.waiting", "issuer.storage"}, {"sqlalchemy", "alembic"}),
    (
        "issuer.registry",
        {"realmint.protocol", "keys", "issuer.values", "issuer.log", "issuer.waiting", "issuer.secret_checks", "issuer.outside", "issuer.storage",
         "issuer.registry"},
        {"sqlalchemy"},
    ),
    (
        "issuer.admin",
        {"realmint.protocol", "keys", "issuer.values", "issuer.log", "issuer.outside", "issuer.tokens", "issuer.storage", "issuer.admin"},
        {"sqlalchemy"},
    ),
    # Neither knows the framework of a door; only errors.py turns what Werkzeug refuses into an answer.
    ("issuer.oauth_server", {"realmint.protocol", "issuer.values", *FRAMED}, {"authlib"}),
    (
        "issuer.endpoints",
        {"realmint.protocol", "keys", "issuer.values", "issuer.runtime", "issuer.oauth_server", "issuer.endpoints", "issuer.storage", "issuer.revocation_limit", *FRAMED},
        {"authlib"},
    ),
    ("issuer.errors", {"realmint.protocol", "keys", "issuer.values", "issuer.storage", *FRAMED}, {"authlib", "werkzeug"}),
    (
        "issuer.doors",
        {"issuer.values", "issuer.answer", "issuer.counts", "issuer.peer", "issuer.proxies", "issuer.waiting", "issuer.runtime", "issuer.errors", "issuer.endpoints", "issuer.doors"},
        {"flask", "werkzeug"},
    ),
    ("issuer.serving.limits", set(), set()),
    ("issuer.serving.environ", {"issuer.certificate"}, set()),
    ("issuer.serving.tls", set(), set()),
    ("issuer.serving.threads", {"realmint.protocol", "issuer.log"}, set()),
    ("issuer.serving.wsgi", {"issuer.log", "issuer.answer", "issuer.serving"}, set()),
    ("issuer.serving.connection", {"issuer.certificate", "issuer.request", "issuer.serving"}, {"httptools"}),
    ("issuer.serving", {"realmint.protocol", "issuer.log", "issuer.waiting", "issuer.serving"}, {"gunicorn", "uvloop"}),
    ("issuer.cli.tokens", {"realmint.protocol", "realmint.messages", "realmint.transport", "keys", "issuer"}, {"click"}),
    ("issuer.cli.presenting", {"realmint.protocol", "realmint.client_assertion", "issuer.cli"}, set()),
    ("issuer.cli", {"realmint.protocol", "keys", "issuer"}, {"flask", "sqlalchemy", "click"}),
    ("issuer", {"realmint.protocol", "keys", "issuer"}, {"flask", "werkzeug", "authlib", "sqlalchemy", "click"}),
    ("app", {"issuer", "keys", "realmint.protocol"}, {"flask", "click"}),
    ("serve", {"issuer.serving"}, {"gunicorn", "click"}),
]  # fmt: skip
VALUES = {
    "issuer.settings", "issuer.setting", "issuer.realms", "issuer.clients", "issuer.secrets", "issuer.credentials", "issuer.slots", "issuer.opaque", "issuer.plugins",
    "issuer.refusals",
    "issuer.form",
    "issuer.request", "issuer.certificate", "issuer.database_url", "issuer.encoding",
}  # fmt: skip

# What decides for an API, and what it may not reach.
DECIDES = [
    f"realmint.{name}"
    for name in (
        "bearer", "messages", "fetching", "reach", "metadata", "probing", "key_policy", "issuer_clock", "key_set", "key_fetches", "key_cache", "rules",
        "decision", "status_cache", "protected_resource", "answers", "open_paths", "schemes", "presented", "confirmation", "access_token",
        "breaker", "introspection_policy", "introspection_cache", "introspection_call", "proxies",
    )
]  # fmt: skip
DOES = {"asyncio", "concurrent", "datetime", "os", "queue", "select", "socket", "ssl", "threading", "time", "urllib3"}


def modules() -> list[tuple[str, Path]]:
    files = [ROOT / "app.py", ROOT / "serve.py"]
    for package in OURS[2:]:
        files += sorted((ROOT / package).rglob("*.py"))
    named = []
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        named.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), file))
    return named


def imports(file: Path) -> set[str]:
    """Every module that the file imports, at the top or inside a function; with names from our packages."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {file}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def fits(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


@pytest.mark.parametrize(("module", "file"), modules(), ids=[name for name, _ in modules()])
def test_a_module_imports_only_from_its_own_floor_and_below(module: str, file: Path) -> None:
    ours, others = next((ours, others) for prefix, ours, others in FLOORS if fits(module, prefix))
    allowed = (ours - {"issuer.values"}) | (VALUES if "issuer.values" in ours else set())
    for name in imports(file):
        top = name.partition(".")[0]
        if top in OURS:
            assert any(fits(name, prefix) for prefix in allowed), f"{module} may not import {name}"
        elif top not in sys.stdlib_module_names:
            assert top in others, f"{module} may not import {name}"


def read_by(module: str, file: Path) -> set[str]:
    """The modules of ours that a module reads names from."""
    names = {name for name, _ in modules()}
    found = set()
    for imported in imports(file):
        parts = imported.split(".")
        longer = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        found.add(next((name for name in longer if name in names), module))
    return found - {module}


def test_no_two_files_import_each_other_in_a_circle() -> None:
    reads = {module: read_by(module, file) for module, file in modules()}
    while leaves := [module for module, others in reads.items() if not others & reads.keys()]:
        for module in leaves:
            del reads[module]
    assert not reads, f"in a circle, or reading from one: {sorted(reads)}"


def test_every_module_is_read_by_another_or_by_a_program() -> None:
    read = set().union(*(read_by(module, file) for module, file in modules()))
    # `flask run` and the servers read app, APIs the library's doors, Alembic its migrations.
    doors = {
        "app",
        "serve",
        "issuer.serving.worker",  # gunicorn.conf.py names it
        "realmint.__main__",
        "realmint.testing.pytest_plugin",
        "realmint.flask",
        "realmint.fastapi",
        "realmint.django",
    }
    for module, file in modules():
        known = module in read | doors or file.name == "__init__.py" or "migrations" in module
        assert known, f"nobody reads {module}"


@pytest.mark.parametrize(
    "file", [file for _, file in modules() if file.name == "__init__.py"], ids=lambda file: file.parent.name
)
def test_a_package_says_what_each_of_its_files_is_for(file: Path) -> None:
    said = ast.get_docstring(ast.parse(file.read_text())) or ""
    others = [other for other in file.parent.glob("*.py") if other != file]
    packages = [folder for folder in file.parent.iterdir() if (folder / "__init__.py").exists()]
    names = [other.stem for other in others] + [folder.name for folder in packages]
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", said)] == []


def test_every_floor_of_the_table_exists() -> None:
    names = [name for name, _ in modules()]
    for prefix, _, _ in FLOORS:
        assert any(fits(name, prefix) for name in names), prefix


@pytest.mark.parametrize("module", DECIDES)
def test_what_decides_for_the_library_has_no_clock_no_thread_and_no_socket(module: str) -> None:
    """An event loop, threads and a test on told time drive the same parts; what those import is in this list too."""
    file = next(file for name, file in modules() if name == module)
    for name in imports(file):
        assert name.partition(".")[0] not in DOES, f"{module} may not import {name}"
        if name.startswith("realmint.") and not name.startswith("realmint.protocol."):
            assert any(fits(name, other) for other in DECIDES), f"{module} may not import {name}"


def test_private_keys_of_an_issuer_are_touched_in_one_file_only() -> None:
    for module, file in modules():
        # The second reads a client's own, the third makes keys of no issuer.
        if module not in ("keys.key", "realmint.protocol.client_key", "realmint.testing.signing"):
            text = file.read_text().replace("private_key_jwt", "")  # the name of a method
            for door in ("_private_key(", ".private_key", "private_bytes(", "private_numbers("):
                assert door not in text, (module, door)


def test_pins_name_no_index() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(line.startswith("#") or "==" in line for line in pins)
    assert not any("://" in line or "@" in line or line.startswith("-") for line in pins)
