"""A server with one session that has a notebook, and what a browser would send to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.http.upstream import Upstream, listening, long_folder
from tests.serving import Server, serving, until
from websockets.sync.client import ClientConnection, connect

from sparkowl.domain.visits import Purpose, new_pass, seal

VERSION = "Athena notebook version 1"
COOKIE = "sparkowl-visit"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Browser:
    """Sends what a page of the session would, unless told otherwise."""

    server: Server
    session_id: str
    cookie: str | None = None
    base: str = field(init=False)
    host: str = field(init=False)

    def __post_init__(self) -> None:
        self.base = f"/notebooks/{self.session_id}/"
        self.host = urlsplit(self.server.url).netloc

    @property
    def page(self) -> str:
        return f"{self.base}notebooks/notebook-{self.session_id}.ipynb"

    def own(self) -> dict[str, str]:
        """What a page of ours sends with its requests."""
        return {
            "Origin": self.server.url,
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "cors",
            "Referer": self.server.url + self.page,
        }

    def ask(
        self, method: str, path: str, body: bytes | None = None, /, **headers: str | None
    ) -> Answer:
        """``path`` is sent as it is, without a look at what is in it."""
        connection = HTTPConnection(self.host, timeout=30)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers)
            sent: dict[str, str | None] = {}
            if self.cookie is not None:
                sent["Cookie"] = f"theme=dark; {COOKIE}={self.cookie}"
            if body is not None:
                sent["Content-Length"] = str(len(body))
            for name, value in (sent | headers).items():
                if value is not None:
                    connection.putheader(name.replace("_", "-"), value)
            connection.endheaders(body)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()

    def get(self, below: str, /, **headers: str | None) -> Answer:
        return self.ask("GET", self.base + below, **headers)

    def socket(self, below: str = "api/kernels/k/channels", **changes: Any) -> ClientConnection:
        headers = {"Origin": self.server.url} | changes.pop("headers", {})
        if self.cookie is not None:
            headers["Cookie"] = f"{COOKIE}={self.cookie}"
        made: ClientConnection = connect(
            f"ws://{self.host}{self.base}{below}",
            additional_headers={k: v for k, v in headers.items() if v is not None},
            open_timeout=30,
            proxy=None,
            **changes,
        )
        return made

    def link(self) -> str:
        """A new link: path and query of its URL."""
        made = self.server.client().create_presigned_notebook_url(SessionId=self.session_id)
        url = urlsplit(made["NotebookUrl"])
        return f"{url.path}?{url.query}"

    def enter(self) -> Browser:
        """Open a link, and keep the cookie."""
        answer = self.ask("GET", self.link())
        assert answer.status == 303, answer
        self.cookie = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
        return self

    def forged(
        self,
        purpose: Purpose = Purpose.VISIT,
        *,
        session_id: str | None = None,
        principal: str = "root",
        lasts: float = 60,
    ) -> str:
        """A token that the server's own key signed, with anything in it."""
        given = new_pass(
            session_id or self.session_id,
            principal,
            datetime.now(UTC) + timedelta(seconds=lasts),
        )
        return seal(self.server.running.credentials.key_for("notebooks"), purpose, given)


def start(server: Server, athena: Any = None, **request: Any) -> str:
    """A session with a notebook that is IDLE."""
    athena = athena or server.client()
    made = athena.start_session(
        **({"WorkGroup": "spark", "EngineConfiguration": {}, "NotebookVersion": VERSION} | request)
    )
    session_id = str(made["SessionId"])

    def state() -> bool:
        status = athena.get_session_status(SessionId=session_id)["Status"]
        return bool(status["State"] == "IDLE")

    until(state)
    return session_id


@contextmanager
def notebook(folder: Path, **settings: Any) -> Iterator[tuple[Browser, Upstream]]:
    """A server with a session, a Jupyter server for all, and a browser that has not come in."""
    with (
        listening(long_folder(folder)) as upstream,
        serving(folder / "server", **settings) as server,
    ):
        server.launcher.knobs.jupyter = upstream.folder
        yield Browser(server, start(server)), upstream
