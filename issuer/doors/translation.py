"""What is answered to whatever was raised, through either door, and whether somebody may store it."""

import re
from typing import Any

from issuer import errors
from issuer.answer import Answer
from issuer.counts import Counts
from issuer.endpoints.endpoint import VARIABLE, Endpoint
from issuer.peer import client_address
from issuer.proxies import Proxies


class Translation:
    """Made once. `refusals`: where each refusal is counted."""

    def __init__(self, endpoints: tuple[Endpoint, ...], proxies: Proxies, refusals: Counts) -> None:
        private = [endpoint for endpoint in endpoints if endpoint.private]
        # A refused method has no endpoint, so the address says whose answer it is.
        suffixes = ("[^/]+".join(map(re.escape, VARIABLE.split(endpoint.suffix)[::2])) for endpoint in private)
        self._addresses = re.compile(f"(?:{'|'.join(suffixes)})\\Z")
        self._names = frozenset(endpoint.name for endpoint in private)
        self._proxies = proxies
        self._refusals = refusals

    def __call__(
        self, error: Exception, environ: dict[str, Any], path: str, endpoint: str | None, realm_path: str | None
    ) -> tuple[Answer, bool]:
        """The answer, and whether it is private. `endpoint`, `realm_path`: None where the address says none."""
        asked = errors.Asked(endpoint, realm_path, client_address(environ, self._proxies.addresses))
        private = endpoint in self._names or self._addresses.search(path) is not None
        return errors.answer(error, asked, self._refusals), private
