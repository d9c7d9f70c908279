"""What gunicorn starts in each process: an event loop whose one thread answers everybody, and threads that may wait."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from typing import Any

import uvloop
from gunicorn import sock as gunicorn_sock
from gunicorn.workers.base import Worker as Base

from issuer import log, waiting
from issuer.serving.connection import Connection
from issuer.serving.environ import Environs, Refused
from issuer.serving.limits import Limits
from issuer.serving.threads import Threads
from issuer.serving.wsgi import Said, Whole, answer, refusal
from realmint.protocol.threads import NoThread

_TICK = 0.5
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_LAST_SECONDS = 2
"""Of the time to stop, kept for what is written at the end."""
_NO_THREAD = Refused(503, "no_thread", "The server can start no thread")


class Worker(Base):
    """gunicorn's interface to a worker; its settings are those of gunicorn.conf.py, the rest is Limits'."""

    _stopping = False

    def __init__(self, *args: Any, **more: Any) -> None:
        """Called before the fork, over which nobody is told to stop: a child would hear it with its parent's ears."""
        super().__init__(*args, **more)
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)

    def init_process(self) -> None:
        self.loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self._stopped = asyncio.Event()
        super().init_process()

    def init_signals(self) -> None:
        # Not the loop's own handlers, which are there while it runs: one that is told before or after that, or twice,
        # is to end in its own time too.
        for each in _STOPS:
            signal.signal(each, self._stop if each == signal.SIGTERM else self._hurry)
        signal.signal(signal.SIGUSR1, lambda *_: self.log.reopen_files())
        signal.signal(signal.SIGABRT, self.handle_abort)
        for each in (signal.SIGHUP, signal.SIGUSR2, signal.SIGWINCH):
            signal.signal(each, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _hear_again()

    def run(self) -> None:
        cfg = self.cfg
        self.limits = replace(
            Limits(), connections=cfg.worker_connections, request_line=cfg.limit_request_line,
            fields=cfg.limit_request_fields, field_size=cfg.limit_request_field_size,
        )  # fmt: skip
        self._connections: set[Connection] = set()
        self._taken = 0  # they, and those that are not there yet
        self._attending: set[asyncio.Task[None]] = set()
        self._threads = Threads(cfg.threads)
        self._listeners = [each.sock for each in self.sockets]
        self._listening = False
        port = self._listeners[0].getsockname()[1] if self._listeners[0].family != socket.AF_UNIX else 0
        self.environs = Environs(port, secure=cfg.is_ssl, multiprocess=cfg.workers > 1)
        self._tls = gunicorn_sock.ssl_context(cfg) if cfg.is_ssl else None
        self.now = self.loop.time
        self._date = _date()
        with waiting.never_here():
            self.loop.run_until_complete(self._serve())
        for each in _STOPS:
            signal.signal(each, signal.SIG_IGN)  # the interpreter lets go of handlers before it ends
        runtime = getattr(self.wsgi, "extensions", {}).get("realmint")
        if runtime is not None:
            runtime.close()
        sys.stderr.flush()

    async def _serve(self) -> None:
        self.loop.set_exception_handler(_failed)
        for listener in self._listeners:
            _prepare(listener, self.limits)
        self._listen()
        self._tick()
        await self._stopped.wait()
        self._stopping = True
        self._listen(False)
        for each in self._listeners:
            while self._accept(each):
                pass
            each.close()
        until = self.now() + self.cfg.graceful_timeout - _LAST_SECONDS
        for _ in range(2):  # what was taken last is read first
            await asyncio.sleep(0.05)
        while self._taken and self.now() < until and self.alive:
            for connection in list(self._connections):
                connection.stop()
            await asyncio.sleep(0.05)

    def _stop(self, *_: Any) -> None:
        self.loop.call_soon_threadsafe(self._stopped.set)

    def _hurry(self, *_: Any) -> None:
        self.alive = False
        self._stop()

    def _tick(self) -> None:
        self.loop.call_later(_TICK, self._tick)
        self.notify()
        if os.getppid() != self.ppid:
            self._stop()
        self._date = _date()
        now = self.now()
        for connection in [each for each in self._connections if each.deadline <= now]:
            connection.late()
        if not self._stopping:
            self._listen(self._taken < self.limits.connections)

    # Connections come in.

    def _listen(self, wanted: bool = True) -> None:
        if wanted == self._listening:
            return
        self._listening = wanted
        for each in self._listeners:
            if wanted:
                self.loop.add_reader(each, self._accept, each)
            else:
                self.loop.remove_reader(each)

    def _accept(self, listener: socket.socket) -> bool:
        """One at a time, so that the other workers get theirs. Whether there was one."""
        if self._taken >= self.limits.connections and not self._stopping:
            self._listen(False)
            return False
        try:
            taken, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError:  # no descriptor, no memory: not again at once
            self._listen(False)
            return False
        taken.setblocking(False)
        self._taken += 1
        task = self.loop.create_task(self._attend(taken))
        self._attending.add(task)  # the loop has no more than a weak hold of it
        task.add_done_callback(self._attending.discard)
        return True

    async def _attend(self, taken: socket.socket) -> None:
        more: dict[str, Any] = {}
        if self._tls is not None:
            more = {"ssl": self._tls, "ssl_handshake_timeout": self.limits.head_seconds}
        connection = Connection(self)
        try:
            await self.loop.connect_accepted_socket(lambda: connection, taken, **more)
        except OSError:  # the other side hung up, or knows no TLS
            with suppress(OSError):
                taken.close()
        finally:
            if not connection.made:
                self._let_go()

    # What connections ask for.

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._let_go()

    def _let_go(self) -> None:
        self._taken -= 1
        if not self._stopping:
            self._listen()

    def soon(self, call: Callable[[], None]) -> None:
        self.loop.call_soon(call)

    def answer(self, whole: Whole, connection: Connection) -> Said | None:
        try:
            return answer(self.wsgi, whole, self._date, self._is_stopping)
        except waiting.WouldWait:
            try:
                self._threads.do(partial(self._answer_elsewhere, whole, connection))
            except NoThread:
                return self.refuse(_NO_THREAD, "")
            return None

    def _answer_elsewhere(self, whole: Whole, connection: Connection) -> None:
        if not connection.over:  # whoever hung up waits for nothing
            said = answer(self.wsgi, whole, self._date, self._is_stopping)
            self.loop.call_soon_threadsafe(connection.answered, said)

    def _is_stopping(self) -> bool:
        return self._stopping

    def refuse(self, refused: Refused, address: str) -> Said:
        return refusal(refused, address, self._date)


def _hear_again() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


os.register_at_fork(after_in_parent=_hear_again)


def _failed(_loop: object, context: dict[str, Any]) -> None:
    """Nothing of ours raises in the loop; where something does, its message may quote what a client sent."""
    log.LOGGER.error("server_error", exc_info=context.get("exception"))


def _date() -> str:
    """RFC 9110 section 6.6.1."""
    return f"Date: {formatdate(usegmt=True)}"


def _prepare(listener: socket.socket, limits: Limits) -> None:
    """Every connection inherits it."""
    listener.setblocking(False)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, limits.buffer)
    if sys.platform == "linux" and listener.family != socket.AF_UNIX:
        # A connection is taken when something came on it, or after a second or so: one that was taken and not read
        # yet when a worker is told to stop would be closed without an answer.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
