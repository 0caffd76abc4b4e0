"""Outputs and tables in a real S3 service, with real Spark; and when it or the server is away."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.cables import Cable, cable
from tests.e2e.conftest import ENDED, GONE, SPARKOWL, User, running, wait_for
from tests.maven import fetch
from tests.seaweed import SERVER, SESSION, SeaweedFS

from sparkowl.launchers import s3a

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

SPEAKS_AND_WAITS = (
    "import pathlib, time\n"
    "print('before', flush=True)\n"
    "while not pathlib.Path('go').exists(): time.sleep(0.05)\n"
    "print('after')"
)


@pytest.fixture(scope="module", autouse=True)
def jars() -> None:
    """Every driver needs them."""
    fetch(s3a.NAME)


def settings(seaweed: Cable | SeaweedFS) -> dict[str, str]:
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
        # The block is over, and its agent has tried to hand its outputs in.
        wait_for((work.parent / "agent.log").read_text, lambda log: "outputs not taken" in log)
        assert user.await_state(block, {"RUNNING"})["Status"]["State"] == "RUNNING"
        assert "not looked at" in server.log()

        line.mend()

        found = user.await_state(block, ENDED)
        assert found["Status"]["State"] == "COMPLETED", server.log()
        assert user.read(found["Result"]["StdOutS3Uri"]) == "before\nafter\n"
        assert spooled(work.parent, block) is None
        user.athena.terminate_session(SessionId=session)
        user.await_session(session, GONE)


def test_tables_lie_in_the_service_and_go_from_there(seaweed: SeaweedFS, tmp_path: Path) -> None:
    chosen = settings(seaweed)
    bucket = chosen["OUTPUT_LOCATION"].split("/")[2]
    with running(tmp_path, (SPARKOWL,), **chosen) as server:
        user = User(server.client("athena"), seaweed.client())
        session = user.session()

        def sql(*statements: str) -> str:
            lines = "\n".join(f"rows = spark.sql({text!r}).collect()" for text in statements)
            found, out, err = user.run(session, f"{lines}\nprint([tuple(row) for row in rows])")
            assert found["Status"]["State"] == "COMPLETED", (err, catalogue_log(server.data_dir))
            return out.strip()

        user.run(session, "spark.range(3).write.saveAsTable('numbers')")
        sql("create database shop", "create table shop.orders as select 7 as n")

        assert sql("select count(*) from numbers") == "[(3,)]"
        assert sql("select n from shop.orders") == "[(7,)]"
        assert keys(user.s3, bucket, "out/warehouse/numbers/part-")
        assert keys(user.s3, bucket, "out/warehouse/shop.db/orders/part-")

        sql("drop table numbers", "drop database shop cascade")

        assert keys(user.s3, bucket, "out/warehouse/numbers/") == []
        assert keys(user.s3, bucket, "out/warehouse/shop.db/orders/") == []


def keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", ())]


def catalogue_log(data_dir: Path) -> str:
    logs = [data_dir / "catalog" / name for name in ("keeper.log", "jvm.log")]
    return "\n".join(log.read_text()[-3000:] for log in logs if log.exists())


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
