"""`python -m bench`: what it tells, on a run of no length; how fast anything is has no test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import bars, load, methods
from bench.figures import Figure, Run
from bench.load import ALGS
from bench.servers import FORM, Servers
from bench.token import form
from bench.wrk import Request
from tests.support.process import ROOT, until

RUN = [sys.executable, "-m", "bench"]


def bench(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*RUN, *options], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def test_a_run_of_calls_in_one_process_is_told_as_a_table_and_as_json(tmp_path: Path):
    file = tmp_path / "found.json"
    run = bench("--parts", "primitives,token", "--seconds", "0.01", "--rounds", "1", "--json", str(file))
    assert run.returncode == 0, run.stderr
    found = json.loads(file.read_text())
    assert set(found) == {"machine", "how", "parts", "skipped", "reached"}
    assert {"cpu", "cores", "python", "openssl", "packages", "commit"} <= set(found["machine"])
    assert list(found["parts"]) == ["primitives", "token"]
    figures = {(each["name"], each["what"]): each for part in found["parts"].values() for each in part}
    assert {("sign", "ES256"), ("verify", "RS256"), ("an empty Flask view", ""), ("the bare core", "ES256")} <= set(
        figures
    )
    assert figures["an empty Flask view", ""]["median"]["multiple"] == 1
    assert figures["through Flask", "ES256"]["median"]["multiple"] > 0
    for figure in figures.values():
        assert {"us", "p50_us", "p99_us", "per_second"} <= set(figure["median"])
        assert len(figure["rounds"]["us"]) == 3
        assert all(value > 0 for value in figure["median"].values())
        assert figure["name"] in run.stdout
    assert any(goal["goal"].startswith("token ES256 in process, Flask") for goal in found["reached"])


def test_an_unknown_part_is_refused_with_the_names_of_those_there_are():
    run = bench("--parts", "primitives,speed")
    assert run.returncode == 2
    assert "no part speed; there are primitives, token" in run.stderr


def test_without_wrk_requests_are_skipped_and_that_is_said(tmp_path: Path):
    file = tmp_path / "found.json"
    environ = {**os.environ, "PATH": str(tmp_path)}
    run = subprocess.run(
        [*RUN, "--parts", "served,peers", "--json", str(file)],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    skipped = json.loads(file.read_text())["skipped"]
    assert [(each["part"], each["why"]) for each in skipped] == [
        ("served", "no wrk on the PATH (apt-get install wrk)"),
        ("peers", "no wrk on the PATH (apt-get install wrk)"),
    ]
    assert "served, all of it: no wrk on the PATH" in run.stdout


def test_the_bare_core_signs_tokens_under_our_server_and_under_granian():
    with Servers() as servers:
        for _, base in servers.cores(1, "a secret"):
            for alg in ALGS:
                request = Request(f"{base}/{alg}", "POST", form("svc", "a secret").decode(), FORM)
                assert load.header(load.token(request, alg)) == {"alg": alg, "kid": "key", "typ": "at+jwt"}


@pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk (apt-get install wrk)")
def test_a_run_of_requests_tells_rates_and_percentiles_and_draws_a_plot_of_tokens_alone(tmp_path: Path):
    file = tmp_path / "found.json"
    run = bench("--parts", "documents", "--seconds", "1", "--rounds", "1", "--json", str(file))
    assert run.returncode == 0, run.stderr
    figures = json.loads(file.read_text())["parts"]["documents"]
    assert [(each["name"], each["what"]) for each in figures] == [
        ("JWKS", "200"), ("JWKS", "304"), ("status list", "200"), ("status list", "304"),
    ]  # fmt: skip
    for figure in figures:
        assert set(figure["median"]) == {"per_second", "p50_us", "p90_us", "p99_us", "max_us", "failed"}
        assert figure["median"]["per_second"] > 0
        assert figure["median"]["failed"] == 0
    assert not file.with_suffix(".svg").exists()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk (apt-get install wrk)")
def test_every_way_of_client_authentication_gets_tokens_and_what_counts_once_is_sent_once():
    run = Run(1, 1, lambda _: None)
    with Servers() as servers:
        found = list(methods.on("SQLite", servers.ours(1)))
        by_name = {(each.name, each.what): each for each in found}
        assert len(by_name) == len(found) == 9
        signed = by_name["private_key_jwt, SQLite", "EdDSA"]
        load.measure(run, [found[0], signed, by_name["tls, SQLite", ""], found[-1]])
    assert run.skipped == []
    assert [figure.median("failed") for figure in run.figures] == [0, 0, 0, 0]
    first, *others = (figure.median("multiple") for figure in run.figures)
    assert first == 1
    assert all(multiple > 0 for multiple in others)


def test_a_run_that_is_broken_off_leaves_no_process_behind(tmp_path: Path):
    mark = uuid.uuid4().hex
    environ = {**os.environ, "BENCH_MARK": mark, "TMPDIR": str(tmp_path)}
    options = ["--parts", "decisions", "--seconds", "60", "--json", str(tmp_path / "found.json")]
    run = subprocess.Popen([*RUN, *options], cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    assert run.stderr.readline().startswith("calls in this process")
    assert len(marked(mark)) > 1  # the run, and a server with its workers
    run.send_signal(signal.SIGINT)
    run.stderr.close()
    assert run.wait(30) == 130
    until(lambda: not marked(mark))
    assert list(tmp_path.iterdir()) == []


def marked(mark: str) -> list[str]:
    """The processes that were started with this in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"BENCH_MARK={mark}".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue  # it ended, or is another user's
    return found


def test_the_plot_draws_a_bar_for_each_that_was_measured():
    figures = [
        Figure("served", "<ours>", "ES256", {"per_second": [10, 12, 11]}),
        Figure("peers", "theirs", "", {"per_second": [5, 6, 7]}),
    ]
    drawn = ET.fromstring(bars.written("Tokens", figures))
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Tokens", "<ours>, ES256", "11", "theirs", "6"]
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}rect"))) == 3
