"""The log: one line per call and per change of state, as text or as JSON.

A message is a constant sentence; what varies stands beside it as fields. The request id is bound
once and appears on every line of that request. Never logged: code, results, keys.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

#: What every record has; anything else is a field of ours.
_STANDARD: Final = frozenset(
    vars(logging.makeLogRecord({})) | {"message": None, "asctime": None, "taskName": None}
)


@contextmanager
def request(request_id: str) -> Iterator[None]:
    """Bind the request id to the log lines of this block."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def configure(level: str, *, as_json: bool) -> None:
    """Log to standard error, at ``level`` and above."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Alembic reports its own set-up, uvicorn repeats every call, websockets every frame.
    for noisy in ("alembic", "uvicorn", "websockets", "httpcore", "httpx", "botocore", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = f"{at} {record.levelname} {record.name.removeprefix('sparkowl.')}: "
        line += _one_line(f"{record.getMessage()} {fields}".rstrip())
        # asyncio says exc_info=False where there is no exception.
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and value is not None
    }
    request_id = _request_id.get()
    return fields if request_id is None else fields | {"request_id": request_id}


def _one_line(text: str) -> str:
    """A caller's text must not be able to write a log line of its own."""
    return text.replace("\r", "\\r").replace("\n", "\\n")
