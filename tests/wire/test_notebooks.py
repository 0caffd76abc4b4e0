"""The life of a notebook through the API: made, saved, found, renamed, deleted, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ClientError
from tests.databases import ENGINES
from tests.serving import Server, until

from sparkowl.domain import notebook as domain
from sparkowl.domain.ids import NotebookId
from sparkowl.store import notebooks, sessions

Idle = Callable[..., str]
Make = Callable[..., str]
GROUP = "books"
VERSION = "Athena notebook version 1"
ROLE = "arn:aws:iam::000000000000:role/Spark"
NOWHERE = "00000000-0000-4000-8000-000000000000"
BUCKET = "sparkowl-results"


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """On each engine."""
    return str(request.param)


def engine(name: str) -> dict[str, Any]:
    return {"EngineVersion": {"SelectedEngineVersion": name}, "ExecutionRole": ROLE}


@pytest.fixture
def group(athena: Any) -> Iterator[str]:
    """A workgroup for the notebooks of one test."""
    athena.create_work_group(Name=GROUP, Configuration=engine("Apache Spark version 4.1"))
    yield GROUP
    athena.delete_work_group(WorkGroup=GROUP, RecursiveDeleteOption=True)


@pytest.fixture
def make(athena: Any, group: str) -> Make:
    def create(name: str = "a notebook", **request: Any) -> str:
        return str(athena.create_notebook(WorkGroup=group, Name=name, **request)["NotebookId"])

    return create


def content(*cells: str, **changes: Any) -> str:
    """A notebook with these cells."""
    made: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(cells)
    ]
    return json.dumps(json.loads(domain.empty()) | {"cells": made} | changes)


def refusal(call: Callable[..., Any], **request: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**request)
    assert raised.value.response["Error"]["Code"] == "InvalidRequestException"
    return str(raised.value.response["Error"]["Message"])


def payload_of(athena: Any, notebook_id: str) -> str:
    return str(athena.export_notebook(NotebookId=notebook_id)["Payload"])


def bind(server: Server, session_id: str, notebook_id: str) -> None:
    """Make the session one of the notebook."""
    store = server.running.store
    server.do(
        lambda: store.write(
            lambda tx: sessions.set_notebook(tx, session_id, NotebookId(notebook_id))
        )
    )


def versions_of(server: Server, notebook_id: str) -> list[tuple[int, str | None, str | None]]:
    store = server.running.store
    found = server.do(lambda: store.read(lambda tx: notebooks.history(tx, notebook_id)))
    return [(each.number, each.session_id, each.principal) for each in found]


# --- create, import, export --------------------------------------------------------------------


def test_a_new_notebook_is_empty_and_has_an_id_that_is_a_uuid(
    athena: Any, group: str, make: Make
) -> None:
    notebook_id = make("först ü\U0001f989")

    found = athena.export_notebook(NotebookId=notebook_id)

    assert str(UUID(notebook_id)) == notebook_id
    about = found["NotebookMetadata"]
    assert about == athena.get_notebook_metadata(NotebookId=notebook_id)["NotebookMetadata"]
    assert about["NotebookId"] == notebook_id
    assert (about["Name"], about["WorkGroup"], about["Type"]) == (
        "först ü\U0001f989",
        group,
        "IPYNB",
    )
    assert about["CreationTime"] == about["LastModifiedTime"]
    assert abs((datetime.now(UTC) - about["CreationTime"]).total_seconds()) < 60
    empty = json.loads(found["Payload"])
    assert (empty["nbformat"], empty["cells"]) == (4, [])


def test_an_imported_notebook_is_exported_letter_by_letter(athena: Any, group: str) -> None:
    text = json.dumps(json.loads(content("print('ü\U0001f989')\n")), indent=1, ensure_ascii=False)

    made = athena.import_notebook(WorkGroup=group, Name="i", Type="IPYNB", Payload=text)

    assert payload_of(athena, made["NotebookId"]) == text


def test_a_notebook_is_imported_from_a_bucket(server: Server, athena: Any, group: str) -> None:
    text = content("1 + 1")
    server.client("s3").put_object(Bucket=BUCKET, Key="a/ü b.ipynb", Body=text.encode("utf-8-sig"))

    made = athena.import_notebook(
        WorkGroup=group,
        Name="i",
        Type="IPYNB",
        NotebookS3LocationUri=f"s3://{BUCKET}/a/ü b.ipynb",
    )

    assert payload_of(athena, made["NotebookId"]) == text


SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "Exactly one of Payload and NotebookS3LocationUri must be given."),
    "both": (
        {"Payload": content(), "NotebookS3LocationUri": f"s3://{BUCKET}/x"},
        "Exactly one of Payload and NotebookS3LocationUri must be given.",
    ),
    "no type": ({"Payload": content(), "Type": None}, "Member must not be null"),
    "another type": ({"Payload": content(), "Type": "PY"}, "enum value set: [IPYNB]"),
    "no JSON": ({"Payload": "print(1)"}, "Payload is not a notebook: it is not JSON."),
    "half of one": ({"Payload": content()[:-1]}, "Payload is not a notebook: it is not JSON."),
    "deep": ({"Payload": "[" * 100_000}, "Payload is not a notebook: it is not JSON."),
    "a list": ({"Payload": "[]"}, "Payload is not a valid notebook: its nbformat is not 4."),
    "nbformat 3": (
        {"Payload": content(nbformat=3)},
        "Payload is not a valid notebook: its nbformat is not 4.",
    ),
    "no minor": (
        {"Payload": content(nbformat_minor="5")},
        "Payload is not a valid notebook: its nbformat_minor is not a number.",
    ),
    "no cells": (
        {"Payload": content(cells=None)},
        "Payload is not a valid notebook: cells is not a list.",
    ),
    "too large": (
        {"Payload": content("x" * 10_485_760)},
        "Member must have length less than or equal to 10485760",
    ),
    "too many bytes": (
        {"Payload": json.dumps(json.loads(content("ü" * 5_242_880)), ensure_ascii=False)},
        "Payload: a notebook has at most 10485760 bytes; got 10486",
    ),
    "https": (
        {"NotebookS3LocationUri": "https://bucket.s3.amazonaws.com/x.ipynb"},
        "x.ipynb must be like s3://bucket/key",
    ),
    "a bucket alone": (
        {"NotebookS3LocationUri": f"s3://{BUCKET}/"},
        f"NotebookS3LocationUri s3://{BUCKET}/ names no object",
    ),
    "no such bucket": (
        {"NotebookS3LocationUri": "s3://no-such-bucket/x"},
        "NotebookS3LocationUri s3://no-such-bucket/x cannot be read: The specified bucket does not",
    ),
    "no bucket's name": (
        {"NotebookS3LocationUri": "s3://../x"},
        "NotebookS3LocationUri s3://../x cannot be read: ",
    ),
    "no such object": (
        {"NotebookS3LocationUri": f"s3://{BUCKET}/gone"},
        f"NotebookS3LocationUri s3://{BUCKET}/gone cannot be read: The specified key does not",
    ),
    "an object that is too large": (
        {"NotebookS3LocationUri": f"s3://{BUCKET}/large"},
        f"s3://{BUCKET}/large: a notebook has at most 10485760 bytes; got 10485761.",
    ),
    "an object that is no text": (
        {"NotebookS3LocationUri": f"s3://{BUCKET}/image"},
        f"NotebookS3LocationUri s3://{BUCKET}/image is not a notebook: it is not UTF-8.",
    ),
    "an object that is no notebook": (
        {"NotebookS3LocationUri": f"s3://{BUCKET}/json"},
        f"NotebookS3LocationUri s3://{BUCKET}/json is not a valid notebook: its nbformat is not 4.",
    ),
    "a URI that is too long": (
        {"NotebookS3LocationUri": f"s3://{BUCKET}/{'x' * 1024}"},
        "Member must have length less than or equal to 1024",
    ),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_notebook_is_not_imported_from(
    server: Server, athena: Any, group: str, case: str
) -> None:
    s3 = server.client("s3")
    for key, body in (
        ("large", b" " * 10_485_761),
        ("image", b"\x89PNG\xff"),
        ("json", json.dumps({"ü": 1}).encode()),
    ):
        if case.startswith("an object"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    given, says = SOURCES[case]
    request = {"WorkGroup": group, "Name": "i", "Type": "IPYNB"} | given

    assert says in refusal(
        athena.import_notebook,
        **{name: value for name, value in request.items() if value is not None},
    )
    assert athena.list_notebook_metadata(WorkGroup=group)["NotebookMetadataList"] == []


def test_the_largest_notebook_that_there_can_be_comes_back(athena: Any, group: str) -> None:
    # Of letters that boto3 sends in three times their size.
    text = json.dumps(json.loads(content("ü" * 5_242_500)), ensure_ascii=False)
    text += " " * (domain.LARGEST - len(text.encode()))
    assert len(text.encode()) == 10_485_760

    made = athena.import_notebook(WorkGroup=group, Name="i", Type="IPYNB", Payload=text)

    assert payload_of(athena, made["NotebookId"]) == text


@pytest.mark.parametrize("name", ["a", "x" * 255, "ü\U0001f989 (1) . %2e", "..", "\t"])
def test_names_at_the_edge_of_what_is_allowed(athena: Any, make: Make, name: str) -> None:
    found = athena.get_notebook_metadata(NotebookId=make(name))

    assert found["NotebookMetadata"]["Name"] == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "length greater than or equal to 1"),
        ("x" * 256, "length less than or equal to 255"),
        ("a/b", "regular expression pattern"),
        ("a:b", "regular expression pattern"),
        ("a\\b", "regular expression pattern"),
        ("a\nb", "regular expression pattern"),
        ("a.ipynb", "Name: a notebook's name is given without .ipynb."),
        ("taken", "WorkGroup books already has a notebook named taken."),
    ],
)
def test_names_that_are_refused_wherever_one_is_given(
    athena: Any, group: str, make: Make, name: str, says: str
) -> None:
    make("taken")
    other = make("other")
    new = {"WorkGroup": group, "Name": name}

    assert says in refusal(athena.create_notebook, **new)
    assert says in refusal(athena.import_notebook, **new, Type="IPYNB", Payload=content())
    assert says in refusal(athena.update_notebook_metadata, NotebookId=other, Name=name)
    named = athena.get_notebook_metadata(NotebookId=other)["NotebookMetadata"]
    assert named["Name"] == "other"
    assert len(athena.list_notebook_metadata(WorkGroup=group)["NotebookMetadataList"]) == 2


def test_the_same_name_is_free_in_another_workgroup_and_in_other_letters(
    athena: Any, make: Make
) -> None:
    ids = [make("report"), make("Report")]
    ids.append(athena.create_notebook(WorkGroup="spark", Name="report")["NotebookId"])

    assert len(set(ids)) == 3
    athena.delete_notebook(NotebookId=ids[-1])


@pytest.mark.parametrize(
    ("configuration", "says"),
    [
        ({}, "Workgroup EngineVersion is not Spark."),
        (
            engine("Apache Spark version 3.5"),
            "A notebook is not supported for Apache Spark version 3.5.",
        ),
    ],
)
def test_a_workgroup_without_notebooks_takes_none_and_lists_none(
    athena: Any, configuration: dict[str, Any], says: str
) -> None:
    athena.create_work_group(Name="other", Configuration=configuration)
    new = {"WorkGroup": "other", "Name": "x"}

    assert says == refusal(athena.create_notebook, **new)
    assert says == refusal(athena.import_notebook, **new, Type="IPYNB", Payload=content())
    assert athena.list_notebook_metadata(WorkGroup="other")["NotebookMetadataList"] == []
    athena.delete_work_group(WorkGroup="other")


def test_a_disabled_workgroup_takes_no_notebook_and_keeps_what_it_has(
    athena: Any, group: str, make: Make
) -> None:
    notebook_id = make()
    athena.update_work_group(WorkGroup=group, State="DISABLED")
    disabled = "WorkGroup books is disabled."
    text = content("kept")

    assert refusal(athena.create_notebook, WorkGroup=group, Name="x") == disabled
    athena.update_notebook(NotebookId=notebook_id, Type="IPYNB", Payload=text)
    assert payload_of(athena, notebook_id) == text


# --- what is not there -------------------------------------------------------------------------


def test_a_notebook_that_is_not_there_is_an_invalid_request(athena: Any, make: Make) -> None:
    gone = make()
    athena.delete_notebook(NotebookId=gone)

    for notebook_id in (NOWHERE, gone):
        by_id = {"NotebookId": notebook_id}
        for call, request in (
            (athena.get_notebook_metadata, {}),
            (athena.export_notebook, {}),
            (athena.delete_notebook, {}),
            (athena.list_notebook_sessions, {}),
            (athena.update_notebook_metadata, {"Name": "x"}),
            (athena.update_notebook, {"Type": "IPYNB", "Payload": content()}),
        ):
            assert refusal(call, **by_id, **request) == f"Notebook {notebook_id} is not found."
    assert "regular expression" in refusal(athena.get_notebook_metadata, NotebookId="x")


def test_a_workgroup_that_is_not_there_has_no_notebooks(athena: Any) -> None:
    says = "WorkGroup nowhere is not found."

    assert refusal(athena.create_notebook, WorkGroup="nowhere", Name="x") == says
    assert refusal(athena.list_notebook_metadata, WorkGroup="nowhere") == says
    assert says == refusal(
        athena.import_notebook, WorkGroup="nowhere", Name="x", Type="IPYNB", Payload=content()
    )


# --- lists -------------------------------------------------------------------------------------


def names(athena: Any, group: str, **request: Any) -> list[str]:
    found = athena.list_notebook_metadata(WorkGroup=group, **request)["NotebookMetadataList"]
    return [each["Name"] for each in found]


def test_notebooks_are_listed_newest_first_in_pages_that_saves_and_new_names_do_not_move(
    athena: Any, group: str, make: Make
) -> None:
    ids = [make(f"n{number}") for number in range(5)]
    first = athena.list_notebook_metadata(WorkGroup=group, MaxResults=2)
    athena.update_notebook(NotebookId=ids[0], Type="IPYNB", Payload=content("x"))
    athena.update_notebook_metadata(NotebookId=ids[1], Name="other")
    athena.delete_notebook(NotebookId=ids[3])
    rest = names(athena, group, NextToken=first["NextToken"])

    assert [each["Name"] for each in first["NotebookMetadataList"]] == ["n4", "n3"]
    assert rest == ["n2", "other", "n0"]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("report", ["Report ü", "a report"]),
        ("REPORT", ["Report ü", "a report"]),
        ("100%", ["100%_"]),
        ("%", ["100%_"]),
        ("_", ["100%_"]),
        ("ü", ["Report ü"]),
        ("nothing", []),
    ],
)
def test_a_filter_finds_a_part_of_the_name(
    athena: Any, group: str, make: Make, part: str, found: list[str]
) -> None:
    for name in ("100%_", "1000", "a report", "Report ü"):
        make(name)

    assert names(athena, group, Filters={"Name": part}) == found


@pytest.mark.parametrize("size", [0, 51])
def test_a_page_of_notebooks_has_at_most_fifty(athena: Any, size: int) -> None:
    assert "Member must have value" in refusal(
        athena.list_notebook_metadata, WorkGroup="spark", MaxResults=size
    )


# --- save, rename, delete ----------------------------------------------------------------------


def test_every_save_is_a_version_and_the_last_is_read(
    server: Server, athena: Any, make: Make
) -> None:
    notebook_id = make()
    made = athena.get_notebook_metadata(NotebookId=notebook_id)["NotebookMetadata"]
    for cell in ("1", "2", "2"):
        athena.update_notebook(NotebookId=notebook_id, Type="IPYNB", Payload=content(cell))

    saved = athena.get_notebook_metadata(NotebookId=notebook_id)["NotebookMetadata"]
    assert payload_of(athena, notebook_id) == content("2")
    assert versions_of(server, notebook_id) == [
        (1, None, "root"),
        (2, None, "root"),
        (3, None, "root"),
    ]
    assert saved["LastModifiedTime"] >= made["LastModifiedTime"]
    assert saved["CreationTime"] == made["CreationTime"]


def test_what_is_no_notebook_is_not_saved(server: Server, athena: Any, make: Make) -> None:
    notebook_id = make()
    before = payload_of(athena, notebook_id)

    assert (
        refusal(athena.update_notebook, NotebookId=notebook_id, Type="IPYNB", Payload="{")
        == "Payload is not a notebook: it is not JSON."
    )
    assert payload_of(athena, notebook_id) == before
    assert len(versions_of(server, notebook_id)) == 1


def test_while_a_session_is_active_it_must_be_named_and_nothing_is_renamed_or_deleted(
    server: Server, athena: Any, make: Make, idle_session: Idle
) -> None:
    notebook_id, text = make(), content("from the session")
    session_id = idle_session(NotebookVersion=VERSION)
    other = idle_session(NotebookVersion=VERSION)
    bind(server, session_id, notebook_id)
    save = {"NotebookId": notebook_id, "Type": "IPYNB", "Payload": text}

    assert refusal(athena.update_notebook, **save) == (
        f"SessionId is required: notebook {notebook_id} has the active session {session_id}."
    )
    assert refusal(athena.update_notebook, **save, SessionId=other) == (
        f"SessionId {other} is not an active session of notebook {notebook_id}."
    )
    first = "its sessions must be terminated first"
    rename = {"NotebookId": notebook_id, "Name": "x"}
    assert first in refusal(athena.update_notebook_metadata, **rename)
    assert first in refusal(athena.delete_notebook, NotebookId=notebook_id)

    athena.update_notebook(**save, SessionId=session_id)
    assert payload_of(athena, notebook_id) == text
    assert versions_of(server, notebook_id)[-1] == (2, session_id, "root")

    athena.terminate_session(SessionId=session_id)
    until(lambda: _ended(athena, session_id))
    assert "is not an active session" in refusal(
        athena.update_notebook, **save, SessionId=session_id
    )
    athena.update_notebook(**save)
    athena.update_notebook_metadata(**rename)
    athena.delete_notebook(NotebookId=notebook_id)
    assert versions_of(server, notebook_id) == []


def _ended(athena: Any, session_id: str) -> bool:
    status = athena.get_session_status(SessionId=session_id)["Status"]
    return bool(status["State"] == "TERMINATED")


def test_only_the_active_sessions_of_a_notebook_are_listed(
    server: Server, athena: Any, make: Make, idle_session: Idle
) -> None:
    notebook_id = make()
    ended, session_id = (idle_session(NotebookVersion=VERSION) for _ in range(2))
    bind(server, ended, notebook_id)
    athena.terminate_session(SessionId=ended)
    until(lambda: _ended(athena, ended))
    assert athena.list_notebook_sessions(NotebookId=notebook_id)["NotebookSessionsList"] == []
    bind(server, session_id, notebook_id)

    answer = athena.list_notebook_sessions(NotebookId=notebook_id, MaxResults=100)

    [found] = answer["NotebookSessionsList"]
    status = athena.get_session_status(SessionId=session_id)["Status"]
    assert found == {"SessionId": session_id, "CreationTime": status["StartDateTime"]}
    assert "NextToken" not in answer


# --- idempotency -------------------------------------------------------------------------------


def test_a_repeated_request_makes_one_notebook_and_one_version(
    server: Server, athena: Any, group: str
) -> None:
    token = str(uuid4())
    s3 = server.client("s3")
    s3.put_object(Bucket=BUCKET, Key="once.ipynb", Body=content().encode())
    uri = {"Type": "IPYNB", "NotebookS3LocationUri": f"s3://{BUCKET}/once.ipynb"}
    for name, call, more in (
        ("made", athena.create_notebook, {}),
        ("imported", athena.import_notebook, uri),
    ):
        request = {"WorkGroup": group, "Name": name, "ClientRequestToken": token, **more}
        first = call(**request)["NotebookId"]
        s3.delete_object(Bucket=BUCKET, Key="once.ipynb")
        assert call(**request)["NotebookId"] == first
        s3.put_object(Bucket=BUCKET, Key="once.ipynb", Body=content().encode())
        assert "already has a notebook named" in refusal(
            call, **(request | {"ClientRequestToken": str(uuid4())})
        )
        assert "Idempotent parameters do not match" in refusal(call, **(request | {"Name": "x"}))
    one = {"NotebookId": first, "ClientRequestToken": token}
    save = one | {"Type": "IPYNB", "Payload": content("1")}
    athena.update_notebook(**save)
    athena.update_notebook(NotebookId=first, Type="IPYNB", Payload=content("2"))
    athena.update_notebook(**save)
    assert payload_of(athena, first) == content("2")
    assert "do not match" in refusal(athena.update_notebook, **save | {"Payload": content("3")})
    athena.update_notebook_metadata(**one, Name="b")
    athena.update_notebook_metadata(NotebookId=first, Name="c")
    athena.update_notebook_metadata(**one, Name="b")
    assert names(athena, group) == ["c", "made"]


# --- the workgroup -----------------------------------------------------------------------------


def test_a_workgroup_goes_with_its_notebooks_only_when_told_so(server: Server, athena: Any) -> None:
    athena.create_work_group(Name="going", Configuration=engine("Apache Spark version 4.1"))
    notebook_id = athena.create_notebook(WorkGroup="going", Name="n")["NotebookId"]

    assert refusal(athena.delete_work_group, WorkGroup="going") == (
        "WorkGroup going is not empty: it has 1 notebooks. Delete them, or set "
        "RecursiveDeleteOption."
    )
    athena.delete_work_group(WorkGroup="going", RecursiveDeleteOption=True)

    assert "is not found" in refusal(athena.export_notebook, NotebookId=notebook_id)
    assert versions_of(server, notebook_id) == []
    athena.create_work_group(Name="going", Configuration=engine("Apache Spark version 4.1"))
    assert names(athena, "going") == []
    athena.create_notebook(WorkGroup="going", Name="n")
    athena.delete_work_group(WorkGroup="going", RecursiveDeleteOption=True)
