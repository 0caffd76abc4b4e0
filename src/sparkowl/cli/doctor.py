"""``sparkowl doctor``: looks at the world that a server needs, and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import typer
from rich.console import Console

from sparkowl.cli.options import DataDir, settings
from sparkowl.config import CATALOG_FOLDER, Settings, users_of
from sparkowl.launchers import catalog, engines, users
from sparkowl.relay.endpoint import running_url

_out = Console(highlight=False, soft_wrap=True)
_STYLES: Final = {"ok": "green", "note": "yellow", "bad": "red"}
#: A driver's log, shuffle files and outputs need room.
_DISK_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Check:
    """One look: how it stands, and what to do about it."""

    name: str
    verdict: Literal["ok", "note", "bad"]
    text: str


def doctor(data_dir: DataDir = None) -> None:
    """Check Java, Spark, the class-data archive, isolation, database, catalogue, disk and port."""
    chosen = settings(data_dir)
    checks = [
        *_engine(chosen),
        *_registered(chosen),
        *_store(chosen),
        *_catalogue(chosen),
        _disk(chosen),
        _port(chosen),
    ]
    for check in checks:
        _out.print(f"{check.name:<20}", end="", markup=False)
        _out.print(f"{check.verdict:<6}", end="", style=_STYLES[check.verdict])
        _out.print(check.text, markup=False)
    if any(check.verdict == "bad" for check in checks):
        raise typer.Exit(1)


def _engine(chosen: Settings) -> Iterator[Check]:
    """What the agent says of the environment that drivers run in; the server knows no Spark."""
    asked: dict[str, Any] = {
        "cache_dir": str(chosen.cache_dir),
        "java_home": chosen.driver.java_home,
        # The data directory itself is opened to them by a start.
        "confine": chosen.driver.isolation == "auto",
        "folders": [str(chosen.data_dir.parent)],
    }
    try:
        found_users = users.find(users_of(chosen), chosen.driver.group)
    except users.UnusableUser as error:
        yield Check("users", "bad", str(error))
    else:
        runners = found_users.by_name.values() if found_users else ()
        asked["users"] = [asdict(user) for user in runners]
    answer = subprocess.run(
        [sys.executable, "-m", "sparkowl.agent.doctor"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        yield Check("engine", "bad", answer.stderr.strip().rpartition("\n")[2])
        return
    found = json.loads(answer.stdout)
    for name in ("python", "java", "spark"):
        about = found[name]
        where = about.get("home") or about.get("path")
        text = about["problem"] or f"{about['version']} ({where})"
        yield Check(name, "bad" if about["problem"] else "ok", text)
    for name, key in (("class-data archive", "archive"), ("isolation", "isolation")):
        about = found[key]
        text = ". ".join(
            filter(None, (about.get("path") or about.get("in_force"), about["problem"]))
        )
        yield Check(name, "note" if about["problem"] else "ok", text)


def _registered(chosen: Settings) -> Iterator[Check]:
    """Engines with an environment of their own, as far as a look at their files tells."""
    try:
        for made in engines.registered(chosen.data_dir):
            engines.sparks({made.name: made})
            yield Check("engine", "ok", f"{made.name} runs Spark {made.spark_version}")
    except engines.EngineError as error:
        yield Check("engine", "bad", str(error))


def _store(chosen: Settings) -> Iterator[Check]:
    """A database that is elsewhere; one in the data directory is made by the first start."""
    from sparkowl.store.reading import NoDatabase, look

    if chosen.store.url is None:
        return
    try:
        yield Check("database", "ok", look(chosen.database))
    except NoDatabase as error:
        yield Check("database", "bad", str(error))


def _catalogue(chosen: Settings) -> Iterator[Check]:
    """Where tables are known; of the shared metastore also how it is at this moment."""
    from sparkowl.app.catalog import keeper_spec
    from sparkowl.app.errors import StartError

    asked = chosen.catalog
    match chosen.catalog_kind:
        case "hive":
            where = "PostgreSQL" if asked.database is not None else "an embedded database"
            try:
                keeper_spec(chosen, None)
            except StartError as error:
                yield Check("catalogue", "bad", str(error))
                return
            found = catalog.status(chosen.data_dir / CATALOG_FOLDER)
            trouble = None if found is None else found.get("trouble")
            if found is not None and not found["ok"]:
                trouble = f"its keeper does not answer: {found['error']}"
            if trouble is not None:
                yield Check("catalogue", "bad", str(trouble))
                return
            now = "no session uses it now" if found is None else f"{found['callers']} connections"
            yield Check("catalogue", "ok", f"a metastore on {where}; {now}")
        case "none":
            yield Check("catalogue", "note", "none: a session forgets its tables when it ends")
        case "glue" if asked.jar is not None and not asked.jar.is_file():
            yield Check("catalogue", "bad", f"catalog.jar: there is no file {asked.jar}")
        case _:
            yield Check("catalogue", "ok", f"{asked.kind} at {asked.uri or 'AWS'}")


def _disk(chosen: Settings) -> Check:
    folder = chosen.data_dir
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return Check("data directory", "bad", f"{folder} cannot be written; give --data-dir")
    free = shutil.disk_usage(folder).free
    text = f"{chosen.data_dir}, {free / 1024**3:.1f} GiB free"
    if free < _DISK_BYTES:
        return Check("data directory", "bad", f"{text}: drivers need at least 2")
    return Check("data directory", "ok", text)


def _port(chosen: Settings) -> Check:
    url = running_url(chosen.data_dir)
    if url is not None:
        return Check("server", "ok", f"runs at {url}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((chosen.host, chosen.port))
        except OSError as error:
            text = f"{chosen.host}:{chosen.port}: {error.strerror}; give serve another --port"
            return Check("port", "bad", text)
    return Check("port", "ok", f"{chosen.host}:{chosen.port} is free")
