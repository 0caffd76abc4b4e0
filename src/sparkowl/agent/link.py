"""The line to the server: dial, say what happened, hear what to do, dial again.

Nothing is decided here about calculations. The link only ends the agent: when the server does not
know the driver (any more), or stays away longer than the driver may wait.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from sparkowl.agent.messages import (
    UNKNOWN_DRIVER,
    Ack,
    Command,
    Message,
    MessageError,
    Progress,
    Welcome,
    decode,
    encode,
)
from sparkowl.agent.outbox import Outbox

log = logging.getLogger(__name__)

_PATH: Final = "/_sparkowl/drivers/{driver_id}/link"
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
#: How often a link that waits looks whether a server has announced itself.
_LOOK_EVERY_S: Final = 0.1
#: A connection that lasted this long was a good one.
_STEADY_S: Final = 5.0
#: How often the link looks whether another server has taken over.
_LOOK_FOR_MOVE_S: Final = 0.5
_DIAL_TIMEOUT_S: Final = 10.0
#: A dead peer (a cable, a suspended machine) is noticed within about two of these.
_PING_EVERY_S: Final = 20.0


class ServerGone(Exception):
    """The server does not want this driver, or was away too long. The message says which."""


class ServerAway(ServerGone):
    """The server was away too long. It may come back, and read then what became of the driver."""


class Link:
    def __init__(  # noqa: PLR0913 - all by name, and each a different thing
        self,
        *,
        driver_id: str,
        token: str,
        url_file: Path,
        outbox: Outbox,
        on_command: Callable[[Command], None],
        gives_up_at: Callable[[float], float],
        on_server: Callable[[str], None] = lambda _url: None,
    ) -> None:
        """``gives_up_at`` says until when to wait for a server that was last heard of at a moment;
        both are of the monotonic clock. ``on_server`` is told before each dial where it is."""
        self._on_server = on_server
        self._path = _PATH.format(driver_id=driver_id)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._url_file = url_file
        self._outbox = outbox
        self._on_command = on_command
        self._gives_up_at = gives_up_at
        self._news: Progress | None = None
        self._last_heard = time.monotonic()
        self._acknowledged = False
        self._connection: ClientConnection | None = None

    def tell(self, news: Progress) -> None:
        """Send when there is a connection; only the newest is kept."""
        self._news = news
        self._outbox.changed.set()

    async def close(self) -> None:
        """Say goodbye in the protocol's own way, after the last fact is out."""
        if self._connection is not None:
            await self._connection.close()

    async def run(self) -> None:
        """Keep the link up until cancelled; :class:`ServerGone` when it is over for good."""
        pause = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            announced = self._announced_at()
            self._acknowledged = False
            welcomed = await self._one_connection()
            lasted = time.monotonic() - began > _STEADY_S
            if welcomed and (self._acknowledged or lasted):
                # Else not: a server whose disk is full welcomes us, fails, and would be dialled
                # ten times a second.
                pause = _FIRST_PAUSE_S
            left = self._gives_up_at(self._last_heard) - time.monotonic()
            if left <= 0:
                raise ServerAway("The server stayed away too long.")
            # Jitter: not every driver dials at the same moment.
            wait = min(pause * random.uniform(0.5, 1.0), left)  # noqa: S311
            if await self._announced_anew(announced, within_s=wait):
                pause = _FIRST_PAUSE_S
            else:
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _announced_anew(self, before: object, *, within_s: float) -> bool:
        """Wait; True at once when a server has written where it is, also if it is where it was.

        So every driver is back within a moment of a restart, however long it had waited before.
        """
        ends = time.monotonic() + within_s
        while (left := ends - time.monotonic()) > 0:
            await asyncio.sleep(min(left, _LOOK_EVERY_S))
            if self._announced_at() != before:
                return True
        return False

    def _announced_at(self) -> object:
        """Differs after each announcement: the file is replaced, never rewritten."""
        try:
            found = self._url_file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    async def _one_connection(self) -> bool:
        """Dial and talk until the connection ends, or the driver is another server's; whether the
        server welcomed us."""
        try:
            # Read each time: a server that starts again may listen elsewhere.
            url = self._url_file.read_text()
        except OSError as error:
            log.info("Where the server is cannot be read: %s", error)
            return False
        self._on_server(url)
        talking = asyncio.create_task(self._talk_with(url), name="link")
        moving = asyncio.create_task(self._moved_from(url), name="link moves")
        try:
            await asyncio.wait({talking, moving}, return_when=asyncio.FIRST_COMPLETED)
            if not talking.done():
                log.info("Another server has taken over.")
                if self._connection is None:
                    return False
                # Without a goodbye: the server at the other end may be frozen.
                self._connection.transport.abort()
            return await talking
        finally:
            moving.cancel()
            talking.cancel()
            await asyncio.gather(talking, moving, return_exceptions=True)

    async def _moved_from(self, url: str) -> None:
        """Return when the file names another server."""
        now = url
        while now == url:
            await asyncio.sleep(_LOOK_FOR_MOVE_S)
            with suppress(OSError):
                now = self._url_file.read_text()

    async def _talk_with(self, server: str) -> bool:
        welcomed = False
        self._connection = None
        try:
            url = server.strip().rstrip("/") + self._path
            async with connect(
                url,
                additional_headers=self._headers,
                open_timeout=_DIAL_TIMEOUT_S,
                ping_interval=_PING_EVERY_S,
                ping_timeout=_PING_EVERY_S,
                compression=None,
                # The server's word is trusted; a block and many buckets may be more than 1 MiB.
                max_size=None,
                proxy=None,
            ) as connection:
                self._connection = connection
                welcomed = await self._welcome(connection)
                if welcomed:
                    await self._talk(connection)
        except InvalidStatus as error:
            if UNKNOWN_DRIVER in error.response.headers:
                raise ServerGone("The server does not know this driver.") from error
            log.info("The link was refused: %s", error)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            log.info("The link is down: %s", error)
        if welcomed:
            self._last_heard = time.monotonic()
        return welcomed

    async def _welcome(self, connection: ClientConnection) -> bool:
        async with asyncio.timeout(_DIAL_TIMEOUT_S):
            return isinstance(_decoded(await connection.recv()), Welcome)

    async def _talk(self, connection: ClientConnection) -> None:
        speaking = asyncio.create_task(self._speak(connection), name="link speaks")
        try:
            async for frame in connection:
                self._hear(frame)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    def _hear(self, frame: str | bytes) -> None:
        match _decoded(frame):
            case Ack(seq=seq):
                self._outbox.acknowledge(seq)
                self._acknowledged = True
            case None:
                pass
            case message:
                self._on_command(message)  # type: ignore[arg-type]  # facts are ignored there

    async def _speak(self, connection: ClientConnection) -> None:
        """Everything unacknowledged first, in order, then what is new."""
        sent = 0
        while True:
            self._outbox.changed.clear()
            for fact in self._outbox.after(sent):
                await connection.send(encode(fact))
                sent = fact.seq
            if self._news is not None:
                news, self._news = self._news, None
                await connection.send(encode(news))
            await self._outbox.changed.wait()


def _decoded(frame: str | bytes) -> Message | None:
    try:
        return decode(frame)
    except MessageError:
        log.warning("A frame from the server was not understood.", exc_info=True)
        return None
