"""What the Jupyter process is answered: one method for each question of :mod:`.desk`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sparkowl.agent.cells import Cells
from sparkowl.agent.counter import Answer
from sparkowl.agent.desk import DeskError
from sparkowl.agent.runner import Runner
from sparkowl.agent.shelf import Shelf


class Clerk:
    def __init__(
        self,
        *,
        cells: Cells,
        runner: Runner,
        shelf: Shelf,
        interrupt: Callable[[], None],
        restart: Callable[[], Awaitable[None]],
    ) -> None:
        """``interrupt`` stops what runs; ``restart`` returns once another kernel is up."""
        self._cells = cells
        self._runner = runner
        self._shelf = shelf
        self._interrupt = interrupt
        self._restart = restart

    @property
    def answers(self) -> Mapping[str, Answer]:
        return {
            "cell": self.cell,
            "interrupt": self.interrupt,
            "restart": self.restart,
            "notebook": self.notebook,
            "save": self.save,
            "progress": self.progress,
        }

    async def cell(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stop_on_error = asked.get("stop_on_error", True)
        if not isinstance(stop_on_error, bool):
            raise DeskError(400, "stop_on_error is true or false.")
        runs = await self._cells.may_run(
            _text(asked, "msg_id"),
            _text(asked, "client"),
            _text(asked, "code"),
            stop_on_error=stop_on_error,
        )
        return {"run": runs}

    async def interrupt(self, _asked: Mapping[str, Any]) -> dict[str, Any]:
        self._interrupt()
        return {}

    async def restart(self, _asked: Mapping[str, Any]) -> dict[str, Any]:
        await self._restart()
        return {}

    async def notebook(self, _asked: Mapping[str, Any]) -> dict[str, Any]:
        return await self._shelf.notebook()

    async def save(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return await self._shelf.save(_text(asked, "payload"))

    async def progress(self, _asked: Mapping[str, Any]) -> dict[str, Any]:
        running = self._runner.running
        if running is None:
            return {"running": None}
        stages = sorted(running.stages.seen.items())
        return {
            "running": {
                "calculation_id": running.run.calculation_id,
                "msg_id": running.cell.msg_id if running.cell is not None else None,
                "percent": running.stages.percent,
                "stages": [
                    {"id": number, "name": stage.name, "done": stage.done, "tasks": stage.tasks}
                    for number, stage in stages
                ],
            }
        }


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise DeskError(400, f"{name} is a text.")
    return value
