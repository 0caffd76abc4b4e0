"""The notebook over HTTP: from a server, and from none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sparkowl.agent.desk import DeskError
from sparkowl.agent.shelf import Shelf

PATH = "/_sparkowl/drivers/d-1/notebook"
AWAY = "The SparkOwl server cannot be reached at the moment."


class Server(ThreadingHTTPServer):
    """Answers as it is told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, bytes]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer: bytes = b""
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, self.headers["Authorization"], body))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.answer)

    do_GET = do_PUT = _any

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture
def shelf(server: Server, tmp_path: Path) -> Shelf:
    url = tmp_path / "server-url"
    url.write_text(f"ws://127.0.0.1:{server.server_address[1]}\n")
    return Shelf("d-1", "the token", url)


async def test_the_notebook_is_fetched_and_saved(server: Server, shelf: Shelf) -> None:
    server.answer = json.dumps(
        {"name": "n", "payload": "{}", "modified_at": 1767323045.5, "version": 3}
    ).encode()
    found = await shelf.notebook()
    assert found == {
        "name": "n",
        "payload": "{}",
        "modified_at": "2026-01-02T03:04:05.500000+00:00",
        "version": 3,
    }

    server.answer = b'{"modified_at": 1767323046, "version": 4}'
    payload = json.dumps({"cells": ["\u00e4"]}, ensure_ascii=False)
    saved = await shelf.save(payload)
    assert saved == {"modified_at": "2026-01-02T03:04:06+00:00", "version": 4}

    (get, put) = server.asked
    assert get == ("GET", PATH, "Bearer the token", b"")
    assert put[:3] == ("PUT", PATH, "Bearer the token")
    assert json.loads(put[3]) == {"payload": payload}


async def test_half_a_character_does_not_keep_a_notebook_from_being_saved(
    server: Server, shelf: Shelf
) -> None:
    server.answer = b'{"modified_at": 1, "version": 1}'
    await shelf.save("a\ud800b")
    assert json.loads(server.asked[0][3]) == {"payload": "a?b"}


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (409, b'{"message": "It changed."}', (409, "It changed.")),
        (413, b"Too long.", (413, "Too long.")),
        (404, b"", (404, "The server answered 404.")),
        (400, b'["a"]', (400, '["a"]')),
        (500, b"Traceback", (503, AWAY)),
        (503, b'{"message": "Busy."}', (503, AWAY)),
        (200, b"<html>", (503, AWAY)),
        (200, b"[]", (503, AWAY)),
        (200, b'{"version": 1}', (503, AWAY)),
    ],
)
async def test_what_the_server_refuses_is_passed_on(
    server: Server, shelf: Shelf, status: int, answer: bytes, expected: tuple[int, str]
) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(DeskError) as refused:
        await shelf.notebook()
    assert (refused.value.status, str(refused.value)) == expected


async def test_the_token_follows_no_redirect(server: Server, shelf: Shelf) -> None:
    server.status, server.headers = 302, {"Location": "/elsewhere"}
    with pytest.raises(DeskError) as refused:
        await shelf.notebook()
    assert refused.value.status == 503
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "nonsense", None])
async def test_a_server_that_is_away_is_said_to_be(tmp_path: Path, url: str | None) -> None:
    file = tmp_path / "server-url"
    if url is not None:
        file.write_text(url)
    with pytest.raises(DeskError) as refused:
        await Shelf("d-1", "t", file).notebook()
    assert (refused.value.status, str(refused.value)) == (503, AWAY)
