"""``sparkowl notebooks`` against a server, and on its data directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.commands import Done, command, sparkowl
from tests.serving import Server, serving

from sparkowl.domain.notebook import empty


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("notebooks")) as running:
        yield running


@pytest.fixture
def notebook(server: Server) -> Iterator[str]:
    """One that was saved twice since it was made."""
    athena = server.client()
    made = athena.create_notebook(WorkGroup="spark", Name="a\tb")["NotebookId"]
    for cell in ("first", "second"):
        athena.update_notebook(NotebookId=made, Type="IPYNB", Payload=content(cell))
    yield str(made)
    athena.delete_notebook(NotebookId=made)


def content(text: str) -> str:
    cell: dict[str, Any] = {"cell_type": "raw", "id": "c", "metadata": {}, "source": text}
    return json.dumps(json.loads(empty()) | {"cells": [cell]}, ensure_ascii=False)


def on(server: Server, *arguments: str) -> Done:
    return command("notebooks", *arguments, "--data-dir", str(server.data_dir))


def test_notebooks_are_listed_with_names_that_a_terminal_cannot_obey(
    server: Server, notebook: str
) -> None:
    first, line = on(server, "list").stdout.splitlines()

    assert first.split() == ["NOTEBOOK", "MODIFIED", "NAME"]
    assert line.startswith(f"{notebook}  2")
    assert line.endswith("  a b")
    assert on(server, "list", "--name", "B").stdout.splitlines()[1:] == [line]
    assert on(server, "list", "--name", "c").stdout.splitlines()[1:] == []


def test_a_file_is_imported_under_its_name_and_exported_letter_by_letter(
    server: Server, tmp_path: Path
) -> None:
    file, again = tmp_path / "my report.ipynb", tmp_path / "again.ipynb"
    file.write_text(content("ü"))

    imported = on(server, "import", str(file)).stdout.strip()
    exported = on(server, "export", imported, str(again))

    athena = server.client()
    found = athena.get_notebook_metadata(NotebookId=imported)["NotebookMetadata"]
    assert found["Name"] == "my report"
    assert exported.returncode == 0
    assert again.read_bytes() == file.read_bytes()
    there = on(server, "export", imported, str(again))
    assert (there.returncode, "is there already" in there.stderr) == (1, True)
    assert on(server, "export", imported, str(again), "--force").returncode == 0
    athena.delete_notebook(NotebookId=imported)


def test_a_notebook_is_opened_on_a_session_of_its_own_and_then_on_the_same(server: Server) -> None:
    athena = server.client()
    # Not among those that the other tests list.
    athena.create_work_group(
        Name="opened",
        Configuration={
            "EngineVersion": {"SelectedEngineVersion": "Apache Spark version 4.1"},
            "ExecutionRole": "arn:aws:iam::000000000000:role/any",
        },
    )
    made = athena.create_notebook(WorkGroup="opened", Name="opened")["NotebookId"]

    first, again = on(server, "open", made), on(server, "open", made)

    [session] = athena.list_notebook_sessions(NotebookId=made)["NotebookSessionsList"]
    page = f"{server.url}/notebooks/{session['SessionId']}/notebooks/opened.ipynb?token="
    assert first.stdout.startswith(page)
    assert again.stdout.startswith(page)
    athena.terminate_session(SessionId=session["SessionId"])


def test_what_is_no_notebook_is_not_imported(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "x.ipynb"
    missing = on(server, "import", str(file))
    file.write_text("{}")
    wrong = on(server, "import", str(file))

    assert missing.stderr == f"{file} cannot be read: No such file or directory.\n"
    assert wrong.stderr == f"{file} is not a valid notebook: its nbformat is not 4.\n"
    assert (missing.returncode, wrong.returncode) == (1, 1)


def test_every_save_is_in_the_history_and_can_be_had_again(
    server: Server, notebook: str, tmp_path: Path
) -> None:
    first, *lines = on(server, "history", notebook).stdout.splitlines()

    assert first.split() == ["VERSION", "SAVED", "SESSION", "PRINCIPAL"]
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert [line.split()[-2:] for line in lines] == [["-", "root"]] * 3
    for number, text in (("1", empty()), ("2", content("first")), ("3", content("second"))):
        file = tmp_path / number
        assert on(server, "export", notebook, str(file), "--version", number).returncode == 0
        assert file.read_text() == text


def test_a_version_or_notebook_that_is_not_there_is_one_line_and_status_one(
    server: Server, notebook: str, tmp_path: Path
) -> None:
    file = tmp_path / "x"
    gone = on(server, "export", notebook, str(file), "--version", "4")
    nowhere = on(server, "history", "nowhere")

    assert gone.stderr.startswith(f"Notebook {notebook} has no version 4.")
    assert nowhere.stderr == "Notebook nowhere is not found.\n"
    assert (gone.returncode, nowhere.returncode) == (1, 1)
    assert not file.exists()


def test_a_refusal_of_the_server_is_one_line(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "a:b.ipynb"
    file.write_text(empty())

    refused = sparkowl("notebooks", "import", str(file), "--data-dir", str(server.data_dir))

    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "regular expression pattern" in refused.stderr
