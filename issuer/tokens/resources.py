"""From the `resource` of a request to the `aud` of a token (RFC 8707 section 2)."""

import re
from collections.abc import Sequence

from issuer.clients import Client
from issuer.realms import Realm
from issuer.refusals import invalid_target

MAX_RESOURCES = 16
# An absolute URI without a fragment: a scheme, then any URI character but #.
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]{1,1000}")


def is_resource(text: str) -> bool:
    """Whether `text` is an absolute URI without a fragment."""
    return _ABSOLUTE_URI.fullmatch(text) is not None


def audience(resources: Sequence[str], client: Client, realm: Realm) -> tuple[str, ...]:
    """The audience for the requested resources, each once; without any, the default of client or realm.

    Raises invalid_target for one that is malformed or that the client may not name. Empty when nobody
    named an audience: then it is the format's to say.
    """
    if not resources:
        return client.default_audience or realm.default_audience
    if len(resources) > MAX_RESOURCES or not all(is_resource(resource) for resource in resources):
        raise invalid_target("resource_malformed")
    if not set(resources) <= {*client.audiences, *client.default_audience}:
        raise invalid_target("resource_not_allowed")
    return tuple(dict.fromkeys(resources))
