"""An S3 service that is away: nothing is lost, and nothing waits for it for ever."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.stories.world import World, world

from sparkowl.domain.session import Session
from sparkowl.objects.errors import StorageUnreachable
from sparkowl.supervisor.means import KeysAway, KeysRefused

AWAY = StorageUnreachable("the S3 service does not answer")
HOUR_S = 3600


async def all_there(w: World, calculation_id: str) -> dict[str, bytes | None]:
    calculation = await w.calculation(calculation_id)
    await w.until(lambda tx: None not in w.outputs(calculation).values())
    return w.outputs(calculation)


async def test_what_a_driver_left_in_an_outage_is_sent_after_it(tmp_path: Path) -> None:
    async with world(tmp_path, service=True) as w:
        session_id = await w.start()
        w.launcher.knobs.stores_nothing = True
        calculation_id = await w.calculate(session_id, "said")
        w.storage.trouble = AWAY

        await w.terminate(session_id)

        assert await w.state(session_id) == "TERMINATED"
        assert w.launcher.alive == 0
        assert list(w.unsent_folder.iterdir())
        await w.advance(HOUR_S)
        assert set(w.outputs(await w.calculation(calculation_id)).values()) == {None}
        w.storage.trouble = None
        await w.advance(60)
        assert (await all_there(w, calculation_id))["stdout"] == b"said"
        await w.until(lambda tx: not list(w.unsent_folder.iterdir()))


async def test_a_server_that_starts_after_the_outage_sends_what_another_kept(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, service=True) as w:
        session_id = await w.start()
        w.launcher.knobs.stores_nothing = True
        calculation_id = await w.calculate(session_id, "said")
        w.storage.trouble = AWAY
        await w.terminate(session_id)
        await w.crash()
        w.storage.trouble = None

        await w.restart()

        assert (await all_there(w, calculation_id))["stdout"] == b"said"


async def test_a_session_that_dies_in_an_outage_has_its_three_outputs_after_it(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, service=True) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")
        w.storage.trouble = AWAY

        await w.launcher.kill((await w.driver(session_id)).id)
        await w.advance(1)

        assert await w.state(session_id) == "FAILED"
        assert (await w.calculation(calculation_id)).state == "FAILED"
        w.storage.trouble = None
        await w.advance(60)
        assert (await all_there(w, calculation_id))["stdout"] == b""


async def test_many_sessions_that_end_in_an_outage_do_not_ask_in_vain_each(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, service=True, starts_at_once=10) as w:
        w.launcher.knobs.stores_nothing = True
        ran = {
            session_id: await w.calculate(session_id, "1")
            for session_id in [await w.start() for _ in range(5)]
        }
        w.storage.trouble = AWAY
        first, *others = ran
        await w.terminate(first)
        asked = w.storage.refused

        for session_id in others:
            await w.terminate(session_id)

        assert w.storage.refused <= asked + 5, "the loop tries, and nobody else"
        w.storage.trouble = None
        await w.advance(60)
        for calculation_id in ran.values():
            assert (await all_there(w, calculation_id))["stdout"] == b"1"


# --- keys --------------------------------------------------------------------------------------


class ChangingKeys:
    """Keys that a test changes."""

    def __init__(self) -> None:
        self.keys: Mapping[str, str] = {"aws_access_key_id": "first"}
        self.trouble: Exception | None = None

    async def of(self, session: Session) -> Mapping[str, str]:
        if self.trouble is not None:
            raise self.trouble
        return self.keys


async def test_a_driver_is_given_keys_and_new_ones_while_it_lives(tmp_path: Path) -> None:
    keys = ChangingKeys()
    async with world(tmp_path, service=True, session_keys=keys) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id
        assert told(w, driver_id) == {"aws_access_key_id": "first"}

        keys.keys = {"aws_access_key_id": "second"}
        await w.advance(20)

        assert told(w, driver_id) == {"aws_access_key_id": "second"}
        keys.trouble = KeysAway("The token service does not answer.")
        await w.advance(20)
        assert await w.state(session_id) == "IDLE"
        assert told(w, driver_id) == {"aws_access_key_id": "second"}


async def test_a_server_that_starts_again_gives_its_drivers_keys_again(tmp_path: Path) -> None:
    keys = ChangingKeys()
    async with world(tmp_path, service=True, session_keys=keys) as w:
        session_id = await w.start()
        await w.crash()
        keys.keys = {"aws_access_key_id": "second"}

        await w.restart()
        await w.advance(20)

        assert told(w, (await w.driver(session_id)).id) == {"aws_access_key_id": "second"}


async def test_a_session_that_gets_no_keys_fails_and_says_why(tmp_path: Path) -> None:
    keys = ChangingKeys()
    keys.trouble = KeysRefused("The token service does not give keys for it (AccessDenied).")
    async with world(tmp_path, service=True, session_keys=keys) as w:
        session_id = await w.start()

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert "does not give keys for it (AccessDenied)" in (session.reason or "")


async def test_a_start_waits_for_a_token_service_that_is_away(tmp_path: Path) -> None:
    keys = ChangingKeys()
    keys.trouble = KeysAway("The token service does not answer.")
    async with world(tmp_path, service=True, session_keys=keys) as w:
        session_id = await w.start()
        assert await w.state(session_id) == "CREATED"

        keys.trouble = None
        await w.advance(20)

        assert await w.state(session_id) == "IDLE"


def told(w: World, driver_id: str) -> Mapping[str, str]:
    adopted = w.launcher.adopt_of(driver_id)
    assert adopted is not None
    return adopted.credentials
