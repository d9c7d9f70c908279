"""`python -m realmint check ISSUER --audience A`: what an operator should mend, before an API is started with these.

Exits 0 where nothing is to be mended, 1 where something is, 2 for options that cannot be. The credentials with which
the introspection endpoint is tried stand in API_CLIENT_ID and API_CLIENT_SECRET; with --client-id the secret is read
from standard input, but where --client-key or --client-assertion names the file of a private key or an assertion.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from realmint import AssertionFile, ClientKey, Introspection, ResourceServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says, and answers with the exit code."""
    options = _parser().parse_args(arguments)
    try:
        api = ResourceServer(
            options.issuer, options.audience, jwks_url=options.jwks_url, reach_at=options.reach_at,
            allow_insecure_http=options.allow_insecure_http, introspection=_introspection(options), background=False,
        )  # fmt: skip
    except ValueError as error:
        print(f"realmint check: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    found = api.check()
    api.close()
    print(json.dumps(found.document()) if options.json else found)  # noqa: T201 - its answer
    return 0 if found.good else 1


def _introspection(options: argparse.Namespace) -> Introspection | None:
    """Raises ValueError."""
    client_id, endpoint = options.client_id or os.environ.get("API_CLIENT_ID"), options.introspection_endpoint
    for option in ("introspection_endpoint", "client_key", "client_assertion"):
        if not client_id and getattr(options, option):
            raise ValueError(f"--{option.replace('_', '-')} needs a client: --client-id, or API_CLIENT_ID")
    if options.kid and not options.client_key:
        raise ValueError("--kid is of the key in --client-key FILE")
    if not client_id:
        return None
    if options.client_key:
        key = ClientKey.from_file(options.client_key, kid=options.kid)
        return Introspection(client_id, endpoint=endpoint, client_key=key)
    if options.client_assertion:
        return Introspection(client_id, endpoint=endpoint, client_assertion=AssertionFile(options.client_assertion))
    secret = sys.stdin.readline().strip() if options.client_id else os.environ.get("API_CLIENT_SECRET", "")
    return Introspection(client_id, secret, endpoint=endpoint)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m realmint")
    check = parser.add_subparsers(required=True, metavar="check").add_parser(
        "check", help="fetch what an API needs of an issuer, and say what to mend"
    )
    check.add_argument("issuer", metavar="ISSUER", help="its identifier, exactly as it calls itself")
    check.add_argument("--audience", required=True, action="append", help="the API's own identifier; may be repeated")
    check.add_argument("--jwks-url", help="where its keys are, if it has no metadata")
    check.add_argument("--reach-at", help="scheme, host and port at which it is reached under another name")
    check.add_argument("--allow-insecure-http", action="store_true", help="http though it leaves this machine")
    check.add_argument("--client-id", help="the API's own client; its secret is read from standard input")
    shown = check.add_mutually_exclusive_group()
    shown.add_argument("--client-key", metavar="FILE", help="its private key (PEM or JWK), in place of a secret")
    check.add_argument(
        "--kid", help="what the issuer calls that key, if not by the file's name for it or its thumbprint"
    )
    shown.add_argument("--client-assertion", metavar="FILE", help="an assertion that somebody signed for it")
    check.add_argument("--introspection-endpoint", help="where it is asked about tokens, if it has no metadata")
    check.add_argument("--json", action="store_true", help="one object on standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
