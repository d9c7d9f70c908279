"""A child forked at the worst moment: what its parent's threads hold, wait for or have spent is not its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# A resource server whose issuer answers each process in its own way, and a child that has ten seconds.
BEGIN = """
import logging, os, pathlib, signal, socket, ssl, sys, threading, time, traceback
from realmint import Introspection, InvalidToken, ResourceServer, Unavailable
from realmint.transport import HTTPTransport, Request, TransportError
from tests.support.fake_issuer import ISSUER, JWKS_URI, FakeIssuer
from tests.support.tls import certificate

logging.getLogger("realmint").setLevel(logging.ERROR)  # what an operator must mend is no fault of a child's
PARENT = os.getpid()
fake = FakeIssuer()
entered, never = threading.Event(), threading.Event()

def answer(request):
    if os.getpid() == PARENT:
        in_parent()
    return fake(request)

def hang():
    entered.set()
    never.wait(20)

def fail():
    raise TransportError("ConnectTimeoutError")

api = ResourceServer(issuer=ISSUER, audience="https://orders.example", transport=answer)
now = int(time.time())
fresh = {"iat": now, "nbf": now, "exp": now + 600}

def in_thread(work):
    threading.Thread(target=work, daemon=True).start()
    assert entered.wait(10)

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
UNDER_WAY = """
in_parent = hang
in_thread(api.refresh_keys)
in_child(lambda: api.validate(fake.forge.token(**fresh)))
"""
FAILED = """
in_parent = fail
for _ in range(20):
    try:
        api.refresh_keys()
    except Unavailable as refused:
        pause = refused.retry_after
assert pause > 20
in_child(lambda: api.validate(fake.forge.token(**fresh)))
"""
SPENT = """
in_parent = lambda: None
api.refresh_keys()
for kid in ("a", "b", "c"):
    try:
        api.validate(fake.forge.token({**fake.forge.header, "kid": kid}, **fresh))
    except InvalidToken:
        pass
assert fake.fetches() == 3
fake.rotate()
in_child(lambda: api.validate(fake.forge.token(**fresh)))
"""
LOCKED = """
in_parent = lambda: None
api.refresh_keys()
# Another thread forks within the part that is held for an instant.
api._engine.served[api.issuer].keys._flight._lock.acquire()
fake.rotate()
in_child(lambda: api.validate(fake.forge.token(**fresh)))
"""
ASKING = """
api = ResourceServer(
    issuer=ISSUER, audience="https://orders.example", transport=answer, introspection=Introspection("a", "b", mode="opaque")
)
in_parent = lambda: None
api.refresh_keys()
fake.active["opaque-token"] = {**fake.forge.claims, **fresh}
"""
ASKED = f"""{ASKING}
in_parent = hang
in_thread(lambda: api.validate("opaque-token"))
in_child(lambda: api.validate("opaque-token"))
"""
LEFT_ALONE = f"""{ASKING}
in_parent = fail
for _ in range(6):
    try:
        api.validate("opaque-token")
    except Unavailable:
        pass
asked = api._engine.served[api.issuer].introspection
assert asked.health()["state"] == "open"
in_child(lambda: api.validate("opaque-token"))
"""
ASKED_LOCKED = f"""{ASKING}
api._engine.served[api.issuer].introspection._desk._lock.acquire()
in_child(lambda: api.validate("opaque-token"))
"""
LOOKING_UP = """
def resolve(host, port, **more):
    if os.getpid() == PARENT:
        hang()
    return socket.getaddrinfo("127.0.0.1", port, **more)

transport = HTTPTransport(resolve=resolve)
listener = socket.create_server(("127.0.0.1", 0))
request = Request("GET", f"http://localhost:{listener.getsockname()[1]}/")

def serve():
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")

threading.Thread(target=serve, daemon=True).start()
in_thread(lambda: transport(request))
in_child(lambda: transport(request))
"""
AFTERWARDS = """
if TLS:
    cert, key = certificate(pathlib.Path(sys.argv[1]), "issuer.example")
    os.environ["SSL_CERT_FILE"] = str(cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
transport = HTTPTransport()
listener = socket.create_server(("127.0.0.1", 0))
request = Request("GET", f"{'https' if TLS else 'http'}://127.0.0.1:{listener.getsockname()[1]}/")
connections = []

def serve():
    while True:
        connection, _ = listener.accept()
        connections.append(context.wrap_socket(connection, server_side=True) if TLS else connection)
        threading.Thread(target=answer_all, args=(connections[-1],), daemon=True).start()

def answer_all(connection):
    while connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")

threading.Thread(target=serve, daemon=True).start()
assert transport(request).body == b"{}"

def ask_over_a_connection_of_its_own():
    # Both ends of the connection are the parent's; the child has kept no descriptor of the client's.
    inherited = connections[0].getpeername()
    for name in os.listdir("/proc/self/fd"):
        try:
            left = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        assert left.getsockname() != inherited, name
    assert transport(request).body == b"{}"

in_child(ask_over_a_connection_of_its_own)
# The parent's goes on as if nothing had been.
assert transport(request).body == b"{}"
assert len(connections) == 2, connections
"""
STORIES = {
    "a fetch under way": UNDER_WAY, "a pause after failures": FAILED, "a budget that is spent": SPENT,
    "locks that are held": LOCKED, "a look-up under way": LOOKING_UP, "a connection": "TLS = False" + AFTERWARDS,
    "a connection under TLS": "TLS = True" + AFTERWARDS, "a question under way": ASKED,
    "questions that are left off": LEFT_ALONE, "a lock over what was asked": ASKED_LOCKED,
}  # fmt: skip


@pytest.mark.parametrize("story", list(STORIES))
def test_200_a_forked_child_decides_for_itself_whatever_its_parent_was_at(tmp_path: Path, story: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", f"{BEGIN}{STORIES[story]}\nos._exit(0)", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
