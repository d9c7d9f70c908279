"""An API under gunicorn, with TLS of its own and several processes: certificates are seen, and a proof counts once."""

import shlex
import ssl
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from realmint.testing import FakeIssuer, Prover
from tests.support.process import BIN, Deployment
from tests.support.tls import Authority, TLSSocket

PROGRAM = """
from pathlib import Path
from realmint import ClientCertificates, DPoPPolicy, ResourceServer, SQLiteReplays
from realmint.wsgi import Guard

api = ResourceServer(
    {issuer!r}, {audience!r}, dpop=DPoPPolicy(replay=SQLiteReplays({marks!r})), certificates=ClientCertificates()
)
guard = Guard(api)

def orders(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [guard.token(environ).client_id.encode()]

application = guard.protect(orders, open_paths=["/healthz"])

def healthy(environ, start_response):
    if environ["PATH_INFO"] == "/healthz":
        start_response("200 OK", [])
        return []
    return application(environ, start_response)
"""


class API:
    """The API as it is served, and clients with certificates."""

    def __init__(self, folder: Path, issuer: FakeIssuer) -> None:
        self.authority = Authority(folder)
        self.issuer = issuer
        self.deployment = Deployment(folder / "api")
        self.audience = f"https://127.0.0.1:{self.deployment.port}"
        self.server = self.authority.certificate("127.0.0.1")
        self.certificate = {name: self.authority.certificate(name) for name in ("svc", "stranger")}

    @contextmanager
    def serving(self, options: str) -> Iterator[None]:
        folder, (certificate, key) = self.deployment.folder, self.server
        said = {"issuer": self.issuer.issuer, "audience": self.audience, "marks": str(folder / "marks.db")}
        (folder / "orders.py").write_text(PROGRAM.format(**said))
        tls = f"--certfile {certificate} --keyfile {key} --ca-certs {self.authority.file} --cert-reqs 1"
        line = f"--chdir {folder} --bind 127.0.0.1:{self.deployment.port} {tls} {options} orders:healthy"
        with self.deployment.process(
            [str(BIN / "gunicorn"), *shlex.split(line)], ca=str(self.authority.file), cwd=folder
        ):
            yield

    def send(self, headers: list[tuple[str, str]], shown: str | None = None) -> int:
        """On a connection of its own, and so to whichever process is next."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.sslsocket_class = TLSSocket
        if shown is not None:
            context.load_cert_chain(*self.certificate[shown])
        with urllib3.PoolManager(ssl_context=context, retries=False, timeout=10) as pool:
            return pool.request("GET", f"{self.audience}/orders", headers=dict(headers)).status

    def der(self, name: str) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.certificate[name][0].read_text())

    def token(self, *bound_to: Prover | bytes) -> str:
        return self.issuer.issue(audience=self.audience, bound_to=bound_to)


@pytest.fixture(params=["--workers 3", "--workers 3 --worker-class gthread --threads 4", "--workers 2 --preload"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[API]:
    with FakeIssuer.serving() as issuer:
        made = API(tmp_path, issuer)
        with made.serving(request.param):
            yield made


@pytest.mark.rfc("8705", "3")
def test_92_104_105_bound_tokens_at_an_api_that_ends_tls_itself(api: API) -> None:
    bearer = [("Authorization", f"Bearer {api.token(api.der('svc'))}")]
    assert [api.send(bearer, shown) for shown in ("svc", "stranger", None)] == [200, 401, 401]
    prover = api.issuer.prover()
    token, both = api.token(prover), api.token(prover, api.der("svc"))
    url = f"{api.audience}/orders"
    assert [api.send(prover.headers("GET", url, both), shown) for shown in ("svc", "stranger", None)] == [200, 401, 401]
    assert api.send([("Authorization", f"Bearer {token}")]) == 401
    headers = [prover.headers("GET", url, token) for _ in range(6)]
    with ThreadPoolExecutor(4) as pool:
        found = [Counter(pool.map(api.send, [one] * 8)) for one in headers]
    assert found == [Counter({401: 7, 200: 1})] * len(headers)
