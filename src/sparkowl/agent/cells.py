"""Cells of the page that wait until they may run, or are told that they will not.

A cell waits for its own turn among the session's calculations, which the server keeps: it is
reported to it (:class:`~sparkowl.agent.messages.Cell`) and comes back as a Run. When it is that
Run's turn, the cell is let through; what was refused meanwhile ends as canceled by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from sparkowl.agent.desk import DeskError
from sparkowl.agent.messages import Cell
from sparkowl.agent.outbox import Outbox

#: More do not wait at once: each is a row, a frame and a message that Jupyter holds.
MOST: Final = 1000
#: Characters of a cell's code that are reported: one more than the server takes, so that it can
#: tell. In a frame each may be twelve bytes, and the server hangs up on one of more than 16 MiB.
REPORTED: Final = (1 << 20) + 1
#: Of a message's id and of a page's: characters. They are kept as long as the cell waits, and real
#: ones have some fifty.
LONGEST_ID: Final = 200


@dataclass(frozen=True, slots=True, eq=False)
class WaitingCell:
    """A cell of which it is not known yet whether it runs."""

    calculation_id: str
    #: The page's own id of the message that runs it, and of the page's session.
    msg_id: str
    client: str
    #: Whether the page's other cells shall not run after this one failed.
    stop_on_error: bool
    answer: asyncio.Future[bool] = field(repr=False)

    def tell(self, run: bool) -> None:
        """Answer the page; once, and whoever asked may have gone."""
        if not self.answer.done():
            self.answer.set_result(run)

    def refuse(self, why: str) -> None:
        """Answer that it will not run; with a reason the page shows that."""
        if why and not self.answer.done():
            self.answer.set_exception(DeskError(409, why))
        else:
            self.tell(run=False)


class Cells:
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: dict[str, WaitingCell] = {}

    async def may_run(self, msg_id: str, client: str, code: str, *, stop_on_error: bool) -> bool:
        """Report the cell and wait for its turn; :class:`DeskError` when too many wait already, for
        an id that is none, and when the server refuses the cell."""
        if max(len(msg_id), len(client)) > LONGEST_ID:
            raise DeskError(400, f"A message's id has at most {LONGEST_ID} characters.")
        if len(self._waiting) >= MOST:
            raise DeskError(429, f"{MOST} cells of this session wait to be run already.")
        cell = WaitingCell(
            calculation_id=str(uuid4()),
            msg_id=msg_id,
            client=client,
            stop_on_error=stop_on_error,
            answer=asyncio.get_running_loop().create_future(),
        )
        self._waiting[cell.calculation_id] = cell
        self._outbox.put(
            Cell, calculation_id=cell.calculation_id, code=code[:REPORTED], at=time.time()
        )
        return await cell.answer

    def take(self, calculation_id: str) -> WaitingCell | None:
        """The cell whose turn it is, for its caller to answer; None: no cell of the page."""
        return self._waiting.pop(calculation_id, None)

    def refuse(self, which: Callable[[WaitingCell], bool], why: str = "") -> Iterable[str]:
        """Tell some of them that they will not run; their ids, as each still has to end."""
        refused = [cell for cell in self._waiting.values() if which(cell)]
        for cell in refused:
            del self._waiting[cell.calculation_id]
            cell.refuse(why)
        return [cell.calculation_id for cell in refused]
