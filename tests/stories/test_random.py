"""Any sequence of requests, failures, time and deaths of the server: what must hold, holds.

``pytest --hypothesis-profile=long`` plays for as long as one likes to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from tests.stories.model import Model
from tests.stories.mortal import Crashed
from tests.stories.mortal_world import mortal_world

from sparkowl.domain.errors import InvalidRequest, RequestError
from sparkowl.domain.limits import Limits, Quota
from sparkowl.store import calculations, drivers

NUMBERS = st.integers(0, 11)
AWAITS = st.integers(1, 120)
TOKENS = st.sampled_from(["token-of-at-least-32-characters-a", "token-of-at-least-32-characters-b"])
GROUPS = st.sampled_from(["spark", "spark", "other"])
LIMITS = [
    Limits(),
    Limits(account=Quota(sessions=2)),
    Limits(account=Quota(sessions=2), queue_when_full=True),
]


@pytest.fixture(autouse=True)
def engine() -> str:
    """Of mortal worlds: a store that can be buried with its server, and be opened anew."""
    return "sqlite"


class Server(RuleBasedStateMachine):
    """Rules are what clients, drivers, the host and the operator do."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = TemporaryDirectory()
        self.model = Model()
        self.stack = AsyncExitStack()
        #: At which await of its own start the server after the next death dies, too.
        self.dies_again: list[int] = []

    @initialize(pool=st.integers(0, 2), limits=st.sampled_from(LIMITS), starts=st.integers(1, 2))
    def begin(self, pool: int, limits: Limits, starts: int) -> None:
        async def enter() -> None:
            made = mortal_world(
                Path(self.folder.name), pool=pool, limits=limits, starts_at_once=starts
            )
            self.world = await self.stack.enter_async_context(made)
            await self.create_group()

        self.runner.run(enter())

    def play(self, act: Coroutine[Any, Any, None], *, settles: bool = True) -> None:
        """One step, all that follows from it, and the check. A server that died is followed."""

        async def step() -> None:
            with suppress(RequestError, Crashed):
                await act
            if settles:
                await self.world.settle()
            await self.follow_the_dead()
            if settles:
                await self.check()

        self.runner.run(step())

    async def follow_the_dead(self) -> None:
        while self.world.life.dead:
            again, self.dies_again = self.dies_again, []
            await self.world.follow(*again)

    async def check(self) -> None:
        # What the check asks may be what the server dies at.
        while True:
            with suppress(Crashed):
                await self.world.settle()
                await self.model.check(self.world)
                return
            await self.follow_the_dead()

    # --- clients -------------------------------------------------------------------------------

    @rule(group=GROUPS, number=NUMBERS, settles=st.booleans())
    def start(self, group: str, number: int, settles: bool) -> None:
        async def act() -> None:
            extra = {"spark.default.parallelism": "2"} if number % 3 == 0 else {}
            engine = {"SparkProperties": extra}
            answer = await self.world.call(
                "StartSession", WorkGroup=group, EngineConfiguration=engine
            )
            self.model.started(answer["SessionId"])

        self.play(act(), settles=settles)

    async def start_with_token(self, token: str, description: str) -> None:
        request = {
            "WorkGroup": "spark",
            "Description": description,
            "EngineConfiguration": {"MaxConcurrentDpus": 2},
        }
        known = self.model.tokens.get(token)
        self.model.unanswered_token(token, request)
        try:
            answer = await self.world.call("StartSession", ClientRequestToken=token, **request)
        except InvalidRequest:
            assert known is None or known[0] != request or known[1] is None, "a token was forgotten"
            raise
        self.model.answered_token(token, request, answer["SessionId"])

    @rule(token=TOKENS, description=st.sampled_from(["one", "one", "two"]))
    def start_once(self, token: str, description: str) -> None:
        self.play(self.start_with_token(token, description))

    @rule(token=TOKENS)
    def start_once_in_a_race(self, token: str) -> None:
        async def act() -> None:
            expected = (RequestError, Crashed)
            both = (self.start_with_token(token, "one") for _ in range(2))
            for outcome in await asyncio.gather(*both, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, expected):
                    raise outcome

        self.play(act())

    def some_session(self, number: int) -> str:
        known = sorted(self.model.sessions)
        return known[number % len(known)] if known else "00000000-0000-4000-8000-000000000000"

    @rule(number=NUMBERS, code=st.sampled_from(["1", "hang", "hang", "fail X", "die Y"]))
    def calculate(self, number: int, code: str) -> None:
        async def act() -> None:
            answer = await self.world.call(
                "StartCalculationExecution", SessionId=self.some_session(number), CodeBlock=code
            )
            self.model.calculations[answer["CalculationExecutionId"]] = code

        self.play(act())

    @rule(
        number=NUMBERS,
        codes=st.lists(st.sampled_from(["1", "hang", "fail X", "die Y"]), min_size=1, max_size=3),
    )
    def run_cells(self, number: int, codes: list[str]) -> None:
        async def act() -> None:
            launcher = self.world.launcher
            # There is a page once the driver is a session's.
            pages = [each for each in launcher.living if launcher.adopt_of(each) is not None]
            if not pages:
                return
            driver_id = pages[number % len(pages)]
            ran = {launcher.run_cell(driver_id, code): code for code in codes}
            await self.world.settle()
            for calculation_id, code in ran.items():
                # One whose session is ending is no calculation.
                if await self.world.store.read(
                    partial(calculations.find, calculation_id=calculation_id)
                ):
                    self.model.calculations[calculation_id] = code

        self.play(act())

    @rule(number=NUMBERS, what=st.sampled_from(["complete", "restart"]))
    def use_a_page(self, number: int, what: str) -> None:
        async def act() -> None:
            launcher = self.world.launcher
            if launcher.living:
                getattr(launcher, what)(launcher.living[number % len(launcher.living)])

        self.play(act())

    @rule(number=NUMBERS)
    def extend(self, number: int) -> None:
        async def act() -> None:
            await self.world.extend(self.some_session(number))

        self.play(act())

    @rule(number=NUMBERS)
    def stop_calculation(self, number: int) -> None:
        async def act() -> None:
            known = sorted(self.model.calculations)
            if known:
                await self.world.call(
                    "StopCalculationExecution",
                    CalculationExecutionId=known[number % len(known)],
                )

        self.play(act())

    @rule(number=NUMBERS, settles=st.booleans())
    def terminate(self, number: int, settles: bool) -> None:
        async def act() -> None:
            await self.world.call("TerminateSession", SessionId=self.some_session(number))

        self.play(act(), settles=settles)

    @rule(group=GROUPS)
    def list_sessions(self, group: str) -> None:
        async def act() -> None:
            answer = await self.world.call("ListSessions", WorkGroup=group)
            for summary in answer["Sessions"]:
                assert summary["Status"]["State"] not in {"TERMINATED", "FAILED"}

        self.play(act())

    async def create_group(self) -> None:
        configuration = {
            "EngineVersion": {"SelectedEngineVersion": "PySpark engine version 3"},
            "ExecutionRole": "arn:aws:iam::000000000000:role/any",
        }
        await self.world.call("CreateWorkGroup", Name="other", Configuration=configuration)

    @rule()
    def create_the_group(self) -> None:
        self.play(self.create_group())

    @rule(state=st.sampled_from(["ENABLED", "DISABLED"]), group=GROUPS)
    def switch_a_group(self, state: str, group: str) -> None:
        async def act() -> None:
            await self.world.call("UpdateWorkGroup", WorkGroup=group, State=state)

        self.play(act())

    @rule(recursive=st.booleans())
    def delete_the_group(self, recursive: bool) -> None:
        async def act() -> None:
            await self.world.call(
                "DeleteWorkGroup", WorkGroup="other", RecursiveDeleteOption=recursive
            )

        self.play(act())

    # --- drivers and the host ------------------------------------------------------------------

    @rule(number=NUMBERS, what=st.sampled_from(["kill", "cut", "back", "cut and back"]))
    def trouble_a_driver(self, number: int, what: str) -> None:
        async def act() -> None:
            launcher = self.world.launcher
            if not launcher.living:
                return
            driver_id = launcher.living[number % len(launcher.living)]
            if what == "kill":
                await launcher.kill(driver_id)
            if what.startswith("cut"):
                await launcher.cut(driver_id)
            if what.endswith("back"):
                launcher.reconnect(driver_id)

        self.play(act())

    @rule(name=st.sampled_from(["never_ready", "never_adopts", "dies_before_link"]))
    def switch_a_knob(self, name: str) -> None:
        knobs = self.world.launcher.knobs
        setattr(knobs, name, not getattr(knobs, name))

    @rule(
        name=st.sampled_from(["launch_error", "fails_to_start", "no_room"]),
        why=st.sampled_from([None, "No."]),
    )
    def refuse(self, name: str, why: str | None) -> None:
        setattr(self.world.launcher.knobs, name, why)

    @rule(seconds=st.sampled_from([0.0, 3.0]))
    def stop_slowly(self, seconds: float) -> None:
        if seconds:
            self.world.slow_stop_s = seconds
        else:
            self.play(self.stop_fast())

    async def stop_fast(self) -> None:
        await self.world.advance(self.world.slow_stop_s)
        self.world.slow_stop_s = 0.0

    @rule(seconds=st.sampled_from([0.5, 5, 20, 100, 200, 1300]))
    def let_time_pass(self, seconds: float) -> None:
        self.play(self.world.advance(seconds))

    # --- the server ----------------------------------------------------------------------------

    @rule(awaits=AWAITS, again=st.lists(AWAITS, max_size=2))
    def die_soon(self, awaits: int, again: list[int]) -> None:
        """At that await from now, whatever it will be for."""
        life = self.world.life
        if life.dies_at is None:
            life.dies_at = life.steps + awaits
            self.dies_again = again

    @rule(again=st.lists(AWAITS, max_size=2))
    def die(self, again: list[int]) -> None:
        async def act() -> None:
            self.dies_again = again
            self.world.life.die()

        self.play(act())

    @rule(keep_sessions=st.booleans())
    def restart(self, keep_sessions: bool) -> None:
        async def act() -> None:
            # Who stops the server waits for its drivers to stop.
            self.world.slow_stop_s = 0.0
            await self.world.advance(3.0)
            await self.world.stop(keep_sessions=keep_sessions)
            await self.world.settle()
            if not keep_sessions and not self.world.life.dead:
                assert self.world.launcher.living == []
                assert await self.world.store.read(drivers.list_live) == []
            self.world.life.die()

        self.play(act())

    # --- the end -------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.runner.run(self.end())
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()
            self.folder.cleanup()

    async def end(self) -> None:
        """Nothing fails any more, and time passes: nothing waits, and a stop leaves nothing."""
        w = self.world
        w.life.dies_at = None
        await self.follow_the_dead()
        await w.come_to_rest()
        await self.model.check(w, at_rest=True)
        await w.stop()
        await w.settle()
        await self.model.check(w)
        assert w.launcher.living == []
        assert await w.store.read(drivers.list_live) == []


LONG = settings().max_examples >= 1_000
SETTINGS = settings(
    max_examples=settings().max_examples if LONG else 20,
    stateful_step_count=settings().stateful_step_count if LONG else 25,
    derandomize=not LONG,
    # To make a failure small takes minutes: that is for a long run.
    phases=list(Phase) if LONG else [Phase.explicit, Phase.reuse, Phase.generate],
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(36_000 if LONG else 120)
def test_whatever_happens_the_model_holds() -> None:
    run_state_machine_as_test(Server, settings=SETTINGS)
