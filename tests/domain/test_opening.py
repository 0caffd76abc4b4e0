"""Which notebook a StartSession asks for."""

from __future__ import annotations

from typing import Any

import pytest

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.locations import Location
from sparkowl.domain.notebook import NOTEBOOK_VERSIONS, require_name
from sparkowl.domain.opening import (
    FILE_MEMBER,
    Opening,
    S3File,
    WebFile,
    asked,
    file_of,
    refuse_default,
    web_file,
)
from sparkowl.domain.web import WebAddress

VERSION = NOTEBOOK_VERSIONS[0]
WEB = "https://a.example/b/c.ipynb"


def start(version: str | None = VERSION, **configs: str) -> dict[str, Any]:
    request: dict[str, Any] = {"EngineConfiguration": {"AdditionalConfigs": configs}}
    return request if version is None else request | {"NotebookVersion": version}


@pytest.mark.parametrize("version", NOTEBOOK_VERSIONS)
def test_a_version_alone_is_a_fresh_notebook(version: str) -> None:
    assert asked(start(version)) == Opening(version)
    assert asked({"NotebookVersion": version}) == Opening(version)


def test_without_a_version_there_is_no_notebook() -> None:
    assert asked({}) == asked(start(None, other="x")) == Opening()


def test_a_notebook_or_a_file() -> None:
    assert asked(start(NotebookId="x")) == Opening(VERSION, "x")
    assert asked(start(NotebookFileURI="s3://b/c d/é.ipynb")) == Opening(
        VERSION, None, S3File(Location("b", "c d/é.ipynb"))
    )
    assert asked(start(NotebookFileURI=WEB)) == Opening(
        VERSION, None, WebFile(WebAddress("a.example", 443, "/b/c.ipynb"))
    )


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (start(None, NotebookId="x"), "NotebookVersion is required when NotebookId is provided."),
        (
            start(None, NotebookFileURI=WEB),
            "NotebookVersion is required when NotebookFileURI is provided.",
        ),
        (
            start("KeplerJupyter-1.x"),
            "NotebookVersion must be 'Athena notebook version 1' or 'Jupyter1.0', not "
            "'KeplerJupyter-1.x'.",
        ),
        (
            start(NotebookId="x", NotebookFileURI=WEB),
            "EngineConfiguration.AdditionalConfigs has NotebookId and NotebookFileURI; a session "
            "opens one notebook.",
        ),
    ],
)
def test_what_breaks_a_rule(request_: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        asked(request_)
    assert str(error.value) == text


FORM = "must be of the form s3://bucket/key.ipynb or https://host/path.ipynb."
ENDS = "must name a notebook: its path ends in .ipynb."


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("", FORM),
        ("a.ipynb", FORM),
        ("http://a.example/b.ipynb", FORM),
        ("file:///etc/b.ipynb", FORM),
        ("s3a://b/c.ipynb", FORM),
        ("s3://b", FORM),
        ("s3://b/", FORM),
        ("s3:///c.ipynb", FORM),
        ("s3://b/c", ENDS),
        ("s3://b/c.ipynb/", ENDS),
        ("https://a.example/b", ENDS),
        ("https://a.example/b?c.ipynb", ENDS),
        ("https://a.example/b#c.ipynb", ENDS),
        ("https://a.ipynb", ENDS),
        ("https://u:p@a.example/b.ipynb", "must not hold a user's name or password."),
        ("https://10.0.0.1/b.ipynb", "names 10.0.0.1, which is not a public address."),
        ("https:", "has no valid host."),
    ],
)
def test_a_file_that_can_be_no_notebook(uri: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        file_of(uri)
    assert str(error.value) == f"{FILE_MEMBER} {rule}"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://b/c.ipynb", "c"),
        ("s3://b/c/d e.IPYNB", "d e"),
        ("s3://b/c/d.ipynb.ipynb", "d"),
        ("s3://b/c/d .ipynb", "d"),
        ("s3://b/c/.ipynb", "notebook"),
        ("s3://b/c/..hidden.ipynb", "hidden"),
        ("s3://b/a:b\\c\td.ipynb", "a-b-c-d"),
        ("s3://b/" + "x" * 300 + ".ipynb", "x" * 255),
        ("https://a.example/caf%C3%A9%20(2).ipynb?x=y", "café (2)"),
        ("https://a.example/a%2Fb.ipynb", "a-b"),
        ("https://a.example/a%ff%00.ipynb", "a\ufffd-"),
    ],
)
def test_a_notebook_has_the_name_of_its_file(uri: str, name: str) -> None:
    assert file_of(uri).name == name
    require_name(name)


def test_only_a_file_on_the_web_is_fetched_later() -> None:
    assert web_file(start(NotebookFileURI=WEB)) == WEB
    assert web_file(start(NotebookFileURI="s3://b/c.ipynb")) is None
    assert web_file({}) is None


@pytest.mark.parametrize("name", ["NotebookId", "NotebookFileURI"])
def test_a_workgroup_has_no_notebook_for_its_sessions(name: str) -> None:
    refuse_default({"AdditionalConfigs": {"other": "x"}})
    refuse_default({})
    with pytest.raises(InvalidRequest) as error:
        refuse_default({"AdditionalConfigs": {name: "x"}})
    assert str(error.value) == (
        f"EngineConfiguration.AdditionalConfigs.{name} belongs to a session, not to a workgroup."
    )
