"""Very many tokens by several processes: nothing is written for them, and one client's are all cut off, and no other.

`python -m pytest -s -m soak tests/end_to_end/test_nothing_written_per_token.py` prints the figures of a million.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from sqlalchemy import select, text

from issuer.storage.engine import Database
from issuer.storage.tables import metadata
from tests.support import postgres
from tests.support.issuer import KEK, claims
from tests.support.issuing import issue
from tests.support.operator import operator
from tests.support.process import Deployment, post, until
from tests.support.status_reader import read_list, set_bits
from tests.support.stored import opened

READ = "--scope read --default-scope read"
OTHERS = [f"other-{number}" for number in range(15)]
FEW = 10_000
BOUND = 3
"""Seconds from the commit to every list. With SNAPSHOT_REFRESH 1, as with FEW, no node serves one for longer after its
last look, however busy the machine is; with 2, as by default, none does that is in touch with the database."""
PAGES, MARK_BYTES = 262_144, 600
"""Bytes that may be written for marks: for the pages that they are in, as often as those are written whole, and for
each. A row for each token would take more of the fewest tokens here."""
Rows = Mapping[str, list[dict[str, Any]]]


@dataclass
class Cluster:
    """Two servers on one database, and the secrets of the clients."""

    nodes: list[Deployment]
    run: Callable[[str], Any]
    database: Database
    secrets: dict[str, str]

    @property
    def issuers(self) -> list[str]:
        return [f"http://127.0.0.1:{node.port}/oauth2/realms/root" for node in self.nodes]

    def lists(self, node: str, uris: set[str], **headers: str) -> dict[str, bytes] | None:
        """Status lists as one worker of a node serves them; None where it says 503."""
        found = {}
        for uri in uris:
            at = node + uri[uri.rindex("/status/") :]
            answer = urllib3.request(
                "GET", at, headers={"Connection": "close", **headers}, retries=False, timeout=5, decode_content=False
            )
            assert answer.status in {200, 503}, answer.data
            if answer.status == 503:
                return None
            found[uri] = answer.data
        return found

    def set_in(self, node: str, uris: set[str]) -> dict[str, set[int]] | None:
        """The positions whose bits are set, by the address of the list."""
        jwks = json.loads(urllib3.request("GET", f"{node}/connect/jwk_uri", retries=False).data)
        lists = self.lists(node, uris)
        return lists and {uri: set_bits(read_list(body, jwks, uri)["array"]) for uri, body in lists.items()}

    def sizes(self, uris: set[str]) -> dict[str, str]:
        """Of each list: its bytes as it stands, and as it is sent to who takes gzip."""
        plain, packed = (until(lambda h=h: self.lists(self.issuers[0], uris, **h)) for h in ({}, {"Accept-Encoding": "gzip"}))  # fmt: skip
        return {uri: f"{len(plain[uri])} bytes, {len(packed[uri])} in gzip" for uri in sorted(uris)}


@contextmanager
def cluster(folder: Path, url: str, refresh: str) -> Iterator[Cluster]:
    settings = {"DATABASE_URL": url, "KEK": KEK, "SNAPSHOT_REFRESH": refresh, "LOG_LEVEL": "ERROR"}
    nodes = [Deployment(folder / name, BASE_URL="https://issuer.example", **settings) for name in ("one", "two")]
    with operator(nodes[0]) as run, opened(url) as database:
        run("db upgrade")
        run("realms create /")
        secrets = {name: run(f"clients create {name} {READ}")["client_secret"] for name in ("victim", *OTHERS)}
        with nodes[0].gunicorn("--workers 1"), nodes[1].gunicorn("--workers 1"):
            yield Cluster(nodes, run, database, secrets)


def grown(there: Cluster) -> list[str]:
    """Tokens of the victim's first range, which drains: enough of it are revoked."""
    asked = [
        post(f"{there.issuers[0]}/access_token", {"grant_type": "client_credentials"}, ("victim", there.secrets["victim"]))
        for _ in range(20)
    ]  # fmt: skip
    tokens = [str(answer.json()["access_token"]) for answer in asked]
    for token in tokens[:4]:  # 1/64
        credentials = ("victim", there.secrets["victim"])
        assert post(f"{there.issuers[0]}/token/revoke", {"token": token}, credentials).status == 200
    return tokens


def stored(database: Database) -> Rows:
    """Every row there is."""
    with database.read() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in metadata.sorted_tables
        }


def without_marks(rows: Rows) -> Rows:
    secrets = [{**row, "last_used_at": None} for row in rows["client_credentials"]]
    return {**rows, "client_credentials": secrets, "scope_marks": []}


def written(database: Database) -> int:
    """Bytes of the files of SQLite, or that PostgreSQL has ever written ahead."""
    if database.is_sqlite:
        files = [database.path, database.path.with_name(database.path.name + "-wal")]
        return sum(file.stat().st_size for file in files if file.exists())
    with database.read() as connection:
        return int(connection.scalar(text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")))


@dataclass(frozen=True)
class Heard:
    """What two nodes said of a revocation. until: by node, seconds after it at which the list of before came last."""

    until: list[float]
    asked: int


def cut_off(
    there: Cluster, before: dict[str, set[int]], live: dict[str, set[int]], spared: dict[str, set[int]]
) -> Heard:
    """Disables the victim, and reads the lists of both nodes until BOUND: each is as before, or tells of all of it."""
    answers: list[tuple[str, float, float, bool]] = []
    there.run("clients disable victim")
    committed = time.monotonic()
    while (late := time.monotonic() - committed) < BOUND or {a[0] for a in answers if a[1] >= BOUND} != {
        *there.issuers
    }:
        assert late < BOUND + 20
        for node in there.issuers:
            started = time.monotonic() - committed
            found = there.set_in(node, set(before))
            if found is None:
                continue
            ended = time.monotonic() - committed
            assert all(found[uri].isdisjoint(spared.get(uri, ())) for uri in before)
            told = found != before
            assert not told or all(found[uri] >= live.get(uri, set()) for uri in before)
            answers.append((node, started, ended, told))
    assert [answer for answer in answers if answer[1] >= BOUND and not answer[3]] == []
    last = [max((a[2] for a in answers if a[0] == node and not a[3]), default=0) for node in there.issuers]
    return Heard([round(seconds, 2) for seconds in last], len(answers))


@pytest.fixture
def engine_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return server.url(server.create_database())


@pytest.mark.parametrize(
    ("engine_url", "tokens"),
    [
        ("sqlite", FEW),
        pytest.param("postgresql", FEW, marks=pytest.mark.soak),
        pytest.param("postgresql", 100_000, marks=pytest.mark.soak),
        pytest.param("sqlite", 1_000_000, marks=pytest.mark.soak),
        pytest.param("postgresql", 1_000_000, marks=pytest.mark.soak),
    ],
    indirect=["engine_url"],
)
def test_issuing_writes_nothing_but_marks_and_one_client_is_cut_off_on_every_node_and_no_other(
    engine_url: str, tokens: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with cluster(tmp_path, engine_url, refresh="1" if tokens == FEW else "2") as there:
        early = [claims(token)["status"]["status_list"] for token in grown(there)]
        rows, size = stored(there.database), written(there.database)
        issued = issue(there.nodes[0].environ, tmp_path, there.secrets, tokens)
        assert issued.tokens == tokens
        after, grown_by = stored(there.database), written(there.database) - size
        assert without_marks(after) == without_marks(rows)
        assert {row["scope"] for row in after["scope_marks"]} == {"read"}
        assert len(after["scope_marks"]) == len(there.secrets)
        # A process marks a secret once a minute, and a scope value once a day.
        marks = 4 * len(there.secrets) * (2 + issued.seconds // 60)
        assert grown_by <= PAGES + marks * MARK_BYTES < tokens * 100
        live, spared = issued.of("victim"), issued.of(*OTHERS)
        for where in early[4:]:
            live.setdefault(where["uri"], set()).add(where["idx"])
        uris = {*live, *spared}
        before = until(lambda: there.set_in(there.issuers[1], uris))
        assert sum(map(len, before.values())) == len({(where["uri"], where["idx"]) for where in early[:4]})
        sizes = there.sizes(uris)
        heard = cut_off(there, before, live, spared)
        figures = {
            "tokens": tokens, "seconds": round(issued.seconds, 1), "bytes written meanwhile": grown_by,
            "rows that are not as before": sum(row not in rows[name] for name in after for row in after[name]),
            "lists before": sizes, "lists after": there.sizes(uris),
            "tokens' indexes cut off": sum(map(len, live.values())), "others": sum(map(len, spared.values())),
            "last list of before, seconds after the commit, by node": heard.until, "lists read": heard.asked,
        }  # fmt: skip
    with capsys.disabled():
        print(f"\n{json.dumps(figures, indent=2)}")
