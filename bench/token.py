"""A token request as a WSGI call in this process: through the front door and through Flask alone, beside an empty Flask
view and the bare core. At LOG_LEVEL INFO, its log written to a file.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench import harness
from bench.core import ALGS, Core
from bench.turns import Subject
from issuer.admin import realms
from keys.key import ALGORITHMS

PART = "token"
FRONT, FLASK, CORE, EMPTY = "through the front door", "through Flask", "the bare core", "an empty Flask view"
VIEW = (EMPTY, "")


@contextmanager
def subjects() -> Iterator[list[Subject]]:
    """Until the block ends what this process writes to standard error goes to the log, as that of a server does."""
    with tempfile.TemporaryDirectory() as name, _standard_error(Path(name) / "server.log"):
        app, runtime = harness.issuer(Path(name), logged=True)
        found = [Subject(PART, EMPTY, "", harness.post(harness.empty_view(), "/empty"), VIEW)]
        for alg in ALGORITHMS:
            realms.create(runtime.administration, f"/{alg.lower()}", {"signing_algs": [alg]}, harness.ACTOR)
            path = f"/oauth2/realms/root/realms/{alg.lower()}/access_token"
            body = form(*harness.client(runtime, f"/{alg.lower()}"))
            for door, call in doors(app).items():
                found.append(Subject(PART, door, alg, harness.post(call, path, body), VIEW))
        core = Core("a secret")
        body = form("svc", "a secret")
        found += [Subject(PART, CORE, alg, harness.post(core, f"/{alg}", body), VIEW) for alg in ALGS]
        yield found
        runtime.close()


def doors(app: Any) -> dict[str, Callable[..., Any]]:
    """The application as a server calls it, and what stands behind its front, if it has one."""
    behind = getattr(app.wsgi_app, "behind", None)
    return {FLASK: app} if behind is None else {FRONT: app, FLASK: behind}


def form(client_id: str, secret: str) -> bytes:
    """What a client posts, with its secret in it (client_secret_post)."""
    asked = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": "read"}
    return urlencode(asked).encode()


@contextmanager
def _standard_error(log: Path) -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
