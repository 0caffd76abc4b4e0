"""The notebooks' door behind a proxy, and with a host for each session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.http.browser import Browser, notebook
from tests.http.upstream import Upstream

Place = tuple[Browser, Upstream]


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("proxied")
    with notebook(folder, notebooks={"url": "https://spark.example.com"}) as made:
        yield made


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("divided")
    url = "https://{session}.notebooks.example.com"
    with notebook(folder, notebooks={"url": url}) as made:
        yield made


def entered(browser: Browser) -> Browser:
    browser.cookie = browser.forged()
    return browser


def test_links_lead_to_the_name_that_browsers_know(proxied: Place) -> None:
    browser, _ = proxied
    made = browser.server.client().create_presigned_notebook_url(SessionId=browser.session_id)

    assert made["NotebookUrl"].startswith("https://spark.example.com/notebooks/")
    answer = browser.ask("GET", browser.link(), Host="spark.example.com")
    assert (answer.status, answer.headers["location"]) == (303, browser.page)
    assert answer.headers["set-cookie"].endswith("; Secure")


def test_behind_a_proxy_a_page_has_the_proxys_origin(proxied: Place) -> None:
    browser = entered(proxied[0])
    path = browser.base + "api/sessions"
    theirs = {"Sec-Fetch-Site": "same-origin", "Host": "spark.example.com",
              "Referer": "https://spark.example.com" + browser.page}  # fmt: skip

    def status(origin: str) -> int:
        return browser.ask("POST", path, Origin=origin, **theirs).status

    assert status("https://spark.example.com") == 200
    for origin in ("http://spark.example.com", "http://spark.example.com:8765", "https://spark.example.com.evil.example",
                   "https://evil.example", "https://spark.example.com:8443"):  # fmt: skip
        assert status(origin) == 403, origin
    direct = {"Origin": browser.server.url, "Sec-Fetch-Site": "same-origin"}
    referer = browser.server.url + browser.page
    assert browser.ask("POST", path, Referer=referer, **direct).status == 200
    policy = browser.ask("GET", browser.page).headers["content-security-policy"]
    assert f"wss://spark.example.com{browser.base} " in policy


def test_each_session_has_a_host_of_its_own_and_no_other(divided: Place) -> None:
    browser, upstream = divided
    host = f"{browser.session_id}.notebooks.example.com"
    made = browser.server.client().create_presigned_notebook_url(SessionId=browser.session_id)
    assert made["NotebookUrl"].startswith(f"https://{host}{browser.page}?token=")
    entered(browser)

    assert browser.ask("GET", browser.page, Host=host).status == 200
    other = "00000000-0000-4000-8000-000000000000.notebooks.example.com"
    for wrong in (other, "notebooks.example.com", browser.host, f"{host}:8443", f"x.{host}"):
        upstream.asked.clear()
        assert browser.ask("GET", browser.page, Host=wrong).status == 403
        assert upstream.asked == []
    own = {
        "Host": host,
        "Sec-Fetch-Site": "same-origin",
        "Referer": f"https://{host}{browser.page}",
    }
    api = browser.base + "api/sessions"
    assert browser.ask("POST", api, Origin=f"https://{host}", **own).status == 200
    assert browser.ask("POST", api, Origin=f"http://{host}", **own).status == 403
    assert browser.ask("POST", api, Origin=f"https://{other}", **own).status == 403


def test_a_proxy_says_whether_the_browsers_way_is_encrypted(tmp_path: Path) -> None:
    with notebook(tmp_path, behind_proxy=True) as (browser, _):
        plain = browser.ask("GET", browser.link())
        sealed = browser.ask("GET", browser.link(), X_Forwarded_Proto="https")

    assert "Secure" not in plain.headers["set-cookie"]
    assert sealed.headers["set-cookie"].endswith("; Secure")


def test_without_a_proxy_nobody_says_so(tmp_path: Path) -> None:
    with notebook(tmp_path) as (browser, _):
        answer = browser.ask("GET", browser.link(), X_Forwarded_Proto="https")

    assert "Secure" not in answer.headers["set-cookie"]
