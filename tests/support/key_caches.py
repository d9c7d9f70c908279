"""Key caches at a moment: cold, warm, after a failure; and the answers that make them."""

from realmint import KeyPolicy
from realmint.fetching import Absorbed, Answer, Fetch, Tried
from realmint.key_cache import KeyCache, cold_cache
from realmint.messages import Response, TransportError
from realmint.reach import Reach
from tests.support.fake_issuer import INTROSPECT, ISSUER, JWKS_URI, METADATA, ok
from tests.support.forge import Forge

POLICY = KeyPolicy()
NOTHING = Tried()
START = 1000.0
PUBLIC = {kid: {**Forge().material.public_jwk, "kid": kid} for kid in "abcd"}
GOOD_METADATA = ok({"issuer": ISSUER, "jwks_uri": JWKS_URI, "introspection_endpoint": INTROSPECT})


def jwks(kids: str, etag: str = '"1"', **headers: str) -> Response:
    return ok({"keys": [PUBLIC[kid] for kid in kids]}, etag=etag, **headers)


def begun(cache: KeyCache, now: float) -> tuple[KeyCache, Fetch]:
    cache, step = cache.refresh(now)
    assert isinstance(step, Fetch)
    return cache, step


def landed(cache: KeyCache, fetch: Fetch, answer: Answer, now: float) -> Absorbed[KeyCache]:
    """The flight to its end, over good metadata where it asks for that first."""
    if fetch.request.url == METADATA:
        cache, more, events = cache.absorb(fetch, GOOD_METADATA, now)
        assert more is not None
        assert events == ()
        fetch = more
    return cache.absorb(fetch, answer, now)


def failed(cache: KeyCache, now: float) -> KeyCache:
    """After a fetch that failed, where the keys are known all the same."""
    failing = landed(*begun(cache, now), TransportError("ReadTimeoutError"), now).cache
    return failing._replace(metadata=cache.metadata)


COLD = cold_cache(Reach(ISSUER), POLICY)
WARM = landed(*begun(COLD, START), jwks("ab"), START).cache
