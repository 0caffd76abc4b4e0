"""What a running server holds: its data directory, its port, and the work beside the calls."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from sparkowl.app.errors import StartError
from sparkowl.config import ADDRESS_FILE, Settings
from sparkowl.domain.server import Server as Peer
from sparkowl.http import complaints
from sparkowl.http.bounds import Bounds
from sparkowl.http.connections import Connections

log = logging.getLogger(__name__)

#: Connections that wait to be accepted while the server starts.
BACKLOG: Final = 2048
#: Open files that are not connections nor what a connection reads: database, logs, drivers' pipes.
_OWN_FILES: Final = 256
_MOST_CONNECTIONS: Final = 10_000
#: Largest message of a driver's agent.
_MESSAGE_BYTES: Final = 16 * 1024 * 1024


@contextmanager
def data_dir(settings: Settings) -> Iterator[Path]:
    """The data directory, held against a second server; with PostgreSQL, against one without."""
    data_dir = settings.data_dir
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"The data directory {data_dir} cannot be used: {error}.") from error
    with lock:
        how = fcntl.LOCK_EX if settings.store.url is None else fcntl.LOCK_SH
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"Another SparkOwl runs on {data_dir}. Stop it, or give --data-dir. "
                "Two servers need the store on PostgreSQL ([store] url)."
            ) from error
        yield data_dir


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The bound socket. It is bound before anything else starts, so a taken port costs nothing."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Asyncio switches Nagle's algorithm off only for sockets that name TCP; with it on, every
    # answer waits some 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            # At once: a port that is only bound can be bound by a second server as well.
            listener.listen(BACKLOG)
        except OSError as error:
            raise StartError(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
                "Give another --port (0 takes a free one)."
            ) from error
        yield listener


class Announcement:
    """``server.json`` tells ``sparkowl env`` where a server is: one of those that live."""

    def __init__(self, data_dir: Path, url: str) -> None:
        self._file = data_dir / ADDRESS_FILE
        self._ours = json.dumps({"url": url, "pid": os.getpid()})

    def make(self) -> None:
        self._write(self._ours)

    def hand_over(self, staying: Peer | None) -> None:
        """Point to a server that stays; to none when there is none."""
        try:
            if self._file.read_text() != self._ours:
                return
        except FileNotFoundError:
            return
        if staying is None:
            self._file.unlink(missing_ok=True)
        else:
            self._write(json.dumps({"url": staying.url, "pid": staying.place.pid}))

    def _write(self, text: str) -> None:
        """At once: somebody may be reading, and another server writing."""
        aside = self._file.with_suffix(f".{os.getpid()}")
        aside.write_text(text)
        aside.replace(self._file)


@asynccontextmanager
async def background(
    work: Coroutine[None, None, None], name: str, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Run ``work`` beside the block, and cancel it at the block's end.

    Work that breaks stops the server: one that answers while nobody looks after its sessions would
    be worse than none. The error is raised at the block's end.
    """

    def check(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("the server stops: a part of it broke", extra={"part": name})
            stop.set()

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(check)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def bounds(settings: Settings) -> Bounds:
    """What the port's connections may take, once the limit on open files is as high as allowed.

    A connection may need two files: itself, and the object that it reads or writes. Raises
    :class:`StartError` when the settings ask for more connections than there can be.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # No system has so many, and "no limit" is -1.
    files = hard if hard != resource.RLIM_INFINITY else 4 * _MOST_CONNECTIONS
    room = max((files - _OWN_FILES) // 2, 16)
    http = settings.http
    if http.connections is not None and http.connections > room:
        raise StartError(
            f"http.connections is {http.connections}, but the limit of {files} open files leaves "
            f"room for {room}. Raise the limit (LimitNOFILE= of systemd, ulimit -n), or set less."
        )
    return Bounds(
        connections=http.connections or min(room, _MOST_CONNECTIONS),
        head_bytes=http.head_bytes,
        headers=http.headers,
        head_s=http.head_s,
        keep_alive_s=http.keep_alive_s,
        stall_s=http.stall_s,
        least_bytes_per_s=http.least_bytes_per_s,
        pace_s=http.pace_s,
    )


@asynccontextmanager
async def answering(asgi: ASGIApp, listener: socket.socket, allowed: Bounds) -> AsyncIterator[None]:
    """Uvicorn, without its own signal handlers and its own log, and with bounds."""
    connections = Connections(allowed)
    http, websocket = connections.protocols()
    config = uvicorn.Config(
        asgi,
        http=http,
        ws=websocket,
        ws_max_size=_MESSAGE_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        # Uvicorn would believe whatever X-Forwarded-For a caller on this machine sends.
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        # A link that is half dead is found by these pings, not by TCP.
        ws_ping_interval=10,
        ws_ping_timeout=20,
        server_header=False,
    )
    server = _Uvicorn(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    watch = asyncio.create_task(connections.watch(), name="http-connections")
    with complaints.few():
        try:
            accepting = asyncio.create_task(server.accepting.wait(), name="http-accepting")
            await asyncio.wait({task, accepting}, return_when=asyncio.FIRST_COMPLETED)
            # If it could not start, this raises why.
            accepting.cancel()
            if task.done():
                await task
            yield
        finally:
            server.should_exit = True
            try:
                await task
                # Uvicorn cancels what takes too long, but does not wait until it has ended.
                await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
            finally:
                watch.cancel()
                connections.abort()


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the command line's; uvicorn would raise them again at its end."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()


def refuse_open_door(settings: Settings) -> None:
    """The port equals running code: beyond loopback it needs TLS, which a proxy must bring."""
    try:
        loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = settings.host == "localhost"
    if not loopback and not settings.behind_proxy:
        raise StartError(
            f"Refusing to listen on {settings.host} without TLS. "
            "Put a proxy that terminates TLS in front, and say --behind-proxy."
        )


def url_of(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  not bound here
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
