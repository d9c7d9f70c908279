"""flask clients certs: certificates that a client connects with, its own or those of an authority (mutual TLS)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from issuer.admin import credentials
from issuer.admin.certificates import own_certificate, subject
from issuer.cli.commands import Commands
from issuer.cli.console import REHEARSED, outcome, print_fields, print_json, say
from issuer.cli.credential_commands import Shown, add_list, add_revoke, dates
from issuer.cli.files import read_file
from issuer.cli.options import NAME, Duration, Text, operator, options
from issuer.client_auth.mutual_tls import SelfSigned, TLSClientAuth
from issuer.credentials import Credential, NamedSubject, OwnCertificate, Proof
from issuer.credentials.certificate import MAX_CERTIFICATE, MOST_AUTHORITIES, SUBJECT_KINDS
from issuer.runtime import Runtime

_KINDS = (OwnCertificate, NamedSubject)
_COLUMNS = ("credential_id", "thumbprint", "subject", "created_at", "expires_at", "last_used_at")
_MAX_FILE = MOST_AUTHORITIES * 2 * MAX_CERTIFICATE
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HELP = {
    "subject_dn": "The subject, as RFC 4514 writes it: CN=svc,O=Example.",
    "san_dns": "A DNS name among the subject's alternative names.",
    "san_uri": "A URI among them.",
    "san_ip": "An IP address among them.",
    "san_email": "A mailbox among them.",
}


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands("certs", help="Certificates that a client connects with.", first=runtime.refuse_other_schema)
    _add_add(commands, runtime)
    add_list(commands, runtime, _SHOWN, "The certificates of a client, and the names that authorities gave it.")
    add_revoke(commands, runtime, _SHOWN, "Ends one at once, and the tokens it got.")
    return commands


def _add_add(commands: click.Group, runtime: Runtime) -> None:
    def add(
        client_id: str, file: Path | None, ca: Path | None, realm_path: str, as_json: bool, dry_run: bool,
        reason: str | None, expires_in: int | None, overlap: int | None, **named: str | None,
    ) -> None:  # fmt: skip
        """Registers a certificate that is signed by itself, in FILE; or the name that an authority gave the client.

        Exactly one of FILE, --subject-dn, --san-dns, --san-uri, --san-ip and --san-email.
        """
        proof = _proof(file, ca, {kind: value for kind, value in named.items() if value is not None})
        runtime.prepare_change(dry_run)
        made = credentials.add(
            runtime.administration, realm_path, client_id, [proof], operator(reason),
            expires_in=expires_in, overlap=overlap, rehearse=dry_run,
        )  # fmt: skip
        _warn(proof, client_id, made.client.auth_method, runtime)
        shown = shape(made.credentials[0])
        if as_json:
            print_json({**outcome(True, dry_run), "realm": realm_path, "client_id": client_id, **shown})
            return
        print_fields(shown)
        if dry_run:
            say(REHEARSED)

    made: Any = options("realm", "json", "dry_run", "reason")(add)
    made = click.option("--overlap", type=Duration(), help="The client's others end after this time.")(made)
    made = click.option("--expires-in", type=Duration(), help="It ends after this time.")(made)
    made = click.option(
        "--ca", type=_FILE,
        help="The authorities that may have issued it, PEM; without, whoever ends TLS has to see to that.",
    )(made)  # fmt: skip
    for kind in reversed(SUBJECT_KINDS):
        made = click.option(f"--{kind.replace('_', '-')}", kind, type=Text(1000), help=_HELP[kind])(made)
    made = click.argument("file", required=False, type=_FILE)(made)
    commands.command("add")(click.argument("client_id", type=NAME)(made))


def _proof(file: Path | None, ca: Path | None, named: Mapping[str, str]) -> Proof:
    """Raises a usage error, ChangeRefused, Refused."""
    if (file is not None) + len(named) != 1:
        raise click.UsageError("give FILE, or one of --subject-dn, --san-dns, --san-uri, --san-ip, --san-email")
    if file is not None:
        if ca is not None:
            raise click.UsageError("--ca is for a certificate that an authority issued, which is registered by a name")
        return own_certificate(read_file(file, _MAX_FILE))
    ((kind, value),) = named.items()
    return subject(kind, value, read_file(ca, _MAX_FILE) if ca is not None else None)


def _warn(proof: Proof, client_id: str, auth_method: str, runtime: Runtime) -> None:
    wanted = next(method.NAME for method in (TLSClientAuth, SelfSigned) if type(proof) in method.PROOFS)
    if auth_method != wanted:
        click.echo(
            f"Warning: {client_id} authenticates with {auth_method}; for this to be of use say"
            f" flask clients update {client_id} --auth-method {wanted}",
            err=True,
        )
    if isinstance(proof, NamedSubject) and not proof.authorities and runtime.settings.client_cert is not None:
        click.echo(
            "Warning: without --ca the proxy alone says who issued a certificate; it has to verify each of them",
            err=True,
        )


def shape(credential: Credential) -> dict[str, Any]:
    """One as --json shows it."""
    proof = credential.proof
    own = proof.thumbprint if isinstance(proof, OwnCertificate) else None
    named = f"{proof.kind}={proof.value}" if isinstance(proof, NamedSubject) else None
    return {
        "credential_id": credential.credential_id,
        "thumbprint": own,
        "subject": named,
        "authorities": len(proof.authorities) if isinstance(proof, NamedSubject) else 0,
        **dates(credential),
    }


_SHOWN = Shown(_KINDS, "certificate", "has no certificates", _COLUMNS, shape)
