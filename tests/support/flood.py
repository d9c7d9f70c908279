"""A flood of wrong secrets that look as if people had chosen them, from a process of its own.

`python -m tests.support.flood PORT CONNECTIONS ADDRESS CLIENT_ID` asks for tokens over that many connections from a
loopback address, as fast as it is answered, until its standard input ends; then it prints how often each status came.
"""

import base64
import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from tests.support.process import ROOT

BODY = b"grant_type=client_credentials"
NUMBER = "{}"
"""In a client_id, stands for another number each time."""


class Flood:
    """What became of one: how often each status came, once it has ended."""

    answers: Counter[str]


@contextmanager
def flood(port: int, client_id: str, *, connections: int = 32, address: str = "127.0.0.1") -> Iterator[Flood]:
    """Runs one until the block ends. With {} in the name, each request is another client's."""
    command = [sys.executable, "-m", "tests.support.flood", str(port), str(connections), address, client_id]
    running = Flood()
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answered\n"
        yield running
        said, _ = process.communicate("", timeout=30)
    running.answers = Counter(json.loads(said))


def main(port: int, connections: int, address: str, client_id: str) -> None:
    answers: Counter[str] = Counter()
    numbers, first = count(), threading.Event()

    def ask(connection: socket.socket) -> None:
        number = next(numbers)
        credentials = base64.b64encode(f"{client_id.format(number)}:a guess {number}".encode())
        connection.sendall(
            b"POST /oauth2/realms/root/access_token HTTP/1.1\r\nHost: issuer\r\nAuthorization: Basic " + credentials
            + b"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
        )  # fmt: skip
        said = b""
        while not said.rstrip().endswith(b"}"):
            part = connection.recv(65536)
            if not part:
                raise ConnectionError
            said += part
        answers[said.split()[1].decode()] += 1
        first.set()

    def run() -> None:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 30, (address, 0)) as connection:
                    while True:
                        ask(connection)
            except OSError:
                answers["closed"] += 1

    for _ in range(connections):
        threading.Thread(target=run, daemon=True).start()
    first.wait(30)
    print("answered", flush=True)
    sys.stdin.read()
    print(json.dumps(answers))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
