"""A kernel to the front end, whose work is done by a session.

The session is started when this process starts and terminated when it ends, however it ends: the
front end asks it to, a signal, the front end is gone. Only a kill leaves the session to its idle
timeout. A session that has ended is not started again in secret, as its variables are gone: every
cell says so, until the person restarts the kernel, and with it this process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, Final
from uuid import uuid4

from sparkowl.relay.endpoint import authorities
from sparkowl.relay.messages import Message
from sparkowl.relay.options import Options
from sparkowl.relay.remote import Remote, entered
from sparkowl.relay.requests import OURS, Asked, Requests
from sparkowl.relay.session import Away, Over, Session
from sparkowl.relay.sockets import HEARING, Sockets

log = logging.getLogger(__name__)

#: Front ends give up on a kernel that is silent for a minute. One that must wait in line longer
#: introduces itself by then, and its cells wait instead.
_PATIENCE_S: Final = 20.0
#: A session that was never reached in this time, though it runs, is given up.
_FIRST_VISIT_S: Final = 120.0
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 15.0
#: How often to look whether a request, whose answer was perhaps lost, still runs.
_DOUBT_S: Final = 2.0
_PARENT_EVERY_S: Final = 1.0
_AGAIN: Final = "Restart the kernel to start another session."


class Relay:
    def __init__(self, sockets: Sockets, options: Options) -> None:
        self._sockets = sockets
        self._options = options
        self._session = Session(options)
        self._requests = Requests(sockets)
        #: What the session's kernel has not got yet, in order.
        self._outbox: deque[Message] = deque()
        self._more = asyncio.Event()
        self._remote: Remote | None = None
        #: Why there is no session any more.
        self._over = ""
        #: Why cells have to wait.
        self._news = ""
        self._patient = True
        self._introduced = False
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Be a kernel until told to stop. At the end there is no session."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        try:
            async with asyncio.TaskGroup() as group:
                loop.add_signal_handler(
                    signal.SIGINT, lambda: self._go(group, "interrupt", self._interrupt())
                )
                self._go(group, "heartbeat", self._sockets.beat())
                self._go(group, "welcome", self._sockets.welcome())
                self._go(group, "parent", self._watch_parent())
                self._go(group, "patience", self._lose_patience())
                for channel in HEARING:
                    self._go(group, channel, self._hear(group, channel))
                self._go(group, "session", self._follow())
                await self._stop.wait()
                for task in self._tasks:
                    task.cancel()
        finally:
            await self._session.end()
            self._sockets.close()

    def _go(self, group: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = group.create_task(work, name=f"relay: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what front ends ask ---

    async def _hear(self, group: asyncio.TaskGroup, channel: str) -> None:
        async for way_back, message in self._sockets.requests(channel):
            if message.kind == "shutdown_request":
                await self._shut_down(Asked(way_back, message))
            elif message.kind == "interrupt_request":
                self._go(group, "interrupt", self._interrupt(Asked(way_back, message)))
            elif self._over:
                await self._requests.refuse_one(way_back, message, self._over)
            elif await self._requests.add(way_back, message):
                await self._await_turn(message)

    async def _await_turn(self, message: Message) -> None:
        self._outbox.append(message)
        self._more.set()
        if self._remote is None:
            if self._news:
                await self._requests.tell(self._news)
            if not self._patient:
                await self._introduce()

    async def _shut_down(self, asked: Asked) -> None:
        """Also for a restart: the front end then starts another process, and that a session."""
        content = {"status": "ok", "restart": bool(asked.message.content.get("restart"))}
        await self._requests.reply(asked, content)
        self._stop.set()

    async def _interrupt(self, asked: Asked | None = None) -> None:
        content: dict[str, Any] = {"status": "ok"}
        try:
            if self._remote is not None:
                await self._remote.interrupt()
            else:
                await self._drop_what_waits()
        except Away as error:
            log.warning("The interrupt failed: %s", error)
            content = {"status": "error", "ename": OURS, "evalue": str(error), "traceback": []}
        if asked is not None:
            await self._requests.reply(asked, content)

    async def _drop_what_waits(self) -> None:
        """What the kernel has not got shall not run; :class:`Away` when it has something to stop,
        as that goes on, and its answer comes when there is a connection again."""
        self._outbox = deque(m for m in self._outbox if m.kind != "execute_request")
        await self._requests.refuse(
            "KeyboardInterrupt", "", lambda asked: asked.loud and not asked.sent
        )
        if self._requests.runs:
            raise Away("There is no connection to the session just now")

    async def _lose_patience(self) -> None:
        await asyncio.sleep(_PATIENCE_S)
        self._patient = False
        if self._remote is None:
            await self._introduce()

    async def _introduce(self) -> None:
        await self._requests.introduce()
        self._outbox = deque(m for m in self._outbox if m.kind != "kernel_info_request")

    async def _watch_parent(self) -> None:
        """Stop when the front end is gone without a word, as ipykernel does."""
        parent = os.getppid()
        if os.environ.get("JPY_PARENT_PID") != str(parent):
            return
        while not self._stop.is_set():
            await asyncio.sleep(_PARENT_EVERY_S)
            if os.getppid() != parent:
                self._stop.set()

    # --- the session ---

    async def _follow(self) -> None:
        await self._requests.state("starting")
        try:
            await self._session.start()
            log.warning("%s", self._where())
            await self._keep_connected()
        except Over as error:
            self._over = f"{error} {_AGAIN}"
            log.warning("%s", self._over)
            self._outbox.clear()
            await self._requests.refuse(OURS, self._over)
            # It may run still, but cannot be reached.
            await self._session.end()

    async def _keep_connected(self) -> None:
        """Connect whenever there is no connection, until the session is over."""
        visitor, visits, failures = str(uuid4()), 0, 0
        trusted = authorities(self._options.place)
        await self._session.ready(self._tell)
        # However long it waited in line before.
        ran_at = monotonic()
        while True:
            try:
                link = await self._link()
                async with entered(link, self._session.id, visitor, trusted) as remote:
                    visits, failures = visits + 1, 0
                    await self._converse(remote, visits)
            except Away as error:
                failures += 1
                if visits == 0 and monotonic() - ran_at > _FIRST_VISIT_S:
                    raise Over(f"Session {self._session.id} cannot be used: {error}.") from error
                # The first time it is perhaps just ending, which is soon known.
                if failures > 1:
                    await self._tell(f"{error}. Trying again.")
            await asyncio.sleep(pause_after(failures) * random.uniform(0.5, 1.0))  # noqa: S311
            await self._session.ready(self._tell)

    async def _link(self) -> str:
        try:
            return await self._session.link()
        except Over:
            # Why it has ended says more than that it has.
            await self._session.ready(self._tell)
            raise

    async def _tell(self, news: str) -> None:
        """Say why cells have to wait, also to those that come later."""
        log.warning("%s", news)
        self._news = news
        await self._requests.tell(news)

    async def _converse(self, remote: Remote, visits: int) -> None:
        """Pass messages both ways while the connection lasts."""
        self._remote, self._news = remote, ""
        doubtful = self._requests.sent()
        try:
            async with asyncio.TaskGroup() as group:
                working = [
                    group.create_task(self._send(remote), name="relay: send"),
                    group.create_task(self._doubt(remote, doubtful), name="relay: doubt"),
                ]
                async for message in remote.messages():
                    await self._requests.pass_on(message)
                    if message.kind == "status" and message.content.get("execution_state") in _GONE:
                        await self._requests.refuse(OURS, _RESTARTED, lambda asked: asked.sent)
                for task in working:
                    task.cancel()
        finally:
            self._remote = None

    async def _send(self, remote: Remote) -> None:
        while True:
            while self._outbox:
                message = self._outbox.popleft()
                asked = self._requests.find(message)
                if asked is not None and asked.loud and not self._introduced:
                    self._introduced = True
                    await self._requests.show(asked, self._where())
                try:
                    await remote.send(message)
                except Away:
                    self._outbox.appendleft(message)
                    return
                if asked is not None:
                    asked.sent = True
            self._more.clear()
            await self._more.wait()

    def _where(self) -> str:
        return f"SparkOwl session {self._session.id} in workgroup {self._options.work_group}"

    async def _doubt(self, remote: Remote, doubtful: set[str]) -> None:
        """Answer what was asked over an earlier connection, once the kernel clearly rests.

        Jupyter keeps what it could not deliver and sends it again, but not across its own restart.
        """
        rested = False
        with suppress(Away):
            while doubtful & self._requests.sent():
                await asyncio.sleep(_DOUBT_S)
                rests = await remote.idle()
                if rested and rests:
                    await self._requests.refuse(
                        OURS, _LOST, lambda asked: asked.message.id in doubtful
                    )
                rested = rests


def pause_after(failures: int) -> float:
    """Seconds before the next try, ever longer, whatever the number."""
    doublings = min(failures, 10)
    return min(_FIRST_PAUSE_S * 2.0**doublings, _LONGEST_PAUSE_S)


#: What Jupyter calls a kernel whose variables are gone.
_GONE: Final = frozenset({"restarting", "dead"})
_RESTARTED: Final = "The session's kernel was restarted; its variables are gone."
_LOST: Final = (
    "The connection to the session was lost while this ran, and its answer with it. "
    "Whether it finished is not known."
)
