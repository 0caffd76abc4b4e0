"""What is to be done about a session in every situation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from tests.builders import (
    AT,
    LATER,
    PATIENCE,
    make_calculation,
    make_driver,
    make_session,
    make_situation,
)

from sparkowl.domain.calculation import State as CalculationState
from sparkowl.domain.ids import NotebookId
from sparkowl.domain.reason import NOT_STARTED, TERMINATED, UNHEALTHY, Code
from sparkowl.domain.session import TRANSITIONS, Event, Session, State, apply, notebook_came
from sparkowl.domain.step import (
    AdoptDriver,
    CancelCalculation,
    FetchNotebook,
    Happened,
    Launch,
    PreparePackages,
    Rest,
    RunCalculation,
    Situation,
    Step,
    StopDriver,
    next_step,
)

WAITING = make_calculation(state=CalculationState.CREATING)
BEHIND = (
    make_calculation(state=CalculationState.CANCELING),
    make_calculation(state=CalculationState.CANCELING),
)
CANCELING = make_calculation(state=CalculationState.CANCELING)
LAUNCHED = make_driver(ready_at=None, adopted_at=None)
READY = make_driver(adopted_at=None)
LOST_LINK = make_situation(linked=False, silent_since=AT)
CREATING = make_session(state=State.CREATING, active_at=None, idle_since=None)
CREATED = make_session(state=State.CREATED, idle_since=None)
BUSY = make_session(state=State.BUSY, idle_since=None)
IDLE = make_session()
DEGRADED = make_session(state=State.DEGRADED, idle_since=None)
FILE = "https://files.example.com/a.ipynb"
WITH_FILE: dict[str, Any] = {
    "NotebookVersion": "Jupyter1.0",
    "EngineConfiguration": {"AdditionalConfigs": {"NotebookFileURI": FILE}},
}
NO_DRIVER = make_situation(driver=None, alive=False, linked=False)
NO_FILE = "Session failed to start [USER] It is not there."


def awaiting(session: Session, **changes: Any) -> Session:
    """The session, whose file on the web has not come yet."""
    return replace(session, request=WITH_FILE, **changes)


#: How the reason of a start that failed begins.
FAILED = "Session failed to start [CRASH]"


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


SITUATIONS: dict[str, tuple[Session, Situation, timedelta, Step]] = {
    "a new session is launched": (
        CREATING, make_situation(driver=None, alive=False, linked=False), after(0), Launch(),
    ),
    "the packages of its workgroup come before its driver": (
        CREATING, replace(NO_DRIVER, awaits_packages=True), after(0), PreparePackages(),
    ),
    "however long that takes": (
        CREATING, replace(NO_DRIVER, awaits_packages=True, preparing=True), after(9999), Rest(),
    ),
    "when they are there, it is launched": (
        CREATING, replace(NO_DRIVER, preparing=True), after(9999), Launch(),
    ),
    "without them it does not start": (
        CREATING,
        replace(NO_DRIVER, awaits_packages=True, preparing=True, not_prepared="No such file."),
        after(1), Happened(Event.START_FAILED, f"{NOT_STARTED} [USER] No such file."),
    ),
    "a driver that runs already goes on starting": (
        CREATING, make_situation(driver=READY, awaits_packages=True), after(1),
        Happened(Event.DRIVER_READY),
    ),
    "it is adopted when the packages are found again": (
        CREATED, make_situation(driver=READY, awaits_packages=True), after(1), PreparePackages(),
    ),
    "and not before": (
        CREATED, make_situation(driver=READY, awaits_packages=True, preparing=True), after(1),
        Rest(),
    ),
    "but that has an end": (
        CREATED, make_situation(driver=READY, awaits_packages=True, preparing=True), after(180),
        Happened(
            Event.DRIVER_LOST, f"{UNHEALTHY} [CRASH] Its driver did not take it within 180 s."
        ),
    ),
    "a driver without its packages is none": (
        CREATED,
        make_situation(
            driver=READY, awaits_packages=True, preparing=True, not_prepared="No such file."
        ),
        after(1), Happened(Event.DRIVER_LOST, f"{UNHEALTHY} [USER] No such file."),
    ),
    "the file of a new session is fetched first": (
        awaiting(CREATING), NO_DRIVER, after(0), FetchNotebook(FILE),
    ),
    "also beside a driver that starts": (
        awaiting(CREATING), make_situation(driver=LAUNCHED, linked=False), after(1),
        FetchNotebook(FILE),
    ),
    "also of a session that was warm": (
        awaiting(CREATED), make_situation(driver=READY), after(0), FetchNotebook(FILE),
    ),
    "also when a calculation came before it": (
        awaiting(BUSY), make_situation(driver=READY, calculation=WAITING), after(0),
        FetchNotebook(FILE),
    ),
    "the driver is launched meanwhile": (
        awaiting(CREATING), replace(NO_DRIVER, fetching=True), after(0), Launch(),
    ),
    "and becomes ready": (
        awaiting(CREATING), make_situation(driver=READY, fetching=True), after(1),
        Happened(Event.DRIVER_READY),
    ),
    "it is not adopted before the file is there": (
        awaiting(CREATED), make_situation(driver=READY, fetching=True), after(999), Rest(),
    ),
    "nor with a calculation": (
        awaiting(BUSY), make_situation(driver=READY, calculation=WAITING, fetching=True),
        after(999), Rest(),
    ),
    "nor is a cancellation held against its agent": (
        awaiting(BUSY),
        make_situation(driver=READY, calculation=CANCELING, canceling_since=AT, fetching=True),
        after(999), Rest(),
    ),
    "it is missed when it dies meanwhile": (
        awaiting(CREATED), make_situation(driver=READY, alive=False, linked=False, fetching=True),
        after(1), Happened(Event.DRIVER_LOST, f"{UNHEALTHY} [CRASH] The Spark driver is gone."),
    ),
    "also while it starts": (
        awaiting(CREATING),
        make_situation(driver=LAUNCHED, alive=False, linked=False, fetching=True), after(1),
        Happened(Event.START_FAILED, f"{FAILED} The Spark driver ended while starting."),
    ),
    "a file that cannot be had ends the start": (
        awaiting(CREATING), replace(NO_DRIVER, fetching=True, not_fetched="It is not there."),
        after(1), Happened(Event.START_FAILED, NO_FILE),
    ),
    "also of a session with a driver": (
        awaiting(CREATED),
        make_situation(driver=READY, fetching=True, not_fetched="It is not there."), after(1),
        Happened(Event.START_FAILED, NO_FILE),
    ),
    "also with a calculation": (
        awaiting(BUSY),
        make_situation(
            driver=READY, calculation=WAITING, fetching=True, not_fetched="It is not there."
        ),
        after(1), Happened(Event.START_FAILED, NO_FILE),
    ),
    "a file that has become a notebook": (
        awaiting(CREATED, notebook_id=NotebookId("n")), make_situation(driver=READY), after(1),
        AdoptDriver(),
    ),
    "from then on the driver has its time to take the session": (
        awaiting(
            CREATED, notebook_id=NotebookId("n"), timeline=notebook_came(CREATED, AT + after(170))
        ),
        make_situation(driver=READY), after(349), AdoptDriver(),
    ),
    "and no more": (
        awaiting(
            CREATED, notebook_id=NotebookId("n"), timeline=notebook_came(CREATED, AT + after(170))
        ),
        make_situation(driver=READY), after(351),
        Happened(
            Event.DRIVER_LOST,
            f"{UNHEALTHY} [CRASH] Its driver did not take it within 180 s.",
        ),
    ),
    "nothing is fetched for a session that ends": (
        awaiting(CREATED, state=State.TERMINATING), make_situation(driver=READY), after(1),
        StopDriver(),
    ),
    "nor for one that has": (
        awaiting(CREATED, state=State.FAILED), NO_DRIVER, after(1), Rest(),
    ),
    "nor for a session without a notebook": (
        replace(CREATING, request={"EngineConfiguration": WITH_FILE["EngineConfiguration"]}),
        NO_DRIVER, after(0), Launch(),
    ),
    "a session that waited long for a place is still launched": (
        CREATING, make_situation(driver=None, alive=False, linked=False), after(9999), Launch(),
    ),
    "a launch that was interrupted is taken up": (
        CREATING, make_situation(driver=make_driver(handle=None), alive=False), after(0), Launch(),
    ),
    "a driver that starts is given time": (
        CREATING, make_situation(driver=LAUNCHED, linked=False), after(1), Rest(AT + after(180)),
    ),
    "its time counts from its own beginning": (
        CREATING, make_situation(driver=make_driver(created_at=AT + after(170), ready_at=None)),
        after(181), Rest(AT + after(350)),
    ),
    "a driver that is not ready in time is given up": (
        CREATING, make_situation(driver=LAUNCHED), after(180),
        Happened(Event.START_FAILED, f"{FAILED} The Spark driver was not ready after 180 s."),
    ),
    "a driver that died while starting": (
        CREATING, make_situation(driver=LAUNCHED, alive=False, linked=False), after(1),
        Happened(Event.START_FAILED, f"{FAILED} The Spark driver ended while starting."),
    ),
    "a driver that said why it died while starting": (
        CREATING, make_situation(driver=make_driver(ready_at=None, reason="No Java.")), after(1),
        Happened(Event.START_FAILED, f"{FAILED} No Java."),
    ),
    "a driver that could not be launched": (
        CREATING,
        make_situation(driver=make_driver(handle=None, ended_at=AT, reason="No."), alive=False),
        after(0), Happened(Event.START_FAILED, f"{FAILED} No."),
    ),
    "a driver that is ready": (
        CREATING, make_situation(driver=READY), after(1), Happened(Event.DRIVER_READY),
    ),
    "a ready driver is adopted": (
        CREATED, make_situation(driver=READY), after(1), AdoptDriver(),
    ),
    "a driver that never takes the session is given up": (
        CREATED, make_situation(driver=READY), after(180),
        Happened(
            Event.DRIVER_LOST,
            f"{UNHEALTHY} [CRASH] Its driver did not take it within 180 s.",
        ),
    ),
    "and also when a calculation waits for it": (
        BUSY, make_situation(driver=READY, calculation=WAITING), after(180),
        Happened(
            Event.DRIVER_LOST,
            f"{UNHEALTHY} [CRASH] Its driver did not take it within 180 s.",
        ),
    ),
    "a driver that has taken the session": (
        CREATED, make_situation(), after(1), Happened(Event.ADOPTED),
    ),
    "a calculation waits for the adoption": (
        BUSY, make_situation(driver=READY, calculation=WAITING), after(1), AdoptDriver(),
    ),
    "a calculation is handed over": (
        BUSY, make_situation(calculation=WAITING), after(1), RunCalculation(WAITING),
    ),
    "a calculation is canceled": (
        BUSY, make_situation(calculation=CANCELING), after(1), CancelCalculation(CANCELING),
    ),
    "those behind it that shall not run are canceled, too": (
        BUSY, make_situation(calculation=WAITING, behind=BEHIND), after(1),
        RunCalculation(WAITING, BEHIND),
    ),
    "also behind one that is canceled": (
        BUSY, make_situation(calculation=CANCELING, behind=BEHIND), after(1),
        CancelCalculation(CANCELING, BEHIND),
    ),
    "its agent has time to do so": (
        BUSY, make_situation(calculation=CANCELING, canceling_since=AT), after(59),
        CancelCalculation(CANCELING),
    ),
    "an agent that does not cancel loses its driver": (
        BUSY, make_situation(calculation=CANCELING, canceling_since=AT), after(60),
        Happened(
            Event.DRIVER_LOST,
            f"{UNHEALTHY} [CRASH] Its agent did not stop a block within 60 s.",
        ),
    ),
    "also one that is silent": (
        DEGRADED,
        replace(LOST_LINK, calculation=CANCELING, canceling_since=AT), after(60),
        Happened(
            Event.DRIVER_LOST,
            f"{UNHEALTHY} [CRASH] Its agent did not stop a block within 60 s.",
        ),
    ),
    "a busy session without a calculation is idle": (
        BUSY, make_situation(), after(1), Happened(Event.WORK_ENDED),
    ),
    "an idle session rests until its timeout": (
        IDLE, make_situation(), after(1), Rest(AT + IDLE.idle_timeout),
    ),
    "an extended one rests longer": (
        apply(IDLE, Event.EXTENDED, at=LATER), make_situation(), IDLE.idle_timeout,
        Rest(LATER + IDLE.idle_timeout),
    ),
    "an idle session times out": (
        IDLE, make_situation(), IDLE.idle_timeout,
        Happened(Event.IDLE_TIMED_OUT, f"{TERMINATED} [IDLE] Nothing ran in it for 20 minutes."),
    ),
    "a short break of the link is no matter": (
        IDLE, LOST_LINK, after(19), Rest(AT + after(20)),
    ),
    "a longer one is": (
        IDLE, LOST_LINK, after(20),
        Happened(Event.AGENT_SILENT, f"{UNHEALTHY} [SERVER] Its agent does not answer."),
    ),
    "a created session cannot be degraded, so it waits": (
        CREATED, LOST_LINK, after(60), Rest(AT + after(120)),
    ),
    "a degraded session waits for its agent": (
        DEGRADED, LOST_LINK, after(21), Rest(AT + after(120)),
    ),
    "an agent that stays away is given up": (
        DEGRADED, LOST_LINK, after(120),
        Happened(Event.DRIVER_LOST, f"{UNHEALTHY} [SERVER] Its agent was silent for 120 s."),
    ),
    "a degraded session whose agent is back": (
        DEGRADED, make_situation(), after(30), Happened(Event.AGENT_BACK),
    ),
    "a degraded session whose agent is back at work": (
        DEGRADED, make_situation(calculation=WAITING), after(30), Happened(Event.AGENT_BACK_BUSY),
    ),
    "a driver that died": (
        IDLE, make_situation(alive=False, linked=False), after(1),
        Happened(Event.DRIVER_LOST, f"{UNHEALTHY} [CRASH] The Spark driver is gone."),
    ),
    "a driver that reported its own end is not waited for": (
        BUSY, make_situation(driver=make_driver(reason="The kernel died."), calculation=WAITING),
        after(1), Happened(Event.DRIVER_LOST, f"{UNHEALTHY} [CRASH] The kernel died."),
    ),
    "a driver that used too much memory": (
        IDLE, make_situation(driver=make_driver(reason="Too much.", code=Code.MEMORY)),
        after(1), Happened(Event.DRIVER_LOST, f"{UNHEALTHY} [MEMORY] Too much."),
    ),
    "a driver whose own session asked for the end": (
        IDLE, make_situation(driver=make_driver(reason="No.", code=Code.USER)),
        after(1), Happened(Event.DRIVER_LOST, f"{UNHEALTHY} [USER] No."),
    ),
    "a driver that the server could not launch": (
        CREATING,
        make_situation(
            driver=make_driver(handle=None, ended_at=AT, reason="No.", code=Code.SERVER),
            alive=False,
        ),
        after(0), Happened(Event.START_FAILED, "Session failed to start [SERVER] No."),
    ),
    "a session without a driver": (
        IDLE, make_situation(driver=None, alive=False, linked=False), after(1),
        Happened(Event.DRIVER_LOST, f"{UNHEALTHY} [CRASH] The Spark driver is gone."),
    ),
    "a session that ends stops its driver": (
        make_session(state=State.TERMINATING), make_situation(), after(1), StopDriver(),
    ),
    "also one that is dead, for what it left behind": (
        make_session(state=State.TERMINATING), make_situation(alive=False), after(1), StopDriver(),
    ),
    "a session has ended when its driver has": (
        make_session(state=State.TERMINATING), make_situation(driver=make_driver(ended_at=AT)),
        after(1), Happened(Event.DRIVER_GONE),
    ),
    "a session that never had a driver just ends": (
        make_session(state=State.TERMINATING),
        make_situation(driver=None, alive=False, linked=False), after(1),
        Happened(Event.DRIVER_GONE),
    ),
    "a failed session does not keep its driver": (
        make_session(state=State.FAILED), make_situation(), after(1), StopDriver(),
    ),
    "nothing is left to do": (
        make_session(state=State.TERMINATED), make_situation(driver=make_driver(ended_at=AT)),
        after(1), Rest(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_next_step(name: str) -> None:
    session, seen, elapsed, expected_step = SITUATIONS[name]

    step = next_step(session, seen, AT + elapsed, PATIENCE)

    assert step == expected_step


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("elapsed", [0, 19, 20, 119, 120, 179, 180, 10_000])
def test_no_step_happens_that_the_table_forbids_and_no_rest_is_over(
    state: State, elapsed: float
) -> None:
    idle_since = AT if state is State.IDLE else None
    active_at = None if state is State.CREATING else AT
    session = make_session(state=state, idle_since=idle_since, active_at=active_at)
    now = AT + after(elapsed)
    drivers = (None, LAUNCHED, READY, make_driver(), make_driver(handle=None),
               make_driver(ended_at=AT), make_driver(reason="It died."))  # fmt: skip

    packages: tuple[dict[str, Any], ...] = ({}, {"awaits_packages": True, "preparing": True},
                {"awaits_packages": True, "preparing": True, "not_prepared": "No."})  # fmt: skip

    for driver, alive, linked, calculation, prepared in product(
        drivers, (True, False), (True, False), (None, WAITING, CANCELING), packages
    ):
        seen = Situation(
            driver=driver,
            alive=alive,
            linked=linked,
            silent_since=None if linked else AT,
            calculation=calculation,
            **prepared,
        )
        step = next_step(session, seen, now, PATIENCE)
        match step:
            case Happened(event=event):
                assert event in TRANSITIONS[state], (state, seen, step)
                assert TRANSITIONS[state][event] is not state, "a step that changes nothing loops"
            case Rest(until=until):
                assert until is None or until > now, (state, seen, step)
            case AdoptDriver() | RunCalculation() | CancelCalculation() | StopDriver():
                assert driver is not None
