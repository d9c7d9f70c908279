"""An issuer for tests on a port of loopback."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from realmint.messages import Request, Response, TransportError


@contextmanager
def served(answer: Callable[[Request], Response]) -> Iterator[int]:
    """The port at which `answer` answers, until the block ends. A TransportError of it ends the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length) if length else None
            url = f"http://{self.headers.get('Host', '127.0.0.1')}{self.path}"
            try:
                found = answer(
                    Request(self.command, url, {name.lower(): value for name, value in self.headers.items()}, body)
                )
            except TransportError:
                self.close_connection = True
                return
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = do_POST = _answer  # noqa: N815 - as the library calls them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library names it
            """Says nothing: the output is the tester's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
