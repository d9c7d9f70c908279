"""Whoever publishes keys at an address of their own: a real server on loopback, which may be hostile."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.support.assertions import Signer
from tests.support.servers import Asked, serving

Answer = tuple[int, Mapping[str, str], bytes]


class Publisher:
    """`keys`: what its set holds. `says`: an answer in the place of what it would say, by path."""

    def __init__(self) -> None:
        self.port = 0
        self.keys: list[dict[str, Any]] = []
        self.metadata: dict[str, Any] = {}
        self.says: dict[str, Callable[[], Answer]] = {}
        self.asked: list[Asked] = []

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/keys"

    @property
    def internal(self) -> str:
        """As REALMINT_INTERNAL_HOSTS allows it."""
        return f"127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [asked.target for asked in self.asked]

    def publish(self, *signers: Signer) -> None:
        self.keys = [signer.public_jwk(use="sig") for signer in signers]

    def answer(self, asked: Asked) -> Answer:
        if asked.target in self.says:
            return self.says[asked.target]()
        documents = {
            "/keys": {"keys": self.keys},
            "/.well-known/openid-configuration": {"issuer": self.issuer, "jwks_uri": self.jwks_uri, **self.metadata},
        }
        if asked.target not in documents:
            return 404, {}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(documents[asked.target]).encode()


@contextmanager
def publishing() -> Iterator[Publisher]:
    """One that answers, until the block ends."""
    publisher = Publisher()
    with serving(publisher.answer) as server:
        publisher.port, publisher.asked = server.port, server.asked
        yield publisher
