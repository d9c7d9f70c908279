"""A token beside an empty Flask view: WSGI calls in one process, warm, in turns.

python -m bench.token
"""

import tempfile
from pathlib import Path

from bench import harness
from issuer import provisioning
from keys.key import ALGORITHMS


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        calls = {"empty view": harness.post(harness.empty_view(), "/empty")}
        app, runtime = harness.issuer(Path(folder))
        for alg in ALGORITHMS:
            provisioning.create_realm(runtime, f"/{alg.lower()}", {"signing_algs": [alg]}, harness.ACTOR)
            credentials = harness.client(runtime, f"/{alg.lower()}")
            path = f"/oauth2/realms/root/realms/{alg.lower()}/access_token"
            calls[f"token {alg}"] = harness.token(app, credentials, path)
        measured = harness.compare(calls)
        runtime.close()
    print(f"{'':14}{'µs':>8}{'per second':>12}{'empty views':>13}")
    for name, micros in measured.items():
        print(f"{name:14}{micros:8.0f}{1e6 / micros:12.0f}{micros / measured['empty view']:13.2f}")


if __name__ == "__main__":
    main()
