"""The contract of launchers, kept by the make-believe one and by the one of this machine.

What a driver says over its link is not the launcher's business: here nobody answers its dial.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.builders import make_local_settings

from sparkowl.domain.ids import DriverId, new_driver_id
from sparkowl.launchers import processes
from sparkowl.launchers.base import Launcher, LaunchSpec, Left
from sparkowl.launchers.fake import FakeChannel, FakeLauncher
from sparkowl.launchers.local import LocalLauncher

#: What one kind of launcher is made by, twice on one folder: the second is a later server's.
Make = Callable[[Path], Launcher]


async def nobody_answers(driver_id: DriverId, token: str, channel: FakeChannel) -> None:
    while await channel.receive() is not None:
        pass


async def until_found(launcher: Launcher, spec: LaunchSpec) -> None:
    """A process has its environment and its command line a moment after it was made."""
    async with asyncio.timeout(10):
        while await launcher.find(spec.driver_id) is None:
            await asyncio.sleep(0.01)


def fake(folder: Path) -> Launcher:
    return FakeLauncher(nobody_answers)


def local(folder: Path) -> Launcher:
    settings = make_local_settings(folder)
    (folder / "buckets").mkdir(exist_ok=True)
    # Nothing listens there: the agents dial in vain, as when the server is away.
    return LocalLauncher(settings, lambda: "ws://127.0.0.1:1")


LAUNCHERS = [
    pytest.param(fake, id="fake"),
    pytest.param(local, id="local", marks=pytest.mark.spark),
]


def a_spec() -> LaunchSpec:
    return LaunchSpec(
        driver_id=new_driver_id(),
        engine_version=None,
        token="t" * 64,
        properties={},
        buckets={},
        warm=False,
    )


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_a_driver_lives_from_its_launch_to_its_stop(make: Make, tmp_path: Path) -> None:
    launcher, spec = make(tmp_path), a_spec()

    handle = await launcher.launch(spec)
    alive = await launcher.observe(handle)
    await launcher.stop(handle, grace_s=5)
    gone = await launcher.observe(handle)

    assert (alive.alive, gone.alive) == (True, False)


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_a_driver_is_found_by_its_id_while_it_lives(make: Make, tmp_path: Path) -> None:
    launcher, spec = make(tmp_path), a_spec()

    before = await launcher.find(spec.driver_id)
    handle = await launcher.launch(spec)
    await until_found(launcher, spec)
    during = await launcher.find(spec.driver_id)
    await launcher.stop(handle, grace_s=5)
    after = await launcher.find(spec.driver_id)

    assert (before, after) == (None, None)
    assert during is not None
    assert json.loads(during) == json.loads(handle)


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_to_stop_what_is_gone_is_a_success(make: Make, tmp_path: Path) -> None:
    launcher = make(tmp_path)
    handle = await launcher.launch(a_spec())

    await asyncio.gather(launcher.stop(handle, grace_s=5), launcher.stop(handle, grace_s=5))
    await launcher.stop(handle, grace_s=5)

    assert not (await launcher.observe(handle)).alive


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_drivers_do_not_share_an_end(make: Make, tmp_path: Path) -> None:
    launcher = make(tmp_path)
    one, other = await launcher.launch(a_spec()), await launcher.launch(a_spec())

    await launcher.stop(one, grace_s=5)

    assert (await launcher.observe(other)).alive
    await launcher.stop(other, grace_s=5)


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_a_handle_says_which_version_it_has(make: Make, tmp_path: Path) -> None:
    launcher = make(tmp_path)

    handle = await launcher.launch(a_spec())
    await launcher.stop(handle, grace_s=5)

    assert json.loads(handle)["v"] == 1


@pytest.mark.spark
async def test_nothing_is_left_of_a_local_driver(tmp_path: Path) -> None:
    launcher, spec = local(tmp_path), a_spec()
    handle = await launcher.launch(spec)
    await until_processes(tmp_path, spec.driver_id, at_least=2)

    await launcher.stop(handle, grace_s=5)

    assert processes.of_driver(spec.driver_id, tmp_path / "drivers" / spec.driver_id) == []
    assert list((tmp_path / "drivers").iterdir()) == []


@pytest.mark.spark
async def test_the_server_of_a_copied_data_directory_leaves_the_originals_drivers_alone(
    tmp_path: Path,
) -> None:
    original, copy, spec = local(_made(tmp_path / "one")), local(_made(tmp_path / "two")), a_spec()
    handle = await original.launch(spec)
    await until_processes(tmp_path / "one", spec.driver_id, at_least=2)
    copied = tmp_path / "two" / "drivers" / spec.driver_id
    copied.mkdir(parents=True)

    found = await copy.find(spec.driver_id)
    seen = await copy.observe(handle)
    await copy.stop(handle, grace_s=5)

    assert (found, seen.alive, copied.exists()) == (None, False, False)
    assert (await original.observe(handle)).alive
    # Also where a later server of the original has to find it by its tag.
    assert await local(tmp_path / "one").find(spec.driver_id) is not None
    await original.stop(handle, grace_s=5)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.spark
async def test_a_later_server_finds_and_stops_a_local_driver(tmp_path: Path) -> None:
    first, later, spec = local(tmp_path), local(tmp_path), a_spec()
    handle = await first.launch(spec)
    await until_found(first, spec)

    found = await later.find(spec.driver_id)

    assert found == handle
    assert (await later.observe(handle)).alive
    await later.stop(handle, grace_s=5)
    assert processes.of_driver(spec.driver_id, tmp_path / "drivers" / spec.driver_id) == []
    await first.stop(handle, grace_s=5)


@pytest.mark.spark
async def test_a_killed_agent_is_seen_and_what_it_left_is_cleared(tmp_path: Path) -> None:
    launcher, spec = local(tmp_path), a_spec()
    handle = await launcher.launch(spec)
    await until_processes(tmp_path, spec.driver_id, at_least=2)

    os.kill(json.loads(handle)["pid"], 9)
    async with asyncio.timeout(20):
        while (seen := await launcher.observe(handle)).alive:
            await asyncio.sleep(0.01)
    await launcher.stop(handle, grace_s=5)

    assert seen.ended == "The driver's agent was killed by signal 9."
    assert processes.of_driver(spec.driver_id, tmp_path / "drivers" / spec.driver_id) == []


@pytest.mark.spark
async def test_while_the_folder_of_drivers_is_out_of_reach_no_driver_is_done_with(
    tmp_path: Path,
) -> None:
    launcher, spec = local(tmp_path), a_spec()
    handle = await launcher.launch(spec)
    drivers, aside = tmp_path / "drivers", tmp_path / "aside"
    drivers.rename(aside)
    drivers.touch()  # modes would not stop root

    with pytest.raises(OSError, match="drivers"):
        await launcher.stop(handle, grace_s=5)
    drivers.unlink()
    aside.rename(drivers)
    await launcher.stop(handle, grace_s=5)

    assert list(drivers.iterdir()) == []


@pytest.mark.spark
async def test_a_handle_does_not_name_a_stranger_that_got_the_same_pid(tmp_path: Path) -> None:
    launcher = local(tmp_path)
    place = {"v": 1, "driver_id": new_driver_id(), "pid": os.getpid(), "started_at": 1}

    seen = await launcher.observe(json.dumps(place))
    await launcher.stop(json.dumps(place), grace_s=1)

    assert not seen.alive


async def until_processes(base: Path, driver_id: str, *, at_least: int) -> None:
    async with asyncio.timeout(30):
        while len(processes.of_driver(driver_id, base / "drivers" / driver_id)) < at_least:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_a_launcher_says_what_its_drivers_are_kept_from(make: Make, tmp_path: Path) -> None:
    isolation = await make(tmp_path).isolation()

    assert isolation.in_force
    assert isolation.problems == ()
    assert isolation.guards_paths == (isolation.missing is None)


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_many_are_found_as_one_is(make: Make, tmp_path: Path) -> None:
    launcher, specs = make(tmp_path), [a_spec(), a_spec()]
    handles = {spec.driver_id: await launcher.launch(spec) for spec in specs}
    for spec in specs:
        await until_found(launcher, spec)
    ids = [new_driver_id(), *handles]

    found = await launcher.find_all(ids)
    none = await launcher.find_all([])
    for handle in handles.values():
        await launcher.stop(handle, grace_s=5)
    after = await launcher.find_all(ids)

    assert {k: json.loads(v) for k, v in found.items()} == {
        k: json.loads(v) for k, v in handles.items()
    }
    assert (none, after) == ({}, {})


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_what_a_driver_left_is_taken_when_it_is_dead_and_before_it_is_cleared(
    make: Make, tmp_path: Path
) -> None:
    launcher = make(tmp_path)
    handle = await launcher.launch(a_spec())
    seen: list[bool] = []

    async def take() -> None:
        seen.append((await launcher.observe(handle)).alive)
        await launcher.left(handle)

    await launcher.stop(handle, grace_s=5, take=take)

    assert seen == [False]
    assert await launcher.left(handle) == Left()
    assert await launcher.left_outputs(handle, "c") == {}


@pytest.mark.parametrize("make", LAUNCHERS)
async def test_what_could_not_be_taken_is_not_cleared(make: Make, tmp_path: Path) -> None:
    launcher = make(tmp_path)
    handle = await launcher.launch(a_spec())

    async def cannot() -> None:
        raise OSError("the database is away")

    with pytest.raises(OSError, match="away"):
        await launcher.stop(handle, grace_s=5, take=cannot)
    taken: list[Left] = []

    async def take() -> None:
        taken.append(await launcher.left(handle))

    await launcher.stop(handle, grace_s=5, take=take)

    assert len(taken) == 1
