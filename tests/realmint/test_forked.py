"""A child forked at the worst moment: what its parent's threads hold, wait for or have spent is not its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# A resource server whose issuer answers each process in its own way, and a child that has ten seconds.
BEGIN = """
import os, signal, socket, threading, time
from realmint import InvalidToken, ResourceServer, Unavailable
from realmint.transport import HTTPTransport, Request, TransportError
from tests.support.fake_issuer import ISSUER, JWKS_URI, FakeIssuer

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

def child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        work()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os._exit(0 if code == 0 else 1)
"""
UNDER_WAY = """
in_parent = hang
in_thread(api.refresh_keys)
child(lambda: api.validate(fake.forge.token(**fresh)))
"""
FAILED = """
in_parent = fail
for _ in range(20):
    try:
        api.refresh_keys()
    except Unavailable as refused:
        pause = refused.retry_after
assert pause > 20
child(lambda: api.validate(fake.forge.token(**fresh)))
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
child(lambda: api.validate(fake.forge.token(**fresh)))
"""
LOCKED = """
in_parent = lambda: None
api.refresh_keys()
# Another thread forks within the parts that are held for an instant.
for lock in (api._source._lock, api._source._flight._lock, api._source._metadata._flight._lock):
    lock.acquire()
fake.rotate()
child(lambda: api.validate(fake.forge.token(**fresh)))
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
child(lambda: transport(request))
"""
AFTERWARDS = """
transport = HTTPTransport()
listener = socket.create_server(("127.0.0.1", 0))
request = Request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/")
connections = []

def serve():
    while True:
        connection, _ = listener.accept()
        connections.append(connection)
        threading.Thread(target=answer_all, args=(connection,), daemon=True).start()

def answer_all(connection):
    while connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")

threading.Thread(target=serve, daemon=True).start()
assert transport(request).body == b"{}"
held = set(os.listdir("/proc/self/fd"))
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    # The child has no descriptor of the connection: both ends of it are in the parent, and the client's is closed here.
    ours = connections[0].getpeername()
    for name in os.listdir("/proc/self/fd"):
        try:
            left = socket.socket(fileno=os.dup(int(name)))
            assert left.getsockname() != ours, name
        except OSError:
            continue
    assert transport(request).body == b"{}"
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
# The parent's goes on as if nothing had been.
assert transport(request).body == b"{}"
assert len(connections) == 2, connections
os._exit(0)
"""


@pytest.mark.parametrize("story", ["UNDER_WAY", "FAILED", "SPENT", "LOCKED", "LOOKING_UP", "AFTERWARDS"])
def test_200_a_forked_child_decides_for_itself_whatever_its_parent_was_at(story: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", BEGIN + globals()[story]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
