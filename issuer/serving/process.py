"""The main process, which binds, checks and watches, and its workers, each with an application of its own."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import flask
from granian._granian import CallbackScheduler, RSGIWorker, SocketHolder, WorkerSignal
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes, TaskImpl
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer, WorkerProcess

from issuer.runtime import Runtime
from issuer.serving.environ import Environs
from issuer.serving.limits import Limits
from issuer.serving.stage import NoLoop, Stage
from issuer.serving.unread import UnreadAnswers
from realmint.protocol.threads import start_daemon

Load = Callable[[], flask.Flask]

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

# granian's own lines go to the handler of issuer/log.py, and there is no access log: an event tells of each token.
_LOG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {
        "_granian": {"level": "INFO", "handlers": [], "propagate": True},
        "granian.access": {"level": "CRITICAL", "handlers": [], "propagate": True},
    },
}


def bound(host: str, port: int, limits: Limits) -> socket.socket:
    """The socket that all workers share. Raises OSError when the address is somebody's.

    granian would have each worker bind its own beside the others (SO_REUSEPORT): a second server on the port would then
    get half of what is for the first, and what waits for a worker would be lost with it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Every connection inherits it: the kernel would hold four megabytes for each that nobody reads.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer)
        if sys.platform == "linux":
            # A connection is taken when something came on it (or after a second or so): one that was taken and not read
            # yet when a worker is told to stop is closed by hyper without an answer.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        listener.bind((host, port))
        listener.listen(1)  # two may be bound so, and only one listen
    except OSError:
        listener.close()
        raise
    return listener


class Worker(WorkerProcess):
    """One that hears every signal: they wait until it can. One that ends with its parent, as when a terminal interrupts
    all of them, has not ended unexpectedly.
    """

    def start(self) -> None:
        """In the child they stay blocked until _work takes them."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _watcher(self) -> None:
        self.inner.join()
        if self.parent.interrupt_signal:
            self.interrupt_by_parent = True
        if not self.interrupt_by_parent and self.inner.exitcode == -signal.SIGTERM:
            # It was told to stop before it served, and the main process may just be told too.
            self.parent.interrupt_children.append(self.idx)
            self.parent.main_loop_interrupt.set()
            return
        super()._watcher()


class Server(MPServer):
    """granian's main process: it starts workers, starts them anew when they end or when SIGHUP comes, and stops them.

    Every setting is given, so that none follows from the environment (GRANIAN_*) or from a later default.
    """

    def __init__(self, listener: socket.socket, load: Load, workers: int, limits: Limits) -> None:
        host, port = listener.getsockname()[:2]
        self._listener = listener
        self._load = load
        self._limits = limits
        super().__init__(
            target="app:create_app",
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            workers=workers,
            blocking_threads=1,  # says how many handle coroutines, of which there are none: see _work
            runtime_threads=1,
            runtime_blocking_threads=1,
            runtime_mode=RuntimeModes.mt,
            loop=Loops.asyncio,
            task_impl=TaskImpl.asyncio,
            http=HTTPModes.http1,
            websockets=False,
            backlog=limits.backlog,
            backpressure=limits.connections,
            http1_settings=HTTP1Settings(
                header_read_timeout=limits.head_seconds * 1000,
                keep_alive=True,
                max_buffer_size=limits.head_buffer,
                pipeline_flush=False,
            ),
            http2_settings=None,
            log_enabled=True,
            log_level=LogLevels.info,
            log_dictconfig=_LOG,
            log_access=False,
            respawn_failed_workers=True,
            respawn_interval=1.0,
            workers_kill_timeout=limits.stop_seconds,
            metrics_enabled=False,
            reload=False,
        )

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT. Exits with 1 when workers end as soon as they are started."""
        # A worker is a copy of this process, in which the socket is open; granian's own settings follow the same way.
        multiprocessing.set_start_method("fork", force=True)
        self.serve(spawn_target=_work, target_loader=self._load, wrap_loader=False)

    def shutdown(self, exit_code: int = 0) -> None:
        """Workers that ended because all were told to do not make this a failure."""
        if self.interrupt_signal:
            self.interrupt_children.clear()
        super().shutdown(exit_code)

    def _init_shared_socket(self) -> None:
        self._listener.listen(self.backlog)
        self._sso = self._listener

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> WorkerProcess:
        return Worker(
            parent=self,
            idx=idx,
            target=target,
            args=(
                idx + 1,
                callback_loader,
                self._listener,
                self._limits,
                self.workers,
                self.http1_settings,
                os.getpid(),
            ),
        )

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        super()._spawn_workers(spawn_target, target_loader)
        tell_systemd("READY=1")


def tell_systemd(state: str) -> None:
    """sd_notify(3), where a service manager asked for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def _end_with(parent: int, over: threading.Event) -> None:
    """Stops this process when its parent is gone: it would serve on for ever, and nobody else could on its address."""
    while not over.wait(1):
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _work(
    number: int, load: Load, listener: socket.socket, limits: Limits, workers: int, http1: HTTP1Settings, parent: int
) -> None:
    """A worker, in its process, to its end."""
    # Until it serves, SIGTERM just ends it; it would run the main process's handler otherwise. The others are for that
    # one alone, which hears them too where a terminal sends them to all.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for name in (signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    application = load()
    runtime: Runtime | None = application.extensions.get("realmint")
    if runtime is not None:
        runtime.served_by(limits.threads)
    port = listener.getsockname()[1]
    stage = Stage(application, limits, Environs(limits, port, multiprocess=workers > 1))
    over = threading.Event()
    stage.start(over)
    UnreadAnswers(port, limits.unread_seconds, limits.unread_rate).start(over)
    scheduler = CallbackScheduler(NoLoop(), None, None, None, None)
    scheduler._schedule_fn = stage  # noqa: SLF001 - where granian puts what makes a task of each request
    ended = threading.Event()
    stopped = WorkerSignal()
    stopped.add_cb(ended.set)

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # granian waits for ever for somebody to take the third
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    start_daemon(_end_with, "realmint-parent", parent, over)
    no_tls: tuple[Any, ...] = (False, None, None, None, "tls1.3", None, [], False)
    worker = RSGIWorker(
        number, (None, SocketHolder(listener.fileno(), False, limits.backlog)), None, 1, 1, limits.threads, 30,
        limits.connections, str(HTTPModes.http1), http1, None, False, None, *no_tls, (None, None),
    )  # fmt: skip
    worker.serve_mtr(scheduler, NoLoop(), stopped)
    ended.wait()
    over.set()
    if runtime is not None:
        runtime.close()
    sys.stderr.flush()
