"""flask tokens: what a client gets from the running issuer; revoking and inspecting it."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from issuer.admin.inspection import Inspection, inspect, read_only
from issuer.cli import presenting
from issuer.cli.client_secrets import read_secret
from issuer.cli.commands import Commands
from issuer.cli.console import is_terminal, print_json, say
from issuer.cli.exits import Exit, Refused
from issuer.cli.inspecting import add_inspect, shape, tell
from issuer.cli.options import NAME, options
from issuer.cli.presenting import Presented, Proofs
from issuer.cli.revoking import add_revoke
from issuer.runtime import Runtime
from issuer.storage.engine import STORE_ERRORS
from keys.sealing import SealingError
from realmint.protocol import jws, system_clock
from realmint.protocol.jws import JWSError
from realmint.protocol.names import DPOP, DPOP_NONCE, FORM_MEDIA_TYPE

if TYPE_CHECKING:
    from realmint.messages import Request

MAX_ANSWER = 65536
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands("tokens", help="Access tokens.")
    _add_get(commands, runtime)
    add_inspect(commands, runtime)
    add_revoke(commands, runtime)
    return commands


def _add_get(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("get")
    @click.argument("client_id", type=NAME)
    @click.option("--scope", multiple=True, help="What to ask for; repeats, or a space-separated list.")
    @click.option("--resource", multiple=True, help="Which API it is for (RFC 8707); repeats.")
    @click.option("--audience", multiple=True, help="The same by plain name; repeats.")
    @click.option(
        "--key", "key_file", type=_FILE, help="Sign an assertion with the private key in this file (private_key_jwt)."
    )
    @click.option("--kid", type=NAME, help="The registered name of that key; without it the file's, or the thumbprint.")
    @click.option(
        "--assertion",
        "assertion_file",
        type=_FILE,
        help="Send the token in this file, which a platform gave a workload, as the assertion.",
    )
    @click.option("--cert", "cert_file", type=_FILE, help="Show the certificate in this file, PEM (mutual TLS).")
    @click.option("--cert-key", type=_FILE, help="Its private key, where that is not in the same file.")
    @click.option(
        "--dpop", "dpop_file", type=_FILE, help="Have the token bound to the private key in this file (DPoP)."
    )
    @click.option("--decode", is_flag=True, help="Show it as flask tokens inspect does, instead of its text.")
    @options("realm", "json")
    def get(
        client_id: str, scope: tuple[str, ...], resource: tuple[str, ...], audience: tuple[str, ...],
        key_file: Path | None, kid: str | None, assertion_file: Path | None, cert_file: Path | None,
        cert_key: Path | None, dpop_file: Path | None, decode: bool, realm_path: str, as_json: bool,
    ) -> None:  # fmt: skip
        """Asks the running issuer for a token, as CLIENT_ID, and prints it.

        The secret comes from standard input, or is asked for at a terminal; with --key, --assertion or --cert there is
        none. --cert goes beside --key or --assertion for a client whose tokens are bound to a certificate.
        """
        if key_file is not None and assertion_file is not None:
            raise click.UsageError("say one of --key and --assertion")
        if kid is not None and key_file is None:
            raise click.UsageError("--kid is of the key in --key FILE")
        if cert_key is not None and cert_file is None:
            raise click.UsageError("--cert-key is of the certificate in --cert FILE")
        form = [("grant_type", "client_credentials"), *(("scope", value) for value in _joined(scope))]
        form += [("resource", value) for value in resource] + [("audience", value) for value in audience]
        addresses = runtime.settings.addresses(realm_path)
        endpoint = addresses.endpoint("/access_token")
        certificate = None
        if cert_file is not None:
            certificate = (str(cert_file), str(cert_key or cert_file))
            endpoint = _with_tls(addresses.mtls_endpoint(endpoint) or endpoint)
        if key_file is not None or assertion_file is not None:
            show = partial(
                presenting.by_assertion, client_id, addresses.issuer, key_file, kid, assertion_file, certificate
            )
        elif certificate is not None:
            show = partial(presenting.by_certificate, client_id, certificate)
        else:
            show = partial(presenting.by_secret, client_id, _secret())
        answer = _ask(endpoint, show, form, presenting.proofs(dpop_file) if dpop_file is not None else None)
        _show(answer, runtime, decode=decode, as_json=as_json)


def _with_tls(endpoint: str) -> str:
    """Raises Refused: without TLS a certificate would be shown to nobody, and its absence told as a wrong one."""
    if not endpoint.startswith("https:"):
        message = f"a certificate is shown over TLS alone, and the issuer is at {endpoint}: see BASE_URL, MTLS_BASE_URL"
        raise Refused("usage", message, Exit.USAGE)
    return endpoint


def _joined(values: tuple[str, ...]) -> tuple[str, ...]:
    return (" ".join(values),) if values else ()


def _secret() -> str:
    if is_terminal(sys.stdin):
        return str(click.prompt("Client secret", hide_input=True, err=True))
    if not (secret := read_secret()):
        raise Refused("usage", "there is no secret on standard input", Exit.USAGE)
    return secret


def _ask(
    endpoint: str, show: Callable[[], Presented], form: list[tuple[str, str]], proofs: Proofs | None
) -> dict[str, Any]:
    """The token response. Raises Refused: exit code 6 when nobody answers, 1 when the issuer refuses."""
    # No other command asks anybody over HTTP.
    from realmint.transport import HTTPTransport, TransportError, is_secure

    if not is_secure(endpoint):
        raise Refused("unreachable", f"a credential is not sent over plain http: {endpoint}", Exit.USAGE)
    shown = show()
    try:
        transport = HTTPTransport(certificate=shown.certificate)
    except ValueError as error:  # a proxy in the environment that cannot be one, or the certificate
        if shown.certificate is not None and str(error).startswith("certificate "):
            message = f"{' and '.join(dict.fromkeys(shown.certificate))}: no PEM certificate with its own private key"
            raise Refused("usage", message, Exit.USAGE) from None
        raise Refused("unreachable", str(error), Exit.USAGE) from None
    try:
        answer = transport(_request(endpoint, shown, form, proofs, None))
        nonce = answer.headers.get(DPOP_NONCE.lower())
        if answer.status == 400 and nonce is not None and proofs is not None:  # RFC 9449 section 8
            answer = transport(_request(endpoint, show(), form, proofs, nonce))
    except TransportError as error:
        message = f"nobody answers at {endpoint} ({error}); is the issuer running there?"
        raise Refused("unreachable", message, Exit.STORE) from None
    finally:
        transport.close()
    try:
        document: dict[str, Any] = jws.parse_object(answer.body)
    except JWSError:
        raise Refused("unreachable", f"what answers at {endpoint} is no issuer", Exit.STORE) from None
    if answer.status != 200:
        message = f"{answer.status} {document.get('error')}: {document.get('error_description')}"
        if document.get("error") == "invalid_client":
            message += "; the issuer's log says why"
        raise Refused(str(document.get("error")), message, Exit.FINDINGS, status=answer.status)
    return document


def _request(
    endpoint: str, shown: Presented, form: list[tuple[str, str]], proofs: Proofs | None, nonce: str | None
) -> "Request":
    """One try: a proof, like an assertion that was used, is good for no other."""
    from realmint.messages import Request

    proof = {} if proofs is None else {DPOP: proofs(endpoint, nonce, system_clock())}
    headers = {**shown.headers, **proof, "Content-Type": FORM_MEDIA_TYPE, "Accept": "application/json"}
    return Request("POST", endpoint, headers, urlencode([*form, *shown.form.items()]).encode(), MAX_ANSWER)


def _show(answer: dict[str, Any], runtime: Runtime, *, decode: bool, as_json: bool) -> None:
    token = str(answer["access_token"])
    found = _inspected(token, runtime) if decode else None
    if as_json:
        print_json({**answer, **(shape(found) if found else {})})
    elif found is None:
        say(token)
    else:
        tell(found)


def _inspected(token: str, runtime: Runtime) -> Inspection:
    """The token held against the database here; by what it says alone where there is none, as on another machine."""
    try:
        return inspect(runtime.administration, runtime.settings.base_url, token)
    except (*STORE_ERRORS, SealingError):
        return read_only(token, runtime.clock())
