"""The composition root: the only file that knows every room, and the order of start and stop."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import uvicorn
from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from sparkowl import credentials
from sparkowl.access.audit import Audit
from sparkowl.access.keyring import Keyring
from sparkowl.clock import Clock, System
from sparkowl.config import ADDRESS_FILE, AUDIT_FILE, DATABASE_FILE, RateSection, Settings
from sparkowl.domain import workgroup
from sparkowl.domain.arns import Account
from sparkowl.domain.budget import Budget, Period
from sparkowl.domain.limits import Limits, Quota
from sparkowl.domain.rates import Rate, Rates
from sparkowl.domain.session import Patience
from sparkowl.http.aws import AthenaDoor
from sparkowl.http.drivers import DriversDoor
from sparkowl.http.server import Server
from sparkowl.launchers import engines, environments
from sparkowl.launchers.archive import make_archive
from sparkowl.launchers.base import Launcher
from sparkowl.launchers.engines import EngineError, Environment
from sparkowl.launchers.environments import Wanted
from sparkowl.launchers.fake import FakeLauncher
from sparkowl.launchers.local import LocalLauncher, LocalSettings
from sparkowl.objects.errors import ObjectError
from sparkowl.objects.files import Files
from sparkowl.objects.uploads import Uploads
from sparkowl.operations import OPERATIONS, Context
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
    #: The environments of engines that have one, by engine name.
    registered: Mapping[str, Environment]
    audit: Audit


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
            await _prepare(running, settings, clock)
            await supervisor.recover()
            async with (
                _background(supervisor.run(), "supervisor", stop),
                _answering(asgi, listener),
                _background(_upkeep(settings, supervisor, running), "upkeep", stop),
            ):
                with _announced(data_dir, running.url):
                    ready(running)
                    await stop.wait()
                    supervisor.retire()
            await supervisor.stop(keep_sessions=settings.keep_sessions)
        finally:
            asgi.close()
            running.audit.close()
            running.store.close()


def _assemble(
    settings: Settings, clock: Clock, data_dir: Path, listener: socket.socket
) -> tuple[Running, Supervisor, Server]:
    """Every part, each given what it needs and nothing else."""
    limits, rates = _limits(settings), _rates(settings)
    try:
        keys = credentials.load_or_create(data_dir)
        files = Files(data_dir / "buckets", data_dir / "staging")
        registered = _registered(settings, data_dir)
        sparks = engines.sparks(registered)
        store = Store.open(data_dir / DATABASE_FILE)
    except (credentials.BadCredentials, EngineError, NewerDatabase, ObjectError, OSError) as error:
        raise StartError(str(error)) from error
    except DatabaseError as error:
        raise StartError(f"The database in {data_dir} cannot be used: {error.orig}.") from error
    links = Links(store, clock, keys.key_for("links"))
    url = _url(settings.host, listener)
    launcher = _launcher(settings, data_dir, files, links, url, registered)
    driver = settings.driver
    means = Means(
        store=store,
        clock=clock,
        launcher=launcher,
        links=links,
        files=files,
        sparks=sparks,
        patience=Patience(
            start=timedelta(seconds=driver.start_timeout_s),
            silent=timedelta(seconds=driver.silent_after_s),
            lost=timedelta(seconds=driver.lost_after_s),
        ),
        stop_grace_s=driver.stop_grace_s,
        starts_at_once=driver.starts_at_once,
        limits=limits,
    )
    pool = settings.pool
    budgets = _budgets(settings)
    supervisor = Supervisor(
        means,
        PoolSize(members=pool.size, max_age=timedelta(seconds=pool.max_age_s)),
        budgets.values(),
    )
    context = Context(
        store=store,
        clock=clock,
        account=Account(settings.account, settings.region),
        limits=limits,
        sparks=sparks,
        output_location=settings.output_location.rstrip("/"),
        paging_key=keys.key_for("paging"),
        wake=supervisor.wake,
        room=launcher.room,
        calculations_on=frozenset(
            name for name, section in settings.engines.items() if section.calculations
        ),
        budgets=budgets,
    )
    keyring = Keyring(store, data_dir, keys, clock)
    audit = _audit(settings, data_dir)
    asgi = Server(
        AthenaDoor(context, keyring, audit, rates, settings.limits.request_body_bytes),
        S3Door(files, keyring, audit, clock, settings.region),
        DriversDoor(links),
    )
    running = Running(
        url=url,
        credentials=keys,
        store=store,
        files=files,
        launcher=launcher,
        registered=registered,
        audit=audit,
    )
    return running, supervisor, asgi


def _audit(settings: Settings, data_dir: Path) -> Audit:
    chosen = settings.audit
    path = chosen.file or data_dir / AUDIT_FILE
    return Audit(path if chosen.enabled else None, behind_proxy=settings.behind_proxy)


def _limits(settings: Settings) -> Limits:
    asked = settings.limits
    return Limits(
        session_dpus=asked.session_dpus,
        account=Quota(sessions=asked.sessions, dpus=asked.account_dpus),
        work_group=Quota(sessions=asked.workgroup_sessions, dpus=asked.workgroup_dpus),
        by_work_group={
            name: Quota(
                sessions=asked.workgroup_sessions if own.sessions is None else own.sessions,
                dpus=asked.workgroup_dpus if own.dpus is None else own.dpus,
            )
            for name, own in settings.workgroups.items()
        },
        queue_when_full=asked.queue_when_full,
        queue_length=asked.queue_length,
    )


def _rates(settings: Settings) -> Rates:
    asked = settings.rates
    unknown = sorted(set(asked.operations) - set(OPERATIONS))
    if unknown:
        raise StartError(f"Setting rates.operations: {unknown[0]} is not an operation.")

    def rate(section: RateSection) -> Rate:
        return Rate(section.per_s, section.burst)

    return Rates(
        reads=rate(asked.reads),
        writes=rate(asked.writes),
        by_operation={name: rate(section) for name, section in asked.operations.items()},
    )


def _budgets(settings: Settings) -> dict[str, Budget]:
    """By workgroup; those that have one."""
    return {
        name: Budget(
            work_group=name,
            dpu_hours=section.budget.dpu_hours,
            period=Period(section.budget.period),
            warn_at=section.budget.warn_at,
            refuse_at=section.budget.refuse_at,
            stop_at=section.budget.stop_at,
        )
        for name, section in settings.workgroups.items()
        if section.budget is not None
    }


def _registered(settings: Settings, data_dir: Path) -> dict[str, Environment]:
    """The environments of engines that have one. What the settings name wins."""
    if settings.launcher == "fake":
        return {}
    environments.clear_unused(data_dir)
    found = {made.name: made for made in engines.registered(data_dir)}
    for name, section in settings.engines.items():
        if section.python is not None:
            wanted = Wanted(
                name=name,
                pyspark=None,
                python=section.python.expanduser().absolute(),
                java_home=settings.driver.java_home,
            )
            found[name] = environments.of_setting(data_dir, wanted, log.info)
    return found


def _launcher(  # noqa: PLR0913 - what a launcher is made of
    settings: Settings,
    data_dir: Path,
    files: Files,
    links: Links,
    url: str,
    registered: Mapping[str, Environment],
) -> Launcher:
    if settings.launcher == "fake":
        return FakeLauncher(links.serve)
    driver = settings.driver
    local = LocalSettings(
        drivers_dir=data_dir / "drivers",
        buckets_dir=files.root,
        data_dir=data_dir,
        cache_dir=settings.cache_dir,
        pythons={name: found.python for name, found in registered.items()},
        java_home=driver.java_home,
        heap=driver.heap,
        cores=driver.cores,
        memory_needed=driver.memory_needed_mb * 1024 * 1024,
        disk_needed=driver.disk_needed_mb * 1024 * 1024,
        output_limit_bytes=driver.output_limit_bytes,
        away_idle_s=driver.away_idle_s,
        away_busy_s=driver.away_busy_s,
        confine=driver.isolation == "auto",
        writable=driver.writable,
    )
    return LocalLauncher(local, lambda: url.replace("http", "ws", 1))


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


async def _upkeep(settings: Settings, supervisor: Supervisor, running: Running) -> None:
    """What makes later starts faster and may wait until the first ones are through."""
    if settings.launcher == "local":
        await supervisor.until_quiet()
        for python in (sys.executable, *(found.python for found in running.registered.values())):
            await make_archive(settings.cache_dir, settings.driver.java_home, python)


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
