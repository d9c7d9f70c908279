"""flask clients keys: the public keys that a client signs its assertions with (private_key_jwt)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from issuer.admin import credentials
from issuer.cli.commands import Commands
from issuer.cli.console import REHEARSED, outcome, print_fields, print_json, say
from issuer.cli.credential_commands import Shown, add_list, add_revoke, dates
from issuer.cli.exits import Exit, Refused
from issuer.cli.files import read_file
from issuer.cli.options import NAME, Duration, operator, options
from issuer.client_auth.private_key_jwt import PrivateKeyJWT
from issuer.credentials import Credential, Proof, PublicKey, PublicKeySet
from issuer.credentials.public_key import KeysRefused, checked_url, read_jwks, svid_keys
from issuer.runtime import Runtime
from keys.key import public_jwk_of_pem
from keys.transfer import MAX_FILE
from realmint.protocol.jws import JWSError, parse_object

_KINDS = PrivateKeyJWT.PROOFS
_COLUMNS = ("kid", "alg", "jwks_uri", "credential_id", "created_at", "expires_at", "last_used_at")


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands("keys", help="Public keys that a client signs with.", first=runtime.refuse_other_schema)
    _add_add(commands, runtime)
    add_list(commands, runtime, _SHOWN, "The public keys of a client, and where it publishes them.")
    said = "Ends one key at once, by its kid or its credential id, and the tokens it got."
    add_revoke(commands, runtime, _SHOWN, said, "KID")
    return commands


def _add_add(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("add")
    @click.argument("client_id", type=NAME)
    @click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--jwks-uri", type=NAME, help="Where the client publishes its keys, in the place of FILE.")
    @click.option(
        "--kid", type=NAME, help="What the client calls the key; without it as FILE says, or else its thumbprint."
    )
    @click.option("--expires-in", type=Duration(), help="It ends after this time.")
    @click.option("--overlap", type=Duration(), help="Its other keys, and where it publishes any, end after this time.")
    @options("realm", "json", "dry_run", "reason")
    def add(
        client_id: str, file: Path | None, jwks_uri: str | None, kid: str | None, realm_path: str, as_json: bool,
        dry_run: bool, reason: str | None, expires_in: int | None, overlap: int | None,
    ) -> None:  # fmt: skip
        """Registers public keys: FILE is a JWK, a JWK set, PEM, or a certificate in PEM."""
        if (file is None) == (jwks_uri is None):
            raise click.UsageError("give FILE, or --jwks-uri URL")
        proofs = _proofs(runtime, file, jwks_uri, kid)
        runtime.prepare_change(dry_run)
        made = credentials.add(
            runtime.administration, realm_path, client_id, proofs, operator(reason),
            expires_in=expires_in, overlap=overlap, others=_KINDS, rehearse=dry_run,
        )  # fmt: skip
        if made.client.auth_method != PrivateKeyJWT.NAME:
            click.echo(
                f"Warning: {client_id} authenticates with {made.client.auth_method}; for its keys to be of use say"
                f" flask clients update {client_id} --auth-method {PrivateKeyJWT.NAME}",
                err=True,
            )
        shown = [shape(each) for each in made.credentials]
        if as_json:
            print_json({**outcome(True, dry_run), "realm": realm_path, "client_id": client_id, "keys": shown})
            return
        for each in shown:
            print_fields(each)
        if dry_run:
            say(REHEARSED)


def _proofs(runtime: Runtime, file: Path | None, jwks_uri: str | None, kid: str | None) -> Sequence[Proof]:
    """Raises Refused, KeysRefused, KeyRefused."""
    if file is not None:
        return read_public_keys(read_file(file, MAX_FILE), kid)
    if kid is not None:
        raise click.UsageError("--kid is of a key in FILE; those that are fetched say what they are called")
    return [PublicKeySet(address_outside(runtime, str(jwks_uri), "--jwks-uri"))]


def address_outside(runtime: Runtime, url: str, option: str) -> str:
    """An address that keys may be fetched from. Raises Refused, which names the option that it was given with."""
    try:
        fault = runtime.addresses_outside.fault(checked_url(url))
    except ValueError as error:
        raise Refused("usage", f"{option}: {error}", Exit.USAGE) from None
    if fault is not None:
        message = f"{option} names {fault}; an operator may allow a host by name in REALMINT_INTERNAL_HOSTS"
        raise Refused("usage", message, Exit.USAGE)
    return url


def read_public_keys(raw: bytes, kid: str | None = None, *, bundle: bool = False) -> tuple[PublicKey, ...]:
    """The public keys of a file: a JWK, a JWK set, PEM. kid: what the only one is called. bundle: a set may be that of
    a SPIFFE trust domain. Raises KeysRefused, KeyRefused."""
    if raw.lstrip().startswith(b"-----BEGIN"):
        document: dict[str, Any] = public_jwk_of_pem(raw)
    else:
        try:
            document = parse_object(raw.strip())
        except JWSError:
            raise KeysRefused("the file is neither PEM nor a JSON object") from None
    if kid is not None:
        if "keys" in document:
            raise KeysRefused("a set says itself what its keys are called")
        document = {**document, "kid": kid}
    return read_jwks(svid_keys(document) if bundle else document)


def shape(credential: Credential) -> dict[str, Any]:
    """A key, or where keys are, as --json shows it."""
    proof = credential.proof
    named: dict[str, str | None] = {"kid": None, "alg": None, "jwks_uri": None}
    if isinstance(proof, PublicKey):
        named |= {"kid": proof.kid, "alg": " ".join(sorted(proof.key.algorithms))}
    elif isinstance(proof, PublicKeySet):
        named |= {"jwks_uri": proof.jwks_uri}
    return {
        "credential_id": credential.credential_id,
        **named,
        **dates(credential),
    }


_SHOWN = Shown(_KINDS, "key", "has no keys", _COLUMNS, shape)
