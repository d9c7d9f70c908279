"""Names by which one client could pass for another, or for an API.

In format `am`, without an audience, `aud` is the client's own name: a URI, or a name by which another client is known
as an API or names one, would get it tokens for that API.
"""

from sqlalchemy import Connection

from issuer.admin.refused import ChangeRefused
from issuer.clients import Client
from issuer.realms import Realm
from issuer.storage import clients as client_store
from issuer.tokens.resources import is_resource


def check_borrowed_names(connection: Connection, realm: Realm) -> None:
    """Within a change of a realm, after it: raises ChangeRefused when a client of it would pass for an API."""
    names = client_store.named_by_nobody(connection, realm)
    for name in sorted(names):
        _check_no_resource(name)
    for client_id, identifiers, audiences in client_store.audiences_named(connection, realm.id) if names else ():
        for name in sorted(names & (identifiers | audiences)):
            _check_other(name, client_id)


def check_names_of(connection: Connection, realm: Realm, client: Client) -> None:
    """The same within a change of one client, with no look at those whom it is not about."""
    given = {*client.resource_identifiers, *client.audiences, *client.default_audience}
    names = client_store.named_by_nobody(connection, realm, {client.client_id, *given})
    for name in sorted(names & given):
        _check_other(name, client.client_id)
    if client.client_id in names:
        _check_no_resource(client.client_id)
        for other, identifiers, audiences in client_store.audiences_named(connection, realm.id, client.client_id):
            if client.client_id in identifiers | audiences:
                _check_other(client.client_id, other)


_ADVICE = "in format am its name would be the aud of its tokens; give it a {default_audience}"


def _check_no_resource(name: str) -> None:
    if is_resource(name):
        raise ChangeRefused(f"client {name} is named like an API, and {_ADVICE}", "default_audience")


def _check_other(name: str, client_id: str) -> None:
    """The client `name`, by whose name an API is known to the client `client_id`, is that client."""
    if name != client_id:
        raise ChangeRefused(f"client {name} is named like an API of {client_id}, and {_ADVICE}", "default_audience")
