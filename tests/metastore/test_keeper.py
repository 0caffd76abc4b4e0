"""The keeper as servers and sessions meet it: real processes, and a small program for Hive's."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sparkowl.launchers import catalog, processes
from sparkowl.launchers.catalog import Catalog
from sparkowl.metastore import control
from sparkowl.metastore.names import TAG, Files
from sparkowl.metastore.spec import KeeperSpec

_STANDIN = (sys.executable, str(Path(__file__).with_name("standin.py")))
_PATIENT_S = 30.0


def a_spec(folder: Path) -> KeeperSpec:
    return KeeperSpec(
        folder=str(folder / "catalog"),
        cache_dir=str(folder / "cache"),
        java_home=None,
        heap="256m",
        uids=(os.getuid(),),
        buckets_dir=None,
        warehouse="s3://results/warehouse",
        away_idle_s=60,
        away_busy_s=60,
    )


@dataclass
class Server:
    """What a server does with its catalogue."""

    catalog: Catalog
    watching: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.catalog.open()
        self.watching = asyncio.create_task(self.catalog.watch())

    async def stop(self, *, keep: bool) -> None:
        self.watching.cancel()
        with suppress(asyncio.CancelledError):
            await self.watching
        await self.catalog.close(keep=keep)


@asynccontextmanager
async def serving(spec: KeeperSpec) -> AsyncIterator[Server]:
    server = Server(Catalog(spec, _STANDIN))
    try:
        yield server
    finally:
        await server.stop(keep=False)
        assert processes.of_driver(TAG, Path(spec.folder)) == []


class Caller:
    """A session's connection to its catalogue."""

    def __init__(self, heard: asyncio.StreamReader, said: asyncio.StreamWriter) -> None:
        self._heard, self._said = heard, said

    @classmethod
    async def dial(cls, spec: KeeperSpec) -> Caller:
        port = int(Files(Path(spec.folder)).port.read_text())
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, text: bytes) -> bytes:
        """The answer; empty when the connection was closed instead."""
        async with asyncio.timeout(_PATIENT_S):
            try:
                self._said.write(text)
                await self._said.drain()
                return await self._heard.readexactly(len(text))
            except (ConnectionError, asyncio.IncompleteReadError):
                return b""

    async def until_closed(self) -> None:
        async with asyncio.timeout(_PATIENT_S):
            with suppress(ConnectionError):
                assert await self._heard.read() == b""

    def close(self) -> None:
        self._said.close()


async def answered(spec: KeeperSpec, text: bytes = b"tables?") -> bytes:
    """What a client hears that tries again, as Hive's does, while nobody listens for a moment."""
    async with asyncio.timeout(_PATIENT_S):
        while True:
            with suppress(ConnectionError):
                caller = await Caller.dial(spec)
                answer = await caller.ask(text)
                caller.close()
                if answer:
                    return answer
            await asyncio.sleep(0.05)


def starts(spec: KeeperSpec) -> list[int]:
    """The process ids of the metastores that were started, one after the other."""
    return [int(line) for line in (Path(spec.folder) / "starts").read_text().splitlines()]


def keepers(spec: KeeperSpec) -> list[int]:
    """The keeper's process, or what is left of it."""
    return [pid for pid in processes.of_driver(TAG, Path(spec.folder)) if b"standin" in told(pid)]


def told(pid: int) -> bytes:
    return (processes.PROC / str(pid) / "cmdline").read_bytes()


async def test_nothing_runs_before_somebody_calls_and_one_metastore_for_all_after(
    tmp_path: Path,
) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        assert processes.of_driver(TAG, Path(spec.folder)) == []

        callers = await asyncio.gather(*(Caller.dial(spec) for _ in range(40)))
        answers = await asyncio.gather(*(c.ask(b"block %d" % n) for n, c in enumerate(callers)))

        assert answers == [b"BLOCK %d" % n for n in range(40)]
        assert len(starts(spec)) == 1
        assert len(keepers(spec)) == 1
        for caller in callers:
            caller.close()


async def test_large_answers_pass_whole(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        text = b"partition " * 500_000

        assert await answered(spec, text) == text.upper()


async def test_a_metastore_that_died_is_started_again_for_the_next_caller(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        caller = await Caller.dial(spec)
        assert await caller.ask(b"a") == b"A"

        os.kill(starts(spec)[0], signal.SIGKILL)

        await caller.until_closed()
        assert await answered(spec) == b"TABLES?"
        assert len(starts(spec)) == 2
        caller.close()


async def test_a_metastore_that_does_not_start_sends_callers_away_and_is_tried_again(
    tmp_path: Path,
) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        reason = Path(spec.folder) / "FAILS"
        reason.touch()
        caller = await Caller.dial(spec)
        await caller.until_closed()
        caller.close()
        assert "it fails" in (Path(spec.folder) / "keeper.log").read_text()
        assert "it fails" in str(await trouble(spec))

        reason.unlink()

        assert await answered(spec) == b"TABLES?"
        assert await trouble(spec) is None


async def trouble(spec: KeeperSpec) -> object:
    """What ``sparkowl doctor`` is told."""
    said = await asyncio.to_thread(catalog.status, Path(spec.folder))
    assert said is not None
    return said["trouble"]


async def test_a_keeper_that_was_killed_takes_its_metastore_along_and_is_replaced(
    tmp_path: Path,
) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        assert await answered(spec) == b"TABLES?"
        [first] = keepers(spec)

        os.kill(first, signal.SIGKILL)

        assert await answered(spec) == b"TABLES?"
        [second] = keepers(spec)
        assert second != first
        assert processes.started_at(starts(spec)[0]) is None


async def test_connections_stay_open_while_one_server_goes_and_another_comes(
    tmp_path: Path,
) -> None:
    spec = a_spec(tmp_path)
    first = Server(Catalog(spec, _STANDIN))
    uri = first.catalog.uri
    caller = await Caller.dial(spec)
    assert await caller.ask(b"before") == b"BEFORE"

    await first.stop(keep=True)
    assert await caller.ask(b"between") == b"BETWEEN"
    async with serving(spec) as second:
        assert await caller.ask(b"after") == b"AFTER"
        assert second.catalog.uri == uri
        assert await answered(spec) == b"TABLES?"
        assert len(starts(spec)) == 1
        caller.close()


async def test_a_stop_leaves_no_process_and_nothing_locked(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        assert await answered(spec) == b"TABLES?"

    left = Catalog(spec, _STANDIN)
    left.open()
    assert left.uri == f"thrift://127.0.0.1:{Files(Path(spec.folder)).port.read_text()}"
    assert not Files(Path(spec.folder)).control.exists()
    left.let_go()


async def test_a_stop_ends_a_keeper_that_only_begins(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    server = Server(Catalog(spec, (sys.executable, "-c", "import time; time.sleep(60)")))
    caller = await Caller.dial(spec)
    async with asyncio.timeout(_PATIENT_S):
        while not processes.of_driver(TAG, Path(spec.folder)):
            await asyncio.sleep(0.05)

    began = time.monotonic()
    await server.stop(keep=False)

    assert time.monotonic() - began < 5, "it was waited for until it was killed"
    assert processes.of_driver(TAG, Path(spec.folder)) == []
    caller.close()


async def test_the_keeper_stays_while_another_server_of_the_directory_does(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        other = Server(Catalog(spec, _STANDIN))
        assert await answered(spec) == b"TABLES?"
        async with asyncio.timeout(_PATIENT_S):
            while b"hello" not in await seen_by(spec):
                await asyncio.sleep(0.05)

        await other.stop(keep=False)

        assert await answered(spec) == b"TABLES?"
        assert len(starts(spec)) == 1


async def seen_by(spec: KeeperSpec) -> bytes:
    """``hello`` once for each server that the keeper knows of."""
    said = await asyncio.to_thread(control.ask, Path(spec.folder), do="status")
    return b"hello" * int(said["servers"] if said else 0)


async def test_without_any_server_it_ends_when_it_was_alone_for_long(tmp_path: Path) -> None:
    spec = replace(a_spec(tmp_path), away_idle_s=0.2, away_busy_s=60)
    server = Server(Catalog(spec, _STANDIN))
    caller = await Caller.dial(spec)
    assert await caller.ask(b"a") == b"A"
    [keeper] = keepers(spec)

    await server.stop(keep=True)
    # A session is connected: that is what the longer time is for.
    assert await caller.ask(b"b") == b"B"
    caller.close()

    await processes.ended(keeper, _PATIENT_S)
    async with asyncio.timeout(_PATIENT_S):
        while processes.of_driver(TAG, Path(spec.folder)):
            await asyncio.sleep(0.05)


async def test_other_settings_are_taken_up_by_another_keeper(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    first = Server(Catalog(spec, _STANDIN))
    assert await answered(spec) == b"TABLES?"
    [old] = keepers(spec)
    await first.stop(keep=True)

    async with serving(replace(spec, heap="512m")):
        await processes.ended(old, _PATIENT_S)
        assert await answered(spec) == b"TABLES?"
        assert keepers(spec) != [old]


async def test_two_servers_with_different_settings_do_not_end_each_others_keeper(
    tmp_path: Path,
) -> None:
    """As while the servers of one data directory are restarted one after the other."""
    spec = a_spec(tmp_path)
    changed = replace(spec, heap="512m")
    old = Server(Catalog(spec, _STANDIN))
    caller = await Caller.dial(spec)
    assert await caller.ask(b"a") == b"A"
    while b"hello" not in await seen_by(spec):
        await asyncio.sleep(0.05)
    [first] = keepers(spec)

    async with serving(changed):
        await asyncio.sleep(1)  # long enough for the newer one to have asked
        assert await caller.ask(b"b") == b"B"
        assert keepers(spec) == [first]

        await old.stop(keep=False)

        await processes.ended(first, _PATIENT_S)
        assert await answered(spec) == b"TABLES?"
        assert keepers(spec) != [first]
    caller.close()


async def test_a_keeper_of_an_older_version_makes_way(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    first = Server(Catalog(replace(spec, version="0.0.1"), _STANDIN))
    assert await answered(spec) == b"TABLES?"
    [old] = keepers(spec)
    await first.stop(keep=True)

    async with serving(spec):
        await processes.ended(old, _PATIENT_S)
        assert await answered(spec) == b"TABLES?"
        assert keepers(spec) != [old]


async def test_a_port_that_somebody_else_took_is_exchanged_for_another(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    first = Catalog(spec, _STANDIN)
    first.open()
    uri = first.uri
    # A data directory that was copied: the port is the original's, the lock is its own.
    copied = replace(spec, folder=str(tmp_path / "copy"))
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "port").write_text(Files(Path(spec.folder)).port.read_text())

    second = Catalog(copied, _STANDIN)
    second.open()

    assert second.uri != uri
    first.let_go()
    second.let_go()


async def test_a_port_that_is_taken_while_the_keeper_is_replaced_is_waited_for(
    tmp_path: Path,
) -> None:
    """Drivers were told it, and those to come will be."""
    spec = a_spec(tmp_path)
    async with serving(spec) as server:
        assert await answered(spec) == b"TABLES?"
        uri, [keeper] = server.catalog.uri, keepers(spec)
        other = socket.socket()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = int(uri.rpartition(":")[2])

        server.watching.cancel()
        os.kill(keeper, signal.SIGKILL)
        await processes.ended(keeper, _PATIENT_S)
        other.bind(("127.0.0.1", port))
        other.listen()
        server.watching = asyncio.create_task(server.catalog.watch())
        await asyncio.sleep(1)  # long enough for it to have taken another one
        other.close()

        assert await answered(spec) == b"TABLES?"
        assert server.catalog.uri == uri


def saved(spec: KeeperSpec) -> list[str]:
    """The files of a copy of the embedded database; nothing is left of the copy."""
    with catalog.saved(Path(spec.folder)) as copy:
        found = [] if copy is None else [file.read_text() for file in copy.iterdir()]
    assert not list(Path(spec.folder).rglob("backup-*"))
    return found


async def test_the_database_is_copied_by_the_keeper_and_without_one_as_it_lies(
    tmp_path: Path,
) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        assert saved(spec) == []
        database = Files(Path(spec.folder)).derby
        database.mkdir()
        (database / "pages").write_text("as they lie")

        assert saved(spec) == ["as they lie"]

        assert await answered(spec) == b"TABLES?"
        assert await asyncio.to_thread(saved, spec) == ["as they are at one moment"]


async def test_an_order_that_is_none_gets_an_answer(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        assert catalog.status(Path(spec.folder)) is None
        assert await answered(spec) == b"TABLES?"

        said = await asyncio.to_thread(control.ask, Path(spec.folder), do="dance")
        status = await asyncio.to_thread(catalog.status, Path(spec.folder))

        assert said == {"ok": False, "error": "not an order"}
        assert status is not None
        assert status["metastore"] is True


async def test_who_can_reach_the_socket_but_not_read_beside_it_gives_no_orders(
    tmp_path: Path,
) -> None:
    """A block of the server's own user: Landlock hides files from it, and no sockets."""
    spec = a_spec(tmp_path)
    async with serving(spec):
        assert await answered(spec) == b"TABLES?"

        with control.address(Path(spec.folder)) as at:
            heard, said = await asyncio.open_unix_connection(at)
        answers = []
        for order in ({"do": "hello", "spec": "mine"}, {"do": "backup", "word": ""}, {"word": 1}):
            said.write(control.message(**order))
            answers.append(await heard.readline())
        said.write(b"[]\n")
        answers.append(await heard.readline())
        said.close()

        assert answers == [b'{"ok": false, "error": "not the word"}\n'] * 3 + [b""]
        assert await answered(spec) == b"TABLES?"
        assert len(starts(spec)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_other_users_of_the_machine_are_not_let_in(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    async with serving(spec):
        assert await answered(spec) == b"TABLES?"
        nobody = pwd.getpwnam("nobody")
        port = Files(Path(spec.folder)).port.read_text()
        code = (
            "import os, socket; ''.encode('idna');"
            f" os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid});"
            f" line = socket.create_connection(('127.0.0.1', {port})); line.sendall(b'a');"
            " print(line.recv(1))"
        )

        stranger = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        said, complained = await stranger.communicate()

        assert said == b"b''\n" or b"ConnectionResetError" in complained
        assert f"POSIX user {nobody.pw_uid}" in (Path(spec.folder) / "keeper.log").read_text()
