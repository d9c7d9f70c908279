"""Status lists (Token Status List, draft 21): which tokens were cut off, for APIs that check them locally.

What a list says and when it is signed anew is the registry's; here is how it is asked for and sent.
"""

import hashlib
import re
from collections.abc import Mapping

from issuer.answer import JSON, Answer
from issuer.encoding import answered
from issuer.endpoints.endpoint import Endpoint, Services, known_realm
from issuer.realms import Addresses, Realm
from issuer.refusals import UnknownList
from issuer.request import Arrival
from issuer.slots import LIST_SHARED_CACHE, STATUS_SUFFIX, address_of
from realmint.protocol.names import STATUS_LIST_MEDIA_TYPE

_HEADERS = {
    "Cache-Control": f"public, max-age={LIST_SHARED_CACHE}, must-revalidate",
    "Access-Control-Allow-Origin": "*",
}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")


def _list_view(arrival: Arrival, services: Services) -> Answer:
    view = known_realm(arrival, services)
    number = arrival.variables["list"]
    signed = services.registry.status_list(view, int(number)) if _NUMBER.fullmatch(number) else None
    if signed is None:
        raise UnknownList
    headers = {**_HEADERS, "Vary": "Accept-Encoding"}
    body = signed.token
    if _takes_gzip(arrival.header("Accept-Encoding")):
        headers["Content-Encoding"] = "gzip"
        body = signed.gzipped
    return Answer(200, body, STATUS_LIST_MEDIA_TYPE, headers, signed.etag, weak=True)


def _takes_gzip(header: str | None) -> bool:
    """Whether gzip is among what is asked for, with a weight that is not zero (RFC 9110 section 12.5.3)."""
    taken = {}
    for part in (header or "").lower().split(","):
        coding, _, weight = part.partition(";")
        taken[coding.strip()] = weight.strip().removeprefix("q=").strip("0.") != "" or not weight
    return taken.get("gzip", taken.get("*", False))


def _aggregation_view(arrival: Arrival, services: Services) -> Answer:
    view = known_realm(arrival, services)
    numbers = services.registry.status_lists(view)
    addresses = [address_of(view.addresses.issuer, number) for number in numbers]
    body = answered({"status_lists": addresses})
    return Answer(200, body, JSON, _HEADERS, hashlib.sha1(body, usedforsecurity=False).hexdigest())


def _metadata(addresses: Addresses, _realm: Realm) -> Mapping[str, object]:
    return {"status_list_aggregation_endpoint": addresses.endpoint(STATUS_SUFFIX)}


LIST = Endpoint("status_list", f"{STATUS_SUFFIX}/{{list}}", ("GET",), _list_view)
AGGREGATION = Endpoint("status_lists", STATUS_SUFFIX, ("GET",), _aggregation_view, _metadata)
