"""A backup, put back, is the same data directory; and no archive puts anything anywhere else."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, String
from tests.builders import make_calculation, make_session
from tests.cli.commands import command
from tests.databases import empty_place, new_place
from tests.serving import serving, until

from sparkowl.app import backup, restore
from sparkowl.config import Settings
from sparkowl.store import Store, calculations, migrate, sessions, snapshot
from sparkowl.store.reading import reading
from sparkowl.store.tables import metadata

#: Hidden in the tables of which a copy leaves the rows out, or that migrations fill.
_OTHER = {"servers", "schema"}


def _values(column: Column[Any]) -> st.SearchStrategy[Any]:
    kind: st.SearchStrategy[Any]
    if isinstance(column.type, Boolean):
        kind = st.booleans().map(int)
    elif isinstance(column.type, BigInteger | Integer):
        kind = st.integers(-(2**62), 2**62)
    else:
        length = column.type.length if isinstance(column.type, String) else None
        # PostgreSQL takes no NUL, nor half a character; nor does anything write one.
        characters = st.characters(codec="utf-8", exclude_characters="\0")
        kind = st.text(characters, max_size=min(length or 50, 50))
    return st.none() | kind if column.nullable else kind


def _key(keys: list[int], row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(row[key] for key in keys)


@st.composite
def _rows(draw: st.DrawFn) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for table in metadata.sorted_tables:
        if table.name not in _OTHER:
            primary = [column.name for column in table.primary_key]
            others = [index.columns.keys() for index in table.indexes if index.unique]
            names = table.columns.keys()
            unique = [
                partial(_key, [names.index(one) for one in key]) for key in (primary, *others)
            ]
            rows = st.lists(
                st.tuples(*(_values(column) for column in table.columns)),
                max_size=4,
                unique_by=tuple(unique),
            )
            found[table.name] = draw(rows)
    return found


@settings(max_examples=25, deadline=None)
@given(rows=_rows())
def test_a_copy_has_every_row_as_it_was(rows: dict[str, list[tuple[Any, ...]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first.db", Path(folder) / "second.db"
        migrate.upgrade(first)
        with closing(sqlite3.connect(first)) as database:
            for table, found in rows.items():
                names = ", ".join(f'"{column.name}"' for column in metadata.tables[table].columns)
                for row in found:
                    places = ", ".join("?" * len(row))
                    database.execute(f'INSERT INTO "{table}" ({names}) VALUES ({places})', row)
            database.commit()

        with reading(first) as connection:
            snapshot.save(connection, second)

        assert _dump(second) == _dump(first)


def _dump(path: Path) -> dict[str, list[Any]]:
    """Tables, indexes and rows."""
    with closing(sqlite3.connect(path)) as database:
        made = database.execute(
            "SELECT name, type, sql FROM sqlite_master ORDER BY name"
        ).fetchall()
        tables = [name for name, kind, _ in made if kind == "table"]
        return {"made": made} | {
            name: sorted(database.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for name in tables
        }


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose server still runs: a session, objects, a multipart upload."""
    folder = tmp_path / "lived"
    with serving(folder) as server:
        athena, s3 = server.client(), server.client("s3")
        engine = {"MaxConcurrentDpus": 4}
        known = athena.start_session(WorkGroup="spark", EngineConfiguration=engine)["SessionId"]
        until(lambda: _state(athena, known)["State"] == "IDLE")
        athena.create_notebook(WorkGroup="spark", Name="f\u00fcr")
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key="a/b.txt", Body=b"bytes", Metadata={"who": "me"})
        s3.put_object(Bucket="lake", Key="f\u00fcr/" + "x" * 150, Body=b"")
        s3.put_object(Bucket="lake", Key="marker/", Body=b"")
        upload = s3.create_multipart_upload(Bucket="lake", Key="big")["UploadId"]
        s3.upload_part(Bucket="lake", Key="big", UploadId=upload, PartNumber=1, Body=b"part")
        odd = folder / "buckets" / "lake"
        (odd / "planted").symlink_to("/etc/passwd")
        os.mkfifo(odd / "pipe")
        (odd / os.fsdecode(b"\xff\xfe")).write_bytes(b"no text")
        tables = folder / "catalog" / "metastore" / "derby" / "seg0"
        tables.mkdir(parents=True)
        (tables / "c10.dat").write_bytes(b"page")
        (tables / "planted").symlink_to("/etc/passwd")
        (folder / "catalog" / "port").write_text("12345")
        (folder / "sparkowl.toml").write_text('region = "eu-central-1"\n')
        yield folder


def saved(folder: Path, to: Path, *options: str, environment: dict[str, str] | None = None) -> Path:
    asked = ("backup", str(to), "--data-dir", str(folder), *options)
    done = command(*asked, environment=environment)
    assert done.returncode == 0, done.stderr
    return to


def put_back(archive: Path, to: Path, environment: dict[str, str] | None = None) -> Path:
    done = command("restore", str(archive), "--data-dir", str(to), environment=environment)
    assert done.returncode == 0, done.stderr
    return to


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
def test_what_was_saved_from_a_running_server_serves_again(
    lived: Path, tmp_path: Path, name: str
) -> None:
    archive = saved(lived, tmp_path / name)
    copy = put_back(archive, tmp_path / "copy")

    assert archive.stat().st_mode & 0o777 == 0o600
    assert (copy / "credentials.json").read_text() == (lived / "credentials.json").read_text()
    assert (copy / "sparkowl.toml").read_text() == 'region = "eu-central-1"\n'
    lake = copy / "buckets" / "lake"
    assert (lake / os.fsdecode(b"\xff\xfe")).read_bytes() == b"no text"
    assert not os.path.lexists(lake / "planted")
    assert not os.path.lexists(lake / "pipe")
    catalog = copy / "catalog"
    found = [str(p.relative_to(catalog)) for p in catalog.rglob("*") if not p.is_dir()]
    assert found == ["metastore/derby/seg0/c10.dat"]
    assert (catalog / found[0]).read_bytes() == b"page"
    with serving(copy) as server:
        athena, s3 = server.client(), server.client("s3")
        found = s3.get_object(Bucket="lake", Key="a/b.txt")
        assert (found["Body"].read(), found["Metadata"]) == (b"bytes", {"who": "me"})
        assert s3.head_object(Bucket="lake", Key="marker/")["ContentLength"] == 0
        assert s3.head_object(Bucket="lake", Key="f\u00fcr/" + "x" * 150)["ContentLength"] == 0
        upload = s3.list_multipart_uploads(Bucket="lake")["Uploads"][0]
        parts = s3.list_parts(Bucket="lake", Key="big", UploadId=upload["UploadId"])["Parts"]
        assert [part["Size"] for part in parts] == [4]
        # Its driver is not here: the session ends, with a reason.
        (known,) = _sessions(copy)
        session = until(lambda: _if_ended(athena, known))
        assert session["State"] == "FAILED"
        assert "driver" in session["StateChangeReason"]
    left = {".backup-", ".restore-"}
    for folder in (lived, copy):
        assert not [e.name for e in folder.iterdir() if e.name[:9] in left or e.name[:8] in left]


def _sessions(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "sparkowl.db")) as database:
        return [row[0] for row in database.execute("SELECT id FROM sessions")]


def _if_ended(athena: Any, session_id: str) -> dict[str, Any] | None:
    status = _state(athena, session_id)
    return status if status["State"] in ("FAILED", "TERMINATED") else None


def _state(athena: Any, session_id: str) -> dict[str, Any]:
    status: dict[str, Any] = athena.get_session_status(SessionId=session_id)["Status"]
    return status


def test_rows_move_to_postgresql_and_back(lived: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(lived / "sparkowl.db", timeout=20)) as database:
        database.execute("UPDATE sessions SET description = ?", ("a\0b\x01c\x01a",))
        database.commit()
    archive = saved(lived, tmp_path / "b.tar")
    plain = put_back(archive, tmp_path / "plain")
    url = str(empty_place("postgresql", tmp_path))
    there = {"SPARKOWL_STORE__URL": url}

    moved = put_back(archive, tmp_path / "moved", there)
    again = saved(moved, tmp_path / "again.tar", environment=there)
    back = put_back(again, tmp_path / "back")

    assert _dump(back / "sparkowl.db") == _dump(plain / "sparkowl.db")
    assert not (moved / "sparkowl.db").exists()
    (known,) = _sessions(back)
    with serving(moved, store={"url": url}) as server:
        athena = server.client()
        # Its driver is not here.
        assert until(lambda: _if_ended(athena, known))["State"] == "FAILED"
        engine = {"MaxConcurrentDpus": 4}
        new = athena.start_session(WorkGroup="spark", EngineConfiguration=engine)["SessionId"]
        until(lambda: _state(athena, new)["State"] == "IDLE")


def test_a_database_that_somebody_uses_is_not_filled(lived: Path, tmp_path: Path) -> None:
    archive = saved(lived, tmp_path / "b.tar")
    url = str(new_place("postgresql", tmp_path))
    there = {"SPARKOWL_STORE__URL": url}
    put_back(archive, tmp_path / "first", there)

    to = str(tmp_path / "second")
    done = command("restore", str(archive), "--data-dir", to, environment=there)

    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert not (tmp_path / "second").exists()


def test_a_copy_does_not_begin_on_the_originals_database(lived: Path, tmp_path: Path) -> None:
    (lived / "sparkowl.toml").write_text('[store]\nurl = "postgresql://db/original"\n')
    # What it saves is beside the point here: the rows of the file.
    with (tmp_path / "b.tar").open("wb") as target:
        chosen = Settings(data_dir=lived, store={"url": None})
        backup.write(chosen, target, partial(_reading, lived), compressed=False, with_objects=False)

    done = command("restore", str(tmp_path / "b.tar"), "--data-dir", str(tmp_path / "to"))

    assert done.returncode == 1
    assert "Say first where its rows shall go" in done.stderr
    assert not (tmp_path / "to").exists()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "sparkowl.toml").touch()
    put_back(tmp_path / "b.tar", tmp_path / "to")


def _reading(folder: Path, work: Callable[[Connection], None]) -> None:
    with reading(folder / "sparkowl.db") as connection:
        work(connection)


def test_a_slow_copy_from_postgresql_is_not_cut_off(tmp_path: Path) -> None:
    with reading(new_place("postgresql", tmp_path)) as connection:
        snapshot.save(connection, tmp_path / "copy.db")

        asked = "SHOW idle_in_transaction_session_timeout"
        assert connection.exec_driver_sql(asked).scalar() == "0"


@pytest.mark.parametrize("act", ["backup", "restore"])
def test_what_killed_commands_left_is_cleared_by_the_next(
    lived: Path, tmp_path: Path, act: str
) -> None:
    archive = saved(lived, tmp_path / "b.tar")
    folder = lived if act == "backup" else tmp_path / "to"
    (folder / f".{act}-left").mkdir(parents=True)
    (folder / f".{act}-left" / "database.db").touch()
    (folder / f".{act}-lives").mkdir()
    living = os.open(folder / f".{act}-lives", os.O_RDONLY)
    fcntl.flock(living, fcntl.LOCK_EX)
    try:
        if act == "backup":
            saved(folder, tmp_path / "second.tar")
        else:
            put_back(archive, folder)
    finally:
        os.close(living)

    assert [e.name for e in folder.iterdir() if e.name.startswith(f".{act}")] == [f".{act}-lives"]


def test_without_objects_there_are_none(lived: Path, tmp_path: Path) -> None:
    archive = saved(lived, tmp_path / "b.tar", "--without-objects")
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert names == [
        "backup.json", "database.db", "credentials.json", "sparkowl.toml", "engines.json",
        "catalog/metastore/derby/seg0/c10.dat", "manifest.jsonl",
    ]  # fmt: skip


def _insert(how: Callable[[Connection, Any], None], what: Any, tx: Connection) -> None:
    how(tx, what)


def test_a_backup_during_writes_has_every_calculations_session(tmp_path: Path) -> None:
    path = tmp_path / "busy.db"
    writing = threading.Event()
    stop = threading.Event()

    async def write() -> None:
        store = Store.open(path)
        while not stop.is_set():
            session = make_session()
            await store.write(partial(_insert, sessions.insert_session, session))
            block = make_calculation(session_id=session.id)
            await store.write(partial(_insert, calculations.insert_calculation, block))
            writing.set()
        store.close()

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    try:
        assert writing.wait(20)
        for number in range(5):
            copy = tmp_path / f"{number}.db"
            with reading(path) as connection:
                snapshot.save(connection, copy)
            with closing(sqlite3.connect(copy)) as database:
                assert database.execute("PRAGMA foreign_key_check").fetchall() == []
                assert database.execute("SELECT count(*) FROM calculations").fetchone()[0] > 0
    finally:
        stop.set()
        writer.join()


def test_a_restore_is_refused_where_something_is(lived: Path, tmp_path: Path) -> None:
    archive = saved(lived, tmp_path / "b.tar")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").touch()

    done = command("restore", str(archive), "--data-dir", str(taken))
    running = command("restore", str(archive), "--data-dir", str(lived))

    assert done.returncode == running.returncode == 1
    assert "not empty (mine)" in done.stderr
    assert "A server runs on" in running.stderr
    assert (taken / "mine").exists()


def test_settings_that_are_there_stay(lived: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "sparkowl.toml").write_text("port = 1\n")

    put_back(saved(lived, tmp_path / "b.tar"), copy)

    assert (copy / "sparkowl.toml").read_text() == "port = 1\n"


def test_a_file_that_is_there_is_not_replaced_unasked(lived: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    link = tmp_path / "b.tar"
    link.symlink_to(target)

    done = command("backup", str(link), "--data-dir", str(lived))
    assert done.returncode == 1
    saved(lived, link, "--force")

    assert target.read_text() == "mine"
    assert not link.is_symlink()


@pytest.mark.parametrize("cut", [0, 1, 700, 2_000, -1, -2_000])
def test_half_an_archive_restores_nothing(lived: Path, tmp_path: Path, cut: int) -> None:
    whole = saved(lived, tmp_path / "b.tar.gz").read_bytes()
    half, to = tmp_path / "half", tmp_path / "to"
    half.write_bytes(whole[:cut])

    done = command("restore", str(half), "--data-dir", str(to))

    # The trailer of a compressed stream guards what the manifest has guarded already.
    assert done.returncode == 1 or cut == -1
    assert done.returncode == 0 or not to.exists()


Change = Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]


def _rewritten(archive: Path, to: Path, change: Change) -> Path:
    with tarfile.open(archive) as old, tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            content = old.extractfile(member)
            new_member, body = change(member, b"" if content is None else content.read())
            if new_member.isreg():
                new_member.size = len(body)
            new.addfile(new_member, io.BytesIO(body))
    return to


def _changed(name: str, /, **changes: Any) -> Change:
    def change(member: tarfile.TarInfo, body: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name == name:
            body = changes.get("body", body)
            for attribute in changes.keys() - {"body"}:
                setattr(member, attribute, changes[attribute])
            member.pax_headers = {k: v for k, v in member.pax_headers.items() if k != "path"}
        return member, body

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_changed("buckets/lake/a/b.txt", body=b"other"), "is not as it was saved"),
        (_changed("buckets/lake/a/b.txt", name="../../evil"), "does not belong"),
        (_changed("buckets/lake/a/b.txt", name="/evil"), "does not belong"),
        (_changed("buckets/lake/a/b.txt", name="buckets/lake/../../../evil"), "does not belong"),
        (_changed("buckets/lake/a/b.txt", name="drivers/evil"), "does not belong"),
        (_changed("buckets/lake/a/b.txt", name="staging/draft-1"), "does not belong"),
        (_changed("buckets/lake/a/b.txt", name="catalog/port"), "does not belong"),
        (
            _changed("buckets/lake/a/b.txt", name="catalog/metastore/derby/../../../evil"),
            "does not belong",
        ),
        (_changed("buckets/lake/a/b.txt", type=tarfile.SYMTYPE, linkname="/etc"), "neither"),
        (_changed("buckets/lake/a/b.txt", type=tarfile.LNKTYPE, linkname="backup.json"), "neither"),
        (_changed("buckets/lake/a/b.txt", type=tarfile.CHRTYPE), "neither"),
        (_changed("buckets/lake/a/b.txt", name="backup.json"), "exists"),
        (_changed("credentials.json", body=b"x" * (5 << 20)), "not a backup"),
        (_changed("backup.json", body=b'{"format": 3, "sparkowl": "9.0"}'), "SparkOwl 9.0 made"),
        (_changed("backup.json", body=b"[]"), "says nothing"),
        (_changed("backup.json", body=b"[" * 100_000), "no whole backup"),
        (_changed("manifest.jsonl", body=b""), "is not as it was saved"),
        (_changed("manifest.jsonl", name="buckets/lake/c"), "its end is missing"),
        (_changed("database.db", name="buckets/lake/c"), "is not as it was saved"),
    ],
)
def test_an_archive_that_somebody_made_puts_nothing_anywhere(
    lived: Path, tmp_path: Path, change: Change, said: str
) -> None:
    archive = saved(lived, tmp_path / "b.tar")
    bad = _rewritten(archive, tmp_path / "bad.tar", change)
    to = tmp_path / "deep" / "er" / "to"

    with bad.open("rb") as source, pytest.raises(restore.RestoreError, match=said):
        restore.restore(source, to)

    assert not to.exists()
    assert not list(tmp_path.rglob("evil"))


def test_a_member_that_is_larger_than_the_disk_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar"
    member = tarfile.TarInfo(backup.DATABASE)
    member.size = 1 << 50
    bomb.write_bytes(member.tobuf(tarfile.PAX_FORMAT) + b"\0" * 1024)

    with bomb.open("rb") as source, pytest.raises(restore.RestoreError, match="the disk has room"):
        restore.restore(source, tmp_path / "to")


def test_a_database_of_a_newer_server_is_refused(lived: Path, tmp_path: Path) -> None:
    archive = saved(lived, tmp_path / "b.tar")
    unpacked = tmp_path / "unpacked"
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    with closing(sqlite3.connect(unpacked / "database.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    newer = (unpacked / "database.db").read_bytes()
    changed = _rewritten(archive, tmp_path / "newer.tar", _changed("database.db", body=newer))
    whole = _rewritten(changed, tmp_path / "whole.tar", _with_manifest(changed))

    with whole.open("rb") as source, pytest.raises(restore.RestoreError, match="revision 9999"):
        restore.restore(source, tmp_path / "to")

    assert not (tmp_path / "to").exists()


def _with_manifest(archive: Path) -> Change:
    """The manifest made anew, as whoever changed a member on purpose would."""
    import hashlib

    lines = []
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            sha = None if content is None else hashlib.sha256(content.read()).hexdigest()
            if member.name != backup.MANIFEST:
                lines.append(backup.line_of(member, sha).text())
    return _changed(backup.MANIFEST, body="".join(lines).encode())


def test_the_manifest_names_every_member(lived: Path, tmp_path: Path) -> None:
    with tarfile.open(saved(lived, tmp_path / "b.tar")) as tar:
        names = tar.getnames()
        manifest = tar.extractfile(backup.MANIFEST)
        assert manifest is not None
        lines = [json.loads(line) for line in manifest]
    assert [line["name"] for line in lines] == names[:-1]
