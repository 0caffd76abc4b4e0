"""Outputs in a real S3 service, with real Spark; when it is away, and the server, too."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.cables import Cable, cable
from tests.e2e.conftest import ENDED, GONE, SPARKOWL, User, running, wait_for
from tests.seaweed import SERVER, SESSION, SeaweedFS

pytestmark = pytest.mark.spark

SPEAKS_AND_WAITS = (
    "import pathlib, time\n"
    "print('before', flush=True)\n"
    "while not pathlib.Path('go').exists(): time.sleep(0.05)\n"
    "print('after')"
)


def settings(seaweed: Cable) -> dict[str, str]:
    return {
        "POOL__SIZE": "0",
        "OUTPUT_LOCATION": f"s3://results-{uuid.uuid4().hex[:12]}/out",
        "OBJECTS__KIND": "s3",
        "OBJECTS__ENDPOINT": seaweed.url,
        "OBJECTS__ACCESS_KEY_ID": SERVER.access_key_id,
        "OBJECTS__SECRET_ACCESS_KEY": SERVER.secret_access_key,
        "OBJECTS__SESSION_ACCESS_KEY_ID": SESSION.access_key_id,
        "OBJECTS__SESSION_SECRET_ACCESS_KEY": SESSION.secret_access_key,
    }


def test_an_outage_and_a_dead_server_lose_no_output(seaweed: SeaweedFS, tmp_path: Path) -> None:
    with cable(seaweed.port) as line, running(tmp_path, (SPARKOWL,), **settings(line)) as server:
        user = User(server.client("athena"), seaweed.client())
        session = user.session()

        first = user.await_state(user.submit(session, "spark.range(3).count()"), ENDED)
        assert first["Status"]["State"] == "COMPLETED", server.log()
        assert '"3"' in user.read(first["Result"]["ResultS3Uri"])

        block = user.submit(session, SPEAKS_AND_WAITS)
        wait_for(lambda: so_far(user, block), lambda text: text == "before\n")
        line.cut()
        server.kill()
        [work] = (server.data_dir / "drivers").glob("*/work")
        (work / "go").touch()
        wait_for(lambda: spooled(work.parent, block), lambda text: text == "before\nafter\n")
        server.start()
        user = User(server.client("athena"), seaweed.client())
        time.sleep(2)  # long enough for an Ended to come that must not come
        assert user.await_state(block, {"RUNNING"})["Status"]["State"] == "RUNNING"
        assert "not looked at" in server.log()

        line.mend()

        found = user.await_state(block, ENDED)
        assert found["Status"]["State"] == "COMPLETED", server.log()
        assert user.read(found["Result"]["StdOutS3Uri"]) == "before\nafter\n"
        assert spooled(work.parent, block) is None
        user.athena.terminate_session(SessionId=session)
        user.await_session(session, GONE)


def so_far(user: User, block: str) -> str | None:
    """What can be read of a block's output while it runs."""
    found = user.athena.get_calculation_execution(CalculationExecutionId=block)
    try:
        return user.read(found["Result"]["StdOutS3Uri"])
    except (ClientError, KeyError):
        return None


def spooled(folder: Path, block: str) -> str | None:
    path = folder / "spool" / block / "stdout"
    return path.read_text() if path.exists() else None
