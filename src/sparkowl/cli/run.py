"""``sparkowl run``: a file as a calculation, as if it ran here."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final
from uuid import uuid4

import typer
from botocore.exceptions import ClientError
from rich.status import Status

from sparkowl.cli.clients import client
from sparkowl.cli.options import DataDir, err, fail

#: Marks the sessions that later runs may use again.
DESCRIPTION: Final = "sparkowl run"
ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELED"})
DEAD: Final = frozenset({"TERMINATING", "TERMINATED", "DEGRADED", "FAILED"})
#: As shells do: 128 and the number of SIGINT.
INTERRUPTED: Final = 130
#: As shells do for SIGPIPE: whoever read the output went away.
UNREAD: Final = 141
_POLL_S: Final = 0.2
_CHUNK_BYTES: Final = 1024 * 1024


def run(
    file: Annotated[str, typer.Argument(help="Python file; - reads standard input.")],
    workgroup: Annotated[str, typer.Option(help="Workgroup to start a session in.")] = "spark",
    session: Annotated[str | None, typer.Option(help="Run in this session.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a session of its own.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Run a file in a session: its output appears as it is written.

    An idle session of an earlier run is used again, with its variables; --new starts a fresh one.
    The exit status is 0 for COMPLETED, 1 for FAILED, 130 when stopped by Ctrl-C.
    """
    code = _read(file)
    athena, s3 = client("athena", data_dir), client("s3", data_dir)
    with err.status("Looking for a session") as status:
        session_id = session or _session(athena, workgroup, status, new=new)
        calculation = Calculation(athena, s3, session_id, status)
        state = calculation.run(code, Path(file).name)
    if state == "FAILED":
        raise typer.Exit(1)
    if state == "CANCELED":
        err.print("Stopped.")
        raise typer.Exit(INTERRUPTED)


def _read(file: str) -> str:
    try:
        # Editors may begin a file with a byte order mark; Python's own reader drops it, too.
        source = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return source.decode("utf-8-sig")
    except OSError as error:
        fail(f"{file}: {error.strerror}", code=2)
    except UnicodeDecodeError as error:
        fail(f"{file} is not UTF-8 text: {error}", code=2)


def _session(athena: Any, workgroup: str, status: Status, *, new: bool) -> str:
    idle = athena.list_sessions(WorkGroup=workgroup, StateFilter="IDLE")["Sessions"]
    for found in idle:
        if found.get("Description") == DESCRIPTION and not new:
            return str(found["SessionId"])
    status.update("Starting a session")
    began = time.monotonic()
    session_id = athena.start_session(
        WorkGroup=workgroup,
        Description=DESCRIPTION,
        EngineConfiguration={"MaxConcurrentDpus": 20},
        ClientRequestToken=str(uuid4()),
    )["SessionId"]
    while (now := athena.get_session_status(SessionId=session_id)["Status"])["State"] != "IDLE":
        if now["State"] in DEAD:
            fail(f"The session is {now['State']}: {now.get('StateChangeReason', '')}")
        status.update(f"Starting a session ({time.monotonic() - began:.0f} s)")
        time.sleep(_POLL_S)
    return str(session_id)


@dataclass
class Calculation:
    """One block on its way through a session."""

    athena: Any
    s3: Any
    session_id: str
    status: Status
    #: Bytes shown so far, by object.
    shown: dict[str, int] = field(default_factory=dict)

    def run(self, code: str, name: str) -> str:
        """Run the code and show its output; returns the state it ended in."""
        started = self.athena.start_calculation_execution(
            SessionId=self.session_id,
            CodeBlock=code,
            Description=f"{DESCRIPTION} {name}"[:1024],
            ClientRequestToken=str(uuid4()),
        )
        calculation_id = started["CalculationExecutionId"]
        try:
            return self._follow(calculation_id)
        except KeyboardInterrupt:
            # A second Ctrl-C ends the command at once; the stop was asked for already.
            self.status.update("Stopping")
            self.athena.stop_calculation_execution(CalculationExecutionId=calculation_id)
            return self._follow(calculation_id)
        except BrokenPipeError:
            self.athena.stop_calculation_execution(CalculationExecutionId=calculation_id)
            # Python flushes once more at its end; let that go nowhere instead of failing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(UNREAD) from None

    def _follow(self, calculation_id: str) -> str:
        while True:
            found = self.athena.get_calculation_execution(CalculationExecutionId=calculation_id)
            state = str(found["Status"]["State"])
            result = found.get("Result", {})
            if "StdOutS3Uri" in result:
                self._show(result["StdOutS3Uri"], sys.stdout.buffer)
                # Its last line may be drawn anew while the block runs, as progress bars are.
                self._show(
                    result["StdErrorS3Uri"], sys.stderr.buffer, to_line_end=state not in ENDED
                )
            if state in ENDED:
                return state
            self.status.update(f"{state.capitalize()} {found['Statistics']['Progress']}")
            time.sleep(_POLL_S)

    def _show(self, uri: str, target: BinaryIO, *, to_line_end: bool = False) -> None:
        """Write what came to the object since the last look."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        offset = self.shown.get(uri, 0)
        try:
            body = self.s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={offset}-")["Body"]
        except ClientError as error:
            # Nothing new, or nothing yet.
            if error.response["Error"]["Code"] in {"InvalidRange", "NoSuchKey", "416", "404"}:
                return
            raise
        # The spinner and the output may share a terminal.
        self.status.stop()
        for chunk in body.iter_chunks(_CHUNK_BYTES):
            shown = chunk[: chunk.rfind(b"\n") + 1] if to_line_end else chunk
            target.write(shown)
            offset += len(shown)
            if len(shown) < len(chunk):
                break
        target.flush()
        self.status.start()
        self.shown[uri] = offset
