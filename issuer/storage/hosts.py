"""How a connection to PostgreSQL is made: neither a slow resolver nor the number of hosts stretches the time it takes.

The driver asks the resolver outside its own time-out, which it then grants to each address anew, two seconds at least.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Dialect

from realmint.lookups import Lookups, Resolve
from realmint.protocol.threads import StartThread

LOOKUP_SECONDS = 2.0
"""For the addresses of all hosts."""
CONNECT_SECONDS = 2
"""For the answer of one address, and in how much time the last of several is tried."""
Wanted = Mapping[str, Any]
"""What the driver is called with."""


class Hosts:
    """Makes connections, of whatever process."""

    def __init__(self, resolve: Resolve, start_thread: StartThread) -> None:
        self._lookups = Lookups(resolve)
        self._start_thread = start_thread

    def connect(self, dialect: Dialect, _record: object, args: Sequence[Any], wanted: Wanted) -> Any:
        """A connection, of the first address that gives one. Raises the driver's errors only."""
        errors: Any = dialect.loaded_dbapi
        try:
            attempts = self._attempts(wanted)
            if len(attempts) == 1:
                return dialect.connect(*args, **attempts[0])
            race = _Race(lambda attempt: dialect.connect(*args, **attempt), self._start_thread)
            connection = race.run(attempts)
        except OSError as error:  # no descriptor to be had, for one: the driver lets the system's own errors out
            raise errors.OperationalError(f"{error}") from error
        if connection is None:
            said = [f"{error}" for error in race.errors] or ["none of the hosts answered"]
            raise errors.OperationalError("\n".join(said))
        return connection

    def _attempts(self, wanted: Wanted) -> list[Wanted]:
        """One for each address. The name of a host stays beside it: a certificate is checked against that.

        Raises OSError when there is no address at all.
        """
        hosts, given, ports = (_several(wanted, name) for name in ("host", "hostaddr", "port"))
        number = max(len(hosts), len(given), 1)
        if not ({len(hosts), len(given)} <= {0, number} and len(ports) in {0, 1, number}):
            return [wanted]  # they do not belong together, as the driver will say
        attempts, failed = list[Wanted](), OSError("no host")
        for at in range(number):
            own = {"port": ports[at % len(ports)]} if ports else {}
            own |= {"host": hosts[at]} if hosts else {}
            try:
                addresses = [given[at]] if given and given[at] else self._addresses(own.get("host", ""), number)
            except (OSError, ValueError) as error:
                failed = OSError(f"host {own['host']} could not be looked up: {error or 'no answer in time'}")
                continue
            attempts += [{**wanted, **own} | ({"hostaddr": address} if address else {}) for address in addresses]
        if not attempts:
            raise failed
        return attempts

    def _addresses(self, host: str, number: int) -> list[str]:
        """Those of one of so many hosts; an empty one for a socket of this machine, which has none."""
        if not host or host.startswith(("/", "@")):
            return [""]
        found = self._lookups.addresses(host, 0, LOOKUP_SECONDS / number)
        return list(dict.fromkeys(str(each[4][0]) for each in found))


def _several(wanted: Wanted, name: str) -> list[str]:
    """What was said under a name, or by the variable that the driver's library reads in its place."""
    said = str(wanted.get(name) or os.environ.get(f"PG{name.upper()}", ""))
    return said.split(",") if said else []


class _Race:
    """Attempts that are begun one after the other, the next when those before have failed or are slow."""

    def __init__(self, connect: Callable[[Wanted], Any], start_thread: StartThread) -> None:
        self.errors: list[Exception] = []
        self._connect = connect
        self._start_thread = start_thread
        self._changed = threading.Condition()
        self._begun = 0
        self._won: Any = None
        self._over = False

    def run(self, attempts: Sequence[Wanted]) -> Any:
        """The connection of the first that succeeds, or None. Raises OSError when no thread is to be had."""
        patience = CONNECT_SECONDS / len(attempts)
        with self._changed:
            try:
                for attempt in attempts:
                    self._begun += 1
                    self._start_thread(self._try, "realmint-connect", attempt)
                    if self._changed.wait_for(self._decided, patience) and self._won is not None:
                        break
                self._changed.wait_for(self._decided, CONNECT_SECONDS)
            finally:
                self._over = True
            return self._won

    def _decided(self) -> bool:
        return self._won is not None or len(self.errors) == self._begun

    def _try(self, attempt: Wanted) -> None:
        try:
            connection = self._connect(attempt)
        except Exception as error:  # noqa: BLE001 - told by who waits, when no other is better
            with self._changed:
                self.errors.append(error)
                self._changed.notify_all()
            return
        with self._changed:
            if not self._over and self._won is None:
                self._won = connection
                self._changed.notify_all()
                return
        connection.close()  # too late
