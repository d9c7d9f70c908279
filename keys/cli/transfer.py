"""flask keys import, export and rewrap: private halves in, out, and under a new key-encryption key."""

import sys
from pathlib import Path

import click
from sqlalchemy import Connection

from keys import rotation, store
from keys.audit import Actor
from keys.cli.answers import show
from keys.cli.wiring import Ask, Fresh, Seen, Wiring, carry_out, look, one_realm
from keys.console import NAME, Commands, Exit, Refused, confirm, operator, options, outcome, print_json, say
from keys.files import write_private
from keys.key import ALGORITHMS, Key, KeyRefused, Material, public_pem
from keys.plan import Plan, Step
from keys.transfer import MAX_FILE, encrypted, is_encrypted, public_jwk, read_key

_BATCH = 100


def add(commands: Commands, wiring: Wiring) -> None:
    """Adds these commands."""
    for part in (_add_import, _add_export, _add_rewrap):
        part(commands, wiring)


def _add_import(commands: Commands, wiring: Wiring) -> None:
    @commands.command("import")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @options("realm", "json", "dry_run", "reason")
    @click.option(
        "--alg", type=click.Choice(list(ALGORITHMS)), help="What it signs; needed for RSA where the file does not say."
    )
    @click.option("--kid", help="The name it goes by; its thumbprint (RFC 7638) without this.")
    @click.option("--passphrase-stdin", is_flag=True, help="The passphrase of an encrypted file, from standard input.")
    @click.option("--pending", is_flag=True, help="Only store it; flask keys publish shows it to verifiers.")
    @click.option("--replace", is_flag=True, help="In the place of the present standby, which has never signed.")
    def import_key(
        file: Path, realm_path: str, as_json: bool, dry_run: bool, reason: str | None, alg: str | None, kid: str | None,
        passphrase_stdin: bool, pending: bool, replace: bool,
    ) -> None:  # fmt: skip
        """A private key becomes the standby: FILE is PEM (PKCS #8, PKCS #1, SEC 1), JWK, or a JWK in an encrypted JWE.

        Refused: a key that is weak, whose halves do not belong together, or that any realm has or had.
        """
        try:
            if not file.is_file():  # a device or a pipe may never end
                raise Refused("unreadable", f"{file} is not a regular file", Exit.USAGE)
            with file.open("rb") as opened:
                raw = opened.read(MAX_FILE + 1)
        except OSError as error:
            raise Refused("unreadable", f"{file} cannot be read: {error.strerror}", Exit.USAGE) from None
        asked = passphrase_stdin or (is_encrypted(raw) and sys.stdin.isatty())
        material = read_key(raw, _passphrase(again=False) if asked else None, alg, kid)
        wiring.prepare(dry_run)

        def decide(seen: Seen, fresh: Fresh) -> Plan:
            del fresh
            if material.alg not in seen.realm.algs:
                raise KeyRefused(f"{seen.realm.path} does not sign with {material.alg}; see flask realms update --alg")
            known = seen.known(material)
            if known is not None:  # keys.md I5: in whatever realm, dead or alive
                raise KeyRefused(f"this key or this name is known already: {known.kid}, which is {known.state}")
            other = seen.confusable(material.kid)
            if other is not None:
                raise KeyRefused(
                    f"{material.kid} and {other} could be taken for each other: one is the start of the other"
                )
            if pending:
                return rotation.stage(seen, material, event="imported")
            return rotation.publish(seen, material, event="imported", replace=replace)

        show(carry_out(wiring, one_realm(wiring, realm_path), decide, Ask(reason, dry_run=dry_run)), as_json)


def _add_export(commands: Commands, wiring: Wiring) -> None:
    @commands.command("export")
    @click.argument("kid", type=NAME)
    @options("realm", "json", "yes")
    @click.option("--out", required=True, type=click.Path(path_type=Path), help="A new file; - is standard output.")
    @click.option("--pem", "as_pem", is_flag=True, help="The public half as PEM instead of a JWK.")
    @click.option("--private", is_flag=True, help="The whole key, as a JWK in an encrypted JWE.")
    @click.option("--passphrase-stdin", is_flag=True, help="The passphrase, from standard input.")
    def export(
        kid: str,
        realm_path: str,
        as_json: bool,
        yes: bool,
        out: Path,
        as_pem: bool,
        private: bool,
        passphrase_stdin: bool,
    ) -> None:
        """Writes KID to a new file: its public half, or with --private the whole key, encrypted and never otherwise."""
        if private and as_pem:
            raise click.UsageError("a private key is exported as an encrypted JWE only")
        to_stdout = str(out) == "-"
        if private and to_stdout and sys.stdout.isatty():
            raise click.UsageError("a private key is not written to a terminal")
        with wiring.database.read() as connection:
            key = look(wiring, connection, one_realm(wiring, realm_path)).find(kid)
        if private:
            confirm(f"Export the private half of {key.kid}?", yes)
            passphrase = _passphrase(again=True, from_stdin=passphrase_stdin)
            # Once more: it may have been revoked while somebody was asked.
            content = _wrapped(wiring, _exported(wiring, realm_path, key), passphrase)
            wiring.report("key_exported", {"realm": realm_path, "kid": key.kid, "actor": operator().name})
        else:
            content = public_pem(key.public_jwk) if as_pem else public_jwk(key.public_jwk)
        if to_stdout:
            say(content.decode().removesuffix("\n"))
            return
        try:
            write_private(out, content)
        except OSError as error:
            raise Refused("unwritable", f"{out} cannot be written: {error.strerror}", Exit.USAGE) from None
        if as_json:
            print_json({"changed": True, "realm": realm_path, "kid": key.kid, "private": private, "file": str(out)})
        else:
            say(f"{key.kid} is in {out}")


def _wrapped(wiring: Wiring, key: Key, passphrase: bytes) -> bytes:
    if key.sealed is None:
        raise KeyRefused(f"key {key.kid} is {key.state}; its private half is gone")
    pkcs8 = wiring.sealer().open(key.sealed, key.kek_id, key.realm_id, key.kid, key.alg)
    return encrypted(Material(key.kid, key.thumbprint, key.alg, key.public_jwk, pkcs8), passphrase)


def _exported(wiring: Wiring, realm_path: str, seen: Key) -> Key:
    """The key as it stands in the transaction that puts its export into the audit. Raises KeyRefused."""
    with wiring.database.change() as connection:
        key = look(wiring, connection, one_realm(wiring, realm_path)).find(f"={seen.kid}")
        if key.realm_id != seen.realm_id or key.sealed is None:
            raise KeyRefused(f"key {key.kid} is {key.state}; its private half is gone")
        _audit(wiring, connection, key, "exported", operator())
    return key


def _audit(wiring: Wiring, connection: Connection, key: Key, event: str, actor: Actor) -> None:
    """A row for what is no transition: the key stays in its state, at its generation."""
    plan = Plan((Step(event, key.kid, key.alg, key.state, key.state, {}),))
    generation = store.load(connection, key.realm_id).generation
    store.record(connection, key.realm_id, plan, actor, generation=generation, now=wiring.database.now(connection))


def _add_rewrap(commands: Commands, wiring: Wiring) -> None:
    @commands.command("rewrap")
    @options("json", "dry_run")
    def rewrap(as_json: bool, dry_run: bool) -> None:
        """Seals every private half, of every realm, under the newest key-encryption key.

        Can be stopped and started again. Give both keys, the newest first, to every process before, and take the
        old one away after.
        """
        wiring.prepare(dry_run)
        sealer = wiring.sealer()
        with wiring.database.read() as connection:
            total = store.count_sealed_otherwise(connection, sealer.kek_id)
        done = total if dry_run else _rewrap(wiring, total)
        if as_json:
            print_json({**outcome(done > 0, dry_run), "rewrapped": done, "kek_id": sealer.kek_id})
        else:
            verb = "would be sealed" if dry_run else "are sealed"
            say(f"{done} private halves {verb} under key-encryption key {sealer.kek_id}")


def _rewrap(wiring: Wiring, total: int) -> int:
    """A batch per transaction, so that what is done stays done; how many were sealed anew."""
    sealer = wiring.sealer()
    actor = operator()
    done = 0
    while True:
        with wiring.database.change() as connection:
            batch = store.sealed_otherwise(connection, sealer.kek_id, _BATCH)
            for key in batch:
                if store.reseal(connection, key, sealer):
                    _audit(wiring, connection, key, "rewrapped", actor)
                    done += 1
            # Every process reads them anew: one that lacks the new key is not ready now, and not by surprise later.
            for realm_id in {key.realm_id for key in batch}:
                wiring.record_change(connection, realm_id)
        if not batch:
            return done
        if sys.stderr.isatty() and total > _BATCH:
            click.echo(f"\r{done} of {total}", nl=False, err=True)


def _passphrase(*, again: bool, from_stdin: bool = True) -> bytes:
    """From standard input, one line; on a terminal it is asked for without echo, twice when it is new."""
    if sys.stdin.isatty():
        text: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=again)
        return text.encode()
    if not from_stdin:
        raise click.UsageError("--private needs --passphrase-stdin where nobody can be asked")
    return sys.stdin.buffer.read(4096).removesuffix(b"\n").removesuffix(b"\r")
