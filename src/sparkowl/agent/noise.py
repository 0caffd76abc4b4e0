"""What py4j logs when a call is interrupted or the JVM is gone: tracebacks that help nobody.

In the kernel they would land in the block's stderr, beside the error that says the same; in the
agent they come for every object that is garbage collected.
"""

from __future__ import annotations

import logging


def silence_py4j() -> None:
    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)
    # Some of it goes straight to the root logger; a filter there sees only such records.
    logging.getLogger().addFilter(_not_from_py4j)


def _not_from_py4j(record: logging.LogRecord) -> bool:
    return "/py4j/" not in record.pathname
