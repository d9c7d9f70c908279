"""flask keys import, export and rewrap: private halves in, out, and under a new key-encryption key."""

import sys
from pathlib import Path

import click

from issuer.admin import key_files
from issuer.admin.change import find_realm
from issuer.cli.commands import Commands
from issuer.cli.console import outcome, print_json, say
from issuer.cli.exits import Exit, Refused
from issuer.cli.files import read_file
from issuer.cli.keys.answers import show
from issuer.cli.options import NAME, confirm, operator, options
from issuer.runtime import Runtime
from keys.files import write_private
from keys.key import ALGORITHMS, public_pem
from keys.names import Names
from keys.transfer import MAX_FILE, is_encrypted, public_jwk, read_key


def add(commands: Commands, runtime: Runtime) -> None:
    """Adds these commands."""
    for part in (_add_import, _add_export, _add_rewrap):
        part(commands, runtime)


def _add_import(commands: Commands, runtime: Runtime) -> None:
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
        raw = read_file(file, MAX_FILE)
        asked = passphrase_stdin or (is_encrypted(raw) and sys.stdin.isatty())
        material = read_key(raw, _passphrase(again=False) if asked else None, alg, kid)
        done = key_files.import_key(
            runtime.prepare_change(dry_run),
            realm_path,
            operator(reason),
            material,
            pending=pending,
            replace=replace,
            rehearse=dry_run,
        )
        show(done, as_json)


def _add_export(commands: Commands, runtime: Runtime) -> None:
    @commands.command("export")
    @click.argument("kid", type=NAME)
    @options("realm", "json", "yes")
    @click.option("--out", required=True, type=click.Path(path_type=Path), help="A new file; - is standard output.")
    @click.option("--pem", "as_pem", is_flag=True, help="The public half as PEM instead of a JWK.")
    @click.option("--private", is_flag=True, help="The whole key, as a JWK in an encrypted JWE.")
    @click.option("--passphrase-stdin", is_flag=True, help="The passphrase, from standard input.")
    def export(
        kid: str, realm_path: str, as_json: bool, yes: bool, out: Path, as_pem: bool, private: bool,
        passphrase_stdin: bool,
    ) -> None:  # fmt: skip
        """Writes KID to a new file: its public half, or with --private the whole key, encrypted and never otherwise."""
        if private and as_pem:
            raise click.UsageError("a private key is exported as an encrypted JWE only")
        to_stdout = str(out) == "-"
        if private and to_stdout and sys.stdout.isatty():
            raise click.UsageError("a private key is not written to a terminal")
        with runtime.database.read() as connection:
            realm = find_realm(connection, realm_path)
            key = Names(connection, realm.id, realm.path).find(kid)
        if private:
            confirm(f"Export the private half of {key.kid}?", yes)
            passphrase = _passphrase(again=True, from_stdin=passphrase_stdin)
            # Looked at once more: it may have been revoked while somebody was asked.
            content = key_files.export_private(runtime.administration, realm_path, operator(), key, passphrase)
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


def _add_rewrap(commands: Commands, runtime: Runtime) -> None:
    @commands.command("rewrap")
    @options("json", "dry_run")
    def rewrap(as_json: bool, dry_run: bool) -> None:
        """Seals every private half, of every realm, under the newest key-encryption key.

        Can be stopped and started again. Give both keys, the newest first, to every process before, and take the
        old one away after.
        """
        prepared = runtime.prepare_change(dry_run)
        total = key_files.count_rewrappable(prepared)

        def progress(done: int) -> None:
            if sys.stderr.isatty() and total > _MANY:
                click.echo(f"\r{done} of {total}", nl=False, err=True)

        done = total if dry_run else key_files.rewrap(prepared, operator(), progress=progress)
        if as_json:
            print_json({**outcome(done > 0, dry_run), "rewrapped": done, "kek_id": runtime.sealer().kek_id})
        else:
            verb = "would be sealed anew" if dry_run else "were sealed anew"
            say(f"{done} private halves {verb} under key-encryption key {runtime.sealer().kek_id}")


_MANY = 100
"""Private halves whose number is counted for who waits."""


def _passphrase(*, again: bool, from_stdin: bool = True) -> bytes:
    """From standard input, one line; on a terminal it is asked for without echo, twice when it is new."""
    if sys.stdin.isatty():
        text: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=again)
        return text.encode()
    if not from_stdin:
        raise click.UsageError("--private needs --passphrase-stdin where nobody can be asked")
    return sys.stdin.buffer.read(4096).removesuffix(b"\n").removesuffix(b"\r")
