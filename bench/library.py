"""The library's import, what it keeps, and a good token's time while its issuer is tormented; in one run.

    python -m bench.library [--seconds 4] [--plot docs/library.svg]

The tokens are a real issuer's, in processes of its own, which are killed, stopped and started and rotate their keys.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

from bench.plot import Series, written
from bench.torment import AUDIENCE, Issuer, print_phases, torment
from realmint import HTTPTransport, ResourceServer, TokenCache
from realmint.messages import Request
from realmint.protocol import jws
from realmint.token_cache import VerifiedTokens
from tests.support.process import Deployment

# What realmint stands on comes first. The back end is cryptography's own: whoever checks a signature over a curve loads
# it, as ec.ECDSA() does. What realmint needs of the standard library, and those do not, counts as realmint's.
IMPORTS = """
import time
import joserfc.jwk, cryptography.hazmat.primitives.asymmetric.ec, urllib3, urllib3.util.ssl_
import cryptography.hazmat.backends.openssl.backend
started, begun = time.perf_counter(), time.process_time()
from realmint import ResourceServer
imported, worked = time.perf_counter(), time.process_time()
ResourceServer("https://issuer.example", "https://api.example")
made, done = time.perf_counter(), time.process_time()
print(imported - started, made - started, worked - begun, done - begun)
"""


def memory(issuer: Issuer) -> None:
    """T6: what 10,000 tokens in the cache take, under its bound of bytes."""
    token = issuer.token()
    api = ResourceServer(issuer.name(), AUDIENCE)
    accepted = api.validate(token)
    api.close()
    document = json.loads(HTTPTransport()(Request("GET", f"{issuer.name()}/connect/jwk_uri")).body)
    key = jws.verification_key(document["keys"][0])
    kept, text = VerifiedTokens(TokenCache(size=10_000)), json.dumps(dict(accepted.claims))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(10_000):
        # Each with claims of its own, as if it had been read.
        kept.keep(
            f"{token[:-5]}{number:05}", replace(accepted, claims=json.loads(text)), key, None, time.monotonic(), 30
        )
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"\n10,000 verified tokens: {len(kept)} are kept, in {(after - before) / 1e6:.1f} MB")


def import_time() -> None:
    """T9: `import realmint` beyond what it stands on, and a first ResourceServer with it."""
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    runs: list[list[float]] = []
    for _ in range(7):
        # Compiled by the first run, as an installed wheel is.
        run = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True, env=compiled)
        runs.append([float(text) * 1000 for text in run.stdout.split()])
    imported, made, worked, done = (statistics.median(times) for times in zip(*runs, strict=True))
    print(f"\nimport realmint, beyond what it needs: {imported:.0f} ms, {worked:.0f} of the processor")
    print(f"and a ResourceServer made: {made:.0f} ms, {done:.0f} of the processor (medians of {len(runs)})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4, help="of each phase (default 4)")
    parser.add_argument("--plot", type=Path, help="write the phases as SVG here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        deployment = Deployment(Path(folder), LOG_LEVEL="ERROR", JWKS_MAX_AGE="60")
        issuer = Issuer(deployment)
        issuer.prepare("/", "ES256")
        import_time()
        with deployment.gunicorn("--workers 2"):
            memory(issuer)
        phases = torment(issuer, lambda: deployment.gunicorn("--workers 2"), options.seconds)
    print_phases(phases)
    if options.plot:
        options.plot.write_text(written([Series(phase.name, phase.times) for phase in phases]))


if __name__ == "__main__":
    main()
