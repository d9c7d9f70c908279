"""Whether a route of somebody's API is guarded: hostile requests are fired at it, and none may get in."""

from collections.abc import Callable, Sequence
from typing import Any

from realmint.testing.fake_issuer import FakeIssuer
from realmint.testing.hostile import Hostile, hostile_tokens

Send = Callable[[str, str, Sequence[tuple[str, str]]], int]
"""Sends a request, method, path and headers, and answers with its status."""


def assert_guarded(
    client: Any, route: str, *, issuer: FakeIssuer, audience: str | Sequence[str], scope: str = "", good: bool = True
) -> int:
    """Fires a hundred hostile requests at `route`, such as "GET /orders", and returns how many; none may get in.

    client: a test client of Flask or Werkzeug, Starlette or FastAPI, httpx or Django; or a function as Send. issuer:
    the FakeIssuer that the API trusts; its clock moves on by ten seconds, so that the API hears of what it revokes (one
    that is served has no clock: the API must not have read its status list yet). audience: the API's. scope: what the
    route needs. good: whether a good token has to get in, so that the others are not refused for another reason.

    Raises AssertionError, which names each request that was answered otherwise than with 401, 400 or, for a scope, 403.
    """
    send, (method, _, path) = sender(client), route.partition(" ")
    if not path.startswith("/"):
        raise ValueError(f"route must be a method and a path, such as 'GET /orders', not {route!r}")
    every = hostile_tokens(issuer, audience, scope)
    issuer.clock.advance(10)
    if good:
        token = issuer.issue(audience=audience, scope=scope)
        status = send(method, path, [("Authorization", f"Bearer {token}")])
        if status in (400, 401, 403, 503):
            raise AssertionError(f"{route}: a good token was refused with {status}: does the API trust this issuer?")
    faults = [fault for one in every if (fault := _fault(send, method, path, one))]
    if faults:
        raise AssertionError(
            f"{route}: {len(faults)} of {len(every)} hostile requests\n" + "\n".join(f"  {fault}" for fault in faults)
        )
    return len(every)


def _fault(send: Send, method: str, path: str, one: Hostile) -> str | None:
    status = send(method, path, [("Authorization", value) for value in one.authorization])
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
        joined = ",".join(value for _, value in headers)
        return int(client.generic(method, path, **({"HTTP_AUTHORIZATION": joined} if headers else {})).status_code)

    return send
