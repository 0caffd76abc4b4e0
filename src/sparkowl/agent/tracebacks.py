"""How an error in a block looks: as Athena shows it, and as short as Python allows.

    File "<stdin>", line 2, in <module>
  NameError: name 'foobar' is not defined

Clients compare this text. So: no ``Traceback`` header, the file is ``<stdin>``, line numbers
count from the block's first line, and frames of Spark, py4j and IPython are left out. Lives in the
kernel.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from sparkowl.agent import magics

BLOCK: Final = "<stdin>"
_HEADER: Final = "Traceback (most recent call last):\n"
#: Folders of libraries whose frames say nothing to the writer of the block.
_NOISE: Final = ("/pyspark/", "/py4j/", "/IPython/", "/ipykernel/", "/sparkowl/agent/")


def install(shell: Any) -> None:
    """Hook the shell: names and lines of blocks, and the text of their errors."""
    shell.compile.cache = _block_name
    shell.transform_cell = magics.transform
    shell.showtraceback = _shower(shell)
    shell.showsyntaxerror = _shower(shell)


def _block_name(_code: str, _number: int = 0, raw_code: str | None = None) -> str:
    return BLOCK


def _shower(shell: Any) -> Callable[..., None]:
    def show(exc_tuple: Any = None, *_args: Any, **_options: Any) -> None:
        kind, error, trace = exc_tuple if isinstance(exc_tuple, tuple) else sys.exc_info()
        # IPython hands this to the front end as the "error" message.
        shell._showtraceback(kind, error, [text(error, trace)])

    return show


def text(error: BaseException, trace: TracebackType | None) -> str:
    """The error as Athena shows it, without a newline at its end."""
    shown = traceback.TracebackException(type(error), error, _from_block(trace), compact=True)
    _drop_noise(shown)
    return "".join(line for line in shown.format() if line != _HEADER).rstrip("\n")


def _from_block(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the block's own frame on; none when it never ran (a syntax error)."""
    while trace is not None and trace.tb_frame.f_code.co_filename != BLOCK:
        trace = trace.tb_next
    return trace


def _drop_noise(shown: traceback.TracebackException) -> None:
    waiting: list[traceback.TracebackException | None] = [shown]
    while waiting:
        one = waiting.pop()
        if one is not None:
            kept = [f for f in one.stack if not any(n in f.filename for n in _NOISE)]
            one.stack = traceback.StackSummary.from_list(kept)
            waiting += [one.__cause__, one.__context__]
