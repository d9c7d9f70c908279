"""What one process works with: settings, database, sealer, registry and counts, wired once."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from issuer.admin import first_start
from issuer.admin.change import Administration
from issuer.counts import Happened
from issuer.outside.addresses import Guarded
from issuer.outside.key_sources import OutsideKeys
from issuer.outside.transport import Outside
from issuer.proxies import Proxies
from issuer.registry.marks import Marks
from issuer.registry.view import Registry, RegistryMeasures
from issuer.revocation_limit import RevocationLimit
from issuer.secret_checks.failures import FailureLimit
from issuer.secret_checks.measures import SecretCheckMeasures, measures
from issuer.secret_checks.verifier import SecretVerifier
from issuer.settings import Settings
from issuer.storage.engine import Database
from issuer.storage.revision import SchemaMissing
from issuer.waiting import about_to_wait
from keys import store as key_store
from keys.sealing import Sealer, SealingError, forbid_core_dumps, read_own_kek_file
from realmint.protocol import Clock, Monotonic
from realmint.protocol import monotonic as system_monotonic
from realmint.protocol.fork import in_forked_child


@dataclass(frozen=True)
class Measures:
    """What an operator wants to know of one process: refusals by reason, tokens by the path of their realm."""

    registry: RegistryMeasures
    secret_checks: SecretCheckMeasures
    refusals: Mapping[str, int]
    tokens: Mapping[str, int]


class Runtime:
    """Built by create_app(); opens nothing and writes nothing until it is asked to."""

    def __init__(self, settings: Settings, clock: Clock, monotonic: Monotonic) -> None:
        """Where a clock is handed in, time passes only when told, and no thread fetches ahead of anybody."""
        # The settings hold key-encryption keys already, and a command may read a private half before it needs one.
        forbid_core_dumps()
        self.settings = settings
        self.clock = clock
        self.proxies = Proxies(settings.trusted_proxies, settings.client_cert, monotonic)
        self.database = Database(settings.database_url or embedded_url(settings), clock, embedded=settings.embedded)
        self.administration = Administration(self.database, self.sealer, settings.policy)
        self.verifier = SecretVerifier()
        self.failures = FailureLimit(settings.instance_path / "failures", settings.auth_failures_per_minute)
        self.revocations = RevocationLimit(settings.instance_path / "revocations")
        self.addresses_outside = Guarded(settings.internal_hosts)
        fetched = Outside(self.addresses_outside)
        self.outside = OutsideKeys(fetched, clock, monotonic, background=monotonic is system_monotonic)
        self.registry = Registry(
            self.database,
            self.sealer,
            self.verifier,
            self.failures,
            Marks(self.database),
            self.outside,
            addresses=settings.addresses,
            policy=settings.policy,
            clock=clock,
            monotonic=monotonic,
        )
        self.happened = Happened()
        self._sealer: Sealer | None = None
        self._booted = False
        self._forget_threads()
        in_forked_child(self._forget_threads)

    def _forget_threads(self) -> None:
        """In a forked child: a thread of the parent's may have been making the database."""
        self._boot_lock = threading.Lock()

    def sealer(self) -> Sealer:
        """The sealer over the given key-encryption keys. Raises SealingError when there is none."""
        if self._sealer is None:
            self._sealer = Sealer(self.settings.keks or read_own_kek_file(self.settings.kek_path))
        return self._sealer

    def boot(self, *, root_realm: bool = True) -> None:
        """Makes the database usable: creates what is missing on the embedded one, checks any other.

        Without `root_realm` that one is left to the caller to create. Raises SchemaMissing, SealingError or
        one of STORE_ERRORS; tried again on the next call.
        """
        if self._booted:
            return
        about_to_wait()
        with self._boot_lock:
            if self._booted:
                return
            if self.settings.embedded:
                settings = self.settings
                kek_path = settings.kek_path if settings.keks is None else None
                first_start.create_missing(self.administration, settings.instance_path, kek_path, root_realm=root_realm)
            else:
                self.database.check_schema()
            self.check_key_encryption_key()
            self._booted = True

    def check(self) -> None:
        """Raises SchemaMissing or SealingError when nothing can be served from the database as it is, and one of
        STORE_ERRORS when it cannot be asked. Creates nothing: of an embedded database there may be none yet.
        """
        try:
            self.database.check_schema()
        except SchemaMissing as missing:
            if self.settings.embedded and missing.found is None:
                return
            raise
        self.check_key_encryption_key()

    def refuse_other_schema(self) -> None:
        """Before a command, a reading one too: raises SchemaMissing for the schema of another version."""
        try:
            self.database.check_schema()
        except SchemaMissing as missing:
            if missing.found is not None:
                raise

    def served_by(self, threads: int) -> None:
        """Says how many threads of the server answer in this process, so that what is slow leaves some of them free."""
        self.verifier.served_by(threads)
        self.registry.served_by(threads)

    def close(self) -> None:
        """Writes what waits to be written and lets go of the database."""
        self.registry.close()
        self.failures.close()
        self.revocations.close()
        self.database.engine.dispose()

    def prepare_change(self, dry_run: bool, *, creates: bool = False, root_realm: bool = True) -> Administration:
        """What a changing command works with, once the database can be used. Only what `creates` makes an embedded one.

        Raises SchemaMissing, SealingError or one of STORE_ERRORS.
        """
        if creates and not dry_run:
            self.boot(root_realm=root_realm)
        else:
            self.database.check_schema()
            self.check_key_encryption_key()
        return self.administration

    def measures(self) -> Measures:
        """How this process stands, in plain values, for whoever renders them; asks nobody."""
        return Measures(
            self.registry.measures(),
            measures(self.verifier, self.failures),
            self.happened.refusals.read(),
            self.happened.tokens.read(),
        )

    def private_files(self) -> list[Path]:
        """Files and folders that nobody but their owner should read."""
        files = [self.database.path] if self.database.is_sqlite else []
        if self.settings.embedded:
            files += [self.settings.instance_path, self.settings.instance_path / "first-client.json"]
        return files

    def check_key_encryption_key(self) -> None:
        """Raises SealingError when private halves in use are sealed under a key that is not given."""
        with self.database.read() as connection:
            missing = [kek_id for kek_id in key_store.sealed_under(connection) if not self.sealer().knows(kek_id)]
        if missing:
            raise SealingError(f"the database is sealed under key-encryption key {', '.join(sorted(missing))}")


def embedded_url(settings: Settings) -> URL:
    """Where the embedded database lives; its path is never read as part of a URL, whatever characters it has."""
    return URL.create("sqlite", database=str(settings.instance_path / "realmint.db"))
