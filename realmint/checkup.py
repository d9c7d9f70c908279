"""Fetches now whatever an API will need of an issuer, and says what an operator should mend."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from realmint.client_assertion import AssertionUnavailable
from realmint.fetching import FetchError
from realmint.introspection_call import Failed, Said, read_answer, request
from realmint.introspection_credentials import shown
from realmint.introspection_policy import Introspection
from realmint.issuer_clock import clock_offset
from realmint.issuer_rule import IssuerRule
from realmint.key_set import Keys, read_keys
from realmint.messages import Request, Response, Transport, TransportError
from realmint.notices import WARNINGS, advice
from realmint.protocol import Clock
from realmint.protocol.jws import JWSError, parse_object
from realmint.protocol.names import STATUS_LIST_MEDIA_TYPE
from realmint.status_reading import UNUSABLE, listed_by, read_signed

NO_TOKEN = "no-token-of-anybody-s"  # noqa: S105 - what is asked about to see whether an answer comes


class Finding(NamedTuple):
    """One thing that was looked at. good: whether nothing has to be mended; said: what was seen, and what to do."""

    issuer: str
    about: str
    good: bool
    said: str


class Checkup(NamedTuple):
    """What was looked at, in order."""

    findings: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        """Whether nothing has to be mended."""
        return all(finding.good for finding in self.findings)

    def document(self) -> Mapping[str, Any]:
        """For machines."""
        return {"good": self.good, "findings": [finding._asdict() for finding in self.findings]}

    def __str__(self) -> str:
        return "\n".join(f"{'ok' if one.good else 'MEND':4}  {one.about}: {one.said}" for one in self.findings)


class _Unusable(Exception):
    """What was fetched is of no use; the message says why, and what to do."""


class _Visit:
    """One look at one issuer."""

    def __init__(self, rule: IssuerRule, transport: Transport, clock: Clock) -> None:
        self._rule = rule
        self._reach = rule.reach()
        self._transport = transport
        self._clock = clock
        self._ahead: int | None = None
        self._published: Keys = {}
        self.findings: list[Finding] = []

    def look(self) -> None:
        metadata = self._metadata() if self._reach.jwks_url is None else {}
        if metadata is not None:
            self._keys(self._reach.jwks_url or self._address(metadata, "jwks_uri"))
            self._statuses(self._address(metadata, "status_list_aggregation_endpoint"))
            self._introspection(metadata)
        self._own_clock()

    def _metadata(self) -> Mapping[str, Any] | None:
        """The document; None where there is none to go on with."""
        url = self._reach.metadata_url()
        try:
            document = self._document(url)
        except _Unusable as error:
            self._say("metadata", good=False, said=f"{url}: {error}")
            return None
        named = document.get("issuer")
        if named != self._rule.issuer:  # RFC 8414 section 3.3
            other = repr(named)[:200] if isinstance(named, str) else "none"
            said = f"{url} names the issuer {other}; write it exactly so, or ask the right one"
            self._say("metadata", good=False, said=said)
            return None
        self._say("metadata", good=True, said=url)
        return document

    def _keys(self, address: str | None) -> None:
        if address is None:
            self._say("keys", good=False, said="the metadata has no jwks_uri on the issuer's own host; name jwks_url")
            return
        try:
            held = read_keys(self._answer(self._reach.request("GET", address, {})).body)
        except (_Unusable, FetchError) as error:
            self._say("keys", good=False, said=f"{address}: {error}")
            return
        algorithms = sorted(frozenset().union(*(key.algorithms for key in held.keys.values() if key is not None)))
        usable = set(algorithms) & set(self._rule.algorithms)
        left_out = f", {held.left_out} that cannot be used" if held.left_out else ""
        said = f"{address}: {len(held.keys)} for {', '.join(algorithms)}{left_out}"
        if usable:
            self._published = held.keys
        else:
            said += f"; this API accepts none of these but {', '.join(sorted(self._rule.algorithms))}"
        self._say("keys", good=bool(usable), said=said)

    def _statuses(self, address: str | None) -> None:
        if address is None or self._rule.status is None:
            return
        try:
            lists = self._document(address).get("status_lists")
            if not isinstance(lists, list):
                raise _Unusable("no status_lists in it")  # noqa: TRY301 - said as the other faults are
            foreign = sum(not self._reach.names(uri) for uri in lists)
            if foreign:
                raise _Unusable(f"{foreign} of its lists are not on the issuer's own host")  # noqa: TRY301
            if lists:
                self._list(lists[0], self._rule.status.max_bytes)
        except _Unusable as error:
            self._say("status lists", good=False, said=f"{address}: {error}")
        else:
            self._say("status lists", good=True, said=f"{address}: {len(lists)}")

    def _list(self, uri: str, most: int) -> None:
        """Raises _Unusable for one that no API would take."""
        rules, accepted = self._rule.rules(), {"Accept": STATUS_LIST_MEDIA_TYPE}
        answer = self._answer(self._reach.request("GET", uri, accepted, max_bytes=most))
        if not self._published:  # of use, which was said already
            return
        try:
            signed = read_signed(answer.body, uri, rules, most)
            key = self._published.get(signed.key_name)
            if key is None:
                raise _Unusable("the key that signed its list is not published")
            listed_by(signed, key, rules, answer.etag, self._clock())
        except UNUSABLE as error:
            raise _Unusable(f"its list is refused: {error.reason}") from None

    def _introspection(self, metadata: Mapping[str, Any]) -> None:
        asked = self._rule.introspection
        if asked is None:
            return
        endpoint = asked.endpoint or self._address(metadata, "introspection_endpoint")
        if endpoint is None:
            said = (
                "the metadata has no introspection_endpoint on the issuer's own host; name Introspection(endpoint=...)"
            )
            self._say("introspection", good=False, said=said)
            return
        found = self._asked(asked, endpoint)
        if isinstance(found, Said):
            self._say("introspection", good=True, said=f"{endpoint} answers client {asked.client_id}")
            return
        fields = {
            "endpoint": endpoint, "reason": found.reason, "cause": found.cause, "credential": asked.credential
        }  # fmt: skip
        self._say("introspection", good=False, said=WARNINGS["introspection.failed"](fields))

    def _asked(self, asked: Introspection, endpoint: str) -> Said | Failed:
        answer: Response | TransportError
        try:
            client = shown(asked, self._rule.issuer, self._clock())
            answer = self._send(request(self._reach, endpoint, NO_TOKEN, client.headers, client.form))
        except AssertionUnavailable as error:
            return Failed("introspection_assertion", str(error))
        except TransportError as error:
            answer = error
        return read_answer(answer, self._clock())

    def _own_clock(self) -> None:
        if self._ahead is None:
            return
        good = abs(self._ahead) <= self._rule.leeway / 2
        said = f"{abs(self._ahead)} s apart" if good else WARNINGS["clock.offset"](self._apart())
        self._say("clock", good=good, said=said)

    def _apart(self) -> Mapping[str, Any]:
        return {"issuer": self._rule.issuer, "seconds": self._ahead}

    def _address(self, metadata: Mapping[str, Any], name: str) -> str | None:
        found = metadata.get(name)
        return found if isinstance(found, str) and self._reach.names(found) else None

    def _document(self, address: str) -> Mapping[str, Any]:
        answer = self._answer(self._reach.request("GET", address, {"Accept": "application/json"}))
        try:
            return parse_object(answer.body)
        except JWSError:
            raise _Unusable("not a JSON object") from None

    def _answer(self, asked: Request) -> Response:
        """An answer of status 200. Raises _Unusable."""
        try:
            answer = self._send(asked)
        except TransportError as error:
            raise _Unusable(f"{error}{advice(str(error))}") from error
        if answer.status != 200:
            kind = "redirect" if 300 <= answer.status < 400 else f"status {answer.status}"
            raise _Unusable(f"{kind}{advice(kind)}")
        return answer

    def _send(self, asked: Request) -> Response:
        answer = self._transport(asked)
        ahead = clock_offset(answer._replace(received_at=self._clock()))
        self._ahead = ahead if self._ahead is None else self._ahead
        return answer

    def _say(self, about: str, *, good: bool, said: str) -> None:
        self.findings.append(Finding(self._rule.issuer, about, good, said))


def checkup(rule: IssuerRule, transport: Transport, clock: Clock) -> Checkup:
    """Looks at one issuer: its metadata, keys, status lists, introspection endpoint (as this API's client) and clock.

    Nothing is raised for what is wrong there, and nothing that is fetched is kept.
    """
    visit = _Visit(rule, transport, clock)
    visit.look()
    return Checkup(tuple(visit.findings))
