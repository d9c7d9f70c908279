"""One connection: its requests are read whole and answered in their order, and nobody takes their time over either."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

import httptools

from issuer.certificate import Presented, shown
from issuer.request import MAX_BODY
from issuer.serving.environ import Environs, Head, Refused
from issuer.serving.limits import Limits
from issuer.serving.wsgi import Said, Whole

_FOREVER = float("inf")
_SLICE = 2048
"""What the parser is given at a time: no more requests than stand in it are read ahead of one that has to wait."""
_LINGER = 2.0
"""Seconds that the other side of a connection with no more to say has to close it, once it has taken everything."""
_RESET = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LATE_HEAD = Refused(408, "head_late", "The request did not come in time")
_LATE_BODY = Refused(408, "body_late", "The body did not come in time")
_MALFORMED = Refused(400, "malformed", "The request is malformed")
_LINE_SIZE = Refused(414, "request_line", "The request line is too long")
_FIELD_SIZE = Refused(431, "field_size", "A header is too long")
_FIELDS = Refused(431, "fields", "There are too many headers")
_HEAD_SIZE = Refused(431, "head_size", "The head is too long")


class Service(Protocol):
    """What a worker is to its connections."""

    limits: Limits
    environs: Environs

    def now(self) -> float:
        """Seconds on a clock that never steps."""

    def soon(self, call: Callable[[], None]) -> None:
        """Has it called in the next turn of the loop."""

    def opened(self, connection: "Connection") -> None:
        """It is there."""

    def closed(self, connection: "Connection") -> None:
        """It is not."""

    def answer(self, whole: Whole, connection: "Connection") -> Said | None:
        """What to send; None where that has to wait, and answered() of the connection is called with it."""

    def refuse(self, refused: Refused, address: str) -> Said:
        """What to send to who sent no request."""


class _BodyAlone:
    """What a parser tells of a body whose head another one has read."""

    def __init__(self, body: Callable[[bytes], None], complete: Callable[[], None]) -> None:
        self.on_body = body
        self.on_message_complete = complete


class Connection(asyncio.Protocol):
    """One, from its first byte to its last. Everything is called in the thread of the event loop.

    deadline: when late() is to be called, on the service's clock.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._limits = service.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport = cast("asyncio.Transport", None)
        self._address = ""
        self._secure = False
        self._certificate: Presented | None = None
        self.made = False
        """Whether the connection was there, and its end will be told."""
        self.deadline = service.now() + self._limits.head_seconds
        # Of the request that is being read.
        self._begun = False
        self._in_head = True
        self._unseen = 0  # bytes that the parser was given and said nothing of yet
        self._seen = 0  # of its head
        self._framed = 0  # of its body, with what frames it
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._environ: dict[str, Any] | None = None  # once its head is there, until its body is
        self._body = bytearray()
        self._expects = False
        self._refused: Refused | None = None
        # Of those that are being answered.
        self._waiting: deque[Whole | Refused] = deque()
        self._rest = b""  # what nobody has looked at yet
        self._turn = False  # whether it is looked at in the next turn of the loop
        self._busy = False  # an answer is waited for
        self._stalled = False  # one is not taken as fast as it is sent
        self._left_before = 0  # bytes of answers that were not taken when it was last looked
        self._over = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.made = True
        tls = transport.get_extra_info("ssl_object")
        self._secure = tls is not None
        if tls is not None:
            self._certificate = shown(tls)
        # Not 0 over TLS: uvloop would count its own tickets, and never go on.
        self._transport.set_write_buffer_limits(high=8192 if self._secure else 0)
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else ""
        self._service.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._over = True
        self._waiting.clear()
        self._service.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._rest or self._held_up():
            self._rest += data
            return
        self._feed(data[:_SLICE])
        if not self._over and len(data) > _SLICE:
            self._rest = data[_SLICE:]
            self._transport.pause_reading()
            self._yield()

    def _yield(self) -> None:
        """Goes on in the next turn of the loop, so that others have theirs."""
        if not self._turn:
            self._turn = True
            self._service.soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = False
        if not self._over:
            self._go_on()

    def eof_received(self) -> bool:
        """The other side sends no more; whether it may still be answered."""
        if self._over or self._secure:  # TLS is over for both sides
            return False
        if self._environ is not None:
            self._broke_off()
        return self._held_up() or self._over

    def pause_writing(self) -> None:
        """Not all of an answer could be sent: nothing more is read until it is."""
        self._stalled = True
        self._left_before = self._left()
        self.deadline = self._service.now() + self._limits.unread_seconds
        if not self._over:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._stalled = False
        if not self._over:
            self.deadline = self._service.now() + self._limits.head_seconds
            self._go_on()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._begun = self._in_head = True
        self._unseen = self._seen = self._framed = 0
        self._target = b""
        self._fields = []
        self._body = bytearray()
        self._expects = False

    def on_url(self, piece: bytes) -> None:
        self._unseen = 0
        self._target += piece
        if len(self._target) > self._limits.request_line:
            self._stop_parsing(_LINE_SIZE)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unseen = 0
        if not self._in_head:
            return  # trailers: nobody reads them
        size = len(name) + len(value) + 2
        self._seen += size
        if size > self._limits.field_size:
            self._stop_parsing(_FIELD_SIZE)
        self._fields.append((name, value))
        if len(self._fields) > self._limits.fields:
            self._stop_parsing(_FIELDS)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unseen = 0
        parser = self._parser
        head = Head(
            parser.get_method(), self._target, parser.get_http_version(), self._fields, self._address, self._certificate
        )  # fmt: skip
        try:
            environ = self._environ = self._service.environs.of(head)
        except Refused as refused:
            self._stop_parsing(refused)
        if not self._held_up():
            self.deadline = self._service.now() + self._limits.body_seconds
        length = environ.get("CONTENT_LENGTH", "")
        if len(length) > 9 or int(length or 0) > MAX_BODY:
            # Nothing of it is read: any that is too long is as good for the application to refuse.
            self._arrived(bytes(MAX_BODY + 1), keep=False)
        elif environ.get("HTTP_EXPECT", "").lower() == "100-continue" and parser.get_http_version() == "1.1":
            self._expects = True
            self._continue()

    def _continue(self) -> None:
        if self._expects and self._environ is not None and not self._held_up() and not self._over:
            self._expects = False
            self._transport.write(_CONTINUE)

    def on_body(self, piece: bytes) -> None:
        if self._environ is None:
            return  # it was answered already
        self._body += piece
        if len(self._body) > MAX_BODY:
            self._arrived(bytes(self._body[: MAX_BODY + 1]), keep=False)

    def on_message_complete(self) -> None:
        parser = self._parser
        if self._environ is None:
            return
        upgrade = parser.should_upgrade()
        if upgrade and self._framing():
            return  # the parser passes its body over; _read_on() does not
        self._arrived(bytes(self._body), keep=parser.should_keep_alive() and not upgrade)

    # How it goes on.

    def _feed(self, data: bytes) -> None:
        self._unseen += len(data)
        self._framed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._environ is not None:
                self._read_on(data[upgrade.args[0] :])
            return  # else it was answered, and the connection ends with that
        except httptools.HttpParserError:
            if self._over:
                return
            refused, self._refused = self._refused or _MALFORMED, None
            if self._environ is not None and refused is _MALFORMED:
                self._broke_off()
            else:
                self._refuse(refused)
            return
        if self._over:
            return
        if self._in_head and self._seen + self._unseen > self._limits.head_size:
            self._refuse(_HEAD_SIZE)
        elif self._environ is not None and self._framed > self._limits.chunked_size:
            self._broke_off()

    def _framing(self) -> list[bytes]:
        """The fields that say where the body of the request ends."""
        framing = (b"content-length", b"transfer-encoding")
        return [name + b": " + value for name, value in self._fields if name.lower() in framing]

    def _read_on(self, data: bytes) -> None:
        """With the body of a request that would rather speak another protocol, as Java's client always would (h2c).

        No other is spoken (RFC 9110 section 7.8), but the parser ends where the head does. The connection ends with
        the answer.
        """
        head = [b"POST / HTTP/1.1", *self._framing(), b"Connection: close", b"", b""]
        self._parser = httptools.HttpRequestParser(_BodyAlone(self.on_body, self.on_message_complete))
        self._parser.feed_data(b"\r\n".join(head))
        if data:
            self._feed(data)

    def _stop_parsing(self, refused: Refused) -> None:
        self._refused = refused
        raise refused  # what the parser makes of it comes back to _feed()

    def _held_up(self) -> bool:
        """Whether an answer is still to come, or to be sent."""
        return self._busy or self._stalled or bool(self._waiting)

    def _arrived(self, body: bytes, *, keep: bool) -> None:
        """The request is there whole, or as much of it as is looked at; without `keep` nothing is heard behind it."""
        environ, self._environ = self._environ, None
        assert environ is not None
        if body or "CONTENT_LENGTH" in environ:
            environ["CONTENT_LENGTH"] = str(len(body))
        self._begun = False
        self._take(Whole(environ, body, keep))

    def _broke_off(self) -> None:
        environ, self._environ = self._environ, None
        assert environ is not None
        self._begun = False
        self._take(Whole(environ, None, keep=False))

    def _refuse(self, refused: Refused) -> None:
        self._begun = False
        self._environ = None
        self._take(refused)

    def _take(self, next_one: Whole | Refused) -> None:
        """In its turn: what came before it is answered before it."""
        if self._over:
            return
        if self._held_up():
            self._waiting.append(next_one)
        else:
            self._serve(next_one)

    def _serve(self, next_one: Whole | Refused) -> None:
        if isinstance(next_one, Refused):
            self._send(self._service.refuse(next_one, self._address))
            return
        said = self._service.answer(next_one, self)
        if said is not None:
            self._send(said)
            return
        self._busy = True
        self.deadline = _FOREVER
        self._transport.pause_reading()

    def answered(self, said: Said) -> None:
        """What had to be waited for."""
        self._busy = False
        if not self._over:
            self._send(said)
            self._go_on()

    def _go_on(self) -> None:
        """With one more of what came meanwhile, and when there is nothing more, with what comes."""
        if self._busy or self._stalled or self._over:
            return
        if self._waiting:
            self._serve(self._waiting.popleft())
        elif self._rest:
            rest, self._rest = self._rest, b""
            self.data_received(rest)
        if self._busy or self._stalled or self._over:
            return
        if self._waiting or self._rest:
            self._yield()
            return
        if self._environ is not None:
            self.deadline = self._service.now() + self._limits.body_seconds
            self._continue()
        self._transport.resume_reading()

    def _send(self, said: Said) -> None:
        self._left_before = 0
        self.deadline = self._service.now() + self._limits.head_seconds
        self._transport.write(said.data)
        if not said.keep:
            self._end()

    def _end(self) -> None:
        """No more is said or heard. What is still sent is thrown away, so that the other side sees its answer."""
        self._over = True
        self._waiting.clear()
        self._rest = b""
        if not self._stalled:
            self.deadline = self._service.now() + _LINGER
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()

    # What the worker calls.

    @property
    def over(self) -> bool:
        """Whether nothing is said any more."""
        return self._over

    def late(self) -> None:
        """The deadline is over."""
        left = self._left()
        if left or self._over:
            least = self._limits.unread_rate * self._limits.unread_seconds
            if left and (not self._left_before or self._left_before - left >= least):
                self._left_before = left
                self.deadline = self._service.now() + self._limits.unread_seconds
            else:
                self.cut()
        elif self._environ is not None:
            self._refuse(_LATE_BODY)
        elif self._begun:
            self._refuse(_LATE_HEAD)
        else:
            self._end()

    def stop(self) -> None:
        """Ends it, unless a request has begun to come or is to be answered."""
        if self._over:
            if not self._left():
                self.cut()
        elif not (self._begun or self._held_up()):
            self._end()

    def cut(self) -> None:
        """At once, and in the kernel too, which would go on for minutes to deliver what stands in it."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and self._left():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _left(self) -> int:
        """Bytes of our answers that the other side has not taken yet."""
        sock, in_kernel = self._transport.get_extra_info("socket"), b"\0\0\0\0"
        if sock is not None and sock.fileno() >= 0:
            in_kernel = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, in_kernel)
        return int(struct.unpack("i", in_kernel)[0]) + self._transport.get_write_buffer_size()
