"""What a document shows to be pasted, run as it stands there."""

import re
import subprocess
from pathlib import Path

from tests.support.process import BIN


def block(document: Path, name: str) -> str:
    """The body of the one fence whose first line gives a language and then this name."""
    bodies: list[str] = re.findall(
        rf"^```\w+ {re.escape(name)}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL
    )
    (body,) = bodies
    return body


def run(document: Path, name: str, folder: Path, environ: dict[str, str], there: dict[str, str] | None = None) -> str:
    """Runs the commands of a console block in `folder`, each of which must succeed; what they print.

    there: what stands in the document, and what it is here.
    """
    lines = [re.sub(r"^[$>] ", "", line) for line in block(document, name).splitlines()]
    commands = "\n".join(lines)
    for text, here in (there or {}).items():
        assert text in commands, text
        commands = commands.replace(text, here)
    return script(commands, folder, environ)


def script(commands: str, folder: Path, environ: dict[str, str]) -> str:
    """Runs commands in `folder`, each of which must succeed; what they print."""
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env=environ | {"PATH": f"{BIN}:{environ['PATH']}"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
