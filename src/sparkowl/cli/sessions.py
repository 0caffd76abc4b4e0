"""``sparkowl sessions``: list, show, terminate; to diagnose one is :mod:`.diagnose`'s."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated, Any, Final

import typer
from botocore.exceptions import ClientError

from sparkowl.cli.clients import client
from sparkowl.cli.diagnose import diagnose
from sparkowl.cli.options import DataDir, plain

app = typer.Typer(no_args_is_help=True, help="Look at sessions and end them.")
app.command()(diagnose)

#: Plain columns: what a script cuts must not depend on the terminal's width.
_LINE: Final = "{:<36}  {:<11}  {:<19}  {:<19}  {}"
WorkGroup = Annotated[str, typer.Option("--workgroup", help="Workgroup to look in.")]


@app.command("list")
def list_(
    workgroup: WorkGroup = "spark",
    state: Annotated[
        str | None, typer.Option(help="Only this state; without it, those that are active.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """List the sessions of a workgroup, newest first."""
    athena = client("athena", data_dir)
    request: dict[str, Any] = {"WorkGroup": workgroup}
    if state is not None:
        request["StateFilter"] = state.upper()
    print(_LINE.format("SESSION", "STATE", "STARTED", "IDLE SINCE", "DESCRIPTION"))
    while True:
        page = athena.list_sessions(**request)
        for session in page["Sessions"]:
            status = session["Status"]
            line = _LINE.format(
                session["SessionId"],
                status["State"],
                _time(status.get("StartDateTime")),
                _time(status.get("IdleSinceDateTime")),
                plain(session.get("Description", "")),
            )
            print(line.rstrip())
        if "NextToken" not in page:
            break
        request["NextToken"] = page["NextToken"]


@app.command()
def show(session_id: str, data_dir: DataDir = None) -> None:
    """Show one session as JSON, with the timeline of its start."""
    session = client("athena", data_dir).get_session(SessionId=session_id)
    del session["ResponseMetadata"]
    bucket, _, key = (
        session["SessionConfiguration"]["WorkingDirectory"].removeprefix("s3://").partition("/")
    )
    # A session that has not started yet has no timeline, and an old one may have been deleted.
    with suppress(ClientError):
        found = client("s3", data_dir).get_object(Bucket=bucket, Key=f"{key}/start.json")
        session["StartTimeline"] = json.load(found["Body"])
    print(json.dumps(session, indent=2, default=str))


@app.command()
def terminate(session_ids: list[str], data_dir: DataDir = None) -> None:
    """End sessions. One that has ended already is no error."""
    athena = client("athena", data_dir)
    for session_id in session_ids:
        print(session_id, athena.terminate_session(SessionId=session_id)["State"])


def _time(value: Any) -> str:
    return "" if value is None else f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
