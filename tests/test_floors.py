"""The table of floors (design section 1): who may import what. An arrow only ever points down."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("app", "issuer", "keys", "realmint")

# For each module or package: what it may import of ours, and of others' beside the standard library.
# The first row that fits a module counts. `issuer.settings` reads keys.policy and keys.sealing, so that
# contradicting durations and unusable key-encryption keys are reported with all other faults in one message.
FLOORS: list[tuple[str, set[str], set[str]]] = [
    ("realmint.protocol.jws", {"realmint.protocol"}, {"joserfc"}),
    ("realmint.protocol", {"realmint.protocol"}, set()),
    ("realmint.lookups", {"realmint.protocol"}, set()),
    ("realmint.connections", {"realmint.protocol", "realmint.lookups"}, {"urllib3"}),
    (
        "realmint.transport",
        {"realmint.protocol", "realmint.version", "realmint.connections", "realmint.lookups"},
        {"urllib3"},
    ),
    ("realmint.flask", {"realmint"}, {"flask"}),
    ("realmint.fastapi", {"realmint"}, {"fastapi"}),
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
    ("keys.store", {"realmint.protocol", "keys"}, {"sqlalchemy"}),
    ("keys.console", {"realmint.protocol", "keys"}, {"sqlalchemy", "click", "flask"}),
    ("keys.cli", {"realmint.protocol", "keys"}, {"sqlalchemy", "click", "flask"}),
    ("keys", set(), set()),
    ("issuer.sources", set(), set()),
    ("issuer.base_url", set(), set()),
    ("issuer.settings", {"realmint.protocol", "keys.policy", "keys.sealing", "issuer.sources", "issuer.base_url"}, set()),
    ("issuer.realms", {"realmint.protocol"}, set()),
    ("issuer.secrets", {"realmint.protocol"}, {"argon2"}),
    ("issuer.clients", {"realmint.protocol", "issuer.secrets"}, set()),
    ("issuer.plugins", set(), set()),
    ("issuer.refusals", set(), {"authlib"}),
    ("issuer.client_auth", {"realmint.protocol", "keys", "issuer.values", "issuer.client_auth"}, {"authlib"}),
    ("issuer.tokens", {"realmint.protocol", "keys", "issuer.values", "issuer.tokens"}, {"authlib"}),
    (
        "issuer.grants",
        {"realmint.protocol", "keys", "issuer.values", "issuer.tokens", "issuer.client_auth", "issuer.grants"},
        {"authlib"},
    ),
    ("issuer.bounded", {"realmint.protocol"}, set()),
    ("issuer.memory", set(), set()),
    ("issuer.deadline", {"realmint.protocol"}, set()),
    ("issuer.postgresql", {"realmint.protocol", "issuer.deadline"}, {"sqlalchemy"}),
    ("issuer.poll", {"realmint.protocol", "issuer.log"}, set()),
    ("issuer.peer", set(), set()),
    ("issuer.origin", set(), set()),
    ("issuer.remembered", set(), set()),
    ("issuer.slow_lane", {"realmint.protocol", "issuer.secrets"}, set()),
    ("issuer.directory", {"issuer.values", "issuer.failures", "issuer.origin", "issuer.verifier"}, set()),
    ("issuer.verifier", {"issuer.secrets", "issuer.slow_lane", "issuer.remembered"}, set()),
    ("issuer.counters", set(), set()),
    ("issuer.failures", {"realmint.protocol", "issuer.log", "issuer.counters"}, set()),
    ("issuer.log", {"realmint.protocol"}, set()),
    ("issuer.db", {"realmint.protocol", "keys.tables", "issuer.values", "issuer.postgresql"}, {"sqlalchemy"}),
    ("issuer.stores", {"realmint.protocol", "keys", "issuer.values", "issuer.db"}, {"sqlalchemy"}),
    ("issuer.marks", {"realmint.protocol", "issuer.db", "issuer.stores", "issuer.log"}, set()),
    (
        "issuer.registry",
        {"realmint.protocol", "keys", "issuer.values", "issuer.db", "issuer.stores", "issuer.log", "issuer.marks", "issuer.failures", "issuer.bounded", "issuer.memory", "issuer.poll", "issuer.directory", "issuer.verifier"},
        {"sqlalchemy"},
    ),
    ("issuer.cli.tokens", {"realmint.protocol", "realmint.transport", "keys", "issuer"}, {"click"}),
    ("issuer", {"realmint.protocol", "keys", "issuer"}, {"flask", "werkzeug", "authlib", "sqlalchemy", "alembic", "click"}),
    ("app", {"issuer", "keys", "realmint.protocol"}, {"flask", "click"}),
]  # fmt: skip
VALUES = {"issuer.settings", "issuer.realms", "issuer.clients", "issuer.secrets", "issuer.plugins", "issuer.refusals"}


def modules() -> list[tuple[str, Path]]:
    files = [ROOT / "app.py"]
    for package in OURS[1:]:
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


def test_every_floor_of_the_table_exists() -> None:
    names = [name for name, _ in modules()]
    later = {"realmint.fastapi"}
    for prefix, _, _ in FLOORS:
        assert prefix in later or any(fits(name, prefix) for name in names), prefix


def test_private_key_objects_are_touched_in_one_file_only() -> None:
    for module, file in modules():
        if module != "keys.key":
            text = file.read_text()
            for door in ("_private_key(", ".private_key", "private_bytes(", "private_numbers("):
                assert door not in text, (module, door)


@pytest.mark.xdist_group("wheel")
def test_the_wheel_holds_the_library_and_nothing_that_could_collide(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("realmint-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        tops = {name.partition("/")[0] for name in names}
        metadata = next(archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert {top for top in tops if not top.endswith(".dist-info")} == {"realmint"}
    assert "realmint/py.typed" in names
    requirements = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra" not in line]
    assert sorted(line.split()[1].partition(">")[0] for line in requirements) == ["joserfc", "urllib3"]
    assert "License-Expression: Apache-2.0" in metadata


def test_pins_name_no_index() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(line.startswith("#") or "==" in line for line in pins)
    assert not any("://" in line or "@" in line or line.startswith("-") for line in pins)
