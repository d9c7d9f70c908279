"""Settings, key-encryption keys and databases that cannot be used: one message, and the agreed exit code."""

import json
import os
import re
import sqlite3
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from urllib.parse import quote

import pytest

from issuer.settings import NAMES, PREFIX, Settings, SettingsError
from tests.support.issuer import KEK
from tests.support.process import Deployment

BAD = {
    "BASE_URL": ["http://issuer.example", "ftp://x", "https://", "https://a.example/", "https://a.example/?q", "https://u:p@a.example",
                 "https://a.example//x", "https://a.example/%41", "https://a.example/../x", "https://a.example:99999", "x", "https://ä.example"],
    "DATABASE_URL": ["mysql://x/y", "postgres://x/y", "sqlite://", "sqlite:///:memory:", "nonsense"],
    "KEK": ["short", "AAAA", "not base64 at all!"],
    "KEK_FILE": ["/does/not/exist", "/etc"],
    "JWKS_MAX_AGE": ["0", "-1", "1.5", "five", "1e3", "9" * 20],
    "AUTH_FAILURES_PER_MINUTE": ["-1", "many"],
    "TRUSTED_PROXIES": ["10.0.0.0/40", "proxy.example"],
    "CLIENT_CERT_PROXIES": ["10.0.0.0/40", "proxy.example", "0.0.0.0/0", "10.0.0.0/8, ::/0", "unix", "10.0.0.1/8"],
    "CLIENT_CERT_HEADER": ["X_Client_Cert", "Client Cert", "Client-Cert:", "-", "1", "Ä", "x" * 65, "Authorization", "x-forwarded-FOR", "Content-Type"],
    "CLIENT_CERT_FORMAT": ["RFC9440", "pem", "traefik"],
    "LOG_LEVEL": ["debug", "ALL"],
    "LOG_FORMAT": ["xml"],
    "ALLOW_HTTP": ["yes"],
    "VERIFIER_CACHE_MAX": ["200", "9999999"],
    "SNAPSHOT_REFRESH": ["97", "100000"],
    "BASE_ULR": ["https://a.example"],
}  # fmt: skip


def read(folder: Path, **values: str) -> Settings:
    return Settings.from_environ({PREFIX + name: value for name, value in values.items()}, folder)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, **{name: value})
    assert f"{PREFIX}{name}" in str(refused.value)


def test_every_fault_is_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, **{name: values[0] for name, values in BAD.items()})
    for name in BAD:
        assert f"{PREFIX}{name}" in str(refused.value)


def test_a_database_outside_needs_a_key_encryption_key_that_outlives_this_machine(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{PREFIX}DATABASE_URL needs {PREFIX}KEK_FILE"):
        read(tmp_path, DATABASE_URL="postgresql://h/d")


CLIENT_CERT = {
    "CLIENT_CERT_PROXIES": "10.0.0.0/8, fd00::1", "CLIENT_CERT_HEADER": "Client-Cert", "CLIENT_CERT_FORMAT": "rfc9440"
}  # fmt: skip


def test_91_certificates_come_from_proxies_by_three_settings_or_none(tmp_path: Path) -> None:
    assert read(tmp_path).client_cert is None
    found = read(tmp_path, **CLIENT_CERT).client_cert
    assert found is not None
    assert [str(network) for network in found.proxies] == ["10.0.0.0/8", "fd00::1/128"]
    assert (found.name, found.form) == ("Client-Cert", "rfc9440")
    for names in some_of(CLIENT_CERT):
        with pytest.raises(SettingsError) as refused:
            read(tmp_path, **{name: CLIENT_CERT[name] for name in names})
        (fault,) = refused.value.faults
        said = " and ".join(PREFIX + name for name in CLIENT_CERT if name in names)
        missing = " and ".join(PREFIX + name for name in CLIENT_CERT if name not in names)
        assert fault == f"{said} also needs {missing}"


def some_of(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Every choice of one or two of three."""
    return [choice for size in (1, 2) for choice in combinations(names, size)]


def test_91_they_stand_in_the_file_as_well(tmp_path: Path) -> None:
    config(tmp_path, 'client_cert_proxies = ["10.0.0.0/8"]\nclient_cert_header = "X-Client-Cert"\n')
    with pytest.raises(SettingsError, match=f"client_cert_header in .* also needs {PREFIX}CLIENT_CERT_FORMAT"):
        read(tmp_path)
    assert read(tmp_path, CLIENT_CERT_FORMAT="envoy").client_cert is not None


def test_no_setting_is_the_default_and_an_empty_one_counts_as_none(tmp_path: Path) -> None:
    assert read(tmp_path) == read(tmp_path, **dict.fromkeys(NAMES, ""))
    assert read(tmp_path).base_url == "http://127.0.0.1:5000"


def test_plain_http_elsewhere_than_loopback_is_an_option_that_is_named_so(tmp_path: Path) -> None:
    assert read(tmp_path, BASE_URL="http://issuer.example", ALLOW_HTTP="1").base_url == "http://issuer.example"
    for host in ("127.0.0.1", "localhost", "[::1]", "127.8.8.8"):
        assert read(tmp_path, BASE_URL=f"http://{host}:5000")


def test_settings_show_no_key_and_no_database_password(tmp_path: Path) -> None:
    shown = repr(read(tmp_path, DATABASE_URL="postgresql://u:canary@h/d", KEK=KEK))
    assert "canary" not in shown
    assert KEK not in shown


@pytest.mark.parametrize(
    "password",
    ["hunter2/secret", "hunter2#secret", "hunter2?secret", "hunter2@secret", "99/secret", "99?secret@x", "[secret"],
)
def test_22_a_password_that_is_not_percent_encoded_is_a_fault_that_quotes_none_of_it(
    tmp_path: Path, password: str
) -> None:
    with pytest.raises(SettingsError, match=f"{PREFIX}DATABASE_URL .*percent-encoded") as refused:
        read(tmp_path, DATABASE_URL=f"postgresql://realmint:{password}@db/realmint", KEK=KEK)
    for part in re.findall("[a-z0-9]+", password):
        assert part not in str(refused.value)
    encoded = f"postgresql://realmint:{quote(password, safe='')}@db/realmint"
    assert read(tmp_path, DATABASE_URL=encoded, KEK=KEK).database_url == encoded


def test_a_settings_file_that_is_no_file_or_too_deep_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "realmint.toml"
    os.mkfifo(path)
    with pytest.raises(SettingsError, match="is not a regular file"):
        read(tmp_path)
    path.unlink()
    path.write_text("a = " + "[" * 20000 + "]" * 20000)
    with pytest.raises(SettingsError, match="is not TOML"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("HTTPS://Issuer.Example", "https://issuer.example"),
        ("https://issuer.example:443", "https://issuer.example"),
        ("https://issuer.example:0443/openam", "https://issuer.example/openam"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://issuer.example/", "https://issuer.example"),
        ("https://issuer.example/openam//", "https://issuer.example/openam"),
        (" https://issuer.example", "https://issuer.example"),
        ("https://issuer.example\n", "https://issuer.example"),
        ("https://someone:secret@issuer.example", "https://issuer.example"),
        ("https://[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_base_url_is_taken_in_its_one_form_only_and_the_message_says_which(
    tmp_path: Path, said: str, canonical: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, BASE_URL=said)
    assert f"{PREFIX}BASE_URL must be written {canonical}" in refused.value.faults
    assert "secret" not in str(refused.value)
    assert read(tmp_path, BASE_URL=canonical).base_url == canonical


def test_no_fault_hides_another(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, BASE_URL="http://Issuer.example/?q", DATABASE_URL="mysql://h/d")
    said = str(refused.value)
    for part in (
        "no query",
        "must be https",
        "must be written http://issuer.example",
        "sqlite or postgresql",
        "needs REALMINT_KEK_FILE",
    ):
        assert part in said
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, KEK_FILE=str(tmp_path / "none"), KEK="short", ALLOW_HTTP="yes", BASE_URL="http://issuer.example")
    for name in ("KEK_FILE", "KEK", "ALLOW_HTTP", "BASE_URL"):
        assert any(fault.startswith(f"{PREFIX}{name} ") for fault in refused.value.faults), name


def test_what_kubernetes_sets_for_a_service_of_this_name_is_passed_over_and_nothing_else_is(tmp_path: Path) -> None:
    service = {
        "PORT": "tcp://10.0.0.7:443", "SERVICE_HOST": "10.0.0.7", "SERVICE_PORT": "443", "SERVICE_PORT_HTTPS": "443",
        "PORT_443_TCP": "tcp://10.0.0.7:443", "PORT_443_TCP_ADDR": "10.0.0.7", "PORT_443_TCP_PORT": "443",
        "PORT_443_TCP_PROTO": "tcp",
    }  # fmt: skip
    assert read(tmp_path, **service) == read(tmp_path)
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, PORTS="443", SERVICE="x", SERVICE_HOSTS="y")
    assert len(refused.value.faults) == 3


def config(folder: Path, text: str, mode: int = 0o644) -> Path:
    path = folder / "realmint.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_settings_stand_in_a_file_and_the_environment_goes_over_it(tmp_path: Path) -> None:
    config(tmp_path, 'base_url = "https://a.example"\nsnapshot_refresh = 5\nlog_format = "json"\n'
                     'trusted_proxies = ["10.0.0.0/8", "fd00::/8"]\nallow_http = false\n')  # fmt: skip
    found = read(tmp_path, SNAPSHOT_REFRESH="3", LOG_FORMAT="")
    assert (found.base_url, found.policy.snapshot_refresh, found.log_format) == ("https://a.example", 3, "json")
    assert [str(network) for network in found.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    (tmp_path / "elsewhere").mkdir()
    other = config(tmp_path / "elsewhere", 'base_url = "https://b.example"')
    assert read(tmp_path, CONFIG=str(other)).base_url == "https://b.example"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('base_ulr = "https://a.example"', "base_ulr in {path} is not a setting"),
        ("base_url = 1.5", "base_url in {path} is text, a whole number, true, false or a list of texts"),
        ('base_url = "https://A.example"', "base_url in {path} must be written https://a.example"),
        ("BASE_URL = 'https://a.example'", "BASE_URL in {path} is not a setting"),
        ("[realmint]\nbase_url = 'x'", "realmint in {path} is not a setting"),
        ("base_url = ", "{path} is not TOML: "),
        ("kek = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'", "{path} holds kek and must be readable by its owner only (chmod 600)"),
        ("log_level = 'loud'", "log_level in {path} must be one of DEBUG, INFO, WARNING, ERROR"),
    ],
)  # fmt: skip
def test_a_fault_in_the_file_is_named_by_its_line(tmp_path: Path, text: str, fault: str) -> None:
    path = config(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        read(tmp_path)
    assert any(found.startswith(fault.format(path=path)) for found in refused.value.faults), refused.value.faults


def test_a_file_that_is_named_and_not_there_or_not_readable_is_a_fault(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match=str(path)):
            read(tmp_path / "instance", CONFIG=str(path))


def test_a_key_encryption_key_in_a_private_file_is_taken(tmp_path: Path) -> None:
    config(tmp_path, f"kek = '{KEK}'", 0o600)
    assert read(tmp_path).keks


@pytest.mark.parametrize("line", ["run", "realms list", "keys rotate"])
def test_the_process_exits_2_with_all_faults(tmp_path: Path, line: str) -> None:
    deployment = Deployment(tmp_path, LOG_LEVEL="loud", COLOUR="red", KEK_FILE=str(tmp_path / "none"))
    result = deployment.command(line)
    assert result.returncode == 2
    for name in ("REALMINT_LOG_LEVEL", "REALMINT_COLOUR", "REALMINT_KEK"):
        assert name in result.stderr
    assert "Traceback" not in result.stderr


def test_179_a_key_file_that_others_can_read_or_that_is_a_link_ends_the_start(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /")
    kek = tmp_path / "instance" / "kek"
    kek.chmod(0o640)
    result = deployment.command(f"run --port {deployment.port}")
    assert result.returncode == 7
    assert "chmod 600" in result.stderr
    kek.chmod(0o600)
    kek.rename(tmp_path / "elsewhere")
    kek.symlink_to(tmp_path / "elsewhere")
    assert deployment.command(f"run --port {deployment.port}").returncode == 7


def test_a_wrong_or_lost_key_encryption_key_ends_the_start_and_is_never_made_anew(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /")
    keys = deployment.run("keys list")
    kek = tmp_path / "instance" / "kek"
    right = kek.read_bytes()
    for wrong in (os.urandom(32), None):
        kek.unlink(missing_ok=True)
        if wrong is not None:
            kek.write_bytes(wrong)
            kek.chmod(0o600)
        for line in (f"run --port {deployment.port}", "keys rotate --json", "realms create /other --json"):
            result = deployment.command(line)
            assert result.returncode == 7, line
            assert "Traceback" not in result.stderr
        assert kek.exists() is (wrong is not None)
    kek.write_bytes(right)
    kek.chmod(0o600)
    assert deployment.run("keys list") == keys


def damage(path: Path, kind: str) -> None:
    if kind == "no database":
        path.write_bytes(b"this is not a database, whatever its name says " * 100)
    elif kind == "cut short":
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "a directory":
        path.unlink()
        path.mkdir()
    elif kind == "no tables":
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE keys")
    elif kind == "of a later version":
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()


@pytest.mark.parametrize("kind", ["no database", "cut short", "a directory", "no tables", "of a later version"])
def test_a_damaged_database_gets_a_clear_message(tmp_path: Path, kind: str) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /")
    for suffix in ("-wal", "-shm"):
        (tmp_path / "instance" / f"realmint.db{suffix}").unlink(missing_ok=True)
    damage(tmp_path / "instance" / "realmint.db", kind)
    for line in (f"run --port {deployment.port}", "keys rotate --json"):
        result = deployment.command(line)
        assert result.returncode == 6, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
    message = json.loads(result.stdout)["message"]
    assert "database" in message or "schema" in message
