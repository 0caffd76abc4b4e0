"""Executors and budgets, as boto3 sees them."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.databases import ENGINES
from tests.serving import Server, serving, until
from tests.wire.conftest import state


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """On each engine."""
    return str(request.param)


def report(server: Server, driver_id: str, executor_id: str, **told: Any) -> None:
    values = {"cores": 4, "started_at": time()} | told
    server.do(lambda: server.launcher.report_executor(driver_id, executor_id, **values))


def test_list_executors_shows_the_workers_of_a_cluster_page_by_page(
    server: Server, athena: Any, idle_session: Any
) -> None:
    session_id = idle_session()
    [coordinator] = athena.list_executors(SessionId=session_id)["ExecutorsSummary"]
    for number in range(4):
        report(server, coordinator["ExecutorId"], str(number))
    report(server, coordinator["ExecutorId"], "3", ended_at=time(), reason="Worker lost")
    until(
        lambda: athena.list_executors(SessionId=session_id, ExecutorStateFilter="FAILED")[
            "ExecutorsSummary"
        ]
    )

    pages: list[Any] = []
    token: dict[str, str] = {}
    while True:
        page = athena.list_executors(SessionId=session_id, MaxResults=2, **token)
        pages.append(page["ExecutorsSummary"])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}

    assert [len(page) for page in pages] == [2, 2, 1]
    found = [executor for page in pages for executor in page]
    assert [executor["ExecutorType"] for executor in found] == ["WORKER"] * 4 + ["COORDINATOR"]
    assert {type(executor["StartDateTime"]) for executor in found} == {int}
    assert [e["ExecutorState"] for e in found if "TerminationDateTime" in e] == ["FAILED"]
    [failed] = [e for e in found if e["ExecutorState"] == "FAILED"]
    assert failed["TerminationDateTime"] >= failed["StartDateTime"]


def test_a_budget_that_is_used_up_is_a_too_many_requests_exception(tmp_path: Path) -> None:
    budget = {"dpu_hours": 1e-9, "period": "month"}
    with serving(tmp_path, workgroups={"spark": {"budget": budget}}) as server:
        athena = server.client()
        request = {"WorkGroup": "spark", "EngineConfiguration": {}}
        session_id = athena.start_session(**request)["SessionId"]
        until(lambda: state(athena, session_id) == "IDLE")

        with pytest.raises(ClientError, match="The budget of workgroup spark is used up") as error:
            athena.start_session(**request)

        assert error.value.response["Error"]["Code"] == "TooManyRequestsException"
        assert state(athena, session_id) == "IDLE"
