"""issuer/admin/keys.py, called by anybody: a change is recorded in its transaction and logged after it, or refused."""

from collections.abc import Callable
from typing import Any

import pytest

from issuer.admin import keys as admin
from issuer.admin.change import Administration
from issuer.admin.refused import RealmNotFound
from issuer.storage import changes
from keys import store
from keys.audit import Actor
from keys.names import AmbiguousName, NoSuchKey
from keys.plan import GateNotMet, RotationRefused
from tests.issuer.conftest import Lines
from tests.support.issuer import Issuer

ACTOR = Actor("api:somebody", "operation")
TOLD = Actor("api:somebody", "operation", "routine")


def hands(issuer: Issuer) -> Administration:
    return issuer.runtime.administration


def generation(issuer: Issuer) -> int:
    with issuer.runtime.database.read() as connection:
        return changes.now_at(connection).generation


def logged(lines: Lines) -> list[str]:
    return [line.split()[2] for line in lines.text]


def test_a_change_is_recorded_audited_and_logged_whoever_calls(stored_issuer: Issuer, lines: Lines) -> None:
    before = generation(stored_issuer)
    done = admin.rotate(hands(stored_issuer), "/", TOLD)
    assert (done.changed, done.generation, done.owner.path) == (True, 2, "/")
    assert generation(stored_issuer) == before + 1
    assert logged(lines) == ["key_demoted", "key_promoted", "key_generated"]
    assert all("actor=api:somebody reason=routine" in line for line in lines.text)
    rows = stored_issuer.run("db audit")[-3:]
    assert {(row["actor"], row["operation"], row["reason"]) for row in rows} == {
        ("api:somebody", "operation", "routine")
    }


def test_what_is_only_rehearsed_leaves_no_trace(stored_issuer: Issuer, lines: Lines) -> None:
    before = generation(stored_issuer), stored_issuer.run("keys list"), stored_issuer.run("db audit")
    calls: list[Callable[..., Any]] = [admin.rotate, admin.generate, admin.revoke_all]
    for call in calls:
        done = call(hands(stored_issuer), "/", TOLD, rehearse=True)
        assert done.rehearsed
    believed = admin.prune(hands(stored_issuer), "/", TOLD, believe=True, rehearse=True)
    assert believed.rehearsed
    assert (generation(stored_issuer), stored_issuer.run("keys list"), stored_issuer.run("db audit")) == before
    assert logged(lines) == []


def test_nothing_to_do_is_neither_recorded_nor_logged(stored_issuer: Issuer, lines: Lines) -> None:
    before = generation(stored_issuer)
    assert not admin.generate(hands(stored_issuer), "/", ACTOR).changed
    assert not admin.prune(hands(stored_issuer), "/", ACTOR).changed
    assert (generation(stored_issuer), logged(lines)) == (before, [])


def test_past_a_gate_and_for_a_revocation_somebody_says_why(stored_issuer: Issuer) -> None:
    kid = stored_issuer.run("keys list")[0]["kid"]
    calls: list[tuple[Callable[..., Any], tuple[str, ...], dict[str, bool]]] = [
        (admin.rotate, (), {"force": True}), (admin.activate, (kid,), {"force": True}),
        (admin.retire, (kid,), {"force": True}), (admin.prune, (), {"believe": True}), (admin.revoke, (kid,), {}),
        (admin.revoke_all, (), {}),
    ]  # fmt: skip
    before = stored_issuer.run("db audit")
    for call, more, options in calls:
        with pytest.raises(RotationRefused) as refused:
            call(hands(stored_issuer), "/", ACTOR, *more, **options)
        assert refused.value.error == "reason_missing"
    assert stored_issuer.run("db audit") == before


def test_a_clock_that_somebody_believes_stands_in_the_audit_and_in_the_log(issuer: Issuer, lines: Lines) -> None:
    issuer.clock.step(-3600)
    with pytest.raises(GateNotMet):
        admin.prune(hands(issuer), "/", ACTOR)
    admin.prune(hands(issuer), "/", Actor("api:somebody", "operation", "ntp was off"), believe=True)
    assert logged(lines) == ["clock_believed"]
    row = issuer.run("db audit --limit 99")
    told = [(each["event"], each["target"], each["reason"]) for each in row if each["event"] == "clock_believed"]
    assert told == [("clock_believed", "/", "ntp was off")]
    with issuer.runtime.database.read() as connection:
        assert store.broken_chains(connection) == {}


def test_refusals_are_exceptions_that_no_command_is_needed_for(issuer: Issuer) -> None:
    with pytest.raises(RealmNotFound):
        admin.rotate(hands(issuer), "/nowhere", ACTOR)
    with pytest.raises(NoSuchKey):
        admin.hold(hands(issuer), "/", ACTOR, "nobody", held=True)
    with pytest.raises(AmbiguousName):
        admin.hold(hands(issuer), "/", ACTOR, issuer.run("keys list")[0]["kid"][:3], held=True)
    for name in ("", "="):
        with pytest.raises(NoSuchKey):
            admin.revoke(hands(issuer), "/", TOLD, name)
    with pytest.raises(RotationRefused) as refused:
        admin.generate(hands(issuer), "/", ACTOR, alg="EdDSA")
    assert refused.value.error == "alg_not_used"
