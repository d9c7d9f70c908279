"""The certificate in a header, in the four ways that proxies write one (RFC 9440, nginx, Envoy, HAProxy)."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmint.protocol.certificate_headers import FORMATS, MAX_LENGTH, REASONS, CertificateError, from_header
from realmint.protocol.mtls import certificate
from tests.support.certificates import CN, as_envoy, as_nginx, made, name, pem

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "mtls.json").read_text())
LONGER = [made(name([(CN, "s" * size)])) for size in range(1, 40)]
# Of a length that base64 pads, and not.
DER, WHOLE = (next(der for der in LONGER if bool(len(der) % 3) is padded) for padded in (True, False))
OTHER = made(serial=6)
B64 = base64.b64encode(DER).decode()
HASH = "Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688"
WRITTEN = {"rfc9440": f":{B64}:", "nginx": as_nginx(DER), "envoy": as_envoy(DER), "haproxy": B64}


def reason(value: str, form: str) -> str:
    """The reason of the refusal; any other exception, and none, is a failure."""
    with pytest.raises(CertificateError) as refused:
        from_header(value, form)
    assert refused.value.__cause__ is None
    assert refused.value.reason in REASONS
    return refused.value.reason


@pytest.mark.parametrize("form", list(FORMATS))
def test_a_certificate_arrives_byte_for_byte(form: str) -> None:
    assert from_header(WRITTEN[form], form) == DER


@pytest.mark.rfc("9440", "2.2")
def test_the_header_of_the_rfc_is_read() -> None:
    assert certificate(from_header(VECTORS["header"], "rfc9440")).san_email == ("bdc@example.com",)


@pytest.mark.rfc("9651", "4.2.7")
def test_a_byte_sequence_may_come_without_its_padding() -> None:
    assert B64.endswith("=")
    assert from_header(f":{B64.rstrip('=')}:", "rfc9440") == DER


@pytest.mark.parametrize("more", ["=", "==", "===="])
def test_91_more_padding_than_is_due_is_refused(more: str) -> None:
    text = base64.b64encode(WHOLE).decode()
    assert from_header(text, "haproxy") == WHOLE
    assert reason(text + more, "haproxy") == "malformed"
    assert reason(f":{text}{more}:", "rfc9440") == "malformed"


@pytest.mark.parametrize(
    "value",
    [
        as_envoy(DER, before=f"By=spiffe://a.example/ns/b;{HASH};"),
        as_envoy(DER, after=';Subject="CN=svc,O=Ac\\,me; Inc";URI=spiffe://a.example/x?a=b;DNS=a.example;DNS=b.example'),
        as_envoy(DER, after=f';Chain="{as_nginx(DER)}{as_nginx(OTHER)}"'),
        as_envoy(DER, after=';Subject="CN=\\"quoted\\", Cert=none";URI='),
        as_envoy(DER).replace("Cert=", "cert="),
        as_envoy(DER).replace('"', ""),
        f'Cert="{as_nginx(DER)}"',
        f'Cert="{WRITTEN["nginx"].replace("C", chr(92) + "C")}"',
    ],
    ids=["by and hash", "subject, URI, DNS", "chain", "a quoted quote", "lower case", "no quotes", "all escaped", "needless escapes"],
)  # fmt: skip
def test_what_envoy_says_besides_the_certificate_is_passed_over(value: str) -> None:
    assert from_header(value, "envoy") == DER


@pytest.mark.parametrize("how", [lambda text: text.replace("%0A", "%0a"), lambda text: text.replace("%0A", "%0D%0A"), lambda text: text.removesuffix("%0A"),
                                 lambda text: text.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")])  # fmt: skip
def test_other_spellings_of_an_escaped_pem_are_read(how) -> None:
    assert from_header(how(WRITTEN["nginx"]), "nginx") == DER


@pytest.mark.parametrize("form", list(FORMATS))
def test_91_an_empty_header_is_a_missing_certificate(form: str) -> None:
    assert reason("", form) == "missing"


@pytest.mark.parametrize("value", [HASH, f"By=a;{HASH};URI=b", 'Cert=""', "Cert="])
def test_an_element_of_envoy_without_a_certificate_is_a_missing_one(value: str) -> None:
    assert reason(value, "envoy") == "missing"


@pytest.mark.parametrize("form", list(FORMATS))
def test_91_a_header_twice_is_refused(form: str) -> None:
    for joined in (",", ", "):
        assert reason(WRITTEN[form] + joined + WRITTEN[form], form) == "several"
    assert reason(WRITTEN[form] + ",", form) == "several"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (as_nginx(DER) + as_nginx(OTHER), "nginx"), (as_nginx(DER) * 2, "nginx"), (as_envoy(DER).removesuffix('"') + as_nginx(OTHER) + '"', "envoy"),
        (as_envoy(DER) + ";" + as_envoy(OTHER), "envoy"), (f"{HASH}," + as_envoy(DER), "envoy"), (as_envoy(DER) + f",{HASH}", "envoy"),
        (as_envoy(DER, after=";CERT=x"), "envoy"),
    ],
)  # fmt: skip
def test_91_a_second_certificate_or_element_is_refused(value: str, form: str) -> None:
    assert reason(value, form) == "several"


@pytest.mark.parametrize("form", ["rfc9440", "haproxy"])
@pytest.mark.parametrize(
    "der",
    [
        DER + OTHER,
        DER + b"\0",
        DER[:-1],
        b"\x30\x00",
        b"\x30\x03\2\1\1",
        b"junk",
        b"\x31" + DER[1:],
        b"\x30\x80" + DER[4:],
        DER[:2],
    ],
)
def test_91_bytes_that_are_not_one_certificate_are_refused(der: bytes, form: str) -> None:
    text = base64.b64encode(der).decode()
    assert reason(f":{text}:" if form == "rfc9440" else text, form) == "malformed"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (as_nginx(DER).replace("%", "%25"), "nginx"), (as_envoy(DER).replace("%", "%25"), "envoy"), (pem(DER), "nginx"),
        (pem(DER).replace("\n", "\n\t"), "nginx"), (as_nginx(DER).replace("%0A", "%0A%09"), "nginx"), (as_nginx(DER).replace("%20", "+"), "nginx"),
        (as_nginx(DER).replace("%2B", "%20") + "%20", "nginx"), ("subject%3D%0A" + as_nginx(DER), "nginx"), (as_nginx(DER) + "junk", "nginx"),
        (as_nginx(DER).replace("CERTIFICATE", "TRUSTED%20CERTIFICATE"), "nginx"), (as_nginx(DER).replace("CERTIFICATE", "PRIVATE%20KEY"), "nginx"),
        (as_nginx(DER)[:-20], "nginx"), ("%", "nginx"), ("%4", "nginx"), ("%zz", "nginx"), ("(null)", "nginx"), ("é", "nginx"), (" " + as_nginx(DER), "nginx"),
        (as_nginx(DER).replace("%0A", ""), "nginx"), (as_nginx(DER).replace("%0A", "%0A%0A"), "nginx"), (as_nginx(DER).replace("%3D", ""), "nginx"),
        (B64, "rfc9440"), (f":{B64}", "rfc9440"), (":", "rfc9440"), ("::", "rfc9440"), (f":{B64}:;a=b", "rfc9440"), (f":{B64}: ", "rfc9440"),
        (f'"{B64}"', "rfc9440"), (f":{B64[:-4]} {B64[-4:]}:", "rfc9440"), (f":{B64.replace('/', '_').replace('+', '-')}:", "rfc9440"), (f":{B64}=:", "rfc9440"), (f":{B64.rstrip(chr(61))[:-1]}:", "rfc9440"), (B64 + "=", "haproxy"), (B64.rstrip("="), "haproxy"), (":\ud800:", "rfc9440"),
        (f":{B64}:", "haproxy"), (B64 + "\n", "haproxy"), (f'"{B64}"', "haproxy"), ("%5B" + B64, "haproxy"), ("-", "haproxy"), ("é", "haproxy"),
        ("junk", "envoy"), ("=", "envoy"), (as_envoy(DER) + '"', "envoy"), (as_envoy(DER).removesuffix('"'), "envoy"), (as_envoy(DER, before="; "), "envoy"),
        (as_envoy(DER, before=" "), "envoy"), (as_envoy(DER, after=";"), "envoy"), (f'Subject="CN=a";b"Cert="{as_nginx(DER)}"', "envoy"),
        ('Cert="a"b', "envoy"), ('Cert="\\', "envoy"), (as_envoy(DER, before='Subject="CN=a\\\\"b";'), "envoy"), ("Cert=junk", "envoy"),
    ],
)  # fmt: skip
def test_91_junk_folded_lines_and_double_encoding_are_refused(value: str, form: str) -> None:
    assert reason(value, form) == "malformed"


def test_91_what_a_certificate_says_of_itself_is_never_taken_for_one() -> None:
    """Envoy escapes quotes in a subject, as RFC 2253 does, and nothing in a URI or a name."""
    forged = as_nginx(OTHER)
    assert from_header(as_envoy(DER, after=f';Subject="CN=\\";Cert=\\"{forged}"'), "envoy") == DER
    assert from_header(as_envoy(DER, after=';Subject="CN=a\\\\"'), "envoy") == DER
    for key in ("URI", "DNS", "uri"):
        assert reason(as_envoy(DER, after=f';{key}=a;Cert="{forged}"'), "envoy") == "several"
        # Where it was forgotten to have Envoy send the certificate.
        assert reason(f'{HASH};{key}=a;Cert="{forged}"', "envoy") == "malformed"
    assert reason(f'Subject="CN=a";Cert="{forged}"', "envoy") == "malformed"


@pytest.mark.parametrize("form", list(FORMATS))
def test_91_a_header_of_more_than_16_kib_is_not_read(form: str) -> None:
    assert reason("A" * (MAX_LENGTH + 1), form) == "too_large"
    assert reason("A" * MAX_LENGTH, form) == "malformed"


def test_another_format_is_a_fault_of_the_caller() -> None:
    with pytest.raises(KeyError):
        from_header("a", "apache")


@given(st.text() | st.text('abc:;=",%\\-').map(lambda text: "Cert=" + text), st.sampled_from(list(FORMATS)))
def test_91_any_text_gives_a_reason(value: str, form: str) -> None:
    assert reason(value, form)


@given(st.sampled_from(list(FORMATS)), st.data())
def test_91_a_header_that_was_cut_or_changed_gives_the_certificate_or_a_reason(form: str, data: st.DataObject) -> None:
    text = WRITTEN[form]
    at = data.draw(st.integers(0, len(text)))
    changed = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    try:
        der = from_header(changed, form)
    except CertificateError:
        return
    assert len(der) == len(DER)
