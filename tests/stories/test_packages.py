"""Sessions of workgroups that have a requirements file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stories.test_queue import add_work_group
from tests.stories.world import LEASE_S, World, pair, world

from sparkowl.domain.limits import Limits, Quota
from sparkowl.supervisor.session_keys import DerivedKeys

FOLDER = Path("/cache/packages/key/site")
WAITS = "Session waits for the packages of its workgroup, or for capacity: place 1 of 1"


async def given(w: World, session_id: str) -> str:
    """The folder that the session's driver was told."""
    adopt = w.launcher.adopt_of((await w.driver(session_id)).id)
    assert adopt is not None
    return adopt.packages


@pytest.mark.parametrize("pool", [0, 1])
async def test_a_driver_is_told_where_the_packages_are(tmp_path: Path, pool: int) -> None:
    async with world(tmp_path, pool=pool) as w:
        w.packages.outcomes["spark"] = FOLDER

        session_id = await w.start()

        assert await w.history(session_id) == ["CREATING", "CREATED", "IDLE"]
        assert await given(w, session_id) == str(FOLDER)
        assert (await w.session(session_id)).timeline["warm"] is bool(pool)
        assert w.packages.asked == ["spark"]


async def test_a_driver_keeps_its_packages_when_its_server_starts_again(tmp_path: Path) -> None:
    """It is told its keys anew, by a server that knows nothing of the packages any more."""
    async with world(tmp_path, session_keys=DerivedKeys(b"the server's")) as w:
        w.packages.outcomes["spark"] = FOLDER
        session_id = await w.start()
        await w.crash()

        await w.restart()
        await w.advance(20)

        assert await given(w, session_id) == str(FOLDER)


async def test_other_workgroups_have_none(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.packages.outcomes["etl"] = FOLDER

        session_id = await w.start()

        assert await given(w, session_id) == ""
        assert w.packages.asked == []


async def test_a_session_waits_in_creating_while_its_packages_are_built(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.packages.outcomes["spark"] = FOLDER
        w.packages.hold()

        session_id = await w.start()
        await w.advance(3600)

        status = (await w.call("GetSessionStatus", SessionId=session_id))["Status"]
        assert status["State"] == "CREATING"
        assert status["StateChangeReason"].startswith(WAITS)
        assert w.launcher.alive == 0, "a driver would only wait"
        w.packages.release()
        await w.settle()
        assert await w.state(session_id) == "IDLE"
        assert w.packages.asked == ["spark"]


async def test_a_build_holds_nobody_else_up(tmp_path: Path) -> None:
    queue = Limits(account=Quota(sessions=1), queue_when_full=True)
    async with world(tmp_path, limits=queue, starts_at_once=1) as w:
        await add_work_group(w, "etl")
        w.packages.outcomes["etl"] = FOLDER
        w.packages.hold()
        waits = await w.start(WorkGroup="etl")

        other = await w.start()

        assert (await w.state(waits), await w.state(other)) == ("CREATING", "IDLE")
        w.packages.release()
        await w.settle()
        assert await w.state(waits) == "CREATING", "the other has its place"
        await w.terminate(other)
        await w.advance(10)
        assert await w.state(waits) == "IDLE"


async def test_why_there_are_no_packages_is_the_reason_of_the_session(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        w.packages.outcomes["spark"] = "/etc/r.txt: a needs b, which is not in the file"

        session_id = await w.start()

        status = (await w.call("GetSessionStatus", SessionId=session_id))["Status"]
        assert status["State"] == "FAILED"
        assert status["StateChangeReason"].startswith(
            "Session failed to start [USER] The packages of its workgroup: "
            "/etc/r.txt: a needs b, which is not in the file. "
        )
        assert len(await w.waiting()) == 1, "the warm driver is there for the next"


async def test_a_session_that_is_ended_waits_no_more(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.packages.outcomes["spark"] = FOLDER
        w.packages.hold()
        session_id = await w.start()

        await w.terminate(session_id)

        assert await w.state(session_id) == "TERMINATED"


@pytest.mark.parametrize("adopts", [True, False])
async def test_a_server_that_is_restarted_asks_again(tmp_path: Path, adopts: bool) -> None:
    """With the driver not launched yet, or launched and not told yet."""
    async with world(tmp_path) as w:
        w.packages.outcomes["spark"] = FOLDER
        if adopts:
            w.packages.hold()
        else:
            w.launcher.knobs.never_adopts = True
        session_id = await w.start()
        await w.crash()
        w.packages.release()
        w.launcher.knobs.never_adopts = False

        await w.restart()
        await w.advance(1)

        assert await w.state(session_id) == "IDLE"
        assert await given(w, session_id) == str(FOLDER)
        assert w.packages.asked == ["spark", "spark"]


async def test_packages_that_are_gone_after_a_restart_end_the_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.packages.outcomes["spark"] = FOLDER
        w.launcher.knobs.never_adopts = True
        session_id = await w.start()
        assert await w.state(session_id) == "CREATED"
        await w.crash()
        w.packages.outcomes["spark"] = "there is no /etc/r.txt"

        await w.restart()
        await w.advance(1)

        assert await w.state(session_id) == "FAILED"
        status = (await w.call("GetSessionStatus", SessionId=session_id))["Status"]
        assert status["StateChangeReason"].startswith(
            "Session in unhealthy state. Please create a new session [USER] The packages of its "
            "workgroup: there is no /etc/r.txt. "
        )


async def test_a_server_that_takes_a_session_over_asks_for_its_packages(tmp_path: Path) -> None:
    async with pair(tmp_path) as (first, second):
        for server in (first, second):
            server.packages.outcomes["spark"] = FOLDER
        first.packages.hold()
        session_id = await first.start()
        await first.crash()

        await second.advance(LEASE_S + 1)
        await second.advance(LEASE_S + 1)

        assert await second.state(session_id) == "IDLE"
        assert second.packages.asked == ["spark"]
