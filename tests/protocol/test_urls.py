"""One form of each URL (RFC 3986 section 6.2), and none of what is no URL of a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmint.protocol.urls import normalised

SAME = {
    "https://api.example/": ["https://api.example", "HTTPS://API.example:443", "https://api.example:/?a=b", "https://api.example#f",
                             "https://api.example/.", "https://api.example/a/..", "https://api.example/../..", "https://api.example:0443/"],
    "http://api.example/": ["http://api.example:80", "hTTp://api.EXAMPLE"],
    "https://api.example/a~b-c._d": ["https://api.example/%61%7Eb%2dc%2E%5Fd", "https://api.example/a%7eb-c._d"],
    "https://api.example/a%2Fb%C3%A9": ["https://api.example/a%2fb%c3%a9", "https://api.example/x/../a%2Fb%C3%A9"],
    "https://api.example/a//b": ["https://api.example/a/./b/..//b", "https://api.example/a//c/%2e%2E/b"],
    "https://api.example/b/": ["https://api.example/a/../b/.", "https://api.example/b/c/.."],
    "https://api.example/A": ["https://api.example/%41"],
    "https://[::1]:8443/a": ["https://[0:0:0:0:0:0:0:1]:8443/a", "https://[::0001]:8443/a"],
    "https://[2001:db8::ff]/": ["https://[2001:DB8:0::FF]:443"],
    "https://10.0.0.1/": ["https://10.0.0.1:443/"],
    "https://my_host/a;b=c,d@e:f": ["https://MY_HOST/a;b=c,d@e:f?q=\u00e9 \n#\u00e9"],
}  # fmt: skip


@pytest.mark.rfc("3986", "6.2")
@pytest.mark.parametrize(
    ("form", "spelling"), [(form, spelling) for form, others in SAME.items() for spelling in [form, *others]]
)
def test_99_spellings_of_one_address_have_one_form(form: str, spelling: str) -> None:
    assert normalised(spelling) == form


def test_99_different_addresses_have_different_forms() -> None:
    urls = ["https://a.example/", "http://a.example/", "https://a.example:8443/", "http://a.example:443/", "https://a.example./", "https://b.example/",
            "https://a.example/a", "https://a.example/A", "https://a.example/a/", "https://a.example/a%2F", "https://a.example//a", "https://a.example/%252F",
            "https://a.example/a%3Fb"]  # fmt: skip
    forms = {normalised(url) for url in urls}
    assert len(forms - {None}) == len(urls)


@pytest.mark.parametrize(
    "url",
    [None, 1, ["https://a.example/"], b"https://a.example/", "", "a.example", "/a", "//a.example/a", "https:/a.example", "https://", "https:///a",
     "ftp://a.example/", "javascript:alert(1)", "https://user@a.example/", "https://user:pass@a.example/", "https://a.example:65536/", "https://a.example:0/",
     "https://a.example:443443/", "https://a.example:a/", "https://a.example:-1/", "https://a.example:44\u0663/", "https://[::1/", "https://[::g]/", "https://[]/",
     "https://[1.2.3.4]/", "https://[fe80::1%25eth0]/", "https://a.example/%", "https://a.example/%4", "https://a.example/%zz", "https://a.example/a b",
     "https://a.example/\u00e9", "https://\u00e9.example/", "https://\u212aa.example/", "https://a%2eexample/", "https://a.example/a\n", "https://a.example/\0",
     "https://a.example\\b", " https://a.example/", "https://a.example /", "http\u017f://a.example/", "https://a.example/{x}"],
)  # fmt: skip
def test_99_what_is_no_url_of_a_request_has_no_form(url: object) -> None:
    assert normalised(url) is None


@given(st.text() | st.text("htps:/.%2eEaA?#@[]0").map(lambda text: "https://a" + text))
def test_a_form_is_its_own_form(url: str) -> None:
    form = normalised(url)
    assert form is None or normalised(form) == form
