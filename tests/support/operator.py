"""Commands in this process on a deployment's database: what a test begins with, where many are typed, or where the
instant of one counts. A process of its own takes most of a second to begin."""

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app import create_app
from issuer.settings import Settings

if TYPE_CHECKING:
    from tests.support.process import Deployment


@contextmanager
def operator(deployment: "Deployment") -> Iterator[Callable[..., Any]]:
    """Runs `flask LINE --json`, which must succeed, and answers what it prints; until the block ends."""
    instance = deployment.folder / "instance"
    app = create_app(Settings.from_environ(deployment.environ, instance), str(instance))

    def run(line: str, stdin: str | None = None) -> Any:
        result = app.test_cli_runner().invoke(args=[*shlex.split(line), "--json"], input=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    try:
        yield run
    finally:
        app.extensions["realmint"].close()
