"""What every command and every worker loads: no clock is asked."""

import json
import subprocess
import sys

from tests.support.process import ROOT

LOADED = "import json, sys, app; print(json.dumps(sorted(sys.modules)))"


def test_no_command_and_no_worker_loads_what_few_have_a_use_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(json.loads(done.stdout))
    assert {"issuer.storage.schema", "realmint.protocol.jws"} <= loaded  # they were looked for where they are
    # Migrations, the way out to other servers, and the library's own door: a third of what there would be.
    assert not {"alembic", "urllib3", "realmint.resource_server", "realmint.transport"} & loaded
