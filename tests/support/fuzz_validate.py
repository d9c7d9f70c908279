"""A fuzzer, led by the branches that it reaches, at the door of the library: whatever comes in, only TokenError comes out.

    python -m tests.support.fuzz_validate -max_total_time=60

The first byte of the input chooses what the rest stands for: a token, its three parts, or claims under a good signature.
"""

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["realmint"]):
    from realmint import Introspection, TokenError
    from realmint.testing import FakeIssuer
    from realmint.testing.signing import encoded

AUDIENCE = "https://orders.example"
ISSUER = FakeIssuer()
API = ISSUER.resource_server(AUDIENCE, introspection=Introspection("orders", "secret", mode="opaque"), token_cache=None)
HEADER, _, SIGNATURE = ISSUER.issue(audience=AUDIENCE).split(".")


def parts(data: bytes) -> str:
    """Three segments, cut at zero bytes."""
    return ".".join(encoded(part) for part in ([*data.split(b"\x00"), b"", b"", b""])[:3])


SHAPES: tuple[Callable[[bytes], object], ...] = (
    lambda data: data.decode("latin-1"),
    parts,
    lambda data: f"{HEADER}.{encoded(data)}.{SIGNATURE}",
    lambda data: ISSUER.keys[0].token(ISSUER.header(), data),
    lambda data: ISSUER.keys[0].token(data, ISSUER.claims(audience=AUDIENCE, scope="")),
    lambda data: data,
)


def one_input(data: bytes) -> None:
    if data:
        try:
            API.validate(SHAPES[data[0] % len(SHAPES)](data[1:]))  # type: ignore[arg-type]
        except TokenError:
            return


if __name__ == "__main__":
    API.refresh_keys()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
