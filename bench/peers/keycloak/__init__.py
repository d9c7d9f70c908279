"""Keycloak from Maven, in production mode with a database in memory; one process, which uses every core."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from bench.peers.peer import SECRET, Missing, Peer, Start, run, tool

POM = Path(__file__).with_name("pom.xml")
OLDEST_JAVA = 21


def install(folder: Path) -> None:
    environ = {**os.environ, "JAVA_HOME": java_home()}
    shutil.copy(POM, folder)
    run(tool("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=.", cwd=folder)
    (archive,) = folder.glob("keycloak-quarkus-dist-*.zip")
    shutil.unpack_archive(archive, folder)
    archive.unlink()
    (home,) = folder.glob("keycloak-*/")
    home.rename(folder / "home")
    (folder / "home/bin/kc.sh").chmod(0o755)
    imported = folder / "home/data/import"
    imported.mkdir(parents=True)
    (imported / "bench.json").write_text(json.dumps(realm()))
    run(str(folder / "home/bin/kc.sh"), "build", "--db=dev-mem", "--cache=local", cwd=folder, environ=environ)


def realm() -> dict[str, object]:
    """Its defaults, with a client for each algorithm; the keys are Keycloak's own."""
    clients = [
        {
            "clientId": f"svc-{alg}",
            "secret": SECRET,
            "clientAuthenticatorType": "client-secret",
            "serviceAccountsEnabled": True,
            "standardFlowEnabled": False,
            "publicClient": False,
            "attributes": {"access.token.signed.response.alg": alg},
        }
        for alg in ("ES256", "RS256")
    ]
    return {"realm": "bench", "enabled": True, "sslRequired": "none", "clients": clients}


def java_home() -> str:
    """Of a Java that Keycloak runs on; raises Missing."""
    homes = [os.environ.get("JAVA_HOME", ""), *map(str, sorted(Path("/usr/lib/jvm").glob("*"), reverse=True))]
    for home in homes:
        java = Path(home) / "bin/java"
        if home and java.is_file():
            said = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
            version = re.search(r'version "(\d+)', said)
            if version and int(version[1]) >= OLDEST_JAVA:
                return home
    raise Missing(f"no Java {OLDEST_JAVA} or newer in JAVA_HOME or /usr/lib/jvm")


def start(installed: Path, folder: Path, port: int, alg: str) -> Start:
    del alg
    where = ["--http-enabled=true", "--http-host=127.0.0.1", f"--http-port={port}", "--hostname-strict=false"]
    argv = [str(installed / "home/bin/kc.sh"), "start", "--optimized", "--import-realm", *where]
    environ = {"JAVA_HOME": java_home(), "JAVA_OPTS_KC_HEAP": "-Xms1g -Xmx2g"}
    return Start(argv, "/realms/bench", environ, folder)


def form(alg: str) -> dict[str, str]:
    return {"client_id": f"svc-{alg}", "client_secret": SECRET}


PEER = Peer(
    "keycloak",
    POM.read_text().partition("dist</artifactId>")[2].partition("<version>")[2].partition("<")[0],
    (POM, Path(__file__)),
    install,
    start,
    "/realms/bench/protocol/openid-connect/token",
    form,
    one_for_all=True,
    warm_up=10,  # the JVM compiles what is hot
    note="production mode, its database in memory, all cores",
)
