"""Text in columns: any text comes back as it was, in the order of its characters.

PostgreSQL takes no NUL in text, and user code or its errors may hold one. So NUL is written there
as two other characters, of which the first is written as two as well. The order stays what it was.
Half a surrogate pair is no text in either database: the doors refuse it or replace it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Dialect, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

_ESCAPE: Final = "\x01"
_NUL: Final = "\x01a"
_ESCAPED: Final = "\x01b"


class Words(TypeDecorator[str]):
    """Text; with a length, no longer than that.

    In PostgreSQL under the collation ``C``, which compares as SQLite does: pages of lists rest on
    the same order everywhere, also after an upgrade of the system's locales.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        collation = "C" if dialect.name == "postgresql" else None
        kind = Text if self.length is None else String
        return dialect.type_descriptor(kind(self.length, collation=collation))

    def bind_processor(self, dialect: Dialect) -> Any:
        return _write if dialect.name == "postgresql" else None

    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        return _read if dialect.name == "postgresql" else None


def _write(text: str | None) -> str | None:
    if text is None or ("\0" not in text and _ESCAPE not in text):
        return text
    return text.replace(_ESCAPE, _ESCAPED).replace("\0", _NUL)


def _read(text: str | None) -> str | None:
    if text is None or _ESCAPE not in text:
        return text
    return text.replace(_NUL, "\0").replace(_ESCAPED, _ESCAPE)
