"""The wheel: what an API installs."""

import importlib.util
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDED = ("joserfc", "urllib3", "cryptography", "cffi", "_cffi_backend", "pycparser")
"""What the wheel needs, and what that needs."""
ALONE = """
import sys
import realmint

loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"asyncio", "argparse", "flask", "fastapi", "django", "sqlalchemy", "authlib"}, loaded
for name in ("flask", "fastapi", "django", "sqlalchemy", "authlib", "issuer", "keys"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name)

from realmint.testing import FakeIssuer

with FakeIssuer.serving() as issuer:
    api = realmint.ResourceServer(issuer=issuer.issuer, audience="https://orders.example")
    token = issuer.issue(audience="https://orders.example", scope="orders:read", client_id="billing")
    print(api.validate(token, scope="orders:read").client_id, realmint.__file__)
    api.close()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("realmint-*.whl")
    return wheel


@pytest.mark.xdist_group("wheel")
def test_the_wheel_alone_validates_a_token_where_there_is_no_framework(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own. What it needs is lent by ours: no index is asked."""
    venv.create(tmp_path, with_pip=False)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    ours = Path(importlib.util.find_spec("joserfc").submodule_search_locations[0]).parent  # type: ignore[union-attr, index]
    for lent in ours.iterdir():
        if lent.name.partition(".")[0] in NEEDED:
            (packages / lent.name).symlink_to(lent)
    done = subprocess.run(
        [tmp_path / "bin" / "python", "-I", "-c", ALONE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["billing", str(packages / "realmint" / "__init__.py")], done.stderr


@pytest.mark.xdist_group("wheel")
def test_the_wheel_holds_the_library_and_nothing_that_could_collide(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        tops = {name.partition("/")[0] for name in names}
        metadata = next(archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert {top for top in tops if not top.endswith(".dist-info")} == {"realmint"}
    assert "realmint/py.typed" in names
    requirements = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra" not in line]
    assert sorted(line.split()[1].partition(">")[0] for line in requirements) == ["joserfc", "urllib3"]
    assert "License-Expression: Apache-2.0" in metadata
    extras = {line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Extra:")}
    assert {"flask", "fastapi", "django"} <= extras
    versions = {
        line.rpartition(" ")[2] for line in metadata.splitlines() if "Programming Language :: Python :: 3." in line
    }
    assert versions == {"3.11", "3.12", "3.13", "3.14"}
    # What the index shows is the page of what the wheel holds.
    assert metadata.partition("\n\n")[2] == (ROOT / "docs" / "library.md").read_text()
