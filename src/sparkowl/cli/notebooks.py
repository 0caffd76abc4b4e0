"""``sparkowl notebooks``: list, import, open and export notebooks, and what was saved before.

Older versions are in the database alone, where the operator who owns the data directory reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sparkowl.cli.clients import client
from sparkowl.cli.options import DataDir, fail, plain, settings
from sparkowl.cli.owned import read
from sparkowl.cli.written import written
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.notebook import IPYNB, NOTEBOOK_VERSIONS, SUFFIX, require_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from sparkowl.domain.notebook import Version

app = typer.Typer(no_args_is_help=True, help="List, import, open and export notebooks.")

#: Plain columns: what a script cuts must not depend on the terminal's width.
_LINE: Final = "{:<36}  {:<19}  {}"
_VERSION: Final = "{:>7}  {:<19}  {:<36}  {}"
WorkGroup = Annotated[str, typer.Option("--workgroup", help="The notebooks' workgroup.")]


@app.command("list")
def list_(
    workgroup: WorkGroup = "spark",
    name: Annotated[str | None, typer.Option(help="Only those with this in their name.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List the notebooks of a workgroup, newest first."""
    athena = client("athena", data_dir)
    request: dict[str, Any] = {"WorkGroup": workgroup}
    if name is not None:
        request["Filters"] = {"Name": name}
    print(_LINE.format("NOTEBOOK", "MODIFIED", "NAME"))
    while True:
        page = athena.list_notebook_metadata(**request)
        for found in page["NotebookMetadataList"]:
            modified = _time(found["LastModifiedTime"])
            print(_LINE.format(found["NotebookId"], modified, plain(found["Name"])))
        if "NextToken" not in page:
            break
        request["NextToken"] = page["NextToken"]


@app.command("import")
def import_(
    file: Path,
    name: Annotated[str | None, typer.Option(help="Its name. Default: that of the file.")] = None,
    workgroup: WorkGroup = "spark",
    data_dir: DataDir = None,
) -> None:
    """Make a notebook from an .ipynb file, and print its id."""
    try:
        payload = require_payload(file.read_bytes(), str(file))
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}.")
    except InvalidRequest as error:
        fail(str(error))
    made = client("athena", data_dir).import_notebook(
        WorkGroup=workgroup,
        Name=name or file.name.removesuffix(SUFFIX),
        Type=IPYNB,
        Payload=payload,
    )
    print(made["NotebookId"])


@app.command()
def export(
    notebook_id: str,
    file: Annotated[Path, typer.Argument(help="The .ipynb to write; - is standard output.")],
    version: Annotated[
        int | None,
        typer.Option(help="Not the last save but this one; read from the data directory."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Write over what is there.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Write a notebook into a file."""
    if version is None:
        payload = client("athena", data_dir).export_notebook(NotebookId=notebook_id)["Payload"]
    else:
        payload = _old(notebook_id, version, data_dir)
    with written(file, force=force) as stream:
        stream.write(payload.encode())


def _old(notebook_id: str, number: int, data_dir: Path | None) -> str:
    # Imported here: the store's imports are not for the other commands.
    from sparkowl.store import notebooks

    found = read(settings(data_dir), lambda tx: notebooks.version(tx, notebook_id, number))
    if found is None:
        fail(f"Notebook {notebook_id} has no version {number}. See: sparkowl notebooks history")
    return found.payload


@app.command("open")
def open_(notebook_id: str, data_dir: DataDir = None) -> None:
    """Print a link that opens a notebook in a browser, on its session; one is started if it has
    none."""
    athena = client("athena", data_dir)
    metadata = athena.get_notebook_metadata(NotebookId=notebook_id)["NotebookMetadata"]
    sessions = athena.list_notebook_sessions(NotebookId=notebook_id)["NotebookSessionsList"]
    if sessions:
        session_id = sessions[0]["SessionId"]
    else:
        session_id = athena.start_session(
            WorkGroup=metadata["WorkGroup"],
            EngineConfiguration={"AdditionalConfigs": {"NotebookId": notebook_id}},
            NotebookVersion=NOTEBOOK_VERSIONS[0],
        )["SessionId"]
    # A session that is still starting has a link, too: its page waits for it.
    print(athena.create_presigned_notebook_url(SessionId=session_id)["NotebookUrl"])


@app.command()
def history(notebook_id: str, data_dir: DataDir = None) -> None:
    """List the saves of a notebook that are kept, oldest first."""
    from sparkowl.store import notebooks

    def look(tx: Connection) -> Sequence[Version]:
        return notebooks.history(tx, notebook_id)

    versions = read(settings(data_dir), look)
    if not versions:
        fail(f"Notebook {notebook_id} is not found.")
    print(_VERSION.format("VERSION", "SAVED", "SESSION", "PRINCIPAL"))
    for version in versions:
        line = _VERSION.format(
            version.number,
            _time(version.saved_at),
            version.session_id or "-",
            plain(version.principal or "-"),
        )
        print(line)


def _time(value: Any) -> str:
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
