"""What must be true of a server, whatever happened to it: the model that stories are held against.

It knows what the server acknowledged, and nothing of how the server works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, select
from tests.stories.mortal_world import MortalWorld
from tests.stories.world import all_sessions, of_session

from sparkowl.domain import calculation as calculation_domain
from sparkowl.domain import session as session_domain
from sparkowl.domain.calculation import Calculation
from sparkowl.domain.cell import DESCRIPTION
from sparkowl.domain.session import Session, State
from sparkowl.store import calculations, drivers, load, sessions, tables
from sparkowl.store.history import ASKED, Change


@dataclass(slots=True)
class Model:
    """What clients were told."""

    #: Ids that were answered.
    sessions: set[str] = field(default_factory=set)
    #: By calculation, its code.
    calculations: dict[str, str] = field(default_factory=dict)
    #: By token: the request that used it first, and what it was answered (None: nothing).
    tokens: dict[str, tuple[Mapping[str, Any], str | None]] = field(default_factory=dict)
    #: What has ended, as it was then. It never changes again.
    _ended: dict[str, Any] = field(default_factory=dict)

    def started(self, session_id: str) -> None:
        self.sessions.add(session_id)

    def answered_token(self, token: str, request: Mapping[str, Any], session_id: str) -> None:
        """A start with a token succeeded: it must be the one that the token made before."""
        known, was = self.tokens.get(token, (request, None))
        # A request that was never answered may have made nothing; one that was holds for ever.
        assert was is None or (known == request and was == session_id), f"{token} made two sessions"
        self.tokens[token] = (request, session_id)
        self.started(session_id)

    def unanswered_token(self, token: str, request: Mapping[str, Any]) -> None:
        self.tokens.setdefault(token, (request, None))

    async def check(self, world: MortalWorld, *, at_rest: bool = False) -> None:
        """Everything that must hold while nothing moves; ``at_rest``, also that nothing waits."""
        found = await world.store.read(all_sessions)
        ids = {session.id for session in found}
        assert self.sessions <= ids, "an acknowledged session is lost"
        for session_id in self.sessions:
            answer = await world.call("GetSessionStatus", SessionId=session_id)
            assert answer["SessionId"] == session_id
        for calculation_id, code in self.calculations.items():
            answer = await world.call(
                "GetCalculationExecutionCode", CalculationExecutionId=calculation_id
            )
            assert answer["CodeBlock"] == code
        for session in found:
            await self._check_session(world, session)
        await _check_drivers(world)
        await _check_limits(world)
        if at_rest:
            await _check_nothing_waits(world, found)
            await _check_pages(world)

    async def _check_session(self, world: MortalWorld, session: Session) -> None:
        history = await world.store.read(lambda tx: sessions.history(tx, session.id))
        check_path(history, State.CREATED, session.state, session_domain.TRANSITIONS)
        driver = await world.store.read(lambda tx: drivers.of_session(tx, session.id))
        if session.state not in session_domain.TERMINAL | {State.CREATING, State.TERMINATING}:
            assert driver is not None, f"{session.state} session without a driver"
            assert driver.ended_at is None, f"{session.state} session, its driver has ended"
        done = await world.store.read(lambda tx: of_session(tx, session.id))
        active = [c for c in done if c.state not in calculation_domain.TERMINAL]
        _check_order(active)
        if session.state in {State.BUSY, State.IDLE, *session_domain.TERMINAL}:
            assert bool(active) == (session.state is State.BUSY), f"{session.state}: {active}"
        for calculation in done:
            await self._check_calculation(world, calculation)
        if session.state in session_domain.TERMINAL:
            self._check_unchanged(session.id, (session.state, session.reason, session.ended_at))

    async def _check_calculation(self, world: MortalWorld, calculation: Calculation) -> None:
        history = await world.store.read(lambda tx: calculations.history(tx, calculation.id))
        check_path(history, None, calculation.state, calculation_domain.TRANSITIONS)
        if calculation.state not in calculation_domain.TERMINAL:
            return
        outputs = world.outputs(calculation)
        assert None not in outputs.values(), f"{calculation.state} calculation lacks {outputs}"
        if calculation.state is calculation_domain.State.COMPLETED:
            assert outputs["stdout"] == calculation.code.encode()
        told = (calculation.state, calculation.reason, calculation.completed_at)
        self._check_unchanged(calculation.id, (told, outputs))

    def _check_unchanged(self, ended_id: str, now: Any) -> None:
        assert self._ended.setdefault(ended_id, now) == now, f"{ended_id} changed after its end"


def check_path(
    history: Sequence[Change],
    other_first: str | None,
    state: str,
    transitions: Mapping[Any, Mapping[Any, str]],
) -> None:
    """The rows lead from the first state (or the other that is allowed) along the table."""
    first, *steps = history
    assert first.event == ASKED
    assert first.from_state is None
    assert first.to_state in {"CREATING", other_first}
    at: str = first.to_state
    for step in steps:
        assert step.from_state == at, history
        assert transitions[at].get(step.event) == step.to_state, step
        at = step.to_state
    assert at == state, history


def _check_order(active: Sequence[Calculation]) -> None:
    """One runs, and it is the oldest of them; of the API there is at most one."""
    ordered = sorted(active, key=lambda c: c.submitted_at)
    assert len({c.submitted_at for c in active}) == len(active), active
    assert all(c.started_at is None for c in ordered[1:]), "another than the oldest runs"
    assert all(c.description == DESCRIPTION for c in ordered[1:]), "another than a cell waits"


async def _check_pages(world: MortalWorld) -> None:
    """No page waits for a cell that is over for the server, and the server knows every cell."""
    for driver_id in world.launcher.living:
        driver = await world.store.read(partial(drivers.get, driver_id=driver_id))
        if driver is None or driver.session_id is None:
            continue
        done = await world.store.read(partial(of_session, session_id=driver.session_id))
        known = {str(c.id): c for c in done}
        cells = world.launcher.cells(driver_id)
        assert set(cells) <= set(known), "a cell is lost"
        assert sorted(cells, key=lambda cell: known[cell].submitted_at) == cells, "out of order"
        # One that shall not run ends when its turn comes, but its page knows.
        over = calculation_domain.TERMINAL | {calculation_domain.State.CANCELING}
        coming = {cell for cell in cells if known[cell].state not in over}
        assert set(world.launcher.waiting_cells(driver_id)) == coming, "a page waits for nothing"


async def _check_drivers(world: MortalWorld) -> None:
    """Whatever lives belongs to the pool, or is the one driver of a session that has not ended."""
    assert not world.launcher.doubled, "a driver was launched twice"
    served: list[str] = []
    for driver_id in world.launcher.living:
        driver = await world.store.read(partial(drivers.get, driver_id=driver_id))
        assert driver is not None, f"{driver_id} lives without a row"
        if driver.session_id is not None:
            served.append(driver.session_id)
        if world.slow_stop_s:
            continue  # It may be on its way out.
        assert driver.ended_at is None, f"{driver_id} lives although it was ended"
        if driver.session_id is not None:
            session = await world.session(driver.session_id)
            assert session.state not in session_domain.TERMINAL, f"driver of a {session.state}"
    assert len(served) == len(set(served)), "two drivers of one session"


async def _check_limits(world: MortalWorld) -> None:
    queues = world.limits.queue_when_full
    use = await world.store.read(lambda tx: load.in_use(tx, placed_only=queues))
    total = sum((each.sessions for each in use.values()), 0)
    most = world.limits.account.sessions
    assert most is None or total <= most, f"{total} sessions of {most}"
    starting = await world.store.read(drivers.count_starting)
    assert starting <= world.starts_at_once, f"{starting} drivers start at once"


async def _check_nothing_waits(world: MortalWorld, found: Sequence[Session]) -> None:
    settled = {State.IDLE, State.BUSY, *session_domain.TERMINAL}
    places = await world.store.read(load.waiting)
    queued = {waiting.session_id for waiting in places}
    for session in found:
        if session.id in queued:
            assert await world.store.read(_is_full) or _is_held(session, places), (
                "queued for nothing"
            )
            continue
        assert session.state in settled, f"{session.id} waits for ever: {session}"
        if session.state is State.BUSY:
            running, *behind = await world.store.read(
                partial(calculations.unfinished, session_id=session.id)
            )
            assert (running.state, running.code) == ("RUNNING", "hang"), (
                f"waits for ever: {running}"
            )
            assert all(c.state in {"QUEUED", "CANCELING"} for c in behind), behind


def _is_held(session: Session, places: Sequence[Any]) -> bool:
    return any(place.session_id == session.id and place.held for place in places)


def _is_full(tx: Connection) -> bool:
    """Other sessions have what there is."""
    live = select(tables.drivers.c.id).where(
        tables.drivers.c.session_id.is_not(None), tables.drivers.c.ended_at.is_(None)
    )
    return bool(tx.execute(live).first())
