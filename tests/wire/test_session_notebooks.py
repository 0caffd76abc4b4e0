"""StartSession with a notebook: which one it opens, and what is refused at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.databases import ENGINES
from tests.keys import allow, deny, work_group
from tests.serving import Server, serving, until
from tests.wire.conftest import state

from sparkowl.domain import notebook as domain

BUCKET = "sparkowl-results"
PLACE = "EngineConfiguration.AdditionalConfigs"
FILE = f"{PLACE}.NotebookFileURI"
VERSION = "Athena notebook version 1"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """On each engine."""
    return str(request.param)


@pytest.fixture
def start(athena: Any) -> Iterator[Callable[..., str]]:
    """Starts sessions, and ends them after the test."""
    made: list[str] = []

    def begin(**request: Any) -> str:
        session_id = str(athena.start_session(**asks(**request))["SessionId"])
        made.append(session_id)
        return session_id

    yield begin
    for session_id in made:
        ended(athena, session_id)


@pytest.fixture
def put(server: Server) -> Callable[..., str]:
    """Makes an object of the bucket, and answers its URI."""

    def write(key: str, content: str | bytes = domain.empty()) -> str:
        server.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    return write


def asks(
    version: str | None = VERSION, work_group: str = "spark", token: str = "", **configs: str
) -> dict[str, Any]:
    request: dict[str, Any] = {
        "WorkGroup": work_group,
        "EngineConfiguration": {"AdditionalConfigs": configs},
    }
    if version is not None:
        request["NotebookVersion"] = version
    return request | ({"ClientRequestToken": token} if token else {})


def ended(athena: Any, session_id: str) -> None:
    athena.terminate_session(SessionId=session_id)
    until(lambda: state(athena, session_id) in {"TERMINATED", "FAILED"})


def idle(athena: Any, session_id: str) -> None:
    until(lambda: state(athena, session_id) == "IDLE")


def create(athena: Any, name: str, group: str = "spark") -> str:
    return str(athena.create_notebook(WorkGroup=group, Name=name)["NotebookId"])


def configs_of(athena: Any, session_id: str) -> dict[str, str]:
    found = athena.get_session(SessionId=session_id)["EngineConfiguration"]["AdditionalConfigs"]
    return dict(found)


def ids(athena: Any) -> set[str]:
    return {each["SessionId"] for each in athena.list_sessions(WorkGroup="spark")["Sessions"]}


def refused(athena: Any, code: str = "InvalidRequestException", **request: Any) -> str:
    before = ids(athena)
    with pytest.raises(ClientError) as raised:
        athena.start_session(**asks(**request))
    assert raised.value.response["Error"]["Code"] == code
    assert ids(athena) <= before
    return str(raised.value.response["Error"]["Message"])


def named(athena: Any, name: str) -> list[str]:
    """The names of notebooks that begin so."""
    found = athena.list_notebook_metadata(WorkGroup="spark", Filters={"Name": name})
    return sorted(each["Name"] for each in found["NotebookMetadataList"])


# --- a notebook of the workgroup ---------------------------------------------------------------


@pytest.mark.parametrize("version", domain.NOTEBOOK_VERSIONS)
def test_a_version_alone_is_a_session_with_a_notebook_to_be(
    athena: Any, start: Any, version: str
) -> None:
    session_id = start(version=version)

    idle(athena, session_id)
    found = athena.get_session(SessionId=session_id)
    assert found["NotebookVersion"] == version
    assert "NotebookId" not in found["EngineConfiguration"]["AdditionalConfigs"]


def test_a_session_opens_a_notebook_of_its_workgroup(
    server: Server, athena: Any, start: Any
) -> None:
    notebook_id = create(athena, "opened")

    session_id = start(NotebookId=notebook_id, other="kept")

    idle(athena, session_id)
    assert configs_of(athena, session_id) == {"NotebookId": notebook_id, "other": "kept"}
    listed = athena.list_notebook_sessions(NotebookId=notebook_id)["NotebookSessionsList"]
    assert [each["SessionId"] for each in listed] == [session_id]


def test_a_notebook_has_one_session_at_a_time(athena: Any, start: Any) -> None:
    notebook_id = create(athena, "one at a time")
    first = start(NotebookId=notebook_id)

    why = refused(athena, "SessionAlreadyExistsException", NotebookId=notebook_id)

    assert why.startswith(
        f"The specified session already exists: notebook {notebook_id} has session {first}, "
    )
    ended(athena, first)
    idle(athena, start(NotebookId=notebook_id))


def test_of_starts_that_race_for_a_notebook_one_has_it(server: Server, athena: Any) -> None:
    notebook_id = create(athena, "raced for")

    def attempt(_: int) -> str:
        try:
            answer = server.client().start_session(**asks(NotebookId=notebook_id))
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return str(answer["SessionId"])

    with ThreadPoolExecutor(6) as pool:
        answers = sorted(pool.map(attempt, range(6)))

    assert answers.count("SessionAlreadyExistsException") == 5
    (session_id,) = [each for each in answers if each != "SessionAlreadyExistsException"]
    ended(athena, session_id)


def test_a_repeated_request_finds_its_session(athena: Any, start: Any) -> None:
    notebook_id = create(athena, "repeated")
    token = "t" * 36

    first = start(NotebookId=notebook_id, token=token)

    assert start(NotebookId=notebook_id, token=token) == first


def test_a_notebook_that_is_not_there_and_one_elsewhere_are_told_apart_by_nobody(
    athena: Any,
) -> None:
    configuration = {"EngineVersion": {"SelectedEngineVersion": "Apache Spark version 4.1"}}
    role = {"ExecutionRole": "arn:aws:iam::000000000000:role/Spark"}
    athena.create_work_group(Name="elsewhere", Configuration=configuration | role)
    notebook_id = create(athena, "hers", "elsewhere")

    for asked in (notebook_id, UNKNOWN, "x", ""):
        assert refused(athena, NotebookId=asked) == (
            f"{PLACE}.NotebookId: notebook {asked} is not found in workgroup spark."
        )
    athena.delete_work_group(WorkGroup="elsewhere", RecursiveDeleteOption=True)


def test_a_notebook_and_a_file_are_refused(athena: Any, put: Any) -> None:
    assert "a session opens one notebook" in refused(
        athena, NotebookId=create(athena, "both"), NotebookFileURI=put("both.ipynb")
    )


@pytest.mark.parametrize("config", ["NotebookId", "NotebookFileURI"])
def test_a_workgroup_is_refused_a_notebook_for_its_sessions(athena: Any, config: str) -> None:
    updates = {"EngineConfiguration": {"AdditionalConfigs": {config: "x"}}}

    with pytest.raises(ClientError, match=f"{config} belongs to a session, not to a workgroup"):
        athena.update_work_group(WorkGroup="spark", ConfigurationUpdates=updates)


# --- a file in a bucket ------------------------------------------------------------------------


def test_an_object_becomes_the_notebook(athena: Any, start: Any, put: Any) -> None:
    text = json.dumps(json.loads(domain.empty()) | {"cells": []}, indent=1)
    uri = put("plans/första planen.ipynb", text.encode())

    session_id = start(NotebookFileURI=uri)

    found = configs_of(athena, session_id)
    assert found["NotebookFileURI"] == uri
    exported = athena.export_notebook(NotebookId=found["NotebookId"])
    assert exported["Payload"] == text
    assert exported["NotebookMetadata"]["Name"] == "första planen"
    assert exported["NotebookMetadata"]["WorkGroup"] == "spark"
    idle(athena, session_id)


def test_each_session_has_a_notebook_of_its_own(athena: Any, start: Any, put: Any) -> None:
    uri = put("many.ipynb")

    made = {configs_of(athena, start(NotebookFileURI=uri))["NotebookId"] for _ in range(3)}

    assert len(made) == 3
    assert named(athena, "many") == ["many", "many (2)", "many (3)"]


def test_a_repeated_request_makes_one_notebook_also_when_the_file_is_gone(
    server: Server, athena: Any, start: Any, put: Any
) -> None:
    uri, token = put("once.ipynb"), "o" * 36
    first = start(NotebookFileURI=uri, token=token)
    server.client("s3").delete_object(Bucket=BUCKET, Key="once.ipynb")

    assert start(NotebookFileURI=uri, token=token) == first
    assert named(athena, "once") == ["once"]


@pytest.mark.parametrize(
    ("key", "content", "rule"),
    [
        ("gone.ipynb", None, "cannot be read: The specified key does not exist"),
        ("words.ipynb", b"words", "is not a notebook: it is not JSON."),
        ("bytes.ipynb", b"\xff\xfe", "is not a notebook: it is not UTF-8."),
        ("old.ipynb", b'{"nbformat": 3}', "is not a valid notebook: its nbformat is not 4."),
        ("large.ipynb", b" " * (domain.LARGEST + 1), "has at most 10485760 bytes; got 10485761."),
    ],
)
def test_an_object_that_is_no_notebook_is_refused(
    athena: Any, put: Any, key: str, content: bytes | None, rule: str
) -> None:
    if content is not None:
        put(key, content)

    why = refused(athena, NotebookFileURI=f"s3://{BUCKET}/{key}")

    assert why.startswith(f"{FILE} s3://{BUCKET}/{key}")
    assert rule in why
    assert named(athena, key.removesuffix(".ipynb")) == []


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("", "must be of the form s3://bucket/key.ipynb or https://host/path.ipynb."),
        ("http://a.example/b.ipynb", "must be of the form"),
        ("s3://b", "must be of the form"),
        ("s3://no-such-bucket/b.ipynb", "cannot be read: The specified bucket does not exist"),
        ("s3://../b.ipynb", "cannot be read: The specified bucket does not exist"),
        (f"s3://{BUCKET}/b.txt", "its path ends in .ipynb."),
        (f"s3://{BUCKET}/{'x' * 1100}.ipynb", "Your key is too long"),
        ("https://a.example/b.txt", "its path ends in .ipynb."),
        ("https://user:pw@a.example/b.ipynb", "must not hold a user's name or password."),
        ("https:///b.ipynb", "has no valid host."),
        ("https://127.0.0.1/b.ipynb", "names 127.0.0.1, which is not a public address."),
        ("https://[::1]:8765/b.ipynb", "names ::1, which is not a public address."),
        ("https://169.254.169.254/b.ipynb", "which is not a public address."),
        ("https://localhost/b.ipynb", "names localhost, which is not a public address."),
        ("https://a.example/" + "b" * 2048 + ".ipynb", "at most 2048 are allowed."),
    ],
)
def test_a_uri_that_can_be_no_notebooks_is_refused_at_once(
    athena: Any, uri: str, rule: str
) -> None:
    why = refused(athena, NotebookFileURI=uri)

    assert why.startswith(FILE)
    assert rule in why


# --- a file on the web -------------------------------------------------------------------------


def test_a_file_that_leads_inside_fails_the_session(athena: Any, start: Any) -> None:
    """The whole way; a name that only a resolver knows for 127.0.0.1."""
    session_id = start(NotebookFileURI=f"https://0x7f000001/a.ipynb?sig={'s' * 40}")

    until(lambda: state(athena, session_id) == "FAILED")
    why = athena.get_session_status(SessionId=session_id)["Status"]["StateChangeReason"]
    assert why.startswith(
        "Session failed to start [USER] NotebookFileURI: 0x7f000001 is not on the public internet"
    )
    assert "sss" not in why


def test_an_operator_may_forbid_the_web(tmp_path: Path) -> None:
    with serving(tmp_path, notebooks={"downloads": False}) as server:
        why = refused(server.client(), NotebookFileURI="https://a.example/b.ipynb")

        assert why == f"{FILE}: this server takes s3:// files only (setting notebooks.downloads)."


def test_the_query_of_a_uri_is_not_in_the_audit_log(
    server: Server, athena: Any, start: Any
) -> None:
    start(NotebookFileURI="https://0x7f000001/a.ipynb?sig=in-the-query")

    calls = [call for call in server.audited() if "0x7f000001/a.ipynb" in json.dumps(call)]
    assert calls
    assert all("in-the-query" not in json.dumps(call) for call in calls)


# --- what the caller may -----------------------------------------------------------------------


def test_a_file_is_read_with_the_callers_rights(server: Server, athena: Any, put: Any) -> None:
    mine, hers = put("mine/a.ipynb"), put("hers/a.ipynb")
    key = server.principal(
        "reader",
        allow("athena:*", [work_group("spark")]),
        allow("s3:GetObject", [f"arn:aws:s3:::{BUCKET}/mine/*"]),
    )
    reader = server.client_of(key)

    for uri in (hers, f"s3://{BUCKET}/hers/gone.ipynb", "s3://other/a.ipynb"):
        assert refused(reader, "AccessDeniedException", NotebookFileURI=uri) == (
            "You are not authorized to perform: s3:GetObject on the resource."
        )
    session_id = reader.start_session(**asks(NotebookFileURI=mine))["SessionId"]
    notebook_id = configs_of(reader, session_id)["NotebookId"]
    assert reader.export_notebook(NotebookId=notebook_id)["NotebookMetadata"]["Name"] == "a"
    ended(athena, session_id)


def test_who_may_not_start_sessions_learns_nothing_of_files(server: Server) -> None:
    key = server.principal("nobody", allow("*"), deny("athena:StartSession"))
    client = server.client_of(key)

    for uri in ("s3://x/a.ipynb", "nonsense"):
        with pytest.raises(ClientError, match="athena:StartSession on the resource"):
            client.start_session(**asks(NotebookFileURI=uri))
