"""Fetching from the web: what is brought, what is refused, and whom it never talks to."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.webs import HOST, LARGEST, PUBLIC, Answer, Site, redirects, sends, site

from sparkowl.objects.download import REDIRECTS, DownloadError, Web, resolve

FILE = f"https://{HOST}/a.ipynb"


async def refusal(answers: Mapping[str, Answer], folder: Path, url: str = FILE) -> str:
    """Why the file cannot be had."""
    async with site(folder, answers) as there:
        return await refused(there, url)


async def refused(there: Site, url: str = FILE, limit_s: float = 10.0) -> str:
    with pytest.raises(DownloadError) as error:
        await there.web(limit_s).fetch(url)
    return str(error.value)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


async def trickles(writer: asyncio.StreamWriter) -> None:
    """Never silent for long, and never through."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def says_nothing(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def test_a_file_is_brought(tmp_path: Path) -> None:
    content = b"x" * LARGEST
    async with site(tmp_path, {"/a.ipynb?v=1": sends(content)}) as there:
        assert await there.web().fetch(f"{FILE}?v=1#part") == content

        head = there.requests[0].lower()
    assert f"host: {HOST}\r\n" in head
    assert "accept-encoding: identity\r\n" in head
    assert "cookie" not in head
    assert "authorization" not in head
    assert there.routed.connected == [(PUBLIC, 443)]


@pytest.fixture
def with_proxy() -> Iterator[None]:
    """The environment names a proxy, at which nobody answers."""
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(("https_proxy", "HTTPS_PROXY", "all_proxy"), "http://[::1]:9"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("with_proxy")
async def test_nothing_of_the_environment_decides_the_way(tmp_path: Path) -> None:
    async with site(tmp_path, {"/a.ipynb": sends(b"{}")}) as there:
        assert await there.web().fetch(FILE) == b"{}"


async def test_another_port_is_named_in_the_request(tmp_path: Path) -> None:
    async with site(tmp_path, {"/a.ipynb": sends(b"{}")}) as there:
        await there.web().fetch(f"https://{HOST}:8443/a.ipynb")

        assert f"Host: {HOST}:8443\r\n" in there.requests[0]
    assert there.routed.connected == [(PUBLIC, 8443)]


async def test_a_second_address_is_tried(tmp_path: Path) -> None:
    async with site(tmp_path, {"/a.ipynb": sends(b"{}")}) as there:
        there.names[HOST] = ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", PUBLIC]

        assert await there.web().fetch(FILE) == b"{}"
    assert [address for address, _ in there.routed.connected] == there.names[HOST]


async def test_a_host_that_nobody_answers_at(tmp_path: Path) -> None:
    async with site(tmp_path, {}) as there:
        there.names[HOST] = ["1.1.1.1"]

        assert await refused(there) == f"{HOST} cannot be connected to."


# --- redirects ---------------------------------------------------------------------------------


async def test_redirects_are_followed_each_with_a_look_of_its_own(tmp_path: Path) -> None:
    answers = {
        "/a.ipynb": redirects("/b?c=d"),
        "/b?c=d": redirects(f"https://{HOST}:8443/raw", "307 Temporary Redirect"),
        "/raw": sends(b"{}"),
    }
    async with site(tmp_path, answers) as there:
        assert await there.web().fetch(FILE) == b"{}"
    assert there.resolved == [HOST] * 3
    assert there.routed.connected == [(PUBLIC, 443), (PUBLIC, 443), (PUBLIC, 8443)]


async def test_as_many_redirects_as_are_allowed(tmp_path: Path) -> None:
    answers = {f"/{n}": redirects(f"/{n + 1}") for n in range(REDIRECTS)}
    async with site(tmp_path, answers | {f"/{REDIRECTS}": sends(b"{}")}) as there:
        assert await there.web().fetch(f"https://{HOST}/0") == b"{}"


async def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    answers = {"/a.ipynb": redirects("/b"), "/b": redirects("/a.ipynb")}

    assert await refusal(answers, tmp_path) == "it was redirected more than 5 times."


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://files.example.com/a", "what it redirects to must begin with https://."),
        ("file:///etc/passwd", "what it redirects to must begin with https://."),
        ("https://127.0.0.1/", "what it redirects to names 127.0.0.1, which is not a public addr"),
        ("https://[::ffff:10.0.0.1]/", "which is not a public address."),
        ("https://169.254.169.254/latest/meta-data/", "which is not a public address."),
        ("https://user:secret@files.example.com/", "must not hold a user's name or password."),
        ("https://inside.example.com/", "inside.example.com is not on the public internet"),
        ("https://[", "redirected it to nowhere."),
        ("", "redirected it to nowhere."),
    ],
)
async def test_a_redirect_leads_nowhere_that_a_caller_could_not_name(
    tmp_path: Path, location: str, why: str
) -> None:
    async with site(tmp_path, {"/a.ipynb": redirects(location)}) as there:
        there.names["inside.example.com"] = ["10.0.0.1"]

        assert why in await refused(there)
    assert there.routed.connected == [(PUBLIC, 443)]


# --- hosts that are not public -----------------------------------------------------------------


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%1"],
        ["fd00:ec2::254"],
        ["::ffff:192.168.0.1"],
        ["64:ff9b::a00:1"],
        ["2002:a00:1::1"],
        # What is fine today and is not in the next answer.
        [PUBLIC, "192.168.0.1"],
    ],
)
async def test_a_name_that_leads_inside_is_never_connected_to(
    tmp_path: Path, addresses: list[str]
) -> None:
    async with site(tmp_path, {"/a.ipynb": sends(b"{}")}) as there:
        there.names[HOST] = addresses

        assert "is not on the public internet" in await refused(there)
    assert there.routed.connected == []


async def test_a_name_that_changes_its_mind_is_held_to_its_first_answer(tmp_path: Path) -> None:
    """DNS rebinding: what is connected to is what was looked at."""
    async with site(tmp_path, {"/a.ipynb": sends(b"{}")}) as there:
        asked = 0

        async def changing(host: str, port: int) -> list[str]:
            nonlocal asked
            asked += 1
            return [PUBLIC] if asked == 1 else ["127.0.0.1"]

        made = Web(
            limit_s=10,
            largest=LARGEST,
            resolve=changing,
            network=there.routed,
            trust=there.authority.trust,
        )

        assert await made.fetch(FILE) == b"{}"
    assert asked == 1


async def test_this_machine_resolves_its_own_name_and_the_web_refuses_it() -> None:
    found = await resolve("localhost", 443)

    assert set(found) <= {"127.0.0.1", "::1"}
    # A name that no rule knows by its look; the C library reads it as 127.0.0.1.
    with pytest.raises(DownloadError, match="0x7f000001 is not on the public internet"):
        await Web(limit_s=10, largest=10).fetch("https://0x7f000001/a.ipynb")


async def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    async with site(tmp_path, {}) as there:
        assert await refused(there, "https://no.example.com/a") == "no.example.com has no address."


# --- certificates ------------------------------------------------------------------------------


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path, {"/a.ipynb": sends(b"{}")}, named="other.example.com") as there:
        why = await refused(there)

    assert why.startswith(f"the certificate of {HOST} is not valid: Hostname mismatch")
    assert there.requests == []


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path, {"/a.ipynb": sends(b"{}")}) as there:
        with pytest.raises(DownloadError, match="is not valid: unable to get local issuer"):
            await there.web(trusting=False).fetch(FILE)


# --- too much, too slow, broken ----------------------------------------------------------------


async def test_a_file_that_says_that_it_is_too_large_is_not_read(tmp_path: Path) -> None:
    answer = sends(b"", f"Content-Length: {LARGEST + 1}")

    assert await refusal({"/a.ipynb": answer}, tmp_path) == f"it has more than {LARGEST} bytes."


@pytest.mark.parametrize("answer", [sends(b"x" * (LARGEST + 1)), endless])
async def test_a_file_that_proves_too_large_is_read_no_further(
    tmp_path: Path, answer: Answer
) -> None:
    assert await refusal({"/a.ipynb": answer}, tmp_path) == f"it has more than {LARGEST} bytes."


@pytest.mark.parametrize("answer", [trickles, says_nothing])
async def test_slowness_is_bounded_as_a_whole(tmp_path: Path, answer: Answer) -> None:
    async with site(tmp_path, {"/a.ipynb": answer}) as there:
        assert await refused(there, limit_s=0.3) == "it did not come within 0.3 s."


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (sends(b"", status="404 Not Found"), f"{HOST} answered with status 404."),
        (sends(b"", status="204 No Content"), f"{HOST} answered with status 204."),
        (sends(b"", status="304 Not Modified"), f"{HOST} answered with status 304."),
        (sends(b"", "Content-Encoding: gzip"), "it came compressed, which was not asked for."),
        (sends(b"{}", "Content-Length: 100"), f"{HOST} did not answer as it should."),
        (sends(b"", status="what"), f"{HOST} did not answer as it should."),
        (sends(b"", "A: " + "b" * 200_000), f"{HOST} did not answer as it should."),
    ],
)
async def test_other_answers_are_named(tmp_path: Path, answer: Answer, why: str) -> None:
    assert await refusal({"/a.ipynb": answer}, tmp_path) == why


async def test_a_server_without_tls(tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with site(tmp_path, {}) as there:
        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        async with server:
            there.routed.port = server.sockets[0].getsockname()[1]

            assert await refused(there) == f"{HOST} does not speak TLS as it should."


async def test_no_secret_of_a_url_is_logged_or_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = f"{FILE}?sig=secret1"
    answers = {
        "/a.ipynb?sig=secret1": redirects("/b?sig=secret2"),
        "/b?sig=secret2": sends(b"", status="403 Forbidden"),
    }

    assert await refusal(answers, tmp_path, url) == f"{HOST} answered with status 403."
    assert "secret" not in caplog.text
