"""What stands under deploy/: each file is read as its program would read it, and its commands are run.

There is no container engine here: the instructions of the Containerfile are carried out in a folder, on a fresh copy of
the tracked files, by a process that may write nowhere in it.
"""

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from tests.support import containerfile, pasted, postgres
from tests.support.containerfile import Instruction, environ, only
from tests.support.process import BIN, ROOT, Deployment, post, until

DEPLOY = ROOT / "deploy"
BUILD, IMAGE = containerfile.read(DEPLOY / "Containerfile")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
# As `cap_drop: [ALL]`: not even root may write what belongs to somebody else.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if os.geteuid() == 0 else []


def tracked() -> list[str]:
    """The files of a fresh clone, those included that are about to be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def copied(instruction: Instruction, context: list[str], root: Path) -> None:
    """COPY from the context: files and folders, each of which must be tracked and not be kept away by .dockerignore."""
    *sources, target = instruction.text.split()
    kept = [
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for source in sources:
        names = [name for name in context if name == source or name.startswith(f"{source}/")]
        assert names, f"{source} is not tracked"
        assert any(fnmatch(source, pattern) for pattern in kept), f"{source} does not reach the builder"
        for name in names:
            to = root / "srv/realmint" / target / Path(name).name if target == "./" else root / "srv/realmint" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to)


def built(root: Path, install: str | None) -> Path:
    """Carries the build stage out under `root`; `install`, if given, is run in the place of pip."""
    context = tracked()
    for instruction in BUILD[1:]:
        if instruction.name == "COPY":
            copied(instruction, context, root)
        elif instruction.name == "RUN":
            line = instruction.text.replace("/srv/", f"{root}/srv/")
            line = re.sub(r"\bpython -m pip .*$", lambda found: install or found[0], line)
            clean = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            subprocess.run(
                ["sh", "-euc", line], cwd=root / "srv/realmint", check=True, timeout=900,
                env=clean | {"PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"},
            )  # fmt: skip
        else:
            assert (instruction.name, instruction.text) == ("WORKDIR", "/srv/realmint")
            (root / "srv/realmint").mkdir(parents=True)
    return root


def stand_in(root: Path) -> str:
    """What makes the packages of this environment those of the image's, without asking an index for them."""
    script = root.parent / "install.py"
    script.write_text(f"""
import pathlib, sysconfig
venv = pathlib.Path({str(root / "srv/venv")!r})
(packages,) = venv.glob("lib/python3.*/site-packages")
(packages / "stand_in.pth").write_text({str(root / "srv/realmint")!r} + "\\n" + {sysconfig_purelib()!r} + "\\n")
for name in ("flask", "gunicorn"):
    text = pathlib.Path({str(BIN)!r}, name).read_text().partition("\\n")[2]
    (venv / "bin" / name).write_text(f"#!{{venv}}/bin/python\\n" + text)
    (venv / "bin" / name).chmod(0o755)
""")
    return f"{sys.executable} {script}"


def sysconfig_purelib() -> str:
    return str(next((BIN.parent / "lib").glob("python3.*/site-packages")))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file system of the image so far as it is ours, whose owner is nobody that runs in it."""
    root = tmp_path_factory.mktemp("image") / "root"
    return locked(built(root, stand_in(root)))


def locked(root: Path) -> Path:
    (root / "srv/realmint/instance").mkdir()  # where a tmpfs would be mounted; here it stays unwritable too
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(root)], check=True)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody", str(root)], check=True)
    return root


class Container(Deployment):
    """A process of the image with what its last stage says, on a port of its own."""

    def __init__(self, folder: Path, image: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.image = image
        self.environ |= {name: self.inside(value) for name, value in environ(IMAGE).items()} | {"HOME": str(folder)}

    def inside(self, text: str) -> str:
        return (
            text.replace("/srv/", f"{self.image}/srv/")
            .replace("0.0.0.0:8000", f"127.0.0.1:{self.port}")
            .replace(":8000", f":{self.port}")
        )

    def call(self, command: list[str]) -> list[str]:
        """The command as it is found on the image's PATH, for a process without any power."""
        parts = [self.inside(part) for part in command]
        program = shutil.which(parts[0], path=self.environ["PATH"])
        assert program is not None, parts
        return [*POWERLESS, program, *parts[1:]]

    def once(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.call(command), cwd=self.image / "srv/realmint", env=self.environ, capture_output=True, text=True,
            timeout=60, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        command = ["env", f"--chdir={self.image / 'srv/realmint'}", *self.call(only(IMAGE, "CMD").command)]
        with self.process(command) as server:
            yield server


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in root.rglob("*")}


def test_the_containerfile_leaves_nothing_behind_that_builds_and_runs_as_a_number_that_is_not_roots() -> None:
    assert [instruction.name for instruction in IMAGE if instruction.name in ("RUN", "ADD")] == []
    assert only(IMAGE, "COPY").text == "--from=build /srv /srv"
    assert BUILD[0].text.endswith(" AS build")
    assert IMAGE[0].text == BUILD[0].text.removesuffix(" AS build")  # byte code fits the interpreter
    user, _, group = only(IMAGE, "USER").text.partition(":")
    assert int(user) > 0
    assert int(group) > 0
    names = [instruction.name for instruction in IMAGE]
    assert names.index("USER") < names.index("CMD")
    assert only(IMAGE, "STOPSIGNAL").text == "SIGTERM"
    # Nothing private can reach an image, whatever lies in the checkout.
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_the_image_serves_from_a_file_system_that_it_cannot_write(
    tmp_path: Path, image: Path, postgres_server: postgres.Server
) -> None:
    url = postgres_server.url(postgres_server.create_database())
    container = Container(tmp_path, image, DATABASE_URL=url, KEK=KEK)
    before = snapshot(image)
    migrate = COMPOSE["services"]["migrate"]["command"]
    for _ in range(2):  # before each start: the second finds everything
        result = container.once(migrate)
        assert result.returncode == 0, result.stderr
    probe = only(IMAGE, "HEALTHCHECK").command
    assert container.once(probe).returncode == 1  # nobody answers yet
    with container.running() as server:
        assert container.answers("/readyz")
        assert container.once(probe).returncode == 0
        made = container.once(["flask", "clients", "create", "svc", "--scope", "read", "--json"])
        client = json.loads(made.stdout)
        for secret, status in ((client["client_secret"], 200), ("rms_wrong", 401)):
            form = {"grant_type": "client_credentials", "scope": "read"}
            answer = post(f"{container.issuer()}/access_token", form, ("svc", secret))
            assert answer.status == status, answer.data
        os.kill(server.pid, getattr(signal, only(IMAGE, "STOPSIGNAL").text))
        assert server.wait(20) == 0
    lines = [json.loads(line) for line in container.log.read_text().splitlines()]  # REALMINT_LOG_FORMAT of the image
    assert {"token_issued", "refused"} <= {line["event"] for line in lines}
    assert snapshot(image) == before


def test_the_health_check_follows_the_base_path(tmp_path: Path, image: Path) -> None:
    container = Container(tmp_path, image)
    container.environ["REALMINT_BASE_URL"] += "/openam"
    with container.running():
        assert container.once(only(IMAGE, "HEALTHCHECK").command).returncode == 0


@pytest.mark.soak
def test_the_image_is_built_with_the_real_installer_and_its_environment_holds_no_pip(tmp_path: Path) -> None:
    root = locked(built(tmp_path / "root", None))
    installed = {
        path.name.partition("-")[0].lower() for path in root.glob("srv/venv/lib/python3.*/site-packages/*.dist-info")
    }
    assert {"flask", "gunicorn", "httptools", "psycopg", "realmint", "sqlalchemy", "uvloop"} <= installed
    assert not {"pip", "setuptools", "wheel", "hatchling", "pytest"} & installed
    container = Container(tmp_path / "run", root)
    with container.running():
        assert container.answers("/healthz")


# --- compose.yaml, secrets.sh ----------------------------------------------------------------------------------------


def make_secrets(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(DEPLOY / "secrets.sh"), "https://issuer.example"], env=os.environ | {"SECRETS": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_compose_file_says_what_it_means_and_mounts_what_the_script_makes(tmp_path: Path) -> None:
    assert make_secrets(tmp_path / "secrets").returncode == 0
    made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    assert {name: secret["file"] for name, secret in COMPOSE["secrets"].items()} == {
        name: f"secrets/{name}" for name in made
    }
    for path in (tmp_path / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    services = COMPOSE["services"]
    for name in ("issuer", "migrate"):
        service = services[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert set(service["secrets"]) == {"realmint.toml", "kek"}
        assert (
            ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]
        ).resolve() == DEPLOY / "Containerfile"
        assert (ROOT / "deploy" / service["build"]["context"]).resolve() == ROOT
        # No secret stands in the environment.
        assert service["environment"] == {"REALMINT_CONFIG": "/run/secrets/realmint.toml"}
    assert services["issuer"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"
    assert services["issuer"]["ports"] == [f"127.0.0.1:5000:{only(IMAGE, 'EXPOSE').text}"]
    again = make_secrets(tmp_path / "secrets")
    assert again.returncode != 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == made


def test_the_settings_that_the_script_writes_start_the_image(
    tmp_path: Path, image: Path, postgres_server: postgres.Server
) -> None:
    make_secrets(tmp_path / "secrets")
    container = Container(tmp_path, image)
    del container.environ["REALMINT_BASE_URL"]
    for path in (tmp_path / "secrets", *(tmp_path / "secrets").iterdir()):
        if os.geteuid() == 0:
            assert (path.stat().st_uid, path.stat().st_gid) == tuple(map(int, only(IMAGE, "USER").text.split(":")))
            os.chown(path, 0, 0)  # the user of this test's image
    settings = tmp_path / "secrets" / "realmint.toml"
    (password,) = re.findall(r"realmint:(\S+)@database", settings.read_text())
    assert password == (tmp_path / "secrets" / "database_password").read_text()
    text = settings.read_text().replace("/run/secrets", str(tmp_path / "secrets"))
    url = postgres_server.url(postgres_server.create_database())
    settings.write_text(re.sub(r"postgresql://[^\"]*", url.replace("realmint@", f"realmint:{password}@"), text))
    container.environ["REALMINT_CONFIG"] = str(settings)
    result = container.once(COMPOSE["services"]["migrate"]["command"])
    assert result.returncode == 0, result.stderr
    with container.running():
        assert urllib3.request("GET", f"http://127.0.0.1:{container.port}/readyz").status == 200
        metadata = f"http://127.0.0.1:{container.port}/oauth2/realms/root/.well-known/oauth-authorization-server"
        assert urllib3.request("GET", metadata).json()["issuer"] == "https://issuer.example/oauth2/realms/root"


# --- kubernetes.yaml -------------------------------------------------------------------------------------------------


def test_the_manifest_runs_what_the_compose_file_runs_without_root_and_mounts_the_key_as_it_is_taken() -> None:
    job, deployment, service = KUBERNETES
    assert [document["kind"] for document in KUBERNETES] == ["Job", "Deployment", "Service"]
    pods = [document["spec"]["template"]["spec"] for document in (job, deployment)]
    for pod in pods:
        (container,) = pod["containers"]
        user = pod["securityContext"]
        assert (user["runAsUser"], user["runAsGroup"], user["runAsNonRoot"]) == (10001, 10001, True)
        assert only(IMAGE, "USER").text == f"{user['runAsUser']}:{user['runAsGroup']}"
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        # YAML 1.1, which Kubernetes reads, takes 0440 for octal: the mode that issuer/settings.py accepts of a mounted file.
        secrets = next(volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets")
        assert secrets["defaultMode"] == 0o440
        assert user["fsGroup"] == 10001
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert pods[0]["containers"][0]["command"] == COMPOSE["services"]["migrate"]["command"]
    (serving,) = pods[1]["containers"]
    assert serving["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert serving["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert serving["ports"] == [{"name": "http", "containerPort": int(only(IMAGE, "EXPOSE").text)}]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert labels != job["spec"]["template"]["metadata"]["labels"]  # the Service sends nobody to the Job


# --- realmint.service ------------------------------------------------------------------------------------------------


class Unit:
    """A systemd unit: NAME=value lines in sections, names that repeat."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.section: dict[str, list[str]] = {}
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#") and section == "Service":
                name, _, value = line.partition("=")
                self.section.setdefault(name, []).append(value)

    def one(self, name: str) -> str:
        (value,) = self.section[name]
        return value


def test_the_unit_is_one_that_systemd_takes_and_calls_safe(tmp_path: Path, image: Path) -> None:
    text = (DEPLOY / "realmint.service").read_text()
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    assert parser.sections() == ["Unit", "Service", "Install"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    unit = tmp_path / "realmint.service"
    unit.write_text(
        text.replace("/srv/realmint/.venv", f"{image}/srv/venv").replace("/srv/realmint", f"{image}/srv/realmint")
    )
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    safe = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert safe.returncode == 0, safe.stdout


def test_the_unit_starts_says_that_it_is_ready_reloads_and_stops(
    tmp_path: Path, image: Path, postgres_server: postgres.Server
) -> None:
    unit = Unit((DEPLOY / "realmint.service").read_text())
    url = postgres_server.url(postgres_server.create_database())
    deployment = Deployment(tmp_path, DATABASE_URL=url, KEK=KEK)
    deployment.run("db upgrade")
    deployment.run("realms create /")
    credentials = (
        tmp_path / "credentials"
    )  # what LoadCredential makes of the file: its name, a mode that only the user can read
    credentials.mkdir()
    name, _, source = unit.one("LoadCredential").partition(":")
    assert source.startswith("/etc/realmint/")
    (credentials / name).write_bytes(bytes(range(32)))
    (credentials / name).chmod(0o440)
    of_unit = dict(line.split("=", 1) for line in unit.section["Environment"])
    env_file = {"REALMINT_BASE_URL": deployment.base_url, "REALMINT_DATABASE_URL": url}
    deployment.environ = {
        **{key: value for key, value in deployment.environ.items() if not key.startswith("REALMINT_")},
        **{key: value.replace("%d", str(credentials)) for key, value in of_unit.items()}, **env_file,
    }  # fmt: skip
    command = (
        unit.one("ExecStart")
        .replace("/srv/realmint/.venv", f"{image}/srv/venv")
        .replace(":5000 ", f":{deployment.port} ")
    )
    folder = unit.one("WorkingDirectory").replace("/srv/", f"{image}/srv/")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "n"))
        notify.settimeout(20)
        deployment.environ["NOTIFY_SOCKET"] = str(tmp_path / "n")
        with deployment.process([*POWERLESS, "env", f"--chdir={folder}", *command.split()], "/readyz") as server:
            assert unit.one("Type") == "notify"
            assert b"READY=1" in notify.recv(4096).splitlines()
            reload = unit.one("ExecReload").replace("$MAINPID", str(server.pid))
            subprocess.run(shlex.split(reload), check=True)
            until(
                lambda: (
                    "Handling signal: hup" in deployment.log.read_text()
                    and deployment.log.read_text().count("Worker exiting") == 2
                )
            )
            until(lambda: deployment.answers("/readyz"))
            os.kill(server.pid, signal.SIGTERM)
            assert server.wait(int(unit.one("TimeoutStopSec"))) == 0


def test_commands_beside_the_unit_have_its_settings(
    tmp_path: Path, image: Path, postgres_server: postgres.Server
) -> None:
    url = postgres_server.url(postgres_server.create_database())
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "realmint.env").write_text(
        f'REALMINT_BASE_URL=https://issuer.example\nREALMINT_DATABASE_URL="{url}"\n'
    )
    (tmp_path / "etc" / "kek").write_bytes(bytes(range(32)))
    (tmp_path / "etc" / "kek").chmod(0o440)
    there = {
        "runuser --user realmint -- ": "", "/etc/realmint/": f"{tmp_path}/etc/", "/srv/realmint": f"{image}/srv/realmint",
        ".venv/bin": f"{image}/srv/venv/bin",
    }  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("REALMINT_", "FLASK_"))}
    document = ROOT / "docs" / "operating.md"
    pasted.run(document, "realmint-command", tmp_path, clean, there)
    deployment = Deployment(tmp_path, BASE_URL="https://issuer.example", DATABASE_URL=url, KEK=KEK)
    (realm,) = deployment.run("realms list")
    assert realm["issuer"] == "https://issuer.example/oauth2/realms/root"


@pytest.mark.parametrize(("fault", "code"), [("settings", 2), ("key-encryption key", 7)])
def test_the_unit_does_not_try_again_what_trying_again_does_not_mend(tmp_path: Path, fault: str, code: int) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /")
    if fault == "settings":
        deployment.environ["REALMINT_LOG_FORMAT"] = "yaml"
    else:
        (tmp_path / "instance" / "kek").write_bytes(bytes(32))
    ended = subprocess.run(
        deployment.production_line(), cwd=ROOT, env=deployment.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    unit = Unit((DEPLOY / "realmint.service").read_text())
    assert str(code) in unit.one("RestartPreventExitStatus").split()
