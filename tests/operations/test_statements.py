"""What an operation asks of the database: pollers call some of them many times a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from tests.stories.world import world


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that are run in the block."""
    heard: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        heard.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


@pytest.mark.parametrize(
    ("operation", "most"),
    [
        ("GetSessionStatus", 1),
        ("GetSession", 2),
        ("GetCalculationExecutionStatus", 2),
        ("GetCalculationExecution", 2),
    ],
)
async def test_looking_at_one_thing_takes_one_statement_and_one_for_its_dpu_time(
    tmp_path: Path, operation: str, most: int
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "1")
        asked = (
            {"CalculationExecutionId": calculation_id}
            if "Calculation" in operation
            else {"SessionId": session_id}
        )

        with statements() as heard:
            await w.call(operation, **asked)

        assert len(heard) == most
