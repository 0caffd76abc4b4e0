"""``sparkowl sessions diagnose``: what is known of a session, in one archive without secrets.

It reads the data directory itself, as the operator who owns it: with the server running, stopped
or dead, and the driver alive or long gone.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import unquote, urlsplit

import typer
from pydantic import SecretStr

from sparkowl import __version__, credentials
from sparkowl.cli.options import DataDir, err, fail, plain, settings
from sparkowl.cli.owned import read
from sparkowl.cli.redaction import Redactor, secrets_in
from sparkowl.cli.written import written
from sparkowl.config import CATALOG_FOLDER, POSTMORTEMS, Settings
from sparkowl.relay.endpoint import running_url

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PROPERTY: Final = re.compile(r"(?m)^([^=\n]*(?i:secret|passw|token|access\.?key)[^=\n]*)=(.+)$")
_CREDENTIAL: Final = re.compile(r"(?m)^aws_\w+ = (\S+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The members of the archive, before anything is taken out of them."""

    rows: dict[str, Any]
    driver: dict[str, Any]
    logs: dict[str, bytes]
    dumps: dict[str, bytes]
    host: dict[str, Any]
    #: Secrets that were met on the way.
    secrets: list[str]


def diagnose(
    session_id: Annotated[str, typer.Argument(help="Id of the session.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Archive to write; - is stdout. Default: sparkowl-<id>.tar.gz here."),
    ] = None,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="With the code of the calculations.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Collect what is known of a session into one archive, without secrets.

    The exit status is 0 when the archive was written, 1 when there is no such session or it cannot
    be written, 2 when the command was called wrongly.
    """
    chosen = settings(data_dir)
    if _ID.fullmatch(session_id) is None:
        fail(f"{plain(session_id)} is not the id of a session.", code=2)
    rows = read(chosen, lambda connection: _rows(connection, session_id, with_code=with_code))
    if not rows:
        fail(f"There is no session {session_id} in {chosen.data_dir}.")
    found = _collect(chosen, rows)
    target = output or Path(f"sparkowl-{session_id}.tar.gz")
    with (
        written(target, force=force) as stream,
        tarfile.open(fileobj=stream, mode="w|gz", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in _members(chosen, found):
            member = tarfile.TarInfo(f"sparkowl-{session_id}/{name}")
            member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
            tar.addfile(member, io.BytesIO(content))
    if output is None:
        err.print(f"Written: {target}", markup=False)


def _rows(connection: Connection, session_id: str, *, with_code: bool) -> dict[str, Any]:
    from sparkowl.store import dossier

    return dossier.of_session(connection, session_id, with_code=with_code)


def _collect(chosen: Settings, rows: dict[str, Any]) -> Found:
    """Everything; what cannot be had is missing, not an error."""
    from sparkowl.launchers import lookat, postmortem

    driver_id = rows["driver"]["id"] if rows["driver"] else None
    driver: dict[str, Any] = {"folder": None, "processes": []}
    logs: dict[str, bytes] = {}
    dumps: dict[str, bytes] = {}
    secrets = [*_server_secrets(chosen), *secrets_in(chosen.model_dump(mode="json"))]
    secrets += _sealed(chosen.model_dump())
    secrets += _property_secrets(rows["session"]["request"])
    secrets += _session_secrets(chosen, rows["session"]["id"])
    if driver_id is not None:
        live, kept = (chosen.data_dir / name / driver_id for name in ("drivers", POSTMORTEMS))
        folder = live if live.is_dir() else kept
        secrets += _driver_secrets(live)
        found = lookat.table(driver_id, live)
        dumps = lookat.thread_dumps(found, live)
        driver = {
            "folder": "live" if folder == live else "kept" if kept.is_dir() else None,
            "processes": found,
            "unacknowledged": postmortem.unacknowledged(live),
        }
        for name in (postmortem.EXIT, postmortem.END):
            with suppress(OSError, ValueError):
                driver[name.removesuffix(".json")] = json.loads(postmortem.tail(folder / name))
        for name in postmortem.LOGS:
            with suppress(OSError):
                logs[name] = postmortem.tail(folder / name)
    for name, file in (("catalogue.log", "keeper.log"), ("metastore.log", "jvm.log")):
        with suppress(OSError):
            logs[name] = postmortem.tail(chosen.data_dir / CATALOG_FOLDER / file)
    return Found(
        rows=rows, driver=driver, logs=logs, dumps=dumps, host=_host(chosen), secrets=secrets
    )


def _server_secrets(chosen: Settings) -> Iterator[str]:
    with suppress(credentials.BadCredentials, OSError):
        keys = credentials.load(chosen.data_dir)
        if keys is not None:
            yield from astuple(keys)


def _sealed(value: Any) -> Iterator[str]:
    """What the settings themselves hold back, and the passwords in it: JSON has stars instead."""
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        yield text
        with suppress(ValueError):
            password = urlsplit(text).password or ""
            yield from (password, unquote(password))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _sealed(item)


def _session_secrets(chosen: Settings, session_id: str) -> Iterator[str]:
    """Of the session's own key, which user code may have written to a log."""
    from sparkowl.domain import session_key

    with suppress(credentials.BadCredentials, OSError):
        keys = credentials.load(chosen.data_dir)
        if keys is not None:
            yield session_key.key_id(session_id)
            yield session_key.secret(keys.key_for(session_key.PURPOSE), session_id)


def _property_secrets(request: Any) -> Iterator[str]:
    """Of the properties that the session was started with: by their names, as Spark does it."""
    yield from secrets_in(request)


def _driver_secrets(folder: Path) -> Iterator[str]:
    """What lies in the driver's folder: Spark's, the kernel's, and those of AWS's tools."""
    from sparkowl.launchers.postmortem import tail

    with suppress(OSError):
        text = tail(folder / "aws" / "credentials").decode("ascii", "replace")
        yield from _CREDENTIAL.findall(text)
    with suppress(OSError):
        yield tail(folder / "kernel" / "gateway")[8:].decode("ascii", "ignore")
    with suppress(OSError, ValueError, AttributeError):
        connection = json.loads(tail(folder / "kernel" / "connection.json"))
        yield from (v for k, v in connection.items() if "key" in k and isinstance(v, str))
    with suppress(OSError):
        text = tail(folder / "conf" / "spark.properties").decode("ascii", "replace")
        for _, value in _PROPERTY.findall(text):
            with suppress(ValueError):
                yield value.encode().decode("unicode_escape")


def _host(chosen: Settings) -> dict[str, Any]:
    from sparkowl.launchers import catalog

    memory = {}
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree"):
                memory[name] = value.strip()
    disk = shutil.disk_usage(chosen.data_dir)
    return {
        "memory": memory,
        "disk": {"total_bytes": disk.total, "free_bytes": disk.free},
        "load": os.getloadavg(),
        "processors": os.cpu_count(),
        "catalogue": catalog.status(chosen.data_dir / CATALOG_FOLDER),
    }


def _members(chosen: Settings, found: Found) -> Iterable[tuple[str, bytes]]:
    redactor = Redactor(found.secrets)

    def as_json(value: Any) -> bytes:
        return (json.dumps(redactor.value(value), indent=2, default=str) + "\n").encode(
            "utf-8", "replace"
        )

    rows = found.rows
    yield "README.txt", redactor.text(_summary(chosen, found)).encode("utf-8", "replace")
    yield "session.json", as_json({k: rows[k] for k in ("session", "history")})
    yield "timeline.json", as_json(rows["session"]["timeline"])
    yield "calculations.json", as_json(rows["calculations"])
    yield "driver.json", as_json({"row": rows["driver"], "executors": rows["executors"]})
    yield "processes.json", as_json(found.driver)
    yield "settings.json", as_json(chosen.model_dump(mode="json"))
    yield "host.json", as_json(found.host)
    yield "versions.json", as_json(_versions(rows))
    for folder, texts in (("logs", found.logs), ("threads", found.dumps)):
        for name, content in texts.items():
            text = redactor.text(content.decode("utf-8", "replace"))
            yield f"{folder}/{name.removesuffix('.log')}.txt", text.encode()


def _versions(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "sparkowl": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "engine": rows["session"]["engine_version"],
        "driver": (rows["driver"] or {}).get("details"),
    }


def _catalogue(found: Found) -> str:
    """How the shared metastore is, in a few words."""
    status = found.host["catalogue"]
    if status is None:
        return "no process of the server's runs for it"
    if not status["ok"]:
        return f"its keeper does not answer ({status['error']})"
    return f"{status['callers']} connections, see logs/metastore.txt"


def _summary(chosen: Settings, found: Found) -> str:
    """What happened, for people."""
    session, driver = found.rows["session"], found.rows["driver"]
    blocks = found.rows["calculations"]
    server = running_url(chosen.data_dir)
    lines = [
        f"Session {session['id']} of workgroup {session['work_group']}",
        f"collected {datetime.now(UTC).isoformat(timespec='seconds')} with SparkOwl {__version__}",
        "",
        f"It is {session['state']}: {session['reason'] or 'no reason is on record'}",
        f"The server {'runs at ' + server if server else 'does not run'}.",
        "",
        "What happened:",
        *(
            f"  {event['at']}  {event['event']:<18} -> {event['to_state']}"
            + (f"  ({event['reason']})" if event["reason"] else "")
            for event in found.rows["history"]
        ),
        "",
    ]
    lines += [f"The catalogue is {chosen.catalog.kind}: {_catalogue(found)}.", ""]
    if driver is None:
        lines.append("It never had a driver.")
    else:
        where = {
            "live": "its folder is there",
            "kept": "its folder was deleted; the logs are what was kept of them",
            None: "nothing is left of its folder",
        }[found.driver["folder"]]
        lines.append(f"Driver {driver['id']}: {where}.")
        lines.append(f"It has {len(found.driver['processes'])} living processes.")
        if driver["reason"]:
            lines.append(f"Why it ended: {driver['reason']}")
        if said := found.driver.get("exit"):
            lines.append(f"The agent's last word: {said.get('reason')}")
        if (end := found.driver.get("end")) and end.get("agent"):
            lines.append(str(end["agent"]))
    lines += ["", f"Calculations: {found.rows['calculations_in_all']}, the latest {len(blocks)}:"]
    for block in blocks[:20]:
        why = f"  {block['reason']}" if block["reason"] else ""
        lines.append(f"  {block['submitted_at']}  {block['id']}  {block['state']}{why}")
    lines += [
        "",
        "settings.json shows the settings as this command found them; a server that was started",
        "with other options has others. Secrets that could be told by their name or that SparkOwl",
        "knows were taken out. Read the logs before you pass them on: user code may have written",
        "there what only you know to be secret.",
    ]
    return "\n".join(plain(line) for line in lines) + "\n"
