"""What asks, asks on a terminal: the name of the key to revoke, and a passphrase that is not shown."""

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

from keys.transfer import read_key
from tests.support.process import ROOT, Deployment


def on_a_terminal(
    deployment: Deployment, line: str, *answers: str, meanwhile: Callable[[], object] = lambda: None
) -> tuple[int, str]:
    """Runs a command at a terminal, typing an answer at each prompt; its exit code and all that was shown.

    meanwhile: what happens while the command waits.
    """
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        deployment.command_line(line), cwd=ROOT, env=deployment.environ, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(terminal)
        shown, waiting = "", list(answers)
        while True:
            try:
                shown += os.read(controller, 4096).decode()
            except OSError:  # how a terminal says that nobody is there any more
                break
            if waiting and shown.rstrip(" ").endswith(":"):
                meanwhile()
                os.write(controller, waiting.pop(0).encode() + b"\n")
                shown += "|"
    os.close(controller)
    return process.returncode, shown


def test_184_a_key_is_revoked_when_its_name_was_typed_and_not_otherwise(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /")
    kid = deployment.run("keys generate --pending")["steps"][0]["kid"]
    code, shown = on_a_terminal(deployment, f"keys revoke {kid[:8]} --reason test", "wrong!")
    assert (code, "not confirmed; nothing was changed" in shown) == (130, True)
    code, shown = on_a_terminal(deployment, "keys revoke --all --reason test", "/nobody")
    assert (code, "not confirmed; nothing was changed" in shown) == (130, True)
    assert [key["kid"] for key in deployment.run("keys list --state pending")] == [kid]
    code, shown = on_a_terminal(deployment, f"keys revoke {kid[:8]} --reason test", kid[:6])
    assert code == 0, shown
    assert f"first 6 characters of {kid}" in shown
    assert deployment.run("keys list --state pending") == []


def test_189_a_passphrase_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /")
    kid = deployment.run("keys generate --pending")["steps"][0]["kid"]
    out = tmp_path / "key.jwe"
    passphrase = "correct horse battery"
    line = f"keys export {kid} --private --yes --out {out}"
    code, shown = on_a_terminal(deployment, line, passphrase, passphrase)
    assert code == 0, shown
    assert passphrase not in shown
    assert read_key(out.read_bytes(), passphrase.encode(), None, None).kid == kid
    # Read back, it is asked for once.
    other = Deployment(tmp_path / "other")
    other.run("realms create /")
    code, shown = on_a_terminal(other, f"keys import {out} --pending", passphrase)
    assert code == 0, shown
    assert passphrase not in shown
    # Not to a terminal, encrypted or not.
    code, shown = on_a_terminal(deployment, f"keys export {kid} --private --yes --out -")
    assert (code, "not written to a terminal" in shown) == (2, True)


def test_a_realm_that_came_while_somebody_was_asked_is_not_left_without_the_one_above(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /a")
    code, shown = on_a_terminal(
        deployment, "realms delete /a", "y", meanwhile=lambda: deployment.run("realms create /a/b")
    )
    assert (code, "/a has realms below it" in shown) == (2, True), shown
    assert [realm["realm"] for realm in deployment.run("realms list")] == ["/", "/a", "/a/b"]


def test_a_client_that_went_while_somebody_was_asked_is_not_found(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("clients create svc")
    code, shown = on_a_terminal(
        deployment, "clients delete svc", "y", meanwhile=lambda: deployment.run("clients delete svc --yes")
    )
    assert (code, "there is no client svc" in shown) == (4, True), shown


def test_188_after_restore_shows_every_key_and_asks_which_to_revoke(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /")
    kids = {key["state"]: key["kid"] for key in deployment.run("keys list")}
    code, shown = on_a_terminal(deployment, "db after-restore --yes", "nothing-of-it")
    assert (code, all(kid in shown for kid in kids.values())) == (4, True)
    code, shown = on_a_terminal(deployment, "db after-restore --yes", kids["active"][:8])
    assert code == 0, shown
    assert f"{kids['active']} is revoked" in shown
    assert kids["active"] not in {key["kid"] for key in deployment.run("keys list")}
    assert {key["kid"] for key in deployment.run("keys list")} >= {kids["published"]}
