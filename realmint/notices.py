"""What is said aloud, on the logger `realmint`: refusals at INFO, what an operator must mend at WARNING.

A warning says what to do. It comes at most once a minute for each kind and issuer, so that a flood of calls is no flood
of lines. No line has a token, a secret or a part of one.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from realmint.protocol import Monotonic
from realmint.protocol.fork import in_forked_child
from realmint.single_flight import Listener, tell

LOGGER = logging.getLogger("realmint")
QUIET_SECONDS = 60.0
"""Least pause between two warnings of one kind about one issuer."""
_MOST_KINDS = 256

Fields = Mapping[str, Any]


class Notices:
    """A listener that logs, and passes everything on to the user's `on_event`, whose exceptions decide nothing."""

    def __init__(self, on_event: Listener | None, monotonic: Monotonic) -> None:
        self._on_event = on_event
        self._monotonic = monotonic
        self._said: dict[tuple[str, ...], float] = {}
        self._begin()
        in_forked_child(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, name: str, fields: Fields) -> None:
        if name == "token.denied":
            LOGGER.info("refused: status %s, reason %s", fields.get("status"), fields.get("reason"))
        elif name in WARNINGS:
            said = WARNINGS[name](fields)
            # What is to be mended, not who was refused by it, makes a kind.
            kind = (name, str(fields.get("issuer", "")), str(fields.get("reason", "")))
            if said and self._due(kind):
                LOGGER.warning("%s", said)
        if self._on_event is not None:
            tell(self._on_event, name, fields)

    def _due(self, kind: tuple[str, ...]) -> bool:
        now = self._monotonic()
        with self._lock:
            if now - self._said.get(kind, float("-inf")) < QUIET_SECONDS:
                return False
            if len(self._said) >= _MOST_KINDS:
                self._said.clear()
            self._said[kind] = now
            return True


_MEND = {
    "connection refused": "is it running, at that address and port?",
    "no such name": "is the name right, and does this machine's resolver know it?",
    "host unreachable": "is there a route to it from here?",
    "timed out": "is it slow, or does a firewall drop what is sent?",
    "certificate not trusted": "name the file of its authority, HTTPTransport(ca_file=...) or SSL_CERT_FILE",
    "certificate of another host": "is it reached under the name that its certificate has?",
    "certificate expired": "its certificate has to be renewed",
    "certificate not valid yet": "its certificate begins later: is this machine's clock right?",
    "TLS failed": "does it speak TLS at that port?",
    "not https": "use https, or allow_insecure_http=True inside one host or pod",
    "redirect": "redirects are not followed: name the address where it leads",
    "status 404": "is the issuer identifier right, and does its proxy pass /.well-known on?",
    "names another issuer": "the issuer must be written exactly as it calls itself",
    "proxy: ": "look at HTTPS_PROXY, HTTP_PROXY, NO_PROXY or HTTPTransport(proxy=...)",
}


def advice(cause: str) -> str:
    """What to do about a cause, in front of it a semicolon; empty where nothing more can be said."""
    return next((f"; {mend}" for kind, mend in reversed(_MEND.items()) if kind in cause), "")


def _keys_failed(fields: Fields) -> str:
    cause = str(fields.get("reason", ""))
    return f"the keys of {fields.get('issuer')} could not be fetched: {cause}{advice(cause)}"


def _introspection_failed(fields: Fields) -> str:
    endpoint, cause = fields.get("endpoint"), str(fields.get("cause", ""))
    credential = fields.get("credential", "client_secret")
    if fields.get("reason") == "introspection_assertion":
        return (
            f"there is no {credential} to show {endpoint}: {cause}; every token that has to be asked about is answered"
            " 503 until there is one"
        )
    if fields.get("reason") == "introspection_credentials":
        return (
            f"{endpoint} refuses this API's own credentials ({cause}): every token that has to be asked about is"
            f" answered 503 until client_id and {credential} of Introspection(...) are those of a live client"
        )
    return f"{endpoint} gave no answer about a token: {cause}{advice(cause)}"


def _unseen(fields: Fields) -> str:
    client, named = fields.get("client_id"), fields.get("audience") or ("THIS_API",)
    options = " ".join(f"--resource-identifier {one}" for one in named)
    return (
        f"{fields.get('issuer')} calls a token inactive that is good here: it was revoked, or client {client} may not"
        f" see tokens for this API; then: flask clients update {client} {options}"
    )


def _clock(fields: Fields) -> str:
    ahead = int(fields.get("seconds", 0))
    way = "ahead of" if ahead > 0 else "behind"
    return (
        f"this machine's clock is {abs(ahead)} s {way} that of {fields.get('issuer')}: tokens will be refused as"
        " expired or not valid yet; mend the clock (NTP), here or there"
    )


WARNINGS: Mapping[str, Callable[[Fields], str]] = {
    "keys.refresh_failed": _keys_failed,
    "keys.stale": lambda fields: (
        f"the keys of {fields.get('issuer')} are past their time and could not be fetched anew; the last good ones are"
        " used until stale_limit, then every token is answered 503"
    ),
    "keys.dead": lambda fields: (
        f"the keys of {fields.get('issuer')} are too old to be used: tokens are answered 503 until they can be fetched"
    ),
    "clock.offset": _clock,
    "introspection.failed": _introspection_failed,
    "introspection.mismatch": lambda fields: f"introspection answered about another token: {fields.get('cause')}",
    "introspection.unseen": _unseen,
    "introspection.breaker": lambda fields: (
        f"{fields.get('issuer')} is not asked about tokens for a while, because that keeps failing:"
        f" {fields.get('reason')}"
        if fields.get("state") != "closed"
        else ""
    ),
    "replays.unshared": lambda _: (
        "several processes answer for this API, and each takes a DPoP proof once:"
        " DPoPPolicy(replay=SQLiteReplays(path)) has all of them take it once"
    ),
    "replays.failed": lambda fields: (
        "proofs cannot be marked as used, so that tokens that are bound to keys are answered 503:"
        f" {fields.get('cause')}; has the store of DPoPPolicy(replay=...) room, and can this process write to it?"
    ),
    "status.refresh_failed": lambda fields: (
        f"the status list {fields.get('uri')} could not be fetched: {fields.get('reason')}"
        f"{advice(str(fields.get('reason', '')))}; tokens that are revoked now pass until the list that is held expires"
    ),
}
"""What is warned of, and in which words; no words where there is nothing to mend."""
