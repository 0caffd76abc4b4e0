"""Errors as a page shows them, and what of them is logged."""

from __future__ import annotations

import logging

from tornado.web import HTTPError

from sparkowl.agent.desk import DeskError


class Refused(HTTPError):
    """Its message reaches the page as it is; Tornado would double each percent sign."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)

    @property
    def log_message(self) -> str | None:
        return self.get_message()


def refused(error: DeskError) -> Refused:
    """What the agent could not do."""
    return Refused(error.status, str(error))


def log_no_requests() -> None:
    """Tornado's log of a failed request has its query and more. Ours says what and where."""
    logging.getLogger("tornado.general").setLevel(logging.ERROR)
    logging.getLogger("tornado.application").addFilter(_only_the_traceback)


def _only_the_traceback(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith("Uncaught exception"):
        record.msg, record.args = "Uncaught exception", ()
    return True
