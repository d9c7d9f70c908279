"""Small real servers on loopback: one that answers what it is told, with TLS or without, and a proxy that tunnels."""

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.tls import TLSSocket


class Asked(NamedTuple):
    """What a server was asked; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Says = Callable[[Asked], tuple[int, Mapping[str, str], bytes]]


class Serving(NamedTuple):
    port: int
    asked: list[Asked]


def fine(_: Asked) -> tuple[int, Mapping[str, str], bytes]:
    return 200, {}, b"{}"


@contextmanager
def serving(
    says: Says = fine, certificate: tuple[Path, Path] | None = None, *, dated: bool = True
) -> Iterator[Serving]:
    """A server on loopback that answers what `says` says; over TLS where it has a certificate.

    dated: whether it says what time it is by itself.
    """
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(Asked(self.command, self.path, headers, body))
            status, more, content = says(asked[-1])
            (self.send_response if dated else self.send_response_only)(status)
            for name, value in {"Content-Length": str(len(content)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def get_request(self) -> tuple[socket.socket, Any]:
            sock, address = super().get_request()
            if context is not None:
                # The handshake is done where it is waited for: in the thread of the connection.
                sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            return sock, address

        def handle_error(self, *_: Any) -> None:
            """A client that hangs up is no news."""

    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslsocket_class = TLSSocket
        context.load_cert_chain(*certificate)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Serving(server.server_port, asked)
        finally:
            server.shutdown()
            thread.join()


class Tunnel(NamedTuple):
    url: str
    asked: list[str]
    """First lines."""
    authorizations: list[str | None]


@contextmanager
def proxying(port: int, refuse: int = 0, *, silent: bool = False) -> Iterator[Tunnel]:
    """A CONNECT proxy, which leads to `port` here whatever host is asked for.

    refuse: the status that it answers with instead. silent: takes connections and says nothing.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    tunnel = Tunnel(f"127.0.0.1:{listener.getsockname()[1]}", [], [])
    over = threading.Event()

    def serve(client: socket.socket) -> None:
        with client, suppress(ConnectionError):  # either end may hang up at any moment
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            lines = head.decode().split("\r\n")
            tunnel.asked.append(lines[0])
            found = [line.partition(": ")[2] for line in lines if line.lower().startswith("proxy-authorization:")]
            tunnel.authorizations.append(found[0] if found else None)
            if silent:
                over.wait(20)
            elif refuse:
                client.sendall(f"HTTP/1.1 {refuse} a secret reason\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                relay(client)

    def relay(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            while not over.is_set():
                for ready in select.select([client, server], [], [], 0.05)[0]:
                    piece = ready.recv(65536)
                    if not piece:
                        return
                    (server if ready is client else client).sendall(piece)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(client,)))
            threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield tunnel
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(10)
