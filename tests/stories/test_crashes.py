"""The server dies at every await of the usual stories, one after the other; the next one copes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from tests.stories.model import Model
from tests.stories.mortal import Crashed
from tests.stories.mortal_world import MortalWorld, mortal_world
from tests.stories.world import all_sessions

from sparkowl.domain.ids import SessionId
from sparkowl.domain.limits import Limits, Quota
from sparkowl.domain.notebook import empty
from sparkowl.store import drivers, notebooks

#: Each await is some tenths of a second: usually every so-manieth has its turn, in a long run all.
LONG = settings().max_examples >= 1_000
STRIDE = 1 if LONG else 13
#: More awaits than any of the stories has: one that never ends is an error, not a long test.
MOST_AWAITS = 1_000
FILE = "https://files.example.com/a.ipynb"


@pytest.fixture(autouse=True)
def engine() -> str:
    """Of mortal worlds: a store that can be buried with its server, and be opened anew."""
    return "sqlite"


async def start(w: MortalWorld, model: Model, token: str | None = None) -> str:
    request = {"WorkGroup": "spark", "EngineConfiguration": {"MaxConcurrentDpus": 2}}
    if token is not None:
        model.unanswered_token(token, request)
        request |= {"ClientRequestToken": token}
    session_id = str((await w.call("StartSession", **request))["SessionId"])
    model.started(session_id)
    await w.settle()
    return session_id


async def calculate(w: MortalWorld, model: Model, session_id: str, code: str) -> str:
    answer = await w.call("StartCalculationExecution", SessionId=session_id, CodeBlock=code)
    model.calculations[str(answer["CalculationExecutionId"])] = code
    await w.settle()
    return str(answer["CalculationExecutionId"])


async def a_start(w: MortalWorld, model: Model) -> None:
    await start(w, model)


async def a_calculation(w: MortalWorld, model: Model) -> None:
    await calculate(w, model, await start(w, model), "1")


async def a_stopped_calculation(w: MortalWorld, model: Model) -> None:
    calculation_id = await calculate(w, model, await start(w, model), "hang")
    await w.call("StopCalculationExecution", CalculationExecutionId=calculation_id)


async def page(w: MortalWorld, session_id: str) -> str:
    """The driver whose page it is. A server that died early made no page."""
    driver = await w.store.read(lambda tx: drivers.of_session(tx, SessionId(session_id)))
    if driver is None or driver.id not in w.launcher.living or not w.launcher.adopt_of(driver.id):
        assert w.life.dead
        raise Crashed
    return driver.id


async def run_cells(w: MortalWorld, session_id: str, *codes: str) -> list[str]:
    driver_id = await page(w, session_id)
    # All of them before the first is heard of.
    ran = {w.launcher.run_cell(driver_id, code): code for code in codes}
    await w.settle()
    return list(ran)


async def cells(w: MortalWorld, model: Model) -> None:
    session_id = await start(w, model)
    await run_cells(w, session_id, "1", "fail X", "2")
    await run_cells(w, session_id, "hang", "3")
    w.launcher.complete(await page(w, session_id))


async def cells_behind_a_calculation(w: MortalWorld, model: Model) -> None:
    session_id = await start(w, model)
    await calculate(w, model, session_id, "hang")
    await run_cells(w, session_id, "hang", "2")
    w.launcher.complete(await page(w, session_id))
    await w.settle()
    await w.extend(session_id)


async def stopped_cells(w: MortalWorld, model: Model) -> None:
    session_id = await start(w, model)
    first, second, _ = await run_cells(w, session_id, "hang", "hang", "hang")
    await w.call("StopCalculationExecution", CalculationExecutionId=second)
    await w.call("StopCalculationExecution", CalculationExecutionId=first)


async def a_restart_in_the_page(w: MortalWorld, model: Model) -> None:
    session_id = await start(w, model)
    await run_cells(w, session_id, "hang", "hang")
    w.launcher.restart(await page(w, session_id))
    await run_cells(w, session_id, "1")


async def a_session_with_cells_is_ended(w: MortalWorld, model: Model) -> None:
    session_id = await start(w, model)
    await run_cells(w, session_id, "hang", "hang", "1")
    await w.call("TerminateSession", SessionId=session_id)


async def a_driver_dies_with_cells(w: MortalWorld, model: Model) -> None:
    session_id = await start(w, model)
    await run_cells(w, session_id, "die Out of luck.", "hang", "1")


async def a_refused_cell(w: MortalWorld, model: Model) -> None:
    session_id = await start(w, model)
    await w.call("UpdateWorkGroup", WorkGroup="spark", State="DISABLED")
    await run_cells(w, session_id, "1", "2")


async def a_busy_session_is_ended(w: MortalWorld, model: Model) -> None:
    session_id = await start(w, model)
    await calculate(w, model, session_id, "hang")
    await w.call("TerminateSession", SessionId=session_id)


async def a_driver_dies_busy(w: MortalWorld, model: Model) -> None:
    await calculate(w, model, await start(w, model), "die Out of luck.")


async def an_end_while_launching(w: MortalWorld, model: Model) -> None:
    w.launcher.knobs.never_ready = True
    session_id = await start(w, model)
    await w.call("TerminateSession", SessionId=session_id)


async def an_idle_timeout(w: MortalWorld, model: Model) -> None:
    await start(w, model)
    await w.advance(1300)


async def a_queue(w: MortalWorld, model: Model) -> None:
    first = await start(w, model)
    await start(w, model)
    await start(w, model)
    await w.call("TerminateSession", SessionId=first)
    await w.advance(1)


async def a_clean_stop(w: MortalWorld, model: Model) -> None:
    await calculate(w, model, await start(w, model), "hang")
    await w.stop()


async def a_refused_launch(w: MortalWorld, model: Model) -> None:
    w.launcher.knobs.launch_error = "No."
    await start(w, model)


async def start_with_file(w: MortalWorld, model: Model) -> str:
    request = {
        "WorkGroup": "spark",
        "NotebookVersion": "Jupyter1.0",
        "EngineConfiguration": {"AdditionalConfigs": {"NotebookFileURI": FILE}},
    }
    session_id = str((await w.call("StartSession", **request))["SessionId"])
    model.started(session_id)
    await w.settle()
    return session_id


async def a_file_from_the_web(w: MortalWorld, model: Model) -> None:
    w.web.files[FILE] = empty().encode()
    await calculate(w, model, await start_with_file(w, model), "1")


async def a_file_that_is_not_there(w: MortalWorld, model: Model) -> None:
    await start_with_file(w, model)


@dataclass(frozen=True)
class Story:
    tell: Callable[[MortalWorld, Model], Awaitable[None]]
    pool: int = 0
    limits: Limits | None = None


ONE_AT_A_TIME = Limits(account=Quota(sessions=1), queue_when_full=True)
STORIES = {
    "cold start": Story(a_start),
    "warm start, the pool fills up again": Story(a_start, pool=1),
    "calculation": Story(a_calculation),
    "stopped calculation": Story(a_stopped_calculation),
    "cells": Story(cells),
    "cells behind a calculation": Story(cells_behind_a_calculation),
    "stopped cells": Story(stopped_cells),
    "restart in the page": Story(a_restart_in_the_page),
    "session with cells is ended": Story(a_session_with_cells_is_ended),
    "driver dies with cells": Story(a_driver_dies_with_cells),
    "refused cell": Story(a_refused_cell),
    "busy session is ended": Story(a_busy_session_is_ended),
    "driver dies busy": Story(a_driver_dies_busy),
    "end while launching": Story(an_end_while_launching),
    "idle timeout": Story(an_idle_timeout),
    "queue": Story(a_queue, limits=ONE_AT_A_TIME),
    "clean stop": Story(a_clean_stop, pool=1),
    "refused launch": Story(a_refused_launch),
    "file from the web": Story(a_file_from_the_web),
    "file that is not there": Story(a_file_that_is_not_there, pool=1),
}


async def tell(folder: Path, story: Story, dies_at: int) -> bool:
    """The story with a death at its so-manieth await; False: it ended before that."""
    model = Model()
    async with mortal_world(folder, pool=story.pool, limits=story.limits) as w:
        w.life.dies_at = w.life.steps + dies_at
        with suppress(Crashed):
            await story.tell(w, model)
            await w.settle()
        died = w.life.dead
        await w.follow()
        await model.check(w)
        await w.come_to_rest()
        await model.check(w, at_rest=True)
        await w.stop()
        await w.settle()
        assert w.launcher.living == []
        made = await w.store.read(lambda tx: notebooks.names(tx, "spark"))
        opened = [s for s in await w.store.read(all_sessions) if s.notebook_id is not None]
        assert len(made) == len(opened), "a notebook was made twice, or by halves"
    return died


@pytest.mark.timeout(1_200 if LONG else 120)
@pytest.mark.parametrize("name", STORIES)
def test_a_death_at_any_await_loses_nothing(tmp_path: Path, name: str) -> None:
    first = 1 + list(STORIES).index(name) % STRIDE
    for dies_at in range(first, MOST_AWAITS, STRIDE):
        folder = tmp_path / str(dies_at)
        folder.mkdir()
        try:
            if not asyncio.run(tell(folder, STORIES[name], dies_at)):
                return
        except BaseException as error:
            error.add_note(f"The server died at await {dies_at}.")
            raise
    raise AssertionError("the story does not end")
