"""Which key somebody means who says the start of its name. Dead keys count: their names stay blocked for ever."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from keys import store
from keys.key import Key, Material

SHORTEST = 4
"""Characters of a start of a name that is long enough to be meant."""


class NoSuchKey(LookupError):
    """No key of the realm has a name that starts so. The message says what to do."""


class AmbiguousName(NoSuchKey):
    """Several keys have one, or the start is too short to be meant."""


def pick(keys: Sequence[Key], prefix: str, realm_path: str) -> Key:
    """The one of `keys` whose kid starts with `prefix`, 4 characters or more of it; `=NAME` says a whole name.

    Without the `=` a name that is the start of another is ambiguous: what was meant cannot be told. Raises NoSuchKey.
    """
    whole = prefix.startswith("=")
    name = prefix.removeprefix("=")
    found = [key for key in keys if (key.kid == name if whole else name and key.kid.startswith(name))]
    exact = any(key.kid == name for key in found)
    if len(found) > 1:
        way_out = f", or ={name} for the one of just this name" if exact else ""
        raise AmbiguousName(f"{len(found)} keys of {realm_path} start with {name}; say more of it{way_out}")
    if not found:
        raise NoSuchKey(f"{realm_path} has no key {name}")
    if len(name) < SHORTEST and not exact:
        raise AmbiguousName(f"{realm_path} has no key {name}; say at least {SHORTEST} characters")
    return found[0]


@dataclass(frozen=True)
class Names:
    """The names of one realm's keys, as they are in one transaction."""

    connection: Connection
    realm_id: int
    realm_path: str

    def find(self, prefix: str) -> Key:
        """The one key whose name starts so, as pick() finds it. Raises NoSuchKey."""
        return pick(store.history(self.connection, self.realm_id), prefix, self.realm_path)

    def known(self, material: Material) -> Key | None:
        """The key of this name or material, in whatever realm and state."""
        return store.find_material(self.connection, material)

    def confusable(self, kid: str) -> str | None:
        """The name of a key of the realm that this one is the start of, or that is the start of it."""
        others = (key.kid for key in store.history(self.connection, self.realm_id) if key.kid != kid)
        return next((other for other in others if other.startswith(kid) or kid.startswith(other)), None)
