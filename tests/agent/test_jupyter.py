"""A session's Jupyter process: what it serves, to whom, and how long it lives."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from tests.agent.jupyter import (
    BASE,
    NAME,
    SESSION,
    TOKEN,
    FakeAgent,
    dumped,
    notebook,
    serving,
    until,
)

pytestmark = pytest.mark.jupyter


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    with serving(tmp_path_factory.mktemp("driver")) as agent:
        yield agent


@pytest.fixture
def agent(running: FakeAgent) -> Iterator[FakeAgent]:
    running.asked.clear()
    running.payload = dumped("1 + 1")
    running.version += 1
    yield running
    running.errors.clear()


@pytest.fixture
def door(agent: FakeAgent) -> Iterator[httpx.Client]:
    with client(agent, {"Authorization": f"token {TOKEN}"}) as door:
        yield door


def client(agent: FakeAgent, headers: dict[str, str]) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(agent.folder / "jupyter" / "s"))
    return httpx.Client(
        transport=transport, base_url=f"http://s{BASE}", headers=headers, timeout=90
    )


def test_the_page(door: httpx.Client, agent: FakeAgent) -> None:
    answer = door.get(f"notebooks/{NAME}")
    config = json.loads(
        answer.text.split('<script id="jupyter-config-data" type="application/json">')[1].split(
            "</script>"
        )[0]
    )
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert "set-cookie" not in answer.headers
    assert config["baseUrl"] == BASE
    assert config["token"] == ""
    assert config["terminalsAvailable"] is False
    for word in (TOKEN, str(agent.folder), "/site-packages", "/share/jupyter", "cdnjs", "http://"):
        assert word not in answer.text, f"the page says {word}"


def test_every_file_that_the_page_starts_with(door: httpx.Client) -> None:
    page = door.get(f"notebooks/{NAME}").text
    scripts = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert scripts
    for script in scripts:
        assert door.get(script.removeprefix(BASE)).status_code == 200
    for path in (
        "api/me",
        "api/kernelspecs",
        "api/kernels",
        "api/sessions",
        "lab/api/settings",
        "lab/api/settings/@jupyterlab/notebook-extension:tracker",
        "lab/api/translations/",
        "lab/api/themes/@jupyterlab/theme-light-extension/index.css",
    ):
        assert door.get(path).status_code == 200, path


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "token wrong"},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"token {TOKEN}x"},
        {"Cookie": f"token={TOKEN}"},
    ],
    ids=["none", "wrong", "another scheme", "longer", "cookie"],
)
def test_nobody_gets_in_without_the_token(agent: FakeAgent, headers: dict[str, str]) -> None:
    with client(agent, headers) as stranger:
        answers = [
            stranger.request(method, path)
            for method, path in (
                ("GET", f"notebooks/{NAME}"),
                ("GET", "api/status"),
                ("GET", f"api/contents/{NAME}?token={TOKEN}"),
                ("PUT", f"api/contents/{NAME}"),
                ("GET", "static/favicons/favicon-notebook.ico"),
                ("GET", f"api/kernels/{SESSION}/channels"),
                ("GET", "login"),
            )
        ]
    assert {(answer.status_code, answer.content) for answer in answers} == {(403, b"")}
    assert agent.asked == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "tree"),
        ("GET", "lab"),
        ("GET", "terminals/1"),
        ("POST", "api/terminals"),
        ("POST", "api/shutdown"),
        ("GET", "api/events"),
        ("POST", "api/events"),
        ("GET", f"files/{NAME}"),
        ("GET", f"view/{NAME}"),
        ("GET", f"nbconvert/html/{NAME}"),
        ("GET", "api/nbconvert"),
        ("GET", "login"),
        ("GET", "logout"),
        ("GET", "metrics"),
        ("GET", "lab/api/extensions"),
        ("GET", "lab/api/listings/x"),
        ("GET", "api/config/notebook"),
        ("GET", "edit/x"),
        ("GET", "../../etc/passwd"),
        ("GET", "static/../../../etc/passwd"),
        ("GET", "notebooks/%2e%2e%2fetc"),
        ("GET", "notebooks/other.ipynb"),
        ("GET", "api/contents/..%2f..%2fetc%2fpasswd"),
        ("GET", "api/contents/other.ipynb"),
        ("GET", "static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "lab/extensions/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "lab/api/themes/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
    ],
)
def test_what_a_page_does_not_need_is_not_there(agent: FakeAgent, method: str, path: str) -> None:
    status, body = as_written(agent, method, path)
    assert status in (403, 404, 405)
    assert b"root:" not in body


def as_written(agent: FakeAgent, method: str, path: str) -> tuple[int, bytes]:
    """A path that no client tidied up."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(agent.folder / "jupyter" / "s"))
        head = f"{method} {BASE}{path} HTTP/1.1\r\nHost: s\r\nAuthorization: token {TOKEN}\r\n"
        line.sendall(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while got := line.recv(65536):
            answer += got
    return int(answer.split()[1]), answer


def test_a_method_that_does_not_fit(door: httpx.Client) -> None:
    assert door.delete("api/kernelspecs").status_code == 405
    assert door.post(f"notebooks/{NAME}").status_code == 405


def test_one_kernel(door: httpx.Client, agent: FakeAgent) -> None:
    specs = door.get("api/kernelspecs").json()
    [listed] = door.get("api/kernels").json()
    started = door.post("api/kernels", json={"name": "python3"})
    ended = door.delete(f"api/kernels/{SESSION}")
    assert specs["default"] == "sparkowl"
    assert list(specs["kernelspecs"]) == ["sparkowl"]
    assert specs["kernelspecs"]["sparkowl"]["spec"]["display_name"] == "SparkOwl"
    assert (listed["id"], listed["name"]) == (SESSION, "sparkowl")
    assert (started.status_code, started.json()["id"]) == (201, SESSION)
    assert ended.status_code == 204
    assert [kernel["id"] for kernel in door.get("api/kernels").json()] == [SESSION]
    missing = "00000000-0000-0000-0000-000000000000"
    assert door.get(f"api/kernels/{missing}").status_code == 404
    assert door.post(f"api/kernels/{missing}/interrupt").status_code == 404
    assert door.post(f"api/kernels/{missing}/restart").status_code == 500
    assert agent.asked == []


def test_the_notebook_has_its_kernel_already(door: httpx.Client, agent: FakeAgent) -> None:
    [own] = door.get("api/sessions").json()
    assert (own["path"], own["type"], own["kernel"]["id"]) == (NAME, "notebook", SESSION)
    again = door.post("api/sessions", json={"path": NAME, "type": "notebook", "name": ""})
    assert (again.status_code, again.json()["id"]) == (201, own["id"])
    moved = door.request("PATCH", f"api/sessions/{own['id']}", json={"kernel": {"name": "python3"}})
    assert moved.json()["kernel"]["id"] == SESSION
    assert door.delete(f"api/sessions/{own['id']}").status_code == 204
    assert [each["id"] for each in door.get("api/sessions").json()] == [own["id"]]
    os.kill(agent.kernel_pid, 0)


def test_any_other_session_gets_the_same_kernel(door: httpx.Client) -> None:
    made = door.post(
        "api/sessions",
        json={"path": "else", "type": "console", "name": "c", "kernel": {"name": "python3"}},
    ).json()
    renamed = door.request("PATCH", f"api/sessions/{made['id']}", json={"name": "d"}).json()
    gone = door.delete(f"api/sessions/{made['id']}")
    assert made["kernel"]["id"] == SESSION
    assert renamed["name"] == "d"
    assert gone.status_code == 204
    assert door.get(f"api/sessions/{made['id']}").status_code == 404


def test_loading_the_notebook(door: httpx.Client, agent: FakeAgent) -> None:
    model = door.get(f"api/contents/{NAME}?type=notebook&content=1&hash=1").json()
    bare = door.get(f"api/contents/{NAME}?content=0&hash=1").json()
    listing = door.get("api/contents?content=1").json()
    assert model["content"]["cells"][0]["source"] == "1 + 1"
    assert model["content"]["cells"][0]["metadata"] == {"trusted": False}
    assert (bare["content"], bare["hash"]) == (None, model["hash"])
    assert bare["last_modified"] == f"2026-01-01T00:00:{agent.version:02d}Z"
    assert [each["name"] for each in listing["content"]] == [NAME]


def test_a_session_without_a_notebook_starts_with_an_empty_one(
    door: httpx.Client, agent: FakeAgent
) -> None:
    agent.payload = ""
    content = door.get(f"api/contents/{NAME}").json()["content"]
    assert (content["cells"], content["metadata"]["kernelspec"]["name"]) == ([], "sparkowl")


def save(door: httpx.Client, content: Any, **more: Any) -> httpx.Response:
    model = {"type": "notebook", "format": "json", "content": content}
    return door.put(f"api/contents/{NAME}", json=model | more)


def test_saving_makes_a_version(door: httpx.Client, agent: FakeAgent) -> None:
    before = door.get(f"api/contents/{NAME}?content=0&hash=1").json()
    ran = notebook("2 + 2")
    ran["cells"][0]["metadata"] = {"trusted": True}
    saved = save(door, ran)
    after = door.get(f"api/contents/{NAME}?content=1&hash=1").json()
    [asked] = [frame for frame in agent.asked if frame["ask"] == "save"]
    assert saved.status_code == 200
    assert nbformat.reads(asked["payload"], 4) == notebook("2 + 2")  # type: ignore[no-untyped-call]
    assert saved.json()["hash"] == after["hash"] != before["hash"]
    assert saved.json()["last_modified"] == after["last_modified"] != before["last_modified"]
    # What was run and saved here is trusted here.
    assert after["content"]["cells"][0]["metadata"] == {"trusted": True}


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ({"cells": []}, 400, "no valid notebook"),
        ({**notebook("1"), "nbformat": 99}, 400, "no valid notebook"),
        ({**notebook("1"), "cells": [{"cell_type": "owl"}]}, 400, "no valid notebook"),
        ("text", 400, "Only a notebook"),
        (None, 400, "Only a notebook"),
        (notebook("#" * 10_485_760), 413, "larger than 10485760 bytes"),
    ],
    ids=["no format", "unknown format", "unknown cell", "text", "nothing", "too large"],
)
def test_what_is_not_saved(
    door: httpx.Client, agent: FakeAgent, content: Any, status: int, message: str
) -> None:
    answer = save(door, content)
    assert answer.status_code == status
    assert message in answer.json()["message"]
    assert "save" not in [frame["ask"] for frame in agent.asked]


def test_why_a_save_failed_is_said(door: httpx.Client, agent: FakeAgent) -> None:
    agent.errors["save"] = (409, "The notebook was changed by somebody else: 100% of it.")
    answer = save(door, notebook("1"))
    assert answer.status_code == 409
    assert answer.json()["message"] == "The notebook was changed by somebody else: 100% of it."


def test_no_other_files(door: httpx.Client, agent: FakeAgent) -> None:
    model = {"type": "notebook", "content": notebook("1")}
    answers = [
        door.put("api/contents/other.ipynb", json=model),
        door.post("api/contents", json={"type": "notebook"}),
        door.post("api/contents", json={"copy_from": NAME}),
        door.request("PATCH", f"api/contents/{NAME}", json={"path": "renamed.ipynb"}),
        door.delete(f"api/contents/{NAME}"),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert {answer.json()["message"] for answer in answers} == {
        "A session's page has one notebook: no other files are made, moved or deleted."
    }
    assert "save" not in [frame["ask"] for frame in agent.asked]


def test_the_last_save_is_the_checkpoint(door: httpx.Client) -> None:
    path = f"api/contents/{NAME}/checkpoints"
    made = door.post(path)
    assert made.status_code == 201
    assert door.get(path).json() == [made.json()]
    assert door.post(f"{path}/{made.json()['id']}").status_code == 204
    assert door.delete(f"{path}/{made.json()['id']}").status_code == 403


def test_progress(door: httpx.Client, agent: FakeAgent) -> None:
    assert door.get("sparkowl/progress").json() == {"running": None}
    agent.errors["progress"] = (503, "Not now.")
    answer = door.get("sparkowl/progress")
    assert (answer.status_code, answer.json()["message"]) == (503, "Not now.")


def test_a_failure_is_logged_without_what_the_request_said(
    door: httpx.Client, agent: FakeAgent
) -> None:
    agent.errors["progress"] = (500, "Broken.")
    headers = {"Cookie": "session=secret-cookie", "Referer": "http://x/?token=secret-referer"}
    assert door.get("sparkowl/progress?token=secret-query", headers=headers).status_code == 500
    # It answers before it logs.
    until(lambda: f"500 GET {BASE}sparkowl/progress" in agent.log(), "the line of the failure")
    for secret in ("secret-", TOKEN):
        assert secret not in agent.log()


def test_it_keeps_to_its_folder(door: httpx.Client, agent: FakeAgent) -> None:
    setting = "lab/api/settings/@jupyterlab/apputils-extension:themes"
    assert door.put(setting, json={"raw": '{"theme": "JupyterLab Dark"}'}).status_code == 204
    assert door.get(setting).json()["settings"]["theme"] == "JupyterLab Dark"
    folder = agent.folder / "jupyter"
    left = {each.name for each in folder.iterdir()}
    assert left <= {"s", "settings", "runtime", "data", "config", "workspaces"}
    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
    written = [each for each in folder.rglob("*") if each.is_file()]
    assert [each.suffix for each in written] == [".jupyterlab-settings"], "and no secrets"


def test_it_ends_with_the_agent_while_it_waits(tmp_path: Path) -> None:
    agent = FakeAgent(tmp_path / "driver")
    try:
        process = agent.launch()
        agent.hang_up()  # it still imports
        assert process.wait(timeout=90) == 0
        assert agent.log() == ""
    finally:
        agent.stop()


def test_it_ends_with_the_agent_while_it_serves(tmp_path: Path) -> None:
    agent = FakeAgent(tmp_path / "driver")
    try:
        agent.start_kernel()
        process = agent.launch()
        agent.serve()
        agent.hang_up()
        until(lambda: process.poll() is not None, "it ended", within_s=60)
        assert process.returncode == 0
        os.kill(agent.kernel_pid, 0)
    finally:
        agent.stop()
