"""A Containerfile as its builder reads it, so far as ours goes: stages of instructions, and nothing that is unknown."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

INSTRUCTIONS = frozenset({
    "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD", "ENTRYPOINT", "LABEL", "ARG",
})  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` is what stands behind its name, continued lines joined."""

    name: str
    text: str

    @property
    def command(self) -> list[str]:
        """The arguments of the JSON form, behind any options."""
        command: list[str] = json.loads(self.text[self.text.index("[") :])
        assert all(isinstance(part, str) for part in command)
        return command


def read(path: Path) -> list[list[Instruction]]:
    """The stages of a file, each beginning with its FROM. Fails on anything a builder would not understand."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stages: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, text = line.partition(" ")
        assert name in INSTRUCTIONS, line
        assert text.strip(), line
        if name == "FROM":
            assert re.fullmatch(r"[a-z0-9./-]+:[a-z0-9.-]+( AS [a-z]+)?", text), text
            stages.append([])
        stages[-1].append(Instruction(name, text.strip()))
    return stages


def environ(stage: list[Instruction]) -> dict[str, str]:
    """What ENV says in a stage."""
    pairs = [part for instruction in stage if instruction.name == "ENV" for part in instruction.text.split()]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def only(stage: list[Instruction], name: str) -> Instruction:
    """The one instruction of that name."""
    (found,) = (instruction for instruction in stage if instruction.name == name)
    return found
