"""Reconciling one session: read, look, decide (in the domain), act, write, until it may rest."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection

from sparkowl.agent import messages
from sparkowl.domain import calculation as calculation_domain
from sparkowl.domain import formats, properties
from sparkowl.domain import session as domain
from sparkowl.domain import step as steps
from sparkowl.domain.calculation import Calculation
from sparkowl.domain.driver import Driver, fingerprint
from sparkowl.domain.errors import Conflict
from sparkowl.domain.ids import DriverId, SessionId, new_driver_id
from sparkowl.domain.notebook import jupyter_base
from sparkowl.domain.reason import NOT_STARTED, Code, explain
from sparkowl.domain.role import Role
from sparkowl.domain.session import Event, Session
from sparkowl.domain.step import Situation, Step
from sparkowl.launchers.base import LaunchError, LaunchSpec
from sparkowl.launchers.jars import JarsMissing
from sparkowl.objects.errors import ObjectError
from sparkowl.store import calculations, drivers, notebooks, sessions
from sparkowl.supervisor import outputs
from sparkowl.supervisor.endings import complete_outputs, end_driver, take_left
from sparkowl.supervisor.facts import work_ended
from sparkowl.supervisor.fetching import Fetching
from sparkowl.supervisor.jumps import Jumps
from sparkowl.supervisor.means import KeysAway, KeysRefused, Means, bucket_folders
from sparkowl.supervisor.preparing import Preparing
from sparkowl.supervisor.workqueue import Done, Rest, Verdict

log = logging.getLogger(__name__)

#: How often a driver is looked at: one whose link is down may die without a word...
LOOK_UNLINKED_S: Final = 0.5
#: ...while one that is linked is missed at once.
LOOK_LINKED_S: Final = 15.0
#: A session that is behind another, whose turn it is, is woken when its own comes. Each look reads
#: the line, so many must not look often.
LOOK_IN_LINE_S: Final = 5.0
#: A block that was handed over usually reports its start at once, and then nobody needs to know
#: that it was handed over: one write less on the way of a short block.
SUBMITTED_AFTER_S: Final = 0.1
#: A driver that lives and does not dial is told again where to, this often.
GUIDE_EVERY_S: Final = 5.0
#: A session that has not come to rest after this many steps is a bug; it is looked at later.
MAX_STEPS: Final = 30
#: Their driver is stopped, and then what it left is taken.
_ENDING: Final = domain.TERMINAL | {domain.State.TERMINATING}
#: What is decided on since no calculation is left.
_WORKLESS: Final = frozenset({Event.WORK_ENDED, Event.AGENT_BACK})


class NotOurs(Done):
    """Another server looks after the session."""


class _Rows(NamedTuple):
    session: Session
    driver: Driver | None
    #: The oldest that has not ended...
    calculation: Calculation | None
    #: ...those behind it that shall not run...
    behind: tuple[Calculation, ...]
    #: ...and since when the oldest is being cancelled.
    cancel_asked_at: datetime | None


class Sessions:
    """The life of sessions, one :meth:`reconcile` at a time for each."""

    def __init__(
        self,
        means: Means,
        jumps: Jumps,
        turn_over: Callable[[], Awaitable[None]],
        wake: Callable[[SessionId], None],
    ) -> None:
        self._means = means
        self._jumps = jumps
        #: Called when a session that had its turn has a driver now: it is the next one's turn.
        self._turn_over = turn_over
        self._fetching = Fetching(means, wake)
        self._preparing = Preparing(means, wake)
        #: Those that found that it is not their turn, when they were last looked at.
        self.waiting: set[str] = set()
        #: When the drivers without a link were last told where to dial.
        self._guided: dict[DriverId, float] = {}
        #: The keys that drivers were last given by this server.
        self._given: dict[DriverId, Mapping[str, str]] = {}

    async def close(self) -> None:
        """Drop what goes on between two looks; whoever looks next begins it again."""
        await self._fetching.close()
        await self._preparing.close()

    def _drop(self, session_id: SessionId) -> None:
        self._fetching.drop(session_id)
        self._preparing.drop(session_id)

    async def reconcile(self, key: str) -> Verdict:
        session_id = SessionId(key)
        self.waiting.discard(key)
        for _ in range(MAX_STEPS):
            now = await self._jumps.settled()
            session, seen = await self._look(session_id)
            if session.server != self._means.server:
                self._drop(session_id)
                return await self._leave(seen.driver)
            if session.state in _ENDING:
                self._drop(session_id)
            step = steps.next_step(session, seen, now, self._means.patience)
            verdict = await self._take(step, session, seen)
            if verdict is not None:
                return verdict
        log.error("session does not come to rest", extra={"session": session_id})
        return Rest(LOOK_UNLINKED_S)

    async def _leave(self, driver: Driver | None) -> Verdict:
        """Whatever we knew of it may be wrong by now."""
        if driver is not None:
            self._guided.pop(driver.id, None)
            self._given.pop(driver.id, None)
            await self._means.links.forget(driver.id)
        return NotOurs()

    async def _look(self, session_id: SessionId) -> tuple[Session, Situation]:
        means = self._means
        session, driver, calculation, behind, asked = await self._read(session_id)
        linked = driver is not None and means.links.linked(driver.id)
        if driver is not None and (linked or driver.ended_at is not None):
            self._guided.pop(driver.id, None)
        # Whoever holds its end of the link is alive; nothing more has to be asked.
        alive = linked
        ours = session.server == means.server
        if ours and driver and not linked and driver.handle and driver.ended_at is None:
            observation = await means.launcher.observe(driver.handle)
            alive = observation.alive or await self._has_other_process(driver)
            await self._guide(driver, alive=alive)
            if not alive and session.state not in _ENDING:
                # It may have done more than it could tell: what its end means depends on that.
                await take_left(means, driver, driver.handle)
                session, driver, calculation, behind, asked = await self._read(session_id)
                assert driver is not None
            if not alive and driver.reason is None and observation.ended is not None:
                driver = replace(driver, reason=observation.ended)
        fetching, not_fetched = self._fetching.seen(session_id)
        awaits, preparing, not_prepared = False, False, None
        if driver is None or driver.adopted_at is None:
            awaits, preparing, not_prepared = self._preparing.seen(session)
        silent_since = None if driver is None else means.links.silent_since(driver.id)
        seen = Situation(
            driver=driver,
            alive=alive,
            linked=linked,
            silent_since=silent_since,
            calculation=calculation,
            behind=behind,
            canceling_since=self._canceling_since(driver, calculation, asked),
            fetching=fetching,
            not_fetched=not_fetched,
            awaits_packages=awaits,
            preparing=preparing,
            not_prepared=not_prepared,
        )
        return session, seen

    def _canceling_since(
        self, driver: Driver | None, calculation: Calculation | None, asked: datetime | None
    ) -> datetime | None:
        """Since when the agent could have ended the calculation: one that has not begun it ends
        when it is handed over. And a server that was away lets it tell first what happened."""
        if asked is None or driver is None or calculation is None:
            return None
        links = self._means.links
        if not links.linked(driver.id):
            return max(asked, links.silent_since(driver.id) or asked)
        handed_at = links.sent_at(driver.id, f"run:{calculation.id}")
        return None if handed_at is None else max(asked, handed_at)

    async def _guide(self, driver: Driver, *, alive: bool) -> None:
        """A server that slept may have told the driver, in the middle of launching it, to dial
        there. So one that does not dial us is told again."""
        if not alive:
            self._guided.pop(driver.id, None)
            return
        now = self._means.clock.monotonic()
        if now - self._guided.setdefault(driver.id, now) >= GUIDE_EVERY_S:
            self._guided[driver.id] = now
            await self._means.launcher.find(driver.id)

    async def _has_other_process(self, driver: Driver) -> bool:
        """Two servers may have launched it, when one slept in the middle of it. The first agent
        that ran is the driver, and the handle may be the other's."""
        means, was = self._means, driver.handle
        handle = await means.launcher.find(driver.id)
        if handle is None or handle == was:
            return False
        await means.store.write(lambda tx: drivers.attach(tx, driver.id, handle, was=was))
        return True

    async def _read(self, session_id: SessionId) -> _Rows:
        def read(tx: Connection) -> _Rows:
            # First the session, whose version decisions rest on. Others may write between two
            # statements: a calculation that is older than the session would be taken for ended.
            session = sessions.get(tx, session_id)
            driver = drivers.of_session(tx, session_id)
            calculation = calculations.active(tx, session_id)
            if calculation is None:
                return _Rows(session, driver, None, (), None)
            canceling = calculations.canceling(tx, session_id)
            behind = tuple(each for each in canceling if each.id != calculation.id)
            asked = None
            if calculation.state is calculation_domain.State.CANCELING:
                asked = calculations.cancel_asked_at(tx, calculation.id)
            return _Rows(session, driver, calculation, behind, asked)

        return await self._means.store.read(read)

    async def _take(self, step: Step, session: Session, seen: Situation) -> Verdict | None:
        """Take the step. None: look again at once."""
        driver = seen.driver
        match step:
            case steps.Rest(until=until):
                await self._renew_keys(session, seen)
                return self._rest(session, seen, until)
            case steps.Happened(event=event, reason=reason):
                await self._happened(session, event, reason)
                return None
            case steps.FetchNotebook(uri=uri):
                self._fetching.begin(session, uri)
                return None
            case steps.PreparePackages():
                self._preparing.begin(session)
                return None
            case steps.Launch():
                return await self._launch(session, driver)
        assert driver is not None
        match step:
            case steps.AdoptDriver():
                return await self._hand_over(session, driver)
            case steps.RunCalculation(calculation=calculation, behind=behind):
                await self._cancel(driver, *behind)
                return await self._run(session, driver, calculation)
            case steps.CancelCalculation(calculation=calculation, behind=behind):
                # The cancellation first: one that overtakes its block must not be lost, and a
                # block that was never handed over ends as every other, with its outputs.
                await self._cancel(driver, calculation, *behind)
                return await self._run(session, driver, calculation)
            case steps.StopDriver():
                await self._stop(driver)
                return None
        return Rest(LOOK_LINKED_S)

    def _rest(self, session: Session, seen: Situation, until: datetime | None) -> Verdict:
        if session.state in domain.TERMINAL:
            return Done()
        look = LOOK_LINKED_S if seen.linked else LOOK_UNLINKED_S
        if until is None:
            return Rest(look)
        return Rest(min(look, (until - self._means.clock.now()) / timedelta(seconds=1)))

    def _review(self, session: Session) -> properties.Review:
        spark = self._means.sparks.of(session.engine_version)
        return properties.review(session.spark_properties, spark.known)

    # --- launching -----------------------------------------------------------------------------

    async def _launch(self, session: Session, driver: Driver | None) -> Verdict | None:
        """Intent, act, fact: the row, the process, the handle."""
        means = self._means
        review = self._review(session)
        if review.refused:
            why = explain(Code.USER, review.refusal, sentence=NOT_STARTED)
            await self._happened(session, Event.START_FAILED, why)
            return None
        role = means.roles.of(session)
        try:
            class_path = await self._class_path(session, review, role)
        except JarsMissing as error:
            why = explain(Code.SERVER, f"This session needs {error}", sentence=NOT_STARTED)
            await self._happened(session, Event.START_FAILED, why)
            return None
        handle = None
        if driver is not None:
            # An earlier server wrote the row and died: it may have launched, too.
            handle = await means.launcher.find(driver.id)
        else:
            driver = await self._intend(session, review)
            if driver is None:
                following = await means.store.read(means.next_in_line)
                self.waiting.add(session.id)
                behind = following not in {None, session.id}
                return Rest(LOOK_IN_LINE_S if behind else LOOK_UNLINKED_S)
            await self._turn_over()
            if driver.handle is not None:
                return None
            log.debug("driver intended", extra={"driver": driver.id, "session": session.id})
        if handle is None:
            try:
                handle = await means.launcher.launch(
                    LaunchSpec(
                        driver_id=driver.id,
                        engine_version=session.engine_version,
                        token=means.links.token(driver.id),
                        properties={**review.at_launch, **review.at_run_time},
                        buckets=bucket_folders(means.files, role),
                        warm=False,
                        role=role,
                        jupyter=session.has_jupyter,
                        jupyter_token=means.links.jupyter_token(driver.id),
                        class_path=class_path,
                        warehouse=session.warehouse,
                    )
                )
            except LaunchError as error:
                await end_driver(means, driver, reason=str(error))
                return None
        found = handle
        log.debug("driver launched", extra={"driver": driver.id, "session": session.id})
        await means.store.write(lambda tx: drivers.attach(tx, driver.id, found))
        log.info("driver attached", extra={"driver": driver.id, "session": session.id})
        return None

    async def _class_path(
        self, session: Session, review: properties.Review, role: Role | None
    ) -> tuple[str, ...]:
        """The jars that its properties need; :class:`JarsMissing` when they are not there."""
        jars = self._means.jars
        fixed = {} if role is None else role.spark_properties
        names = formats.needed({**review.at_launch, **review.at_run_time, **fixed})
        if not names and not jars.always:
            return ()
        return await asyncio.to_thread(jars.class_path, names, session.engine_version)

    async def _intend(self, session: Session, review: properties.Review) -> Driver | None:
        """The row of the session's driver; None while others have their turn, or no room is there.

        A warm one may have become ready while the session waited. It runs already, so it needs no
        more room.
        """
        means = self._means
        if await means.store.read(means.next_in_line) != session.id:
            return None
        spark, role = means.sparks.of(session.engine_version), means.roles.of(session)
        identity = "" if role is None else role.identity
        new = Driver(
            id=new_driver_id(),
            session_id=session.id,
            fingerprint=fingerprint(spark.environment, review.at_launch, identity),
            created_at=means.clock.now(),
            server=means.server,
        )

        def write(tx: Connection) -> Driver | None:
            if means.next_in_line(tx) != session.id:
                return None
            # Its notebook may have come since it was looked at, which its timeline tells.
            current = sessions.get(tx, session.id)
            if current.server != means.server:
                return None
            warm = drivers.take_warm(tx, new.fingerprint, session.id, means.server)
            if warm is not None:
                sessions.set_timeline(tx, replace(current, timeline=domain.warm(current)))
                return warm
            if not means.may_launch(tx):
                return None
            drivers.insert_driver(tx, new)
            return new

        return await means.store.write(write)

    # --- a driver at work ----------------------------------------------------------------------

    async def _hand_over(self, session: Session, driver: Driver) -> Verdict | None:
        try:
            await self._adopt(session, driver)
        except KeysRefused as refusal:
            why = explain(Code.USER, str(refusal), sentence=NOT_STARTED)
            await self._happened(session, Event.START_FAILED, why)
            return None
        except KeysAway as away:
            log.warning("no keys yet", extra={"session": session.id, "why": str(away)})
        return Rest(LOOK_LINKED_S)

    async def _adopt(self, session: Session, driver: Driver) -> None:
        keys = await self._means.session_keys.of(session)
        review = self._review(session)
        role = self._means.roles.of(session)
        name = None
        if session.has_jupyter:
            name = await self._means.store.read(lambda tx: notebooks.name_of(tx, session))
        # The role's own were set at launch, and win.
        fixed = {} if role is None else role.spark_properties
        adopt = messages.Adopt(
            session_id=session.id,
            work_group=session.work_group,
            engine_version=session.engine_version,
            started_at=session.created_at.isoformat(),
            properties={k: v for k, v in review.at_run_time.items() if k not in fixed},
            buckets=bucket_folders(self._means.files, role),
            jupyter_base="" if name is None else jupyter_base(session.id),
            notebook="" if name is None else f"{name}.ipynb",
            credentials=keys,
            packages=self._preparing.folder(session.id),
            warehouse=session.warehouse if self._means.shared_catalog else "",
        )
        sent = hashlib.sha256(repr(sorted(keys.items())).encode()).hexdigest()
        await self._means.links.send_once(driver.id, f"adopt:{sent}", adopt)
        self._given[driver.id] = keys

    async def _renew_keys(self, session: Session, seen: Situation) -> None:
        """A driver is told of new keys by a repeated adoption, before its own end."""
        driver = seen.driver
        if driver is None or not seen.linked or driver.adopted_at is None:
            return
        if session.state in _ENDING:
            return
        try:
            keys = await self._means.session_keys.of(session)
            if keys and keys != self._given.get(driver.id):
                await self._adopt(session, driver)
        except (KeysRefused, KeysAway) as error:
            log.warning("keys not renewed", extra={"session": session.id, "why": str(error)})

    async def _cancel(self, driver: Driver, *canceled: Calculation) -> None:
        for calculation in canceled:
            # Only one that was refused has a reason before its end.
            cancel = messages.Cancel(calculation_id=calculation.id, reason=calculation.reason or "")
            await self._means.links.send_once(driver.id, f"cancel:{calculation.id}", cancel)

    async def _run(
        self, session: Session, driver: Driver, calculation: Calculation
    ) -> Verdict | None:
        means = self._means
        try:
            destination = outputs.destination(means.files, session, calculation)
        except ObjectError as error:
            # The agent knows it already if it is a cell, and its page waits.
            await self._cancel(driver, calculation)
            await self._fail(calculation, f"Its output location cannot be used: {error}")
            return None
        run = messages.Run(
            calculation_id=calculation.id,
            code=calculation.code,
            buckets=bucket_folders(means.files, means.roles.of(session)),
            **destination,
        )
        if await means.links.send_once(driver.id, f"run:{calculation.id}", run):
            log.debug("calculation handed over", extra={"calculation": calculation.id})
            return Rest(SUBMITTED_AFTER_S)
        if calculation.state is calculation_domain.State.CREATING:
            event, now = calculation_domain.Event.SUBMITTED, means.clock.now()
            await means.store.write(
                lambda tx: calculations.change(tx, calculation.id, event, at=now)
            )
        return Rest(LOOK_LINKED_S)

    async def _fail(self, calculation: Calculation, reason: str) -> None:
        now = self._means.clock.now()

        def write(tx: Connection) -> None:
            calculations.change(
                tx, calculation.id, calculation_domain.Event.FAILED, at=now, reason=reason
            )
            work_ended(tx, calculation.session_id, now)

        await self._means.store.write(write)

    # --- ending --------------------------------------------------------------------------------

    async def _stop(self, driver: Driver) -> None:
        await end_driver(self._means, driver, reason=None)
        self._given.pop(driver.id, None)

    async def _happened(self, session: Session, event: Event, reason: str | None) -> None:
        """Write the event; a session that ends takes its calculations with it."""
        means = self._means
        now = means.clock.now()
        ends = domain.TRANSITIONS[session.state].get(event) in domain.TERMINAL
        known: set[str] = set()
        if ends:
            for each in await means.store.read(lambda tx: calculations.unfinished(tx, session.id)):
                await complete_outputs(means, session, each)
                known.add(each.id)

        def write(tx: Connection) -> None:
            left = calculations.unfinished(tx, session.id) if ends or event in _WORKLESS else ()
            if not known.issuperset(each.id for each in left):
                # A cell that waits changes nothing in its session's row.
                raise Conflict(f"session {session.id} got a cell since it was looked at")
            changed = sessions.replace(tx, session, event, at=now, reason=reason)
            for each in left:
                end, why = domain.how_ended(changed, each)
                calculations.change(tx, each.id, end, at=now, reason=why)

        await means.store.write(write)
