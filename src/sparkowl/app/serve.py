"""From settings to a server that answers, and back to nothing."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from sparkowl import credentials
from sparkowl.access.audit import Audit
from sparkowl.access.keyring import Keyring
from sparkowl.access.session_keys import SessionKeys
from sparkowl.access.standing import Standing
from sparkowl.app import catalog, chosen, isolation, objects, process
from sparkowl.app.catalog import Chosen
from sparkowl.app.errors import StartError
from sparkowl.clock import Clock, System
from sparkowl.config import Settings
from sparkowl.domain import locations, session_key, workgroup
from sparkowl.domain.arns import Account
from sparkowl.domain.ids import new_server_id
from sparkowl.domain.notebook import LARGEST
from sparkowl.http.aws import AthenaDoor
from sparkowl.http.bounds import InFlight
from sparkowl.http.driver_notebooks import DriverNotebooks
from sparkowl.http.drivers import DriversDoor
from sparkowl.http.server import Server
from sparkowl.http.upstream import Upstreams
from sparkowl.launchers import engines, postmortem
from sparkowl.launchers.archive import make_archive
from sparkowl.launchers.base import Launcher
from sparkowl.launchers.engines import EngineError, Environment
from sparkowl.launchers.fake import FakeLauncher
from sparkowl.launchers.local import LocalLauncher
from sparkowl.launchers.users import Users
from sparkowl.objects.download import Web
from sparkowl.objects.errors import ObjectError, StorageUnreachable
from sparkowl.objects.files import Files
from sparkowl.objects.storage import Storage
from sparkowl.objects.uploads import Uploads
from sparkowl.operations import Context
from sparkowl.s3.door import S3Door
from sparkowl.s3.elsewhere import Elsewhere
from sparkowl.store import Store, workgroups
from sparkowl.store.engine import UnusableDatabase, name_of
from sparkowl.store.signals import Signals, open_signals
from sparkowl.supervisor.links import Links
from sparkowl.supervisor.means import Means
from sparkowl.supervisor.servers import ServerElsewhere, Servers, here, lives
from sparkowl.supervisor.supervisor import Supervisor

log = logging.getLogger(__name__)

#: A multipart upload that nobody touched this long is forgotten.
UPLOADS_LAST: Final = timedelta(days=7)

#: A service that was away at the start is looked at this often.
BUCKET_AGAIN_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that accepts calls."""

    url: str
    credentials: credentials.Credentials
    store: Store
    #: The buckets' folders; None: they are in an S3 service.
    files: Files | None
    launcher: Launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What lies in the data directory."""

    keys: credentials.Credentials
    #: None: buckets are in an S3 service.
    files: Files | None
    storage: Storage
    store: Store
    signals: Signals
    audit: Audit
    #: The environments of engines that have one, by engine name.
    registered: Mapping[str, Environment]
    #: The POSIX users of drivers.
    runners: Users | None


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[Running], None],
    clock: Clock | None = None,
) -> None:
    """Run the server until ``stop`` is set; ``ready`` is called once it accepts calls.

    Raises :class:`StartError` when the port or the data directory cannot be had.
    """
    process.refuse_open_door(settings)
    allowed = process.bounds(settings)
    clock = clock or System()
    with (
        process.data_dir(settings) as data_dir,
        process.listening(settings) as listener,
        _opened(settings, data_dir) as opened,
        catalog.opened(settings, opened.runners) as catalogue,
    ):
        url = process.url_of(settings.host, listener)
        server_id = new_server_id()
        links = Links(opened.store, clock, opened.keys.key_for("links"), server_id)
        announcement = process.Announcement(data_dir, url)
        servers = Servers(
            opened.store,
            clock,
            server_id,
            url=url,
            place=here(data_dir),
            lease=timedelta(seconds=settings.store.lease_s),
            alone=settings.store.url is None,
            lives=lives,
            announce=announcement.make,
        )
        launcher = _launcher(settings, opened, links, url, catalogue)
        others = isolation.others_allowed(settings, await launcher.isolation())
        supervisor, asgi = _assemble(
            settings, clock, opened, servers, links, launcher, url, catalogue, others=others
        )
        try:
            await _prepare(opened, settings, clock, peers=await _joined(servers))
            await supervisor.recover()
            async with (
                process.background(supervisor.run(), "supervisor", stop),
                process.answering(asgi, listener, allowed),
                process.background(_upkeep(settings, supervisor, opened), "upkeep", stop),
                process.background(_bucket_made(settings, opened, clock), "bucket", stop),
                process.background(catalogue.watch(), "catalogue", stop),
            ):
                announcement.make()
                ready(
                    Running(
                        url=url,
                        credentials=opened.keys,
                        store=opened.store,
                        files=opened.files,
                        launcher=launcher,
                    )
                )
                await stop.wait()
                announcement.hand_over(await servers.peer())
                supervisor.retire()
            await supervisor.stop(keep_sessions=settings.keep_sessions)
            await catalogue.close(keep=settings.keep_sessions)
            await supervisor.leave()
        finally:
            announcement.hand_over(None)
            asgi.close()


@contextmanager
def _opened(settings: Settings, data_dir: Path) -> Iterator[_Opened]:
    """Keys, buckets, database and audit log; closed at the end."""
    try:
        keys = credentials.load_or_create(data_dir)
        service = objects.service(settings)
        files = None if service else Files(data_dir / "buckets", data_dir / "staging")
        storage = objects.storage(service, files)
        registered = chosen.registered(settings, data_dir)
        runners = chosen.posix_users(settings)
        isolation.open_ways(settings, files, runners)
        audit = chosen.audit(settings, data_dir)
        store = Store.open(settings.database)
    except (
        credentials.BadCredentials,
        EngineError,
        UnusableDatabase,
        ObjectError,
        OSError,
    ) as error:
        raise StartError(str(error)) from error
    except DatabaseError as error:
        raise StartError(
            f"The database {name_of(settings.database)} cannot be used: {error.orig}."
        ) from error
    signals = open_signals(settings.database)
    try:
        yield _Opened(
            keys=keys,
            files=files,
            storage=storage,
            store=store,
            signals=signals,
            audit=audit,
            registered=registered,
            runners=runners,
        )
    finally:
        audit.close()
        signals.close()
        store.close()


def _launcher(
    settings: Settings, opened: _Opened, links: Links, url: str, catalogue: Chosen
) -> Launcher:
    if settings.launcher == "fake":
        return FakeLauncher(links.serve, upload=partial(objects.upload, opened.storage))
    local = chosen.local(settings, opened.registered, opened.runners, catalogue)
    if local.keep is not None:
        postmortem.prune(local.keep)
    return LocalLauncher(local, lambda: url.replace("http", "ws", 1))


def _assemble(  # noqa: PLR0913  what there is, to be put together
    settings: Settings,
    clock: Clock,
    opened: _Opened,
    servers: Servers,
    links: Links,
    launcher: Launcher,
    url: str,
    catalogue: Chosen,
    *,
    others: bool,
) -> tuple[Supervisor, Server]:
    """Every part, each given what it needs and nothing else.

    ``others``: whether principals beside the holder of the first key are let in.
    """
    keys, files, storage, store = opened.keys, opened.files, opened.storage, opened.store
    limits, budgets, roles = (
        chosen.limits(settings),
        chosen.budgets(settings),
        chosen.roles(settings),
    )
    sparks = engines.sparks(opened.registered)
    packages = chosen.packages(settings, opened.registered)
    means = Means(
        store=store,
        server=servers.id,
        clock=clock,
        launcher=launcher,
        links=links,
        storage=storage,
        files=files,
        unsent=objects.unsent(settings, storage, clock),
        session_keys=objects.session_keys(settings, clock, keys.key_for(session_key.PURPOSE)),
        download=Web(limit_s=settings.notebooks.download_s, largest=LARGEST),
        sparks=sparks,
        patience=chosen.patience(settings),
        stop_grace_s=settings.driver.stop_grace_s,
        starts_at_once=settings.driver.starts_at_once,
        limits=limits,
        packages=packages,
        jars=chosen.jars(settings, opened.registered, catalogue),
        roles=roles,
        jupyter_ahead=settings.notebooks.ahead,
        shared_catalog="spark.sql.catalogImplementation" in catalogue.properties,
    )
    supervisor = Supervisor(
        means, chosen.pool_size(settings), servers, opened.signals, budgets.values()
    )
    context = Context(
        store=store,
        clock=clock,
        server=servers.id,
        account=Account(settings.account, settings.region),
        limits=limits,
        sparks=sparks,
        output_location=settings.output_location.rstrip("/"),
        paging_key=keys.key_for("paging"),
        wake=supervisor.wake,
        room=launcher.room,
        storage=storage,
        notebooks=chosen.notebooks(settings, keys.key_for("notebooks"), url),
        calculations_on=chosen.calculations_on(settings),
        budgets=budgets,
        roles=roles,
        with_packages=packages.work_groups,
        encrypting=objects.encrypting(settings),
        key_sources=objects.key_sources(settings),
    )
    in_sessions = SessionKeys(
        store, clock, keys.key_for(session_key.PURPOSE), context.account, roles
    )
    keyring = Keyring(
        store, settings.data_dir, keys, clock, sessions=in_sessions, first_only=not others
    )
    body_limit = settings.limits.request_body_bytes
    bodies = InFlight(settings.http.bodies_bytes)
    asgi = Server(
        AthenaDoor(context, keyring, opened.audit, chosen.rates(settings), bodies, body_limit),
        _objects_door(settings, opened, keyring, clock),
        DriversDoor(links),
        DriverNotebooks(context, links, bodies),
        chosen.notebooks_door(
            settings,
            context,
            Standing(store, clock, sessions=in_sessions, first_only=not others),
            Upstreams(launcher, links),
            opened.audit,
        ),
    )
    return supervisor, asgi


def _objects_door(
    settings: Settings, opened: _Opened, keyring: Keyring, clock: Clock
) -> S3Door | Elsewhere:
    service = objects.service(settings)
    if service is not None:
        return Elsewhere(service.url)
    assert opened.files is not None
    return S3Door(opened.files, keyring, opened.audit, clock, settings.region)


async def _joined(servers: Servers) -> int:
    try:
        return await servers.join()
    except ServerElsewhere as error:
        raise StartError(str(error)) from error


async def _prepare(opened: _Opened, settings: Settings, clock: Clock, *, peers: int) -> None:
    """What a new account has: its workgroups, and a bucket for results."""
    if opened.files is not None:
        await asyncio.to_thread(_clear_abandoned, opened.files, clock.now(), peers=peers)
    try:
        await opened.storage.ensure_bucket(locations.parse(settings.output_location).bucket)
    except StorageUnreachable as error:
        # Sessions outlive an outage, so it must not keep their server away.
        log.warning("output_location %s not looked at: %s", settings.output_location, error)
    except ObjectError as error:
        raise StartError(f"output_location {settings.output_location}: {error}") from error

    def write(tx: Connection) -> None:
        for group in workgroup.built_in(clock.now()):
            if workgroups.find(tx, group.name) is None:
                workgroups.insert_work_group(tx, group)

    await opened.store.write(write)


def _clear_abandoned(files: Files, now: datetime, *, peers: int) -> None:
    """Drafts are a request's own, so those of an earlier server are nobody's; uploads may go on,
    and so may the requests of servers beside this one."""
    files.clear_abandoned(now - UPLOADS_LAST if peers else now)
    Uploads(files).clear_abandoned(now - UPLOADS_LAST)


async def _bucket_made(settings: Settings, opened: _Opened, clock: Clock) -> None:
    """A service that was away at the start has the bucket for results when it is back."""
    bucket = locations.parse(settings.output_location).bucket
    while True:
        try:
            await opened.storage.ensure_bucket(bucket)
        except StorageUnreachable:
            await clock.wait(asyncio.Event(), BUCKET_AGAIN_S)
        except (ObjectError, OSError) as error:
            log.warning("output_location %s: %s", settings.output_location, error)
            return
        else:
            return


async def _upkeep(settings: Settings, supervisor: Supervisor, opened: _Opened) -> None:
    """What makes later starts faster and may wait until the first ones are through."""
    if settings.launcher == "local":
        await supervisor.until_quiet()
        for python in (sys.executable, *(found.python for found in opened.registered.values())):
            await make_archive(settings.cache_dir, settings.driver.java_home, python)
