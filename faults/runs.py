"""One run: come to a point, break something, wait until all is right, and look."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from faults import acts, checks
from faults.catalog import FAULTS, POINTS, cannot
from faults.life import STARTS, Life
from faults.results import Results
from faults.world import Broken, Down, World, left_out
from sparkowl.supervisor.sessions import LOOK_LINKED_S


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does."""

    point: str
    fault: str
    #: How long a fault lasts that does not pass at once.
    hold_s: float

    def __str__(self) -> str:
        return f"{self.point}: {self.fault}"


def every() -> list[Plan]:
    """Every fault at every point, as far as this machine can."""
    return [
        Plan(point, fault, 2.0)
        for point in POINTS
        for fault in FAULTS
        if cannot(point, fault) is None and fault not in left_out()
    ]


def drawn(seed: int) -> Iterable[Plan]:
    """Plans without end, the same for the same seed."""
    source = random.Random(seed)
    possible = [(plan.point, plan.fault) for plan in every()]
    # A start costs a cold Spark each time; half as often, there is room for more of the others.
    weights = [1 if point in STARTS else 2 for point, _ in possible]
    while True:
        [(point, fault)] = source.choices(possible, weights)
        # Short ones mostly, and now and then one that outlasts the server's patience.
        yield Plan(point, fault, round(0.2 + 3.8 * source.random() ** 3, 2))


class Suite:
    """Runs plans, on one server for as long as it stays sound."""

    def __init__(self, results: Results, evidence: Path) -> None:
        self._results = results
        self._evidence = evidence
        self._world: World | None = None
        self._number = 0

    def run(self, plan: Plan) -> list[str]:
        """What the run violated; its figures are saved."""
        self._number += 1
        world = self._world or self._new_world()
        began = time.monotonic()
        recovered_s = 0.0
        wrong: list[str] = []
        try:
            recovered_s, wrong = run(world, plan)
        except (Broken, Down, ClientError, OSError) as error:
            wrong = [f"{type(error).__name__}: {error}"]
        took = time.monotonic() - began
        print(
            f"{self._number:4} {plan} ({plan.hold_s:g} s): recovered in {recovered_s:.1f} s, "
            f"took {took:.1f} s{''.join(f'{chr(10)}       VIOLATED: {one}' for one in wrong)}",
            flush=True,
        )
        self._results.add(plan.point, plan.fault, recovered_s, bool(wrong))
        self._results.save()
        if wrong:
            self._keep(world, plan, wrong)
        return wrong

    def _new_world(self) -> World:
        self._world = World(Path(tempfile.mkdtemp(prefix="sparkowl-faults-")))
        return self._world

    def _keep(self, world: World, plan: Plan, wrong: list[str]) -> None:
        name = f"{self._number:04}-{plan}".replace(": ", "-").replace(" ", "-")
        folder = self._evidence / name
        world.keep_evidence(folder)
        (folder / "violations.txt").write_text("\n".join((str(plan), *wrong)) + "\n")
        print(f"       evidence in {folder}", flush=True)
        self._world = None
        world.close()

    def close(self) -> list[str]:
        """End everything; what is left although everything was ended."""
        world = self._world
        if world is None:
            return []
        try:
            wrong = end(world)
            if wrong:
                world.keep_evidence(self._evidence / "at-the-end")
        finally:
            world.close()
        return wrong


def run(world: World, plan: Plan) -> tuple[float, list[str]]:
    """Seconds until all was right, and what was not."""
    life = Life(world, plan.point)
    act = acts.of(plan.fault)
    life.bring()
    try:
        act.begin(world, life.driver)
        world.let_go()
        if act.lasts:
            time.sleep(plan.hold_s)
        elif plan.point == "idle" and isinstance(act, acts.MoveClock):
            # Until the server has looked at the session again: its idle time of 20 minutes is over
            # for one that believes the clock.
            time.sleep(LOOK_LINKED_S + 1)
    finally:
        world.let_go()
        act.end(world)
    over = time.monotonic()
    life.answered()
    wrong = checks.settle(life, plan.fault) or checks.usable(life, plan.fault)
    if not wrong:
        wrong = checks.settle(life, plan.fault)
    recovered_s = time.monotonic() - over
    _keep_session(world, life)
    return recovered_s, wrong


def _keep_session(world: World, life: Life) -> None:
    """A session that outlived its fault is the next run's; one at a time is enough."""
    identity = life.session_id
    state = world.call("get_session_status", SessionId=identity)["Status"]["State"]
    sound = identity if state == "IDLE" else None
    if world.kept not in (None, identity):
        if sound is None:
            return
        world.call("terminate_session", SessionId=world.kept)
        world.until_status(world.kept, set(checks.ENDED))
    world.kept = sound


def end(world: World) -> list[str]:
    """Terminate all and stop; what is left."""
    try:
        for row in world.query("SELECT id FROM sessions WHERE ended_at IS NULL"):
            world.call("terminate_session", SessionId=row["id"])
            world.until_status(row["id"], set(checks.ENDED))
        code = world.stop()
    except (Broken, Down, ClientError, OSError) as error:
        return [f"not ended: {type(error).__name__}: {error}"]
    wrong = [] if code == 0 else [f"the server ended with status {code}"]
    left = world.processes()
    if left:
        wrong.append(f"processes are left: {left}")
    return [*wrong, *checks.at_rest(world)]
