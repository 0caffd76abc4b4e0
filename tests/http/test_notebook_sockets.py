"""WebSockets through the notebooks' door."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.http.browser import Browser, notebook, start
from tests.http.upstream import Upstream
from tests.serving import until
from websockets.exceptions import ConnectionClosed, InvalidStatus

Place = tuple[Browser, Upstream]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    limits = {"sessions": 500, "account_dpus": 500}
    with notebook(tmp_path_factory.mktemp("sockets"), limits=limits) as made:
        yield made


@pytest.fixture
def upstream(place: Place) -> Upstream:
    jupyter = place[1]
    # Those of the test before end in their own time.
    until(lambda: jupyter.connected == 0)
    jupyter.joined.clear()
    jupyter.closed.clear()
    jupyter.taken.clear()
    return jupyter


@pytest.fixture
def browser(place: Place) -> Browser:
    return Browser(place[0].server, place[0].session_id).enter()


def refused(browser: Browser, below: str = "api/kernels/k/channels", **headers: str | None) -> int:
    """The status that an upgrade is refused with."""
    with pytest.raises(InvalidStatus) as found, browser.socket(below, headers=headers):
        pass
    return int(found.value.response.status_code)


def test_messages_go_both_ways(browser: Browser) -> None:
    with browser.socket() as socket:
        socket.send("text")
        assert socket.recv(20) == "text"
        socket.send(b"\0\1")
        assert socket.recv(20) == b"\0\1"


def test_jupyter_hears_what_it_may_and_no_token_of_the_page(
    browser: Browser, upstream: Upstream
) -> None:
    with browser.socket("api/kernels/k/channels?session_id=1&token=stolen") as socket:
        # It answers the handshake before it takes note of it.
        socket.send("x")
        assert socket.recv(20) == "x"
        headers = upstream.joined[0]

    assert headers[":path"] == browser.base + "api/kernels/k/channels?session_id=1"
    assert headers["authorization"].startswith("token ")
    assert not {"cookie", "origin", "user-agent"} & set(headers)


def test_the_subprotocol_is_the_one_that_jupyter_takes(browser: Browser) -> None:
    protocols = ["v0.kernel", "v1.kernel.websocket.jupyter.org"]

    with browser.socket(subprotocols=protocols) as socket:
        assert socket.subprotocol == protocols[1]
    with browser.socket() as socket:
        assert socket.subprotocol is None


def test_large_messages_go_through_in_order(browser: Browser) -> None:
    sizes = [15 << 20, 1, 8 << 20, 2]

    with browser.socket(max_size=None) as socket:
        for size in sizes:
            socket.send(bytes(size))
        assert [len(socket.recv(60)) for _ in sizes] == sizes


def test_what_the_page_has_is_acknowledged(browser: Browser, upstream: Upstream) -> None:
    with browser.socket() as socket:
        for text in "abc":
            socket.send(text)
            assert socket.recv(20) == text
        until(lambda: upstream.taken == [1, 2, 3])


def test_what_is_still_in_the_server_is_not_acknowledged(
    browser: Browser, upstream: Upstream
) -> None:
    with browser.socket(max_size=None, max_queue=(1, 0)) as page:
        for message in (b"a", b"b", os.urandom(15 << 20)):
            page.send(message)
        until(lambda: upstream.taken == [1, 2])
        # The page reads no more for now: it has two messages to look at. Another one goes on.
        with browser.socket(max_size=None) as other:
            other.send(os.urandom(15 << 20))
            assert len(other.recv(60)) == 15 << 20
            until(lambda: upstream.taken == [1, 2, 1])
        assert [len(page.recv(60)) for _ in range(3)] == [1, 1, 15 << 20]
        until(lambda: upstream.taken == [1, 2, 1, 3])


def test_a_socket_that_only_speaks_hears_nothing(browser: Browser) -> None:
    with browser.socket("api/events/subscribe") as socket:
        assert [socket.recv(20) for _ in "abc"] == ["a", "b", "c"]
        with pytest.raises(TimeoutError):
            socket.recv(0.5)


def test_what_was_said_before_the_end_comes_before_it(browser: Browser) -> None:
    with browser.socket() as socket:
        socket.send("farewell")
        assert [socket.recv(20) for _ in range(3)] == ["one", "two", "three"]
        with pytest.raises(ConnectionClosed):
            socket.recv(20)


def test_closing_is_told_to_the_other_end(browser: Browser, upstream: Upstream) -> None:
    with browser.socket() as socket:
        socket.close(4567, "bye")
    until(lambda: upstream.closed == [4567])

    with browser.socket() as socket:
        socket.send("close")
        with pytest.raises(ConnectionClosed) as found:
            socket.recv(20)
    assert found.value.rcvd is not None
    assert (found.value.rcvd.code, found.value.rcvd.reason) == (4321, "as you wish")


def test_a_browser_that_vanishes_is_missed(browser: Browser, upstream: Upstream) -> None:
    with browser.socket() as socket:
        socket.socket.shutdown(2)
        until(lambda: len(upstream.closed) == 1)


@pytest.mark.parametrize("cookie", ["none", "expired", "other", "forged"])
def test_an_upgrade_without_a_valid_cookie_is_refused(
    browser: Browser, upstream: Upstream, cookie: str
) -> None:
    browser.cookie = {
        "none": None,
        "expired": browser.forged(lasts=0),
        "other": browser.forged(session_id="0" * 36),
        "forged": "x",
    }[cookie]

    assert refused(browser) == 403
    assert upstream.joined == []


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1"]
)
def test_an_upgrade_by_a_page_of_others_is_refused(
    browser: Browser, upstream: Upstream, origin: str
) -> None:
    assert refused(browser, Origin=origin) == 403
    assert upstream.joined == []


def test_an_upgrade_from_another_site_is_refused(browser: Browser) -> None:
    assert refused(browser, **{"Sec-Fetch-Site": "same-site"}) == 403


@pytest.mark.parametrize(
    "below", ["", "terminals/websocket/1", "api/kernels/k", "lsp/ws/x", "api/../api/me"]
)
def test_other_sockets_are_not_there(browser: Browser, upstream: Upstream, below: str) -> None:
    assert refused(browser, below) in {403, 404}
    assert upstream.joined == []


def test_a_link_opens_no_socket(browser: Browser) -> None:
    token = browser.link().partition("token=")[2]
    browser.cookie = None

    assert refused(browser, f"api/kernels/k/channels?token={token}") == 403


def test_sockets_are_closed_when_the_session_ends(place: Place, upstream: Upstream) -> None:
    server = place[0].server
    browser = Browser(server, start(server)).enter()

    with browser.socket() as socket:
        server.client().terminate_session(SessionId=browser.session_id)
        with pytest.raises(ConnectionClosed) as found:
            socket.recv(20)
    assert found.value.rcvd is not None
    assert found.value.rcvd.code == 1001
    assert refused(browser) == 410
    until(lambda: upstream.closed == [1001])


def test_a_page_is_to_come_again_when_jupyter_dies(browser: Browser, upstream: Upstream) -> None:
    """With "going away" (1001), Jupyter's page would stay without a kernel."""
    with browser.socket() as socket:
        socket.send("die")
        with pytest.raises(ConnectionClosed) as found:
            socket.recv(20)
    assert found.value.rcvd is not None
    assert found.value.rcvd.code == 1012


def test_many_sockets_and_a_bound(browser: Browser, upstream: Upstream) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(browser.socket()) for _ in range(64)]
        for number, socket in enumerate(sockets):
            socket.send(str(number))
        assert [socket.recv(20) for socket in sockets] == [str(number) for number in range(64)]
        assert refused(browser) == 503
        assert browser.get("api/me").status == 503
        page = browser.ask("GET", browser.page)
        assert (page.status, page.headers["retry-after"]) == (503, "5")
        assert b'http-equiv="refresh"' in page.body
    until(lambda: len(upstream.closed) == 64)
    until(lambda: browser.get("api/me").status == 200)


def test_no_token_is_in_the_servers_log(browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    """Of the libraries the server lets through warnings only; this looks at more."""
    link = browser.link()
    token = link.partition("token=")[2]
    for library in (None, "uvicorn", "uvicorn.error", "websockets", "httpx", "httpcore"):
        caplog.set_level(logging.INFO, logger=library)
    browser.ask("GET", link)
    browser.ask("GET", f"{browser.page}?token={token}x")
    with browser.socket(f"api/kernels/k/channels?token={token}"):
        pass
    refused(browser, f"api/kernels/none?token={token}")

    assert any("accepted" in record.getMessage() for record in caplog.records)
    for record in caplog.records:
        said = record.getMessage() + str(record.__dict__)
        assert token not in said, record.name
        assert str(browser.cookie) not in said, record.name
