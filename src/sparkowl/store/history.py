"""The changes of state as rows: what happened to a session or a calculation, in order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, Table, bindparam, insert, select

from sparkowl.store.tables import micros, moment

log = logging.getLogger(__name__)

#: The event of the first row: the entity was asked for.
ASKED: Final = "START_ASKED"


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a history."""

    event: str
    #: None for the first row.
    from_state: str | None
    to_state: str
    reason: str | None
    at: datetime


class History:
    """The history of one kind of entity."""

    def __init__(self, noun: str, table: Table) -> None:
        self._noun = noun
        self._owner = f"{noun}_id"
        self._insert = insert(table)
        columns = table.c
        self._select = (
            select(columns.event, columns.from_state, columns.to_state, columns.reason, columns.at)
            .where(columns[self._owner] == bindparam("owner"))
            .order_by(columns.number)
        )

    def record(  # noqa: PLR0913  a row has as many columns as it has
        self,
        connection: Connection,
        owner_id: str,
        event: str,
        *,
        was: StrEnum | None,
        to: StrEnum,
        reason: str | None,
        at: datetime,
    ) -> None:
        """Write one change, to the table and to the log."""
        log.info(
            f"{self._noun} changed",  # noqa: G004  one of two constant sentences
            extra={self._noun: owner_id, "event": str(event), "state": str(to)},
        )
        connection.execute(
            self._insert,
            {
                self._owner: owner_id,
                "event": str(event),
                "from_state": None if was is None else str(was),
                "to_state": str(to),
                "reason": reason,
                "at": micros(at),
            },
        )

    def of(self, connection: Connection, owner_id: str) -> Sequence[Change]:
        """The changes of one entity, oldest first."""
        rows = connection.execute(self._select, {"owner": owner_id})
        return [
            Change(row.event, row.from_state, row.to_state, row.reason, moment(row.at))
            for row in rows
        ]
