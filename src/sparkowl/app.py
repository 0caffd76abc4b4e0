"""The composition root: the only file that knows every room, and the order of start and stop."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import uvicorn
from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from sparkowl import credentials
from sparkowl.clock import Clock, System
from sparkowl.config import ADDRESS_FILE, Settings, users_of
from sparkowl.domain import workgroup
from sparkowl.domain.arns import Account
from sparkowl.domain.limits import Limits
from sparkowl.domain.role import Role, Roles
from sparkowl.domain.session import Patience
from sparkowl.http.aws import AthenaDoor
from sparkowl.http.drivers import DriversDoor
from sparkowl.http.server import Server
from sparkowl.launchers import users
from sparkowl.launchers.archive import make_archive
from sparkowl.launchers.base import Isolation, Launcher
from sparkowl.launchers.fake import FakeLauncher
from sparkowl.launchers.local import LocalLauncher, LocalSettings
from sparkowl.objects.errors import ObjectError
from sparkowl.objects.files import Files
from sparkowl.objects.sharing import share, unshare
from sparkowl.objects.uploads import Uploads
from sparkowl.operations import Context
from sparkowl.s3.door import S3Door
from sparkowl.store import Store, workgroups
from sparkowl.store.migrate import NewerDatabase
from sparkowl.supervisor.links import Links
from sparkowl.supervisor.outputs import split_uri
from sparkowl.supervisor.sessions import Means
from sparkowl.supervisor.supervisor import PoolSize, Supervisor

log = logging.getLogger(__name__)

#: A multipart upload that nobody touched this long is forgotten.
UPLOADS_LAST: Final = timedelta(days=7)


#: Connections that wait to be accepted while the server starts.
BACKLOG: Final = 2048


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that accepts calls."""

    url: str
    credentials: credentials.Credentials
    store: Store
    files: Files
    launcher: Launcher
    #: Whether principals other than the first key may be let in: something keeps the user code of
    #: their sessions from the server's files, or the operator does not mind.
    others_allowed: bool = False


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[Running], None],
    clock: Clock | None = None,
) -> None:
    """Run the server until ``stop`` is set; ``ready`` is called once it accepts calls.

    Raises :class:`StartError` when the port or the data directory cannot be had.
    """
    _refuse_open_door(settings)
    clock = clock or System()
    with _data_dir(settings) as data_dir, _listening(settings) as listener:
        running, supervisor, asgi = _assemble(settings, clock, data_dir, listener)
        try:
            isolation = await running.launcher.isolation()
            running = replace(running, others_allowed=others_allowed(settings, isolation))
            await _prepare(running, settings, clock)
            await supervisor.recover()
            async with (
                _background(supervisor.run(), "supervisor", stop),
                _answering(asgi, listener),
                _background(_upkeep(settings, supervisor), "upkeep", stop),
            ):
                with _announced(data_dir, running.url):
                    ready(running)
                    await stop.wait()
                    supervisor.retire()
            await supervisor.stop(keep_sessions=settings.keep_sessions)
        finally:
            asgi.close()
            running.store.close()


def _assemble(
    settings: Settings, clock: Clock, data_dir: Path, listener: socket.socket
) -> tuple[Running, Supervisor, Server]:
    """Every part, each given what it needs and nothing else."""
    try:
        keys = credentials.load_or_create(data_dir)
        files = Files(data_dir / "buckets", data_dir / "staging")
        runners = _users(settings)
        _open_ways(settings, files, runners)
        store = Store.open(data_dir / "sparkowl.db")
    except (credentials.BadCredentials, NewerDatabase, ObjectError, OSError) as error:
        raise StartError(str(error)) from error
    except DatabaseError as error:
        raise StartError(f"The database in {data_dir} cannot be used: {error.orig}.") from error
    links = Links(store, clock, keys.key_for("links"))
    url = _url(settings.host, listener)
    launcher = _launcher(settings, runners, files, links, url)
    roles = _roles(settings)
    driver = settings.driver
    means = Means(
        store=store,
        clock=clock,
        launcher=launcher,
        links=links,
        files=files,
        patience=Patience(
            start=timedelta(seconds=driver.start_timeout_s),
            silent=timedelta(seconds=driver.silent_after_s),
            lost=timedelta(seconds=driver.lost_after_s),
        ),
        stop_grace_s=driver.stop_grace_s,
        starts_at_once=driver.starts_at_once,
        roles=roles,
    )
    pool = settings.pool
    supervisor = Supervisor(
        means, PoolSize(members=pool.size, max_age=timedelta(seconds=pool.max_age_s))
    )
    context = Context(
        store=store,
        clock=clock,
        account=Account(settings.account, settings.region),
        limits=Limits(
            sessions=settings.limits.sessions,
            session_dpus=settings.limits.session_dpus,
            account_dpus=settings.limits.account_dpus,
        ),
        output_location=settings.output_location.rstrip("/"),
        paging_key=keys.key_for("paging"),
        wake=supervisor.wake,
        roles=roles,
    )
    asgi = Server(
        AthenaDoor(context, keys.secret_of, settings.limits.request_body_bytes),
        S3Door(files, keys.secret_of, clock, settings.region),
        DriversDoor(links),
    )
    running = Running(url=url, credentials=keys, store=store, files=files, launcher=launcher)
    return running, supervisor, asgi


def _roles(settings: Settings) -> Roles:
    return Roles(
        {
            arn: Role(
                user=section.user,
                environment=section.environment,
                spark_properties=section.spark_properties,
                buckets=section.buckets,
            )
            for arn, section in settings.roles.items()
        }
    )


def _users(settings: Settings) -> users.Users | None:
    """The POSIX users that drivers run as; None where all run as the server's own."""
    if settings.launcher == "fake":
        return None
    try:
        return users.find(users_of(settings), settings.driver.group)
    except users.UnusableUser as error:
        raise StartError(str(error)) from error


def _open_ways(settings: Settings, files: Files, runners: users.Users | None) -> None:
    """Open to the users of drivers what is theirs, and close it again when there are none."""
    if runners is not None:
        # From here on the modes of new files count: the folder does not hide them any more.
        os.umask(0o077)
        users.open_way(
            settings.data_dir, settings.data_dir / "drivers", settings.cache_dir, runners.group
        )
        share(files.root, runners.group)
    elif unshare(files.root):
        settings.data_dir.chmod(0o700)


def _launcher(
    settings: Settings, runners: users.Users | None, files: Files, links: Links, url: str
) -> Launcher:
    if settings.launcher == "fake":
        return FakeLauncher(links.serve)
    driver = settings.driver
    local = LocalSettings(
        drivers_dir=settings.data_dir / "drivers",
        buckets_dir=files.root,
        data_dir=settings.data_dir,
        cache_dir=settings.cache_dir,
        java_home=driver.java_home,
        heap=driver.heap,
        cores=driver.cores,
        output_limit_bytes=driver.output_limit_bytes,
        away_idle_s=driver.away_idle_s,
        away_busy_s=driver.away_busy_s,
        confine=driver.isolation == "auto",
        writable=driver.writable,
        user=driver.user,
        users=runners,
    )
    return LocalLauncher(local, lambda: url.replace("http", "ws", 1))


def others_allowed(settings: Settings, isolation: Isolation) -> bool:
    """Say what user code is kept from; refuse what the settings promise and this machine cannot."""
    if isolation.problems:
        raise StartError(
            " ".join(isolation.problems)
            + " Move it, or let others pass (chmod o+x), or name another user."
        )
    guarded = [arn for arn, role in settings.roles.items() if role.buckets is not None]
    if guarded and not isolation.guards_paths:
        raise StartError(
            f"The buckets of role {guarded[0]} cannot be enforced: {isolation.in_force}. Without "
            "Landlock a session reaches every bucket by its path. Take `buckets` out of the role."
        )
    if isolation.missing is None:
        log.info("isolation of drivers: %s", isolation.in_force)
        return True
    log.warning(
        "nothing keeps user code from the server's files (%s); %s",
        isolation.missing,
        "every principal is let in all the same: allow_unisolated"
        if settings.allow_unisolated
        else "only the first key is let in (docs/operators/isolation.md)",
    )
    return settings.allow_unisolated


async def _prepare(running: Running, settings: Settings, clock: Clock) -> None:
    """What a new account has: its workgroups, and a bucket for results."""
    await asyncio.to_thread(_clear_abandoned, running.files, clock.now())
    bucket, _ = split_uri(settings.output_location)
    if bucket not in running.files.buckets():
        try:
            await asyncio.to_thread(running.files.create_bucket, bucket)
        except ObjectError as error:
            raise StartError(f"output_location {settings.output_location}: {error}") from error

    def write(tx: Connection) -> None:
        for group in workgroup.built_in(clock.now()):
            if workgroups.find(tx, group.name) is None:
                workgroups.insert_work_group(tx, group)

    await running.store.write(write)


def _clear_abandoned(files: Files, now: datetime) -> None:
    """Drafts are a request's own, so those of an earlier server are nobody's; uploads may go on."""
    files.clear_abandoned(now)
    Uploads(files).clear_abandoned(now - UPLOADS_LAST)


# --- what a running server holds ---------------------------------------------------------------


@contextmanager
def _data_dir(settings: Settings) -> Iterator[Path]:
    """The data directory, held against a second server."""
    data_dir = settings.data_dir
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"The data directory {data_dir} cannot be used: {error}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"Another SparkOwl runs on {data_dir}. Stop it, or give --data-dir."
            ) from error
        yield data_dir


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
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


@contextmanager
def _announced(data_dir: Path, url: str) -> Iterator[None]:
    """``server.json`` tells ``sparkowl env`` where the server is."""
    file = data_dir / ADDRESS_FILE
    file.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@asynccontextmanager
async def _background(
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


async def _upkeep(settings: Settings, supervisor: Supervisor) -> None:
    """What makes later starts faster and may wait until the first ones are through."""
    if settings.launcher == "local":
        await supervisor.until_quiet()
        await make_archive(settings.cache_dir, settings.driver.java_home)


@asynccontextmanager
async def _answering(asgi: Server, listener: socket.socket) -> AsyncIterator[None]:
    """Uvicorn, without its own signal handlers and its own log."""
    config = uvicorn.Config(
        asgi,
        http="httptools",
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        # A link that is half dead is found by these pings, not by TCP.
        ws_ping_interval=10,
        ws_ping_timeout=20,
        server_header=False,
    )
    server = _Uvicorn(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
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
        await task


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


def _refuse_open_door(settings: Settings) -> None:
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


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  not bound here
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
