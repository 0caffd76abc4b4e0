"""Copies of all rows, on each engine."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from sqlalchemy import Connection
from tests.builders import AT, make_calculation, make_session

from sparkowl.domain.cell import LONGEST
from sparkowl.domain.ids import new_calculation_id, new_notebook_id
from sparkowl.domain.notebook import Notebook, Version
from sparkowl.store import Store, calculations, notebooks, sessions, snapshot
from sparkowl.store.engine import Place
from sparkowl.store.reading import reading

MIB = 1 << 20


async def test_a_copy_with_many_large_notebooks_and_cells_takes_little_memory(
    place: Place, store: Store, tmp_path: Path
) -> None:
    notebook = Notebook(
        id=new_notebook_id(), work_group="spark", name="n", created_at=AT, modified_at=AT
    )
    session = make_session()

    def write(tx: Connection) -> None:
        first = Version(number=1, payload="{}", saved_at=AT)
        notebooks.insert_notebook(tx, notebook, first)
        for number in range(2, 32):
            version = Version(number=number, payload="x" * 4 * MIB, saved_at=AT)
            notebooks.insert_version(tx, notebook.id, version)
        sessions.insert_session(tx, session)
        for _ in range(120):
            cell = make_calculation(
                id=new_calculation_id(), session_id=session.id, code="x" * LONGEST
            )
            calculations.insert_calculation(tx, cell)

    await store.write(write)
    tracemalloc.start()
    try:
        with reading(place) as connection:
            snapshot.save(connection, tmp_path / "copy.db")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 64 * MIB
    copied = Store.open(tmp_path / "copy.db")
    history = await copied.read(lambda tx: notebooks.history(tx, notebook.id))
    copied.close()
    assert len(history) == 31
