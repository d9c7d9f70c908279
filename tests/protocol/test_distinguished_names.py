"""Distinguished names as text (RFC 4514)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmint.protocol.distinguished_names import DNError, parse

CN, ORG, OU, C, L, UID, DC = (
    "2.5.4.3",
    "2.5.4.10",
    "2.5.4.11",
    "2.5.4.6",
    "2.5.4.7",
    "0.9.2342.19200300.100.1.1",
    "0.9.2342.19200300.100.1.25",
)


def rdns(*parts: dict[str, str]) -> tuple[frozenset[tuple[str, str]], ...]:
    return tuple(frozenset(part.items()) for part in parts)


@pytest.mark.rfc("4514", "4")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("UID=jsmith,DC=example,DC=net", rdns({DC: "net"}, {DC: "example"}, {UID: "jsmith"})),
        ("OU=Sales+CN=J.  Smith,DC=example,DC=net", rdns({DC: "net"}, {DC: "example"}, {OU: "Sales", CN: "J.  Smith"})),
        ('CN=James \\"Jim\\" Smith\\, III,DC=example,DC=net', rdns({DC: "net"}, {DC: "example"}, {CN: 'James "Jim" Smith, III'})),
        ("CN=Before\\0dAfter,DC=example,DC=net", rdns({DC: "net"}, {DC: "example"}, {CN: "Before\rAfter"})),
        ("1.3.6.1.4.1.1466.0=#0C0448690D0A", rdns({"1.3.6.1.4.1.1466.0": "Hi\r\n"})),
        ("CN=Lu\\C4\\8Di\\C4\\87", rdns({CN: "Lučić"})),
    ],
)  # fmt: skip
def test_the_examples_of_the_rfc_are_read(text: str, name: object) -> None:
    assert parse(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CN=a", rdns({CN: "a"})), ("cn=a", rdns({CN: "a"})), ("2.5.4.3=a", rdns({CN: "a"})), ("CN=A", rdns({CN: "A"})),
        ("CN=a, O=b", rdns({ORG: "b"}, {CN: "a"})), (" CN = a , O = b ", rdns({ORG: "b"}, {CN: "a"})), ("CN=a + OU=b", rdns({CN: "a", OU: "b"})),
        ("CN=\\ a\\ ", rdns({CN: " a "})), ("CN=a\\  ", rdns({CN: "a "})), ("CN=a b", rdns({CN: "a b"})), ("CN=", rdns({CN: ""})), ("CN=,O=b", rdns({ORG: "b"}, {CN: ""})),
        ("CN=\\#a", rdns({CN: "#a"})), ("CN=a#b=c", rdns({CN: "a#b=c"})), ("CN=\\,\\+\\;\\<\\>\\=\\\\", rdns({CN: ",+;<>=\\"})), ("CN=\\2c\\2C", rdns({CN: ",,"})),
        ("CN=Lučić", rdns({CN: "Lučić"})), ("CN=CN\\=a\\,O\\=b", rdns({CN: "CN=a,O=b"})), ("CN=a\\\\,O=b", rdns({ORG: "b"}, {CN: "a\\"})),
        ("CN=#1301610", None), ("CN=#130161", rdns({CN: "a"})), ("CN=#13 01 61", None), ("CN=#\t130161", None), ("CN=#130161 , O=b", rdns({ORG: "b"}, {CN: "a"})), ("CN=#16026162,O=b", rdns({ORG: "b"}, {CN: "ab"})),
        ("CN=#0C8180" + "61" * 128, rdns({CN: "a" * 128})), ("CN=#0C820100" + "61" * 256, rdns({CN: "a" * 256})), ("CN=#0C00", rdns({CN: ""})),
        ("emailAddress=a@b.example", rdns({"1.2.840.113549.1.9.1": "a@b.example"})), ("serialNumber=1,SN=b", rdns({"2.5.4.4": "b"}, {"2.5.4.5": "1"})),
    ],
)  # fmt: skip
def test_88_names_are_read_into_their_values(text: str, name: object) -> None:
    if name is None:
        with pytest.raises(DNError):
            parse(text)
    else:
        assert parse(text) == name


@pytest.mark.parametrize(
    "text",
    ["", " ", ",", "CN", "=a", "CN=a,", "CN=a,,O=b", ",CN=a", "CN=a+", "CN=a;O=b", 'CN="a"', "CN=a<b", "CN=a\\", "CN=a\\x", "CN=\\C4", "CN=a\0", "CN=a+CN=a",
     "CN=a+2.5.4.3=a", "XX=a", "1=a", "01.2=a", "1..2=a", "2.5.4.3.=a", "OID.2.5.4.3=a", "CN=#", "CN=#zz", "CN=#0C", "CN=#0C0261", "CN=#0C016162", "CN=#0C80",
     "CN=#0C83000001" + "61", "CN=#1301C4", "CN=#020101", "CN=a\nO=b,", "/CN=a", "\u212aN=a", "CN=a,O"],
)  # fmt: skip
def test_88_what_is_no_distinguished_name_is_refused(text: str) -> None:
    with pytest.raises(DNError):
        parse(text)


@given(st.text() | st.text('CNO=,+\\#" ab0'))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = parse(text)
    except DNError:
        return
    assert all(name)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_88_a_value_whose_bytes_are_all_escaped_is_that_value(value: str) -> None:
    assert parse("CN=" + "".join(f"\\{byte:02x}" for byte in value.encode())) == rdns({CN: value})
