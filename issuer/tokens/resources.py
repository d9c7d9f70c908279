"""From the `resource` and `audience` of a request to the `aud` of a token (RFC 8707 section 2).

`audience` is the same choice by plain name, as clients of Auth0, Hydra and Okta send it: where APIs are called
`kubernetes` or `rabbitmq`, no absolute URI names them.
"""

import re
from collections.abc import Sequence

from issuer.clients import Client
from issuer.realms import Realm
from issuer.refusals import invalid_target

MAX_RESOURCES = 16
"""How many a request may name, both parameters together."""
# An absolute URI without a fragment: a scheme, then any URI character but #.
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]{1,1000}")


def is_resource(text: str) -> bool:
    """Whether `text` is an absolute URI without a fragment."""
    return _ABSOLUTE_URI.fullmatch(text) is not None


def audience(resources: Sequence[str], named: Sequence[str], client: Client, realm: Realm) -> tuple[str, ...]:
    """The audience for the requested resources and names, each once; without any, the default of client or realm.

    `named`: the values of `audience`, each of which may hold several, separated by single spaces.

    Raises invalid_target for a resource that is malformed, and for what the client may not name. Empty when nobody
    named an audience: then it is the format's to say.
    """
    if not resources and not named:
        return client.default_audience or realm.default_audience
    names = [name for value in named for name in value.split(" ")]
    wanted = (*resources, *names)
    if len(wanted) > MAX_RESOURCES or not all(is_resource(resource) for resource in resources):
        raise invalid_target("resource_malformed")
    if not set(wanted) <= {*client.audiences, *client.default_audience}:
        raise invalid_target("resource_not_allowed" if resources else "audience_not_allowed")
    return tuple(dict.fromkeys(wanted))
