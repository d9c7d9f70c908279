"""The private half of a key is in no output, log line, repr or traceback, whatever command ran (#189)."""

import base64
import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from app import create_app
from issuer.settings import Settings
from keys import rotation
from keys.jwks import open_signer, snapshot_of
from keys.key import KeyRefused, Material, generate, private_jwk
from keys.plan import Situation
from keys.policy import Reading, RotationPolicy
from keys.sealing import Sealer, parse_keks
from keys.store import load
from keys.transfer import encrypted, read_key
from tests.support.forked import Ended, Forked, forked
from tests.support.issuer import KEK
from tests.support.private import shows, spellings
from tests.support.stored import opened, stored

PASSPHRASE = "a long enough passphrase"
PEM = serialization.Encoding.PEM
PKCS8, TRADITIONAL = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
KEK_RAW = base64.urlsafe_b64decode(KEK + "=")
KEK_SPELLINGS = {KEK.encode(), KEK_RAW, KEK_RAW.hex().encode(), b"%d" % int.from_bytes(KEK_RAW)}


def pem(material: Material, form: serialization.PrivateFormat = PKCS8, password: str | None = None) -> bytes:
    key = serialization.load_der_private_key(material.pkcs8, None)
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(PEM, form, encryption)


@pytest.mark.parametrize("alg", ["ES256", "ES384", "RS256", "EdDSA"])
def test_what_looks_for_private_halves_finds_them_in_every_file_that_holds_one(alg: str) -> None:
    material = generate(alg)
    secret = spellings(material.pkcs8)
    assert shows(pem(material), secret)
    assert shows(json.dumps(private_jwk(material)), secret)
    assert shows(repr(material.pkcs8), secret)
    assert shows(f"x{material.pkcs8.hex()}x", secret)
    if alg != "EdDSA":
        assert shows(pem(material, TRADITIONAL), secret)
    assert not shows(json.dumps(dict(material.public_jwk)), secret)
    assert not shows(encrypted(material, PASSPHRASE.encode()), secret)


@dataclass
class Watched:
    """Commands over one database; every private half that was ever in it; and everything that was ever said."""

    program: Forked
    folder: Path
    secrets: set[bytes] = field(default_factory=lambda: set(KEK_SPELLINGS))
    said: list[tuple[str, Ended]] = field(default_factory=list)
    ran: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'store.db'}"

    def command(self, line: str, code: int = 0, stdin: str = "") -> Ended:
        environ = {"REALMINT_DATABASE_URL": self.url, "REALMINT_KEK": KEK, "REALMINT_LOG_LEVEL": "DEBUG"}
        ended = self.program.command(line, self.folder / "instance", environ, stdin=stdin)
        self.said.append((line, ended))
        assert ended.code == code, (line, ended)
        group, name, *_ = line.split()
        if group == "keys":
            self.ran.add(name)
        self._note_secrets()
        return ended

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def kid(self, state: str) -> str:
        with opened(self.url) as database:
            return stored(database).in_state(state)[0]

    def _note_secrets(self) -> None:
        sealer = Sealer(parse_keks(KEK))
        with opened(self.url) as database, database.read() as connection:
            if not database.engine.dialect.has_table(connection, "keys"):
                return
            for key in load(connection, 1).keys:
                if key.kid in self.known:
                    continue
                assert key.sealed
                self.known.add(key.kid)
                self.secrets |= spellings(sealer.open(key.sealed, key.kek_id, 1, key.kid, key.alg))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    (tmp_path / "scratch").mkdir()
    with forked(tmp_path / "scratch") as program:
        yield Watched(program, tmp_path)


def test_189_no_command_says_anything_of_a_private_half(watched: Watched) -> None:
    run, kid = watched.command, watched.kid
    run("db upgrade")
    run("realms create / --alg ES256 --alg RS256")
    mine = {alg: generate(alg) for alg in ("ES256", "RS256", "ES384", "EdDSA")}
    for material in mine.values():
        watched.secrets |= spellings(material.pkcs8)
    for form in ("", "--json"):
        run(f"keys list {form}")
        run(f"keys doctor {form}", code=0 if not form else 1)  # the first round left orphans
        run(f"keys rotate {form}", code=0 if not form else 3)
        run(f"keys rotate --force --reason x {form}")
        run(f"keys rotate --all --if-due {form}")
        run(f"keys rotate --expect-generation 1 {form}", code=5)
        run(f"keys generate --pending --alg ES256 {form}")
        run(f"keys publish {kid('pending')} --replace {form}")
        run(f"keys activate {kid('retiring')} --force --reason x {form}")
        run(f"keys hold {kid('retiring')} {form}")
        run(f"keys retire {kid('retiring')} --force --reason x {form}", code=3)
        run(f"keys unhold {kid('retiring')} {form}")
        run(f"keys retire {kid('retiring')} --force --reason x {form}")
        run(f"keys revoke {kid('active')} --yes --reason leaked {form}")
        run(f"keys prune --all {form}")
        run(f"keys audit {form}")
        for state in ("active", "published", "revoked", "retired"):
            run(f"keys show {kid(state)} {form}")
        run(f"keys rewrap {form}")
        run(f"keys revoke --all --yes --reason leaked {form}")
    for option in ("--public-jwk", "--pem"):
        run(f"keys show {kid('active')} {option}")
    run(f"keys export {kid('active')} --out -")
    run(f"keys export {kid('active')} --out - --pem")
    wrapped = run(f"keys export {kid('active')} --out - --private --yes --passphrase-stdin", stdin=PASSPHRASE)
    assert read_key(wrapped.stdout.encode(), PASSPHRASE.encode(), None, None).kid == kid("active")
    run(f"keys export {kid('active')} --out - --private --yes --passphrase-stdin", code=2, stdin="short")
    _import(watched, mine)
    commands = create_app(Settings(watched.folder), str(watched.folder)).cli.commands["keys"]
    assert watched.ran == set(commands.commands), "a command that this test does not run"
    for line, ended in watched.said:
        assert not shows(ended.stdout, watched.secrets), line
        assert not shows(ended.stderr, watched.secrets), line
        assert "PRIVATE KEY" not in ended.stdout + ended.stderr, line
    # What is stored is sealed: a copy of the database is not a copy of the keys.
    for path in watched.folder.glob("store.db*"):
        assert not shows(path.read_bytes(), watched.secrets)


def _import(watched: Watched, mine: dict[str, Material]) -> None:
    """Imports that work, and every kind that is refused."""
    run = watched.command
    es256, rs256 = watched.file("es.pem", pem(mine["ES256"], TRADITIONAL)), watched.file("rs.pem", pem(mine["RS256"]))
    jwk = watched.file("es.jwk", json.dumps(private_jwk(mine["ES256"])).encode())
    run(f"keys import {jwk} --dry-run --pending --json")
    run(f"keys import {es256} --replace --json")
    run(f"keys import {jwk} --pending", code=2)  # known already
    run(f"keys import {rs256}", code=2)  # for which algorithm?
    run(f"keys import {rs256} --alg RS256 --replace --kid my-key")
    run(f"keys import {rs256} --alg RS256 --pending --kid another --json", code=2)
    run(f"keys import {watched.file('384.pem', pem(mine['ES384']))} --json", code=2)  # not of this realm
    run(f"keys import {watched.file('locked.pem', pem(mine['EdDSA'], PKCS8, PASSPHRASE))}", code=2)
    locked = watched.file("locked.jwe", encrypted(mine["EdDSA"], PASSPHRASE.encode()))
    run(f"keys import {locked} --passphrase-stdin", code=2, stdin="a wrong one that is long")
    for name, content in broken(mine).items():
        run(f"keys import {watched.file(name, content)} --json", code=2)


def broken(mine: dict[str, Material]) -> dict[str, bytes]:
    """Key files with something wrong in each, the private half still there to be quoted."""
    es256, rs256 = private_jwk(mine["ES256"]), private_jwk(mine["RS256"])
    text = json.dumps(es256)
    return {
        "halves": json.dumps({**es256, "x": private_jwk(generate("ES256"))["x"]}).encode(),
        "crt": json.dumps({**rs256, "dp": rs256["dq"]}).encode(),
        "type": json.dumps({**es256, "kty": "RSA"}).encode(),
        "curve": json.dumps({**es256, "crv": "P-384"}).encode(),
        "for-encryption": json.dumps({**es256, "use": "enc"}).encode(),
        "other-alg": json.dumps({**es256, "alg": "ES384"}).encode(),
        "cut": text[:-10].encode(),
        "twice": (text[:-1] + ', "d": "' + es256["d"] + '"}').encode(),
        "a-set": json.dumps({"keys": [es256]}).encode(),
        "number": json.dumps({**es256, "d": int.from_bytes(base64.urlsafe_b64decode(es256["d"] + "="))}).encode(),
        "cut-pem": pem(mine["RS256"])[:-60],
        "turned-pem": pem(mine["ES256"]).replace(b"M", b"N", 1),
        "raw": base64.urlsafe_b64decode(es256["d"] + "="),
        "der": mine["RS256"].pkcs8,
    }


def test_189_no_traceback_of_a_refused_file_quotes_what_was_in_it() -> None:
    mine = {alg: generate(alg) for alg in ("ES256", "RS256")}
    secrets = set.union(*(spellings(material.pkcs8) for material in mine.values()))
    for name, content in broken(mine).items():
        with pytest.raises(KeyRefused) as refused:
            read_key(content, None, None, None)
        told = "".join(traceback.format_exception(refused.value))
        assert "KeyRefused" in told
        assert not shows(told, secrets), name


@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA"])
def test_189_no_repr_shows_a_private_half(alg: str, watched: Watched) -> None:
    watched.command("db upgrade")
    watched.command(f"realms create / --alg {alg}")
    material, standby = generate(alg), generate(alg)
    watched.secrets |= spellings(material.pkcs8) | spellings(standby.pkcs8)
    sealer = Sealer(parse_keks(KEK))
    settings = Settings.from_environ({"REALMINT_DATABASE_URL": watched.url, "REALMINT_KEK": KEK}, watched.folder)
    with opened(watched.url) as database, database.read() as connection:
        held = load(connection, 1)
    plan = rotation.initial([(material, standby)], 1, 1)
    situation = Situation(held.keys, Reading(1, 1), RotationPolicy(), (alg,), 600)
    shown = [
        material, plan, plan.steps[0], held, held.keys[0], situation, sealer, settings, parse_keks(KEK)[0],
        open_signer(held.keys[0], sealer), snapshot_of(held.keys, held.generation, sealer),
        rotation.rotate(situation, alg, lambda _: material, force=True),
        create_app(settings, str(watched.folder)).extensions["realmint"],
    ]  # fmt: skip
    for value in shown:
        for told in (repr(value), str(value), repr([value]), repr({"value": value})):
            assert not shows(told, watched.secrets), type(value)
