"""Where an agent has the session's notebook from, and saves it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.http.browser import start
from tests.serving import Server, serving

from sparkowl.store import drivers

NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
PREFIX = "/_sparkowl/drivers/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def driver(server: Server) -> Any:
    session_id = start(server)
    store = server.running.store
    return server.do(lambda: store.read(lambda tx: drivers.of_session(tx, session_id)))


def call(
    server: Server, driver_id: str, token: str | None, method: str = "GET", body: Any = None
) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        connection.request(method, f"{PREFIX}{driver_id}/notebook", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def token_of(server: Server, driver: Any) -> str:
    key = server.running.credentials.key_for("links")
    return hmac.new(key, str(driver.id).encode(), hashlib.sha256).hexdigest()


def test_a_notebook_is_read_saved_and_read_again(server: Server, driver: Any) -> None:
    token = token_of(server, driver)

    status, first = call(server, driver.id, token)
    assert (status, first["name"], first["version"]) == (200, f"notebook-{driver.session_id}", 0)
    body = json.dumps({"payload": json.dumps(NOTEBOOK), "base": 0})
    status, saved = call(server, driver.id, token, "PUT", body)
    assert (status, saved["version"]) == (200, 1)
    assert isinstance(saved["modified_at"], float)
    status, again = call(server, driver.id, token)
    assert json.loads(again["payload"]) == NOTEBOOK
    assert again["modified_at"] == saved["modified_at"]


@pytest.mark.parametrize("token", [None, "", "x", "0" * 64, "é"])
def test_who_has_not_the_drivers_token_is_refused(
    server: Server, driver: Any, token: str | None
) -> None:
    assert call(server, driver.id, token)[0] == 403
    assert call(server, driver.id, token, "PUT", b"x" * 100)[0] == 403


def test_a_driver_has_no_others_notebook(server: Server, driver: Any) -> None:
    token = token_of(server, driver)

    assert call(server, "0" * 36, token)[0] == 403
    assert call(server, f"{driver.id}/../{driver.id}", token)[0] == 403


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b"{}", b'{"payload": 1}', b'{"payload": "x"}', b"[" * 100_000]
)
def test_what_is_no_notebook_is_refused(server: Server, driver: Any, body: bytes) -> None:
    status, answer = call(server, driver.id, token_of(server, driver), "PUT", body)

    assert status == 400
    assert answer["message"]


def test_a_body_is_bounded(server: Server, driver: Any) -> None:
    blocks = (bytes(1 << 20) for _ in range(17))
    token = token_of(server, driver)

    assert call(server, driver.id, token, "PUT", blocks)[0] == 413
    assert call(server, driver.id, token, "POST", b"")[0] == 405
