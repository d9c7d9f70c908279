"""Whether a route of somebody's API is guarded: hostile requests are fired at it, and none may get in."""

from collections.abc import Callable, Sequence
from typing import Any

from realmint.protected_resource import resource_of
from realmint.testing.fake_issuer import FakeIssuer
from realmint.testing.hostile import Hostile, hostile_tokens

_REFUSED = (400, 401, 403, 503)

Send = Callable[[str, str, Sequence[tuple[str, str]]], int]
"""Sends a request, method, path and headers, and answers with its status."""


def assert_guarded(
    client: Any,
    route: str,
    *,
    issuer: FakeIssuer,
    audience: str | Sequence[str],
    scope: str = "",
    good: bool = True,
    url: str | None = None,
) -> int:
    """Fires some two hundred hostile requests at `route`, such as "GET /orders", and returns how many; none may get in.

    client: a test client of Flask or Werkzeug, Starlette or FastAPI, httpx or Django; or a function as Send. issuer:
    the FakeIssuer that the API trusts; its clock moves on by ten seconds, so that the API hears of what it revokes (one
    that is served has no clock: the API must not have read its status list yet). audience: the API's. scope: what the
    route needs. good: whether a good token has to get in, so that the others are not refused for another reason; where
    it does not, one that is bound to a key, with its proof. url: of the route, as proofs name it (DPoP); without, the
    origin of the audience that is a URL, and the path.

    Raises AssertionError, which names each request that was answered otherwise than with 401, 400 or, for a scope, 403.
    """
    send, (method, _, path) = sender(client), route.partition(" ")
    if not path.startswith("/"):
        raise ValueError(f"route must be a method and a path, such as 'GET /orders', not {route!r}")
    url = url or _url(audience, path)
    every = hostile_tokens(issuer, audience, scope, method, url)
    issuer.clock.advance(10)
    if good:
        plain = send(method, path, [("Authorization", f"Bearer {issuer.issue(audience=audience, scope=scope)}")])
        if plain in _REFUSED:
            prover = issuer.prover()
            token = issuer.issue(audience=audience, scope=scope, bound_to=prover)
            if send(method, path, prover.headers(method, url, token)) in _REFUSED:
                raise AssertionError(f"{route}: a good token was refused with {plain}: does the API trust this issuer?")
            # It takes no other, whatever their scope.
            every = [one._replace(statuses=one.statuses | {401}) for one in every]
    faults = [fault for one in every if (fault := _fault(send, method, path, one))]
    if faults:
        raise AssertionError(
            f"{route}: {len(faults)} of {len(every)} hostile requests\n" + "\n".join(f"  {fault}" for fault in faults)
        )
    return len(every)


def _url(audience: str | Sequence[str], path: str) -> str:
    own = resource_of([audience] if isinstance(audience, str) else audience, None)
    return (own.origin if own is not None else "https://api.test") + path.partition("?")[0]


def _fault(send: Send, method: str, path: str, one: Hostile) -> str | None:
    headers = [*(("Authorization", value) for value in one.authorization), *one.headers]
    status = [send(method, path, headers) for _ in range(one.times)][-1]
    if status in one.statuses:
        return None
    what = (
        "got in"
        if status < 400 or status in (404, 405, 409, 422)
        else "caused a fault"
        if status >= 500
        else "was refused"
    )
    return f"{one.name}: {what} with {status}, where it is {' or '.join(map(str, sorted(one.statuses)))}"


def sender(client: Any) -> Send:
    """How requests are sent with a test client. Raises TypeError for one that is not known."""
    kinds = {base.__module__.partition(".")[0] for base in type(client).__mro__}
    if kinds & {"flask", "werkzeug"}:
        return lambda method, path, headers: int(client.open(path, method=method, headers=list(headers)).status_code)
    if kinds & {"starlette", "fastapi", "httpx"}:
        return lambda method, path, headers: int(client.request(method, path, headers=list(headers)).status_code)
    if "django" in kinds:
        return _django(client)
    if callable(client):
        found: Send = client
        return found
    raise TypeError(
        f"client must be a test client of Flask, Starlette, FastAPI, httpx or Django, or a function, not {client!r}"
    )


def _django(client: Any) -> Send:
    def send(method: str, path: str, headers: Sequence[tuple[str, str]]) -> int:
        # WSGI has one line for a header that came several times (RFC 3875 section 4.1.18).
        lines: dict[str, str] = {}
        for name, value in headers:
            key = "HTTP_" + name.upper().replace("-", "_")
            lines[key] = f"{lines[key]},{value}" if key in lines else value
        return int(client.generic(method, path, **lines).status_code)

    return send
