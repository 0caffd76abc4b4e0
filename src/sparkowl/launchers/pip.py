"""Running pip and the agent's word on packages, in the environments of engines, within asyncio."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparkowl.launchers.installing import passed_on, pip_for
from sparkowl.launchers.requirements import PackagesError, Requirements

#: The file's own ``--no-binary NAME`` is stronger: a source distribution runs its code with the
#: server's rights when it is built, which nobody shall get without having asked.
_WHEELS_ONLY: Final = ("--only-binary", ":all:")
_COMPLAINT_LIMIT: Final = 600


async def ask(python: str, question: Mapping[str, Any]) -> dict[str, Any]:
    """What ``sparkowl.agent.packages`` answers in an environment."""
    said, complaint, status = await _run(
        [python, "-P", "-m", "sparkowl.agent.packages"], json.dumps(question).encode(), Path("/")
    )
    if status != 0:
        last = complaint.strip().splitlines()[-1:] or [f"exit status {status}"]
        raise PackagesError(f"{python} cannot be asked about packages: {last[0]}")
    answer: dict[str, Any] = json.loads(said)
    return answer


async def install(python: str, listed: Path, target: Path, wanted: Requirements) -> None:
    """Install what is listed, and nothing else, into ``target``; on the way there it lies beside
    the list."""
    command = [
        *pip_for(Path(python)),
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        "--root-user-action",
        "ignore",
        "--retries",
        "2",
        *_WHEELS_ONLY,
        *(["--require-hashes"] if wanted.hashed else []),
        "--target",
        str(target),
        "--requirement",
        str(listed),
    ]
    # The file's own relative paths begin where it is.
    _, complaint, status = await _run(command, b"", wanted.file.parent, temporary=listed.parent)
    if status != 0:
        raise PackagesError(f"{wanted.file}: {explain(complaint)}")


async def _run(
    argv: Sequence[str], given: bytes, folder: Path, *, temporary: Path | None = None
) -> tuple[str, str, int]:
    """What a program wrote to its two outputs, and its exit status. Cancelled, it kills it with all
    that it started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            # What lies in the folder shall not be imported; our settings of pip's hold.
            env=passed_on()
            | {"PYTHONSAFEPATH": "1", "PIP_USER": "0"}
            | ({} if temporary is None else {"TMPDIR": str(temporary)}),
            start_new_session=True,
        )
    except OSError as error:
        raise PackagesError(f"{argv[0]} cannot be run: {error}") from error
    try:
        said, complaint = await process.communicate(given)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return said.decode(errors="replace"), complaint.decode(errors="replace"), process.returncode


#: With what is indented below it.
_ERROR: Final = re.compile(r"^ERROR: (\S.*(?:\n[ \t]+\S.*)*)", re.M)
_UNREACHABLE: Final = re.compile(
    r"connection broken by '?(?P<kind>\w+)\((?P<what>.*?)\)'?: (?P<where>\S+)", re.S
)
_NOT_FOUND: Final = re.compile(r"No matching distribution found for (?P<what>.+)")
_MISMATCH: Final = re.compile(
    r"^ +(?P<what>\S+) from .*?Expected sha256 (?P<expected>\w+).*?Got +(?P<got>\w+)", re.S | re.M
)


def explain(complaint: str) -> str:
    """The one thing in pip's words that says what was wrong."""
    errors = _ERROR.findall(complaint)
    mismatch = _MISMATCH.search(complaint)
    if mismatch:
        return (
            f"{mismatch['what']} has another hash than the file says: "
            f"sha256 {mismatch['got']} instead of {mismatch['expected']}"
        )
    missing = _NOT_FOUND.search(complaint)
    unreachable = _UNREACHABLE.search(complaint)
    if unreachable and (missing or not errors):
        for_what = f" for {missing['what']}" if missing else ""
        return f"the package index cannot be reached{for_what} ({unreachable['kind']})"
    if missing:
        return (
            f"pip finds no {missing['what']} for this Python, as a wheel (a package that is to be "
            "built here needs a line --no-binary NAME)"
        )
    lines = errors or [line for line in complaint.splitlines() if line.strip()]
    last = " ".join(lines[-1].split()) if lines else "pip failed and did not say why"
    return last[:_COMPLAINT_LIMIT]
