"""What a person sees: tables on a terminal of 80 columns, help that is whole, durations that say how they are written."""

import os
import pty
import re
import subprocess

import pytest

from tests.support.issuer import Issuer
from tests.support.process import ROOT, Deployment

GROUPS = ("realms", "clients", "clients secrets", "keys", "db")


def on_80_columns(deployment: Deployment, line: str) -> list[str]:
    """The lines that a terminal of 80 columns shows of a command."""
    controller, terminal = pty.openpty()
    environ = {**deployment.environ, "COLUMNS": "80", "REALMINT_LOG_LEVEL": "ERROR"}
    with subprocess.Popen(
        deployment.command_line(line), cwd=ROOT, env=environ, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(controller, 4096)
            except OSError:
                break
    os.close(controller)
    assert process.returncode in (0, 1), shown.decode()
    return shown.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment in which much has happened, for long reasons."""
    made = Deployment(tmp_path_factory.mktemp("busy"))
    made.run("realms create /customers/eu --alg RS256 --alg ES256 --scope 'orders:read orders:write stock:read'")
    made.run("clients create billing --scope 'orders:read orders:write stock:read stock:write invoices:send'")
    made.run("keys rotate")
    made.run("keys rotate --force --reason 'the key before it may have been seen in a crash dump of the old node'")
    return made


@pytest.mark.parametrize(
    "line",
    ["keys list", "keys audit", "keys doctor", "keys list --realm /customers/eu", "realms list", "clients list",
     "clients secrets list billing"],
)  # fmt: skip
def test_a_table_fits_a_terminal_of_80_columns_and_breaks_between_words(busy: Deployment, line: str) -> None:
    lines = on_80_columns(busy, line)
    assert max(len(line) for line in lines if len(line.split()[-1]) < 40) <= 80, "\n".join(lines)  # a path has no words
    words = {word for word in " ".join(lines).split() if not word.isdigit()}  # ages go on
    assert len(words) > 2
    assert words <= set(busy.command(line).stdout.split())


def test_a_row_that_cannot_fit_is_a_paragraph(busy: Deployment) -> None:
    busy.run(f"clients create {'long-' * 20} --scope read")
    lines = on_80_columns(busy, "clients list")
    assert "client id     " + "long-" * 20 in lines
    assert lines.count("") == 1


def test_keys_go_by_their_first_characters_and_by_their_whole_names_with_full(busy: Deployment) -> None:
    kids = {key["kid"] for key in busy.run("keys list")}
    for line in ("keys list", "keys audit"):
        short = {word for word in busy.command(line).stdout.split() if any(kid.startswith(word) for kid in kids)}
        assert {len(name) for name in short if len(name) > 3} == {8}
        assert kids <= set(busy.command(f"{line} --full").stdout.split())
    for name in short:
        if len(name) == 8:
            assert busy.run(f"keys show {name}")["kid"].startswith(name)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_s_help_has_a_whole_sentence_for_each_command(issuer: Issuer, group: str) -> None:
    listed = issuer.command(f"{group} --help").stdout.partition("Commands:\n")[2]
    assert listed
    assert "..." not in listed
    entries = re.split(r"\n(?=  \S)", listed.rstrip())
    assert len(entries) >= 1
    for entry in entries:
        assert entry.rstrip().endswith((".", ";")), entry


def test_a_duration_says_how_it_is_written(issuer: Issuer) -> None:
    for line in ("clients create", "realms create", "clients secrets add", "keys prune"):
        assert "[90s|15m|12h|30d]" in issuer.command(f"{line} --help").stdout
