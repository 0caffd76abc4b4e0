"""CreatePresignedNotebookUrl over the wire."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from tests.keys import allow, work_group
from tests.serving import Server

Idle = Callable[..., str]
VERSION = "Athena notebook version 1"
LINK = "athena:CreatePresignedNotebookUrl"
_numbers = itertools.count()


@pytest.fixture
def session(idle_session: Idle) -> str:
    return idle_session(NotebookVersion=VERSION)


def test_a_link_has_the_token_and_the_name_of_the_file(
    athena: Any, server: Server, session: str
) -> None:
    made = athena.create_presigned_notebook_url(SessionId=session)

    url = urlsplit(made["NotebookUrl"])
    assert f"{url.scheme}://{url.netloc}" == server.url
    assert url.path == f"/notebooks/{session}/notebooks/notebook-{session}.ipynb"
    assert parse_qs(url.query) == {"token": [made["AuthToken"]]}
    assert len(made["AuthToken"]) <= 2048


def test_it_ends_ten_minutes_later_in_milliseconds(athena: Any, session: str) -> None:
    made = athena.create_presigned_notebook_url(SessionId=session)

    left = made["AuthTokenExpirationTime"] / 1000 - datetime.now(UTC).timestamp()
    assert 580 < left <= 600


def test_a_session_without_a_page_has_no_link(athena: Any, idle_session: Idle) -> None:
    refused(athena, idle_session(), "NotebookVersion")


def test_a_session_that_starts_has_one_and_one_that_ended_has_not(
    athena: Any, server: Server, starting: None
) -> None:
    session_id = athena.start_session(
        WorkGroup="spark", EngineConfiguration={}, NotebookVersion=VERSION
    )["SessionId"]
    assert athena.create_presigned_notebook_url(SessionId=session_id)["AuthToken"]

    athena.terminate_session(SessionId=session_id)

    refused(athena, session_id, "its notebook is closed")


def test_an_unknown_session_has_none(athena: Any) -> None:
    refused(athena, str(uuid4()), "is not found")


def test_who_may_not_ask_for_links_gets_none(server: Server, session: str) -> None:
    def client(*allowed: Any) -> Any:
        return server.client_of(server.principal(f"link{next(_numbers)}", *allowed))

    assert client(allow(LINK, work_group("spark"))).create_presigned_notebook_url(
        SessionId=session
    )["AuthToken"]
    for other in (allow("athena:GetSession"), allow(LINK, work_group("other"))):
        with pytest.raises(ClientError) as error:
            client(other).create_presigned_notebook_url(SessionId=session)
        assert error.value.response["Error"]["Code"] == "AccessDeniedException"


def test_the_token_is_not_in_the_audit_log(athena: Any, server: Server, session: str) -> None:
    made = athena.create_presigned_notebook_url(SessionId=session)

    line = server.audited()[-1]
    assert (line["operation"], line["status"]) == ("CreatePresignedNotebookUrl", 200)
    assert line["parameters"] == {"SessionId": session}
    assert made["AuthToken"] not in str(line)


@pytest.fixture
def starting(server: Server) -> Iterator[None]:
    server.launcher.knobs.never_ready = True
    yield
    server.launcher.knobs.never_ready = False


def refused(athena: Any, session_id: str, text: str) -> None:
    with pytest.raises(ClientError) as error:
        athena.create_presigned_notebook_url(SessionId=session_id)
    said = error.value.response["Error"]
    assert said["Code"] == "InvalidRequestException"
    assert text in said["Message"]
