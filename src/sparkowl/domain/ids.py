"""The kinds of id. All are lower-case hyphenated UUIDs: dbt parses session ids as such."""

from __future__ import annotations

from typing import NewType
from uuid import uuid4

SessionId = NewType("SessionId", str)
CalculationId = NewType("CalculationId", str)
DriverId = NewType("DriverId", str)
NotebookId = NewType("NotebookId", str)
ServerId = NewType("ServerId", str)


def new_session_id() -> SessionId:
    return SessionId(str(uuid4()))


def new_calculation_id() -> CalculationId:
    return CalculationId(str(uuid4()))


def new_driver_id() -> DriverId:
    return DriverId(str(uuid4()))


def new_notebook_id() -> NotebookId:
    return NotebookId(str(uuid4()))


def new_server_id() -> ServerId:
    return ServerId(str(uuid4()))
