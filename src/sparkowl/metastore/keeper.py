"""The keeper: who may ask the catalogue, when the metastore runs, and how long both stay."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparkowl.metastore import control, peers
from sparkowl.metastore.machine import CONNECTIONS, Machine, MachineError
from sparkowl.metastore.names import Files
from sparkowl.metastore.spec import KeeperSpec

log = logging.getLogger(__name__)

#: After a start that failed, callers are sent away this long instead of each trying again.
_PAUSE_S: Final = 3.0
_LOOK_EVERY_S: Final = 1.0
_BLOCK_BYTES: Final = 64 << 10


class Keeper:
    def __init__(
        self,
        spec: KeeperSpec,
        machine: Machine,
        whose: Callable[[socket.socket], int | None] = peers.owner,
    ) -> None:
        self._spec = spec
        self._machine = machine
        self._whose = whose
        self._starting = asyncio.Lock()
        self._failed_at = -_PAUSE_S
        #: Why the last start failed; None: it did not.
        self._trouble: str | None = None
        self._callers: set[asyncio.Task[None]] = set()
        self._servers: set[asyncio.StreamWriter] = set()
        #: Servers that want another one in our place.
        self._others: set[asyncio.StreamWriter] = set()
        self._last_server = time.monotonic()
        self._over = asyncio.Event()
        self._word = ""

    def end(self) -> None:
        self._over.set()

    async def run(self, listener: socket.socket) -> None:
        """Serve until it is told to end, or every server stayed away for long."""
        # By its name: the keeper stands in the catalogue's folder, whose path may be too long. Its
        # umask keeps others out.
        name = Files(Path(self._spec.folder)).control.name
        self._word = control.choose_word(Path(self._spec.folder))
        desk = await asyncio.start_unix_server(self._serve_desk, name)
        accepting = asyncio.create_task(self._accept(listener), name="accept")
        accepting.add_done_callback(lambda _: self.end())
        try:
            while not self._over.is_set() and not self._left_alone():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        await self._over.wait()
        finally:
            listener.close()
            desk.close()
            # Before the lock is free: a server that finds it so makes another keeper.
            _forget(name)
            accepting.cancel()
            for caller in self._callers:
                caller.cancel()
            await asyncio.gather(accepting, *self._callers, return_exceptions=True)
            await self._machine.stop()

    def _left_alone(self) -> bool:
        if self._servers:
            return False
        limit = self._spec.away_busy_s if self._callers else self._spec.away_idle_s
        return time.monotonic() - self._last_server > limit

    # --- callers -------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        while True:
            caller, _ = await asyncio.get_running_loop().sock_accept(listener)
            if self._may_enter(caller):
                task = asyncio.create_task(self._serve(caller))
                self._callers.add(task)
                task.add_done_callback(self._callers.discard)
            else:
                caller.close()

    def _may_enter(self, caller: socket.socket) -> bool:
        if len(self._callers) >= CONNECTIONS:
            log.warning("refused a caller: there are %d already", CONNECTIONS)
            return False
        with suppress(OSError):  # gone already
            user = self._whose(caller)
            if user in self._spec.uids:
                return True
            log.warning(
                "refused a caller of POSIX user %s", "nobody knows" if user is None else user
            )
        return False

    async def _serve(self, caller: socket.socket) -> None:
        with caller:
            try:
                await self._start_machine()
                line = await self._machine.open()
            except MachineError as error:
                log.warning("%s", error)
                return
            with line:
                await self._carry(caller, line)

    async def _start_machine(self) -> None:
        async with self._starting:
            if self._machine.alive:
                return
            if time.monotonic() - self._failed_at < _PAUSE_S:
                raise MachineError("The metastore could not be started a moment ago.")
            began = time.monotonic()
            try:
                await self._machine.start()
            except MachineError as error:
                self._failed_at, self._trouble = time.monotonic(), str(error)
                raise
            self._trouble = None
            log.info("the metastore is up after %.1f s", time.monotonic() - began)

    async def _carry(self, caller: socket.socket, line: socket.socket) -> None:
        """Until either end closes; the other one is closed then: thrift leaves nothing half."""
        works = {
            asyncio.create_task(self._ask(caller, line)),
            asyncio.create_task(self._answer(line, caller)),
        }
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)

    async def _ask(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while block := await loop.sock_recv(source, _BLOCK_BYTES):
            # What is asked may name a bucket that was just made.
            try:
                await self._machine.look_at_buckets()
            except (MachineError, OSError) as error:
                log.warning("%s", error)
            await loop.sock_sendall(target, block)

    async def _answer(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while block := await loop.sock_recv(source, _BLOCK_BYTES):
            await loop.sock_sendall(target, block)

    # --- servers -------------------------------------------------------------------------------

    async def _serve_desk(self, asked: asyncio.StreamReader, said: asyncio.StreamWriter) -> None:
        try:
            while line := await asked.readline():
                said.write(control.message(**await self._do(json.loads(line), said)))
                await said.drain()
        except (OSError, ValueError, AttributeError):  # gone, or no order at all
            pass
        finally:
            self._others.discard(said)
            if said in self._servers:
                self._servers.discard(said)
                self._last_server = time.monotonic()
                self._make_way()
            said.close()

    def _make_way(self) -> None:
        """End for servers with other settings, but not from under one with ours: two of one data
        directory, while the first of them is being changed, would else end each other's for ever.
        """
        if self._others and not self._servers:
            log.info("the settings changed: another keeper is to take over")
            self.end()

    async def _do(self, order: dict[str, Any], server: asyncio.StreamWriter) -> dict[str, Any]:
        word = order.get("word")
        if not isinstance(word, str) or not hmac.compare_digest(word.encode(), self._word.encode()):
            return {"ok": False, "error": "not the word"}
        match order:
            case {"do": "hello", "spec": digest}:
                if digest != self._spec.digest:
                    self._others.add(server)
                    self._make_way()
                    return {"ok": False}
                self._servers.add(server)
                return {"ok": True}
            case {"do": "stop"}:
                alone = not (self._servers | self._others) - {server}
                if alone:
                    self.end()
                return {"ok": alone}
            case {"do": "status"}:
                return {
                    "ok": True,
                    "metastore": self._machine.alive,
                    "servers": len(self._servers),
                    "callers": len(self._callers),
                    "trouble": self._trouble,
                    "database": "embedded" if self._spec.database is None else "postgresql",
                }
            case {"do": "backup"}:
                return await self._backup()
        return {"ok": False, "error": "not an order"}

    async def _backup(self) -> dict[str, Any]:
        # Nobody starts it in the middle of a copy.
        async with self._starting:
            try:
                folder = await self._machine.backup()
            except MachineError as error:
                return {"ok": False, "error": str(error)}
        return {"ok": True, "folder": None if folder is None else str(folder)}


def _forget(name: str) -> None:
    Path(name).unlink(missing_ok=True)
