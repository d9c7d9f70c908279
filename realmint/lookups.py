"""The addresses of a host, for no longer than who asks can wait.

The system's resolver can be neither interrupted nor given a time: it runs in a thread, one for a host and port however
many wait for it. What is not bounded is the life of that thread, which ends when the resolver gives up.
"""

import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from realmint.protocol.fork import in_forked_child
from realmint.protocol.threads import start_daemon

Resolve = Callable[..., Sequence[Any]]
"""Answers as socket.getaddrinfo does, to the same arguments."""


class Lookups:
    """Asks `resolve`, from any number of threads. Nothing is kept once it has answered."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[Sequence[Any]]] = {}
        in_forked_child(self._forget_threads)

    def addresses(self, host: str, port: int, seconds: float) -> Sequence[Any]:
        """What socket.getaddrinfo says of a stream to `host`.

        Raises TimeoutError after `seconds`, another OSError when there is no such host or no thread to ask in,
        UnicodeError or ValueError for a name that cannot be asked for.
        """
        if _is_address(host):
            return self._ask(host, port)  # nobody is asked for it
        with self._lock:
            lookup = self._under_way.get((host, port)) or self._start(host, port)
        return lookup.result(seconds)

    def _start(self, host: str, port: int) -> "Future[Sequence[Any]]":
        lookup: Future[Sequence[Any]] = Future()
        start_daemon(self._run, "realmint-lookup", lookup, host, port)
        self._under_way[host, port] = lookup
        return lookup

    def _run(self, lookup: "Future[Sequence[Any]]", host: str, port: int) -> None:
        try:
            found = self._ask(host, port)
        except Exception as error:  # noqa: BLE001 - raised again in those who wait
            self._land(host, port)
            lookup.set_exception(error)
        else:
            self._land(host, port)
            lookup.set_result(found)

    def _land(self, host: str, port: int) -> None:
        with self._lock:
            self._under_way.pop((host, port), None)

    def _ask(self, host: str, port: int) -> Sequence[Any]:
        return self._resolve(host, port, type=socket.SOCK_STREAM)

    def _forget_threads(self) -> None:
        """In a forked child, which has none of its parent's threads."""
        self._lock = threading.Lock()
        self._under_way = {}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
