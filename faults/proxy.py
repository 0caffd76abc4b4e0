"""Between the agents and the server: lets everything through, until it is told not to."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Proxy:
    """A TCP proxy in a thread of its own, on a free port of loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        #: Seconds that each piece is held back, each way.
        self.delay_s = 0.0
        self._refusing = False
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        # Connections that end in the middle are its business.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._server: asyncio.Server
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Close every connection, and new ones as they come."""
        self._refusing = True
        self._loop.call_soon_threadsafe(self._close_all)

    def mend(self) -> None:
        self._refusing = False

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        started.set()
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    def _close_all(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            up, down = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, down}
        self._open |= ends
        try:
            await asyncio.gather(self._pass(reader, down), self._pass(up, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(piece)
                await writer.drain()
        writer.close()
