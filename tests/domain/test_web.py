"""Which URLs and addresses the server may fetch from."""

from __future__ import annotations

import pytest

from sparkowl.domain.web import LONGEST, WebAddress, is_public, parse

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 100.100.100.200 100.64.0.1 100::1 127.0.0.1 127.255.255.254
168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1
192.168.0.1 192.88.99.1 198.18.0.1 198.51.100.1 2001:10::1 2001::1 2001:db8::1 2002:7f00:1::
2002:808:808:: 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
2606:4700::1111%1 3fff::1 4000::1 64:ff9b:1::1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe :: ::1
::7f00:1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:224.0.0.1 fc00::1
fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
"""
PUBLIC = """
1.1.1.1 100.128.0.1 100.63.0.1 169.253.0.1 172.15.0.1 172.32.0.1 223.255.255.1
2606:4700:4700::1111 2a00:1450:4001:81b::200e 64:ff9b::808:808 8.8.8.8 93.184.215.14
::ffff:8.8.8.8
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_what_is_not_on_the_public_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "example.com", "127.1", "2130706433", "1.1.1.1 "]
)
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://a.example", "a.example", 443, "/"),
        ("https://A.Example:443/B", "a.example", 443, "/B"),
        ("HTTPS://a.example:8443/b?c=d#e", "a.example", 8443, "/b?c=d"),
        ("https://a.example./b", "a.example.", 443, "/b"),
        ("https://a.example?c", "a.example", 443, "/?c"),
        ("https://1.1.1.1/b", "1.1.1.1", 443, "/b"),
        ("https://[2606:4700:4700::1111]/b", "2606:4700:4700::1111", 443, "/b"),
        ("https://xn--bcher-kva.example/%C3%BC", "xn--bcher-kva.example", 443, "/%C3%BC"),
        ("https://a_b.example/c@d:e", "a_b.example", 443, "/c@d:e"),
    ],
)
def test_the_parts_of_a_url(url: str, host: str, port: int, target: str) -> None:
    assert parse(url) == WebAddress(host, port, target)


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://a.example:443/b#c", "https://a.example/b"),
        ("https://a.example:444/b?c", "https://a.example:444/b?c"),
        ("https://[2606:4700:4700::1111]:444/b", "https://[2606:4700:4700::1111]:444/b"),
    ],
)
def test_a_url_is_written_as_it_is_asked_for(url: str, written: str) -> None:
    assert parse(url).url == written


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "percent-encoded"),
        ("http://a.example/", "must begin with https://"),
        ("ftp://a.example/", "must begin with https://"),
        ("//a.example/", "must begin with https://"),
        ("https:a.example", "has no valid host"),
        ("https:///b", "has no valid host"),
        ("https://:443/b", "has no valid host"),
        ("https://a..example/", "has no valid host"),
        ("https://-a.example/", "has no valid host"),
        ("https://a%2eexample/", "has no valid host"),
        ("https://" + "a" * 64 + ".example/", "has no valid host"),
        ("https://" + "a." * 130 + "example/", "has no valid host"),
        ("https://user@a.example/", "must not hold a user's name or password"),
        ("https://user:word@a.example/", "must not hold a user's name or password"),
        ("https://a.example@127.0.0.1/", "must not hold a user's name or password"),
        ("https://a.example:0/", "names port 0"),
        ("https://a.example:65536/", "is not a URL"),
        ("https://a.example:x/", "is not a URL"),
        ("https://[::1/", "is not a URL"),
        ("https://[a.example]/", "is not a URL"),
        ("https://[v1.a]/", "has no valid host"),
        ("https://a.example/ b", "percent-encoded"),
        ("https://a.example/\tb", "percent-encoded"),
        ("https://a.example/\r\nHost: b", "percent-encoded"),
        ("https://a.example\\@127.0.0.1/", "percent-encoded"),
        ("https://ä.example/", "percent-encoded"),
        ("https://127.0.0.1/", "names 127.0.0.1, which is not a public address"),
        ("https://127.0.0.1:8765/", "names 127.0.0.1, which is not a public address"),
        ("https://[::1]/", "names ::1, which is not a public address"),
        ("https://[::ffff:7f00:1]/", "which is not a public address"),
        ("https://169.254.169.254/latest", "which is not a public address"),
        ("https://localhost/", "names localhost, which is not a public address"),
        ("https://a.LOCALHOST./", "names a.localhost., which is not a public address"),
        ("https://a.example/" + "b" * LONGEST, f"at most {LONGEST} are allowed"),
    ],
)
def test_a_url_that_breaks_a_rule(url: str, rule: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|is|must|names)") as error:
        parse(url)
    assert rule in str(error.value)
