"""Whichever call to the database fails, a command is wholly done or not at all, says 503's like, and works then (#192).

What was asked is compared in every table. A commit that was carried out and of which nobody heard is done: the command
cannot know, and claims nothing (#191).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from tests.issuer.conftest import READER
from tests.issuer.test_restore import back_up, put_back
from tests.support.broken import Broken
from tests.support.issuer import Issuer, claims
from tests.support.stored import Row, everything

WHY = "--reason 'ticket 7'"
Tables = Mapping[str, Sequence[Row]]
COMMANDS = (
    f"tokens revoke --token - {WHY}",
    f"tokens revoke --jti {{jti}} {WHY}",
    f"tokens revoke --secret {{first}} --realm /x --yes {WHY}",
    f"tokens revoke --client svc --realm /x --yes {WHY}",
    f"tokens revoke --all --realm /x --yes {WHY}",
    "clients disable svc --realm /x",
    "clients enable svc --realm /x",
    "clients secrets revoke svc {first} --realm /x --yes",
    "clients secrets revoke svc {second} --realm /x --yes --keep-tokens",
    "clients delete svc --realm /x --yes",
    "realms disable /x",
    "realms enable /x",
    "realms delete /x --yes",
    "db after-restore --keep-keys",
)
"""In an order in which each has something to do."""


@dataclass(frozen=True)
class Tried:
    """How a command ended, how many calls it made, and which of them were commits."""

    found: Any
    calls: int
    commits: Sequence[int]


def furnished(issuer: Issuer) -> dict[str, str]:
    """A realm with a client of two secrets and tokens, and what the commands name of them."""
    issuer.run("realms create /x")
    svc = issuer.client(options=READER, realm="/x")
    issuer.run(f"clients create opaque {READER} --token-format opaque --realm /x")
    second = issuer.run("clients secrets add svc --realm /x")["secret_id"]
    first = next(
        each["secret_id"] for each in issuer.run("clients secrets list svc --realm /x") if each["secret_id"] != second
    )
    token, other = issuer.token(svc), issuer.token(svc)
    return {"first": first, "second": second, "jti": f"{claims(other)['jti']} --realm /x", "token": token}


def tried(issuer: Issuer, line: str, named: Mapping[str, str], call: int = 0, *, unheard: bool = False) -> Tried:
    """The command with its N-th call failing."""
    with Broken(issuer.runtime.database).at(call, unheard=unheard) as broken:
        found = issuer.command(f"{line.format(**named)} --json", named["token"])
    return Tried(found, broken.calls, broken.commits)


def assert_failed(found: Any, line: str, call: int) -> None:
    said = json.loads(found.stdout)
    assert (found.exit_code, said["error"]) == (6, "store_unavailable"), (line, call, found.output)
    assert said.get("changed") is not True, (line, call)
    assert "Traceback" not in found.output
    assert isinstance(found.exception, SystemExit)


def fail_each_call(issuer: Issuer) -> None:
    """What every command does first is tried with the first of them alone."""
    named, common = furnished(issuer), 1
    for line in COMMANDS:
        for call in count(common):
            before = everything(issuer.runtime.database)
            it = tried(issuer, line, named, call)
            if it.calls < call:
                assert it.found.exit_code == 0, it.found.output
                assert json.loads(it.found.stdout)["changed"] is True
                assert everything(issuer.runtime.database) != before
                break
            assert_failed(it.found, line, call)
            assert everything(issuer.runtime.database) == before, (line, call)
        assert call > common + 3, line
        common = COMMON


COMMON = 5
"""The calls by which a command finds that the database can be used."""


def test_192_whichever_call_fails_nothing_of_a_command_is_done_and_the_next_try_works(issuer: Issuer) -> None:
    fail_each_call(issuer)


@pytest.mark.soak
def test_192_the_same_on_both_engines(stored_issuer: Issuer) -> None:
    fail_each_call(stored_issuer)


def outline(before: Tables, after: Tables) -> dict[str, tuple[int, int]]:
    """Of each table that differs, how many rows came or went, and how many are other than before."""
    return {
        name: (len(rows) - len(before[name]), len([row for row in rows if row not in before[name]]))
        for name, rows in after.items()
        if rows != before[name]
    }


def test_191_a_commit_that_nobody_heard_of_is_the_whole_of_a_command_and_the_next_try_finds_it_so(
    issuer: Issuer,
) -> None:
    named, database = furnished(issuer), issuer.runtime.database
    for line in COMMANDS:
        backup, before = back_up(issuer), everything(database)
        whole = tried(issuer, line, named)
        assert (whole.found.exit_code, len(whole.commits)) == (0, 1), line
        done = outline(before, everything(database))
        put_back(issuer, backup)
        it = tried(issuer, line, named, whole.commits[0], unheard=True)
        assert_failed(it.found, line, it.calls)
        assert outline(before, everything(database)) == done, line
        again = issuer.command(f"{line.format(**named)} --json", named["token"])
        assert again.exit_code in {0, 4}, again.output


def test_192_196_whichever_call_of_a_prune_fails_what_lives_stays_what_went_is_told_and_the_next_run_ends_it(
    issuer: Issuer,
) -> None:
    named, database = furnished(issuer), issuer.runtime.database
    for line in (COMMANDS[0], COMMANDS[3], "clients disable opaque --realm /x", "realms create /gone"):
        assert tried(issuer, line, named).found.exit_code == 0
    for line in ("clients delete opaque --realm /x --yes", "realms delete /gone --yes"):
        issuer.run(line)
    issuer.clock.advance(3 * 3600)
    backup, left = back_up(issuer), None
    for call in count(0):
        put_back(issuer, backup)
        it = tried(issuer, "db prune", named, call)
        if 0 < call <= it.calls:
            assert_failed(it.found, "db prune", call)
            issuer.run("db prune")
        after = everything(database)
        told = [row["details"] for row in after["audit"] if row["event"] == "pruned"]
        assert sorted(told) == ['{"clients": 1}', '{"ranges": 3}', '{"revoked_tokens": 1}'], call
        rows = {name: rows for name, rows in after.items() if name not in TELLING}
        left = left or rows
        assert rows == left, call
        if it.calls < call:
            break
    assert call > 20


TELLING = {"change_log", "change_head", "audit", "key_sets"}
