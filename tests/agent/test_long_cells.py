"""Cells that are longer than a calculation may be."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sparkowl.agent.cells import Cells
from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.messages import Cell, encode
from sparkowl.agent.outbox import Outbox
from sparkowl.domain import cell

#: ``ws_max_size`` of the server.
LONGEST_FRAME = 16 << 20


async def test_pasting_megabytes_into_a_cell_does_not_break_the_link(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Leftovers())
    pasted = "\U0001f989" * (3 << 20)

    asking = asyncio.create_task(Cells(outbox).may_run("m", "page", pasted, stop_on_error=True))
    async with asyncio.timeout(10):
        await outbox.changed.wait()
    asking.cancel()

    [fact] = outbox.after(0)
    assert isinstance(fact, Cell)
    assert len(encode(fact)) < LONGEST_FRAME
    assert cell.too_long(fact.code) is not None
    assert cell.too_long(fact.code[:-1]) is None
