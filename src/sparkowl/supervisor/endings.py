"""The end of a driver: what it left becomes ours, and then nothing is left of it.

And what its calculations lack at their own end.

A driver may end while no server listens, with facts in its outbox and outputs in its spool. Taking
them twice changes nothing, so they are taken as soon as a driver is found dead, and once more
before its folder is cleared away.
"""

from __future__ import annotations

import logging
from functools import partial

from sqlalchemy import Connection

from sparkowl.agent import messages
from sparkowl.domain.calculation import Calculation
from sparkowl.domain.driver import Driver
from sparkowl.domain.errors import IllegalTransition
from sparkowl.domain.reason import Code
from sparkowl.domain.session import Session
from sparkowl.objects.errors import ObjectError, StorageRefused, StorageUnreachable
from sparkowl.store import calculations, drivers, sessions
from sparkowl.supervisor import facts, outputs
from sparkowl.supervisor.means import Means

log = logging.getLogger(__name__)


async def end_driver(means: Means, driver: Driver, *, reason: str | None) -> None:
    """End the driver and write that it ended. What it left behind is gone afterwards.

    ``reason`` is one of the server's own, which never had the driver work for anybody.
    """
    log.info("driver stopping", extra={"driver": driver.id, "session": driver.session_id})
    # Asked first over its link, where it can still hand in what it has; then by the launcher.
    await means.links.send_once(driver.id, "stop", messages.Stop())
    handle = driver.handle or await means.launcher.find(driver.id)
    if handle is not None:
        # What a driver of the pool left is nobody's.
        take = partial(take_left, means, driver, handle) if driver.session_id else None
        await means.launcher.stop(handle, grace_s=means.stop_grace_s, take=take)
    now = means.clock.now()

    def write(tx: Connection) -> None:
        if reason is not None:
            drivers.set_reason(tx, driver.id, reason, Code.SERVER)
        drivers.set_ended(tx, driver.id, now)

    await means.store.write(write)
    await means.links.forget(driver.id)


async def take_left(means: Means, driver: Driver, handle: str) -> None:
    """Take what a dead driver left: outputs first, as a calculation that has ended has them."""
    left = await means.launcher.left(handle)
    for calculation_id in left.calculations:
        await _store_outputs(means, driver, handle, calculation_id)
    for frame in left.facts:
        await _take_fact(means, driver, frame)


async def _take_fact(means: Means, driver: Driver, frame: str) -> None:
    try:
        fact = messages.decode(frame)
    except messages.MessageError as error:
        log.warning("driver left no message", extra={"driver": driver.id, "why": str(error)})
        return
    if not isinstance(fact, messages.Fact):
        log.warning("driver left what is no fact", extra={"driver": driver.id, "kind": fact.kind})
        return
    now = means.clock.now()
    try:
        await means.store.write(lambda tx: facts.take(tx, driver.id, fact, now))
    except IllegalTransition as error:
        # No agent says this at this point; its session shall come to an end all the same.
        log.warning("driver left what cannot be", extra={"driver": driver.id, "why": str(error)})


async def _store_outputs(means: Means, driver: Driver, handle: str, calculation_id: str) -> None:
    """What cannot be stored is given up, unless it is a service that does not take it now: it never
    keeps a session from its end."""

    def read(tx: Connection) -> tuple[Session, Calculation] | None:
        found = calculations.find(tx, calculation_id)
        if found is None or found.session_id != driver.session_id:
            return None
        return sessions.get(tx, found.session_id), found

    known = await means.store.read(read)
    if known is None:
        log.warning(
            "driver left outputs of a calculation that is not its own",
            extra={"driver": driver.id, "calculation": calculation_id},
        )
        return
    contents = await means.launcher.left_outputs(handle, calculation_id)
    unsent = means.unsent
    if unsent is not None and unsent.waits:
        await unsent.keep(*known, contents)
        return
    try:
        await outputs.store(means.storage, *known, contents)
    except (StorageUnreachable, StorageRefused):
        if unsent is None:
            raise
        # What this raises (a full disk) keeps the driver's folder: the end is tried again.
        await unsent.keep(*known, contents)
    except (ObjectError, OSError) as error:
        log.warning(
            "outputs left by a driver not stored",
            extra={"calculation": calculation_id, "why": str(error)},
        )


async def complete_outputs(means: Means, session: Session, calculation: Calculation) -> None:
    """Write what is missing of the outputs of a calculation that is about to end."""
    unsent = means.unsent
    try:
        if unsent is not None and unsent.waits:
            await unsent.keep(session, calculation, outputs.EMPTY, fillers=True)
            return
        try:
            await outputs.complete(means.storage, session, calculation)
        except StorageUnreachable:
            if unsent is None:
                raise
            await unsent.keep(session, calculation, outputs.EMPTY, fillers=True)
    except (ObjectError, OSError):
        # The state is worth more than its empty outputs: never keep a session from ending.
        log.exception("outputs not completed", extra={"calculation": calculation.id})
