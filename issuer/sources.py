"""Where settings come from: the environment, over a TOML file that is written once and read by every command.

Only what is named is read here, as text; what it means and whether it may be so is decided in issuer/settings.py.
"""

import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "REALMINT_"
CONFIG = "CONFIG"
FILE_NAME = "realmint.toml"
PRIVATE = "KEK"
"""The setting that is itself a secret."""
MAX_FILE = 64 * 1024
# What Kubernetes sets in every pod beside a service that is called realmint.
_SERVICE = re.compile(r"PORT|PORT_.*|SERVICE_HOST|SERVICE_PORT.*")


@dataclass(frozen=True)
class Given:
    """Each setting that was named, as text, and how to name it in a message: by its variable, or by its line."""

    values: Mapping[str, str]
    named: Mapping[str, str]
    faults: tuple[str, ...]

    def name(self, setting: str) -> str:
        """How a message names a setting, given or not."""
        return self.named.get(setting, PREFIX + setting)


def collect(environ: Mapping[str, str], instance_path: Path, known: Collection[str]) -> Given:
    """What environment and file say, the environment first; an empty value counts as absent."""
    variables = {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX)}
    variables = {name: text for name, text in variables.items() if not _SERVICE.fullmatch(name)}
    faults = [f"{PREFIX}{name} is not a setting" for name in sorted(variables.keys() - {CONFIG, *known})]
    said = variables.get(CONFIG)
    path = Path(said) if said else instance_path / FILE_NAME
    lines = _read(path, faults, required=bool(said))
    faults += [f"{name} in {path} is not a setting" for name in sorted(lines.keys() - {name.lower() for name in known})]
    values, named = dict[str, str](), dict[str, str]()
    for name in known:
        line = name.lower()
        text = variables.get(name) or _text(line, lines.get(line), path, faults)
        if text:
            values[name] = text
            named[name] = PREFIX + name if variables.get(name) else f"{line} in {path}"
    if PRIVATE in values and not variables.get(PRIVATE) and path.stat().st_mode & 0o077:
        faults.append(f"{path} holds {PRIVATE.lower()} and must be readable by its owner only (chmod 600)")
    return Given(values, named, tuple(faults))


def _read(path: Path, faults: list[str], *, required: bool) -> Mapping[str, Any]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            faults.append(f"{path} is not a regular file")
            return {}
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
        if len(raw) <= MAX_FILE:
            return tomllib.loads(raw.decode())
        faults.append(f"{path} is longer than {MAX_FILE} bytes")
    except FileNotFoundError:
        if required:
            faults.append(f"{PREFIX}{CONFIG} names {path}, which does not exist")
    except OSError as error:
        faults.append(f"{path} cannot be read: {error.strerror}")
    except RecursionError:
        faults.append(f"{path} is not TOML that anybody wrote: it is nested too deeply")
    except ValueError as error:  # UnicodeError and TOMLDecodeError are ValueErrors
        faults.append(f"{path} is not TOML: {error}")
    return {}


def _text(name: str, value: Any, path: Path, faults: list[str]) -> str:
    """A value of the file as the environment would say it."""
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case str() | int():
            return str(value)
        case list() if all(isinstance(item, str) for item in value):
            return ",".join(value)
    faults.append(f"{name} in {path} is text, a whole number, true, false or a list of texts")
    return ""
