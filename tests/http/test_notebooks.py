"""The notebooks' door: who comes in, to what, and what goes through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from threading import Timer
from urllib.parse import urlsplit

import pytest
from tests.http.browser import COOKIE, VERSION, Browser, notebook, start
from tests.http.upstream import Upstream
from tests.keys import allow
from tests.serving import Server, until

from sparkowl.domain.visits import Purpose

Place = tuple[Browser, Upstream]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    limits = {"sessions": 500, "account_dpus": 500}
    with notebook(tmp_path_factory.mktemp("door"), limits=limits) as made:
        yield made


@pytest.fixture
def upstream(place: Place) -> Iterator[Upstream]:
    jupyter = place[1]
    jupyter.asked.clear()
    yield jupyter
    jupyter.answers.clear()
    jupyter.status = 200


@pytest.fixture
def stranger(place: Place, upstream: Upstream) -> Browser:
    """A browser without a cookie."""
    return Browser(place[0].server, place[0].session_id)


@pytest.fixture
def browser(stranger: Browser) -> Browser:
    return stranger.enter()


# --- links ---------------------------------------------------------------------------------------


def test_a_link_becomes_a_cookie_and_the_address_loses_its_token(stranger: Browser) -> None:
    answer = stranger.ask("GET", stranger.link())

    assert answer.status == 303
    assert answer.headers["location"] == stranger.page
    assert answer.headers["referrer-policy"] == "no-referrer"
    flags = answer.headers["set-cookie"].split("; ")[1:]
    assert flags == [f"Path={stranger.base}", "Max-Age=43200", "HttpOnly", "SameSite=Lax"]


def test_the_cookie_opens_the_page(browser: Browser, upstream: Upstream) -> None:
    answer = browser.ask("GET", browser.page)

    assert (answer.status, answer.body) == (200, upstream.body)
    assert upstream.paths == [browser.page]


@pytest.mark.parametrize("token", ["expired", "forged", "of another session", "a visit's", "", "é"])
def test_another_token_opens_nothing(stranger: Browser, upstream: Upstream, token: str) -> None:
    tokens = {
        "expired": stranger.forged(Purpose.LINK, lasts=0),
        "forged": stranger.forged(Purpose.LINK)[:-2] + "AA",
        "of another session": stranger.forged(Purpose.LINK, session_id="0" * 36),
        "a visit's": stranger.forged(Purpose.VISIT),
        "é": "%C3%A9",
    }
    answer = stranger.ask("GET", f"{stranger.page}?token={tokens.get(token, token)}")

    assert answer.status == 403
    assert "set-cookie" not in answer.headers
    assert b"create-presigned-notebook-url" in answer.body
    assert upstream.asked == []


def test_a_link_never_leads_elsewhere(stranger: Browser) -> None:
    token = stranger.forged(Purpose.LINK)
    base = stranger.base

    for path in ("/%2Fevil.example/notebooks/x", f"{base}/evil.example", f"{base}notebooks/..",
                 f"{base}notebooks/%2e%2e", f"{base}notebooks/a%2fb", f"{base}notebooks/a%5Cb",
                 f"{base}notebooks/x%0d%0aset-cookie:a=b"):  # fmt: skip
        answer = stranger.ask("GET", f"{path}?token={token}")
        assert answer.status in {403, 404}, path
        assert "location" not in answer.headers
    odd = stranger.ask("GET", f"{base}notebooks/%E4%BD%A0%20%22%27%3C.ipynb?token={token}&next=//e")
    assert odd.headers["location"] == f"{base}notebooks/%E4%BD%A0%20%22%27%3C.ipynb"


def test_an_opened_link_is_in_the_audit_log_without_its_token(stranger: Browser) -> None:
    path = stranger.link()
    stranger.ask("GET", path)
    stranger.ask("GET", f"{stranger.page}?token=nonsense")

    lines = [line for line in stranger.server.audited() if line["service"] == "notebook"]
    opened, refused = lines[-2:]
    assert (opened["principal"], opened["operation"], opened["status"]) == (
        "root", "OpenNotebook", 303,
    )  # fmt: skip
    assert opened["resource"].endswith(f"workgroup/spark/session/{stranger.session_id}")
    assert (refused["error"], refused["status"]) == ("LinkRefused", 403)
    assert "principal" not in refused
    assert path.partition("token=")[2] not in json.dumps(lines)


# --- cookies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cookie", ["none", "expired", "other", "link", "forged"])
def test_without_a_valid_cookie_nothing_is_asked(
    stranger: Browser, upstream: Upstream, cookie: str
) -> None:
    stranger.cookie = {
        "none": None,
        "expired": stranger.forged(lasts=0),
        "other": stranger.forged(session_id="0" * 36),
        "link": stranger.forged(Purpose.LINK),
        "forged": "A" * 200,
    }[cookie]

    page = stranger.ask("GET", stranger.page)
    assert (page.status, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert b"create-presigned-notebook-url" in page.body
    for method, below in (("GET", "api/sessions"), ("PUT", "api/contents/x.ipynb"),
                          ("POST", "_sparkowl/extend"), ("GET", "_sparkowl/session"),
                          ("GET", "static/notebook/main.js")):  # fmt: skip
        assert stranger.ask(method, stranger.base + below).status == 403, below
    assert upstream.asked == []


def test_a_cookie_of_a_neighbour_does_not_hide_ours(browser: Browser) -> None:
    cookies = f"sparkowl-visit=tossed; x; sparkowl-visit={browser.cookie}"

    assert browser.ask("GET", browser.page, Cookie=cookies).status == 200


def test_a_session_without_notebook_is_closed(browser: Browser) -> None:
    plain = str(
        browser.server.client().start_session(WorkGroup="spark", EngineConfiguration={})[
            "SessionId"
        ]
    )
    other = Browser(browser.server, plain)
    other.cookie = other.forged()

    assert other.ask("GET", other.page).status == 403


# --- principals ----------------------------------------------------------------------------------


def _of_somebody(server: Server, name: str) -> tuple[Browser, str]:
    key = server.principal(name, allow("athena:*"))
    theirs = server.client_of(key)
    session_id = start(server, theirs)
    url = urlsplit(theirs.create_presigned_notebook_url(SessionId=session_id)["NotebookUrl"])
    browser = Browser(server, session_id)
    answer = browser.ask("GET", f"{url.path}?{url.query}")
    browser.cookie = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
    return browser, key.id


def test_who_has_no_key_any_more_has_no_visit_either(stranger: Browser) -> None:
    browser, _ = _of_somebody(stranger.server, "anna")
    assert browser.ask("GET", browser.page).status == 200

    browser.cookie = browser.forged(principal="nobody-of-that-name")
    assert browser.ask("GET", browser.page).status == 403


# --- origins -------------------------------------------------------------------------------------


def test_a_page_of_ours_may_do_everything(browser: Browser, upstream: Upstream) -> None:
    for method, below in (("GET", "api/contents/x.ipynb"), ("PUT", "api/contents/x.ipynb"),
                          ("POST", "api/sessions"), ("DELETE", "api/sessions/1"),
                          ("PATCH", "api/sessions/1"), ("GET", "static/main.js")):  # fmt: skip
        assert browser.ask(method, browser.base + below, **browser.own()).status == 200, below
    assert len(upstream.asked) == 6


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "https://{host}"},
        {"Origin": "http://{host}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Referer": None},
        {"Referer": "http://{host}/notebooks/00000000-0000-0000-0000-000000000000/notebooks/x"},
    ],
)
def test_a_page_of_others_may_do_nothing(
    browser: Browser, upstream: Upstream, foreign: dict[str, str | None]
) -> None:
    changed = {k: None if v is None else v.format(host=browser.host) for k, v in foreign.items()}

    for method, below in (("GET", "api/contents/x.ipynb"), ("POST", "api/sessions"),
                          ("POST", "_sparkowl/extend"), ("GET", "sparkowl/progress")):  # fmt: skip
        answer = browser.ask(method, browser.base + below, **(browser.own() | changed))
        assert answer.status == 403, (method, below)
    assert upstream.asked == []


@pytest.mark.parametrize("site", ["none", "cross-site", "same-site", "same-origin"])
def test_a_page_is_reached_by_a_link_from_anywhere(browser: Browser, site: str) -> None:
    to_top = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    assert browser.ask("GET", browser.page, **to_top).status == 200
    framed = to_top | {"Sec-Fetch-Dest": "iframe"}
    assert browser.ask("GET", browser.page, **framed).status == 403
    fetched = to_top | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"}
    assert browser.ask("GET", browser.page, **fetched).status == 403


def test_nobody_is_told_that_another_origin_may_read(browser: Browser, upstream: Upstream) -> None:
    upstream.answers["Access-Control-Allow-Origin"] = "*"

    assert "access-control-allow-origin" not in browser.get("api/me").headers


@pytest.mark.parametrize("host", ["", "evil.example/x", "a b", "a;b", "x'y"])
def test_a_host_that_is_none_is_refused(browser: Browser, host: str) -> None:
    assert browser.ask("GET", browser.page, Host=host).status in {400, 403}


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "below",
    [
        "", "tree", "tree/", "edit/x", "files/x.ipynb", "nbconvert/html/x.ipynb", "login", "logout",
        "api", "api/shutdown", "api/terminals", "api/kernels/k/channels", "api/spec.yaml", "lab",
        "lab/api/licenses", "terminals/1", "view/x", "metrics", "static", "static/",
        "notebooks/../api/shutdown", "notebooks/..%2f..%2fapi", "static/%2e%2e/api/shutdown",
        "static//x", "/api/me", "//evil.example/", "api/contents/a%00b",
        "api/contents/%ff", "api/contents/a%5c..%5cb", "api/contents/" + "a/" * 50 + "b",
        "api/kernels/k/restart", "_sparkowl/extend", "sparkowl/progress/x", "API/me",
    ],
)  # fmt: skip
def test_other_paths_are_not_there(browser: Browser, upstream: Upstream, below: str) -> None:
    assert browser.get(below).status == 404
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("method", "below"),
    [
        ("DELETE", "api/contents/x.ipynb"), ("POST", "notebooks/x.ipynb"), ("PUT", "static/x.js"),
        ("POST", "api/me"), ("TRACE", "api/me"), ("OPTIONS", "api/contents/x.ipynb"),
        ("GET", "api/kernels/k/interrupt"), ("CONNECT", "api/me"),
    ],
)  # fmt: skip
def test_other_methods_are_not_there(
    browser: Browser, upstream: Upstream, method: str, below: str
) -> None:
    assert browser.ask(method, browser.base + below).status in {400, 404}
    assert upstream.asked == []


def test_what_is_decoded_once_is_encoded_once(browser: Browser, upstream: Upstream) -> None:
    browser.get("api/contents/a%20%252e%25b%3F%23.ipynb?content=1&type=notebook")
    browser.get("lab/api/settings/@jupyterlab/notebook-extension:panel")

    assert upstream.paths == [
        browser.base + "api/contents/a%20%252e%25b%3F%23.ipynb?content=1&type=notebook",
        browser.base + "lab/api/settings/@jupyterlab/notebook-extension:panel",
    ]


def test_a_bucket_may_be_called_notebooks(browser: Browser, upstream: Upstream) -> None:
    s3 = browser.server.client("s3")
    s3.create_bucket(Bucket="notebooks")
    key = f"{browser.session_id}/api/me"

    s3.put_object(Bucket="notebooks", Key=key, Body=b"mine")

    assert s3.get_object(Bucket="notebooks", Key=key)["Body"].read() == b"mine"
    signed = s3.generate_presigned_url("get_object", Params={"Bucket": "notebooks", "Key": key})
    path = signed.removeprefix(browser.server.url)
    assert browser.ask("GET", path, Cookie=None).body == b"mine"
    assert browser.ask("GET", "/notebooks/other/key").headers["content-type"] == "application/xml"
    assert upstream.asked == []


# --- what goes through ---------------------------------------------------------------------------


def test_jupyter_hears_of_our_token_and_of_nothing_that_is_the_browsers(
    browser: Browser, upstream: Upstream
) -> None:
    browser.get(
        "api/me?token=x&a=1&tok%65n=y", Authorization="token stolen", X_Forwarded_For="1.2.3.4",
        X_XSRFToken="x", Accept="application/json", Connection="close, x-odd", X_Odd="1",
    )  # fmt: skip

    _, path, headers, _ = upstream.asked[0]
    assert path == browser.base + "api/me?a=1"
    scheme, token = headers.pop("authorization").split(" ")
    assert (scheme, len(token)) == ("token", 64)
    assert set(headers) <= {"host", "accept", "accept-encoding"}
    assert headers["accept"] == "application/json"


def test_the_browser_hears_of_nothing_that_is_jupyters_own(
    browser: Browser, upstream: Upstream
) -> None:
    upstream.answers |= {"Set-Cookie": "_xsrf=1", "Server": "secret", "X-Odd": "1",
                         "Content-Security-Policy": "default-src *", "ETag": '"1"'}  # fmt: skip
    answer = browser.ask("GET", browser.page)

    assert not {"set-cookie", "server", "x-odd"} & set(answer.headers)
    assert answer.headers["etag"] == '"1"'
    policy = answer.headers["content-security-policy"]
    own = browser.server.url + browser.base
    assert f"connect-src {own} {own.replace('http', 'ws')} " in policy
    assert "frame-ancestors 'none'" in policy
    assert "'self'" not in policy.replace("base-uri", "")[:-99]
    for name, value in {
        "x-content-type-options": "nosniff", "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin", "cache-control": "no-store",
        "referrer-policy": "same-origin",
    }.items():  # fmt: skip
        assert answer.headers[name] == value


def test_files_that_never_change_are_kept_by_the_browser(
    browser: Browser, upstream: Upstream
) -> None:
    assert "immutable" in browser.get("static/notebook/a.js?v=12ab").headers["cache-control"]
    assert browser.get("static/notebook/a.js").headers["cache-control"] == "no-store"
    assert browser.get("api/me?v=12ab").headers["cache-control"] == "no-store"
    upstream.status = 404
    assert browser.get("static/notebook/a.js?v=12ab").headers["cache-control"] == "no-store"


def test_an_answer_of_the_api_is_never_shown_as_a_page(browser: Browser) -> None:
    policy = browser.get("api/contents/x.ipynb").headers["content-security-policy"]

    assert policy == "default-src 'none'; frame-ancestors 'none'; sandbox"


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("/notebooks/x", True), ("http://evil.example/", False), ("//evil.example/", False),
        ("/\\evil.example", False), ("evil", False), ("/a b", False),
    ],
)  # fmt: skip
def test_redirects_are_handed_on_and_never_lead_elsewhere(
    browser: Browser, upstream: Upstream, location: str, kept: bool
) -> None:
    upstream.status, upstream.answers = 302, {"Location": location}

    answer = browser.get("notebooks/x.ipynb")

    assert answer.status == 302
    assert answer.headers.get("location") == (location if kept else None)
    assert len(upstream.asked) == 1


def test_a_notebook_of_10_mib_is_saved(browser: Browser, upstream: Upstream) -> None:
    body = bytes(15 << 20)

    assert browser.ask("PUT", browser.base + "api/contents/x.ipynb", body).status == 200
    assert upstream.asked[0][3] == len(body)


def test_a_larger_body_is_refused(browser: Browser, upstream: Upstream) -> None:
    answer = browser.ask(
        "PUT", browser.base + "api/contents/x.ipynb", Content_Length=str((16 << 20) + 1)
    )

    assert answer.status == 413
    assert upstream.asked == []


def test_a_body_that_does_not_say_its_size_is_bounded_too(
    browser: Browser, upstream: Upstream
) -> None:
    def blocks() -> Iterator[bytes]:
        for _ in range(16):
            yield bytes(1 << 20)
        yield b"."

    connection = HTTPConnection(browser.host, timeout=30)
    cookie = {"Cookie": f"{COOKIE}={browser.cookie}"}
    path = browser.base + "api/contents/x.ipynb"
    connection.request("PUT", path, blocks(), cookie, encode_chunked=True)

    assert connection.getresponse().status == 413
    connection.close()
    assert upstream.asked == []


def test_a_large_answer_comes_whole(browser: Browser) -> None:
    assert len(browser.get("static/large.js").body) == 32 << 20


def test_not_modified_has_no_body(browser: Browser, upstream: Upstream) -> None:
    upstream.status = 304

    answer = browser.get("static/a.js", If_None_Match='"1"')

    assert (answer.status, answer.body) == (304, b"")
    assert upstream.asked[0][2]["if-none-match"] == '"1"'


# --- sessions ------------------------------------------------------------------------------------


def test_a_session_that_ended_says_so(place: Place, upstream: Upstream) -> None:
    server = place[0].server
    browser = Browser(server, start(server)).enter()
    link = browser.link()
    server.client().terminate_session(SessionId=browser.session_id)

    page = browser.ask("GET", browser.page)
    assert page.status == 410
    assert b"The session has ended" in page.body
    assert b"TERMINAT" in page.body
    assert browser.get("api/sessions").status == 410
    told = browser.get("_sparkowl/session")
    assert told.status == 410
    # For the page that is open, which says why.
    ended = server.client().get_session_status(SessionId=browser.session_id)["Status"]
    assert told.json["state"].startswith("TERMINAT")
    assert told.json["reason"] == ended["StateChangeReason"]
    assert browser.ask("GET", link).status == 410
    assert Browser(server, browser.session_id).ask("GET", browser.page).status == 403
    assert upstream.asked == []


def test_the_door_says_how_the_session_is(browser: Browser) -> None:
    told = browser.get("_sparkowl/session", **(browser.own() | {"Origin": None})).json

    assert told["state"] == "IDLE"
    assert told["name"] == f"notebook-{browser.session_id}"
    assert set(told) == {"state", "reason", "stops_in_s", "warn_s", "name"}
    assert browser.ask("POST", browser.base + "_sparkowl/extend", **browser.own()).json == told | {
        "stops_in_s": pytest.approx(told["stops_in_s"], abs=30)
    }


def test_a_page_waits_for_jupyter_to_listen(place: Place, upstream: Upstream) -> None:
    browser = Browser(place[0].server, place[0].session_id).enter()
    knobs = browser.server.launcher.knobs
    knobs.jupyter = None
    loop = browser.server.loop
    loop.call_soon_threadsafe(
        loop.call_later, 0.5, lambda: setattr(knobs, "jupyter", upstream.folder)
    )

    assert browser.ask("GET", browser.page).status == 200
    until(lambda: knobs.jupyter is not None)


def test_a_page_that_waits_hears_that_the_session_ended(place: Place, upstream: Upstream) -> None:
    server = place[0].server
    browser = Browser(server, start(server)).enter()
    knobs = server.launcher.knobs
    knobs.jupyter = upstream.folder.parent
    athena = server.client()
    ends = Timer(0.5, lambda: athena.terminate_session(SessionId=browser.session_id))
    ends.start()
    try:
        assert browser.ask("GET", browser.page).status == 410
    finally:
        knobs.jupyter = upstream.folder


@pytest.mark.parametrize("instead", ["a link", "a file"])
def test_what_is_no_socket_is_never_opened(
    place: Place, upstream: Upstream, tmp_path: Path, instead: str
) -> None:
    """User code may have had its hands in the folder: a link could lead to any socket."""
    browser = Browser(place[0].server, place[0].session_id).enter()
    knobs = browser.server.launcher.knobs
    if instead == "a link":
        (tmp_path / "s").symlink_to(upstream.folder / "s")
    else:
        (tmp_path / "s").write_text("")
    knobs.jupyter = tmp_path
    try:
        answer = browser.ask("GET", browser.page)
    finally:
        knobs.jupyter = upstream.folder

    assert answer.status == 502
    assert upstream.asked == []


def test_an_answer_that_breaks_off_ends_the_connection(browser: Browser) -> None:
    with pytest.raises(IncompleteRead):
        browser.get("static/cut.js")
    assert browser.get("static/a.js").status == 200


def test_a_reason_is_shown_as_text(place: Place) -> None:
    server = place[0].server
    server.launcher.knobs.fails_to_start = "<script>alert(1)</script>"
    try:
        made = server.client().start_session(
            WorkGroup="spark", EngineConfiguration={}, NotebookVersion=VERSION
        )
    finally:
        browser = Browser(server, str(made["SessionId"]))
        browser.cookie = browser.forged()
        until(lambda: browser.ask("GET", browser.page).status == 410)
        server.launcher.knobs.fails_to_start = None

    page = browser.ask("GET", browser.page).body
    assert b"&lt;script&gt;" in page
    assert b"<script" not in page
