"""Why an administrator's change is refused. Nothing was changed; the message names fields and quotes no secret."""

import re
from collections.abc import Callable

_NAMED = re.compile(r"\{([a-z_]+)\}")


class ChangeRefused(ValueError):
    """What was asked for contradicts itself, its realm, or what stands there.

    `field` is the setting that is at fault, None where it is none. `template` names settings in braces, so that each
    door can call them as its callers do: the message itself has their plain names.
    """

    def __init__(self, template: str, field: str | None = None, *, code: str = "usage") -> None:
        self.template = template
        self.field = field
        self.code = code
        super().__init__(self.said_with(lambda name: name))

    def said_with(self, call: Callable[[str], str]) -> str:
        """The message, with each setting called as `call` has it."""
        return _NAMED.sub(lambda found: call(found[1]), self.template)


class NotFound(LookupError):
    """There is nothing of this name; the message says what is not there."""


class RealmNotFound(NotFound):
    """There is no realm at this path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no realm {path}")


class ClientNotFound(NotFound):
    """There is no client of this name in the realm."""

    def __init__(self, client_id: str, realm_path: str) -> None:
        super().__init__(f"there is no client {client_id}" + (f" in {realm_path}" if realm_path != "/" else ""))


class TokenNotFound(NotFound):
    """A text is no token that any key of the realm signed."""

    def __init__(self, realm_path: str | None) -> None:
        where = f"any key of {realm_path}" if realm_path is not None else "any realm here"
        super().__init__(f"that is no token that {where} signed; see flask tokens inspect")


class CredentialNotFound(NotFound):
    """The client has no such credential, or it is revoked already."""

    def __init__(self, client_id: str, name: str) -> None:
        super().__init__(f"{client_id} has nothing called {name}")


class SecretNotFound(NotFound):
    """The client has no such secret, or it is revoked already."""

    def __init__(self, client_id: str, secret_id: str) -> None:
        super().__init__(f"{client_id} has no secret {secret_id}")
